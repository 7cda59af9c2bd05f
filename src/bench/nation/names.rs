//! The names of the country's authorities: as many as there are, and of the shape that they could have.
//!
//! A name is `jp`, the authority's code of six digits and `.nation.test`. The codes are made, not read: every
//! prefecture and municipality has one, and their spelling and number are what counts here.

use anyhow::{Context as _, Result};
use ruma::OwnedServerName;

/// Prefectures of Japan.
const PREFECTURES: usize = 47;

/// The one that the server under test answers for: Kanazawa. [`name`] gives no other this code.
pub(super) const SUBJECT: &str = "jp172014.nation.test";

/// The name of the authority with this number: first the prefectures, then their municipalities in turn.
pub(super) fn name(number: usize) -> Result<OwnedServerName> {
    let prefecture = number % PREFECTURES + 1;
    let municipality = match number / PREFECTURES {
        0 => 0,
        round => 300 + round,
    };
    let digits = format!("{prefecture:02}{municipality:03}");
    let name = format!("jp{digits}{}.nation.test", check_digit(&digits));
    OwnedServerName::try_from(name).context("a server name")
}

/// The last digit of an authority's code, which follows from the five before it.
fn check_digit(digits: &str) -> u32 {
    let sum: u32 =
        digits.bytes().zip((2..=6).rev()).map(|(digit, weight)| u32::from(digit - b'0') * weight).sum();
    (11 - sum % 11) % 10
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_end_as_those_of_real_authorities_do() {
        for code in ["011002", "172014", "010006", "012025"] {
            assert_eq!(check_digit(&code[..5]).to_string(), code[5..], "{code}");
        }
    }

    #[test]
    fn no_two_authorities_have_one_name() {
        let names: BTreeSet<_> = (0..2_000).map(|number| name(number).unwrap()).collect();
        assert_eq!(names.len(), 2_000);
        assert!(!names.iter().any(|name| name == SUBJECT));
    }
}
