//! What an authenticator app reads: a secret as text, and the address that stands for it as a picture.

use qrcodegen::{QrCode, QrCodeEcc};
use ruma::UserId;

use crate::tables::Secret;

/// The margin around the picture that readers need, in its squares.
const MARGIN: i32 = 4;

/// A secret as people type it (RFC 4648, 6): 32 letters.
#[must_use]
pub fn in_base32(secret: &Secret) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::new();
    for five in secret.chunks(5) {
        let bits = five.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        for place in (0..8).rev() {
            let letter = usize::try_from(bits >> (5 * place) & 31).unwrap_or_default();
            text.push(char::from(LETTERS[letter]));
        }
    }
    text
}

/// The address by which apps know a secret: whose it is, and of which authority.
#[must_use]
pub fn link_for_app(user: &UserId, secret: &Secret) -> String {
    let escaped = |text: &str| -> String {
        let escape = |byte: u8| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        };
        text.bytes().map(escape).collect()
    };
    let issuer = escaped(user.server_name().as_str());
    let name = escaped(user.localpart());
    let secret = in_base32(secret);
    format!(
        "otpauth://totp/{issuer}:{name}?secret={secret}&issuer={issuer}&algorithm=SHA1&digits=6&period=30"
    )
}

/// A text as a picture (SVG) that phones read: one path over white, so that it shows as it is in the dark as well. Nothing
/// where the text is too long for one.
#[must_use]
pub fn svg_of(text: &str) -> Option<String> {
    let code = QrCode::encode_text(text, QrCodeEcc::Medium).ok()?;
    let side = code.size() + 2 * MARGIN;
    let mut path = String::new();
    for y in 0..code.size() {
        for x in 0..code.size() {
            if code.get_module(x, y) {
                path.push_str(&format!("M{} {}h1v1h-1z", x + MARGIN, y + MARGIN));
            }
        }
    }
    Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" width=\"240\" height=\"240\" \
         shape-rendering=\"crispEdges\"><path fill=\"#fff\" d=\"M0 0h{side}v{side}h-{side}z\"/>\
         <path fill=\"#000\" d=\"{path}\"/></svg>"
    ))
}
