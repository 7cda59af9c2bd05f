//! The vectors of the standards.

use crate::{in_base32, link_for_app, svg_of, totp::code_of};

use super::hanako;

const SECRET: &[u8; 20] = b"12345678901234567890";

#[test]
fn codes_of_counters_are_those_of_rfc_4226() {
    let expected =
        ["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"];
    for (counter, code) in (0..).zip(expected) {
        assert_eq!(code_of(SECRET, counter), code);
    }
}

#[test]
fn codes_of_moments_are_the_last_six_digits_of_rfc_6238() {
    for (seconds, code) in [
        (59, "287082"),
        (1_111_111_109, "081804"),
        (1_111_111_111, "050471"),
        (1_234_567_890, "005924"),
        (2_000_000_000, "279037"),
        (20_000_000_000, "353130"),
    ] {
        assert_eq!(code_of(SECRET, crate::totp::step_of(seconds * 1_000)), code);
    }
}

#[test]
fn a_secret_is_written_as_rfc_4648_says_and_its_picture_holds_the_address() {
    assert_eq!(in_base32(SECRET), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
    let link = link_for_app(hanako(), SECRET);
    assert_eq!(
        link,
        "otpauth://totp/kanazawa.test:hanako?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=kanazawa.test\
         &algorithm=SHA1&digits=6&period=30"
    );
    let picture = svg_of(&link).unwrap();
    assert!(picture.starts_with("<svg ") && picture.len() < 60_000);
    assert_eq!(svg_of(&"x".repeat(5_000)), None);
}
