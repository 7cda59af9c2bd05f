//! Bytes of mail as text: by the charset that they are labelled with, and by what old Japanese mail is where no label fits.

use encoding_rs::{Encoding, ISO_2022_JP, SHIFT_JIS, UTF_8};
use std::borrow::Cow;

/// Begins a change of charset in ISO-2022-JP.
const ESCAPE: u8 = 0x1b;

/// Text of bytes that bear this label, or none.
///
/// What a label says counts where the bytes fit it; else they are UTF-8, ISO-2022-JP or CP932, whichever fits first; at
/// last what does not fit is marked by U+FFFD, so that nothing is lost in silence.
pub(crate) fn decode(label: Option<&str>, bytes: &[u8]) -> String {
    let named = label.and_then(|label| Encoding::for_label(label.trim().as_bytes()));
    // `us-ascii` and `iso-8859-1` are what programs write that know nothing: no byte is wrong in them.
    let named = named.filter(|encoding| *encoding != encoding_rs::WINDOWS_1252 || fits_western(bytes));
    if let Some(text) = named.and_then(|encoding| strictly(encoding, bytes)) {
        return text;
    }
    let of_escapes = bytes.contains(&ESCAPE).then_some(ISO_2022_JP);
    let others = of_escapes.into_iter().chain([UTF_8, SHIFT_JIS]);
    let fitting = others.into_iter().find_map(|encoding| strictly(encoding, bytes));
    fitting.unwrap_or_else(|| named.unwrap_or(UTF_8).decode_without_bom_handling(bytes).0.into_owned())
}

/// Whether bytes may be of a western language: they are ASCII, or neither UTF-8 nor Japanese.
fn fits_western(bytes: &[u8]) -> bool {
    !bytes.contains(&ESCAPE)
        && (bytes.is_ascii() || (strictly(UTF_8, bytes).is_none() && strictly(SHIFT_JIS, bytes).is_none()))
}

/// Whether text in this charset goes on from where other text ended, so that each piece of it has to stand alone.
pub(crate) fn has_state(label: &str) -> bool {
    Encoding::for_label(label.trim().as_bytes()) == Some(ISO_2022_JP)
}

fn strictly(encoding: &'static Encoding, bytes: &[u8]) -> Option<String> {
    let bytes = if encoding == ISO_2022_JP { without_idle_escapes(bytes) } else { bytes.into() };
    encoding.decode_without_bom_handling_and_without_replacement(&bytes).map(Cow::into_owned)
}

/// ISO-2022-JP without changes of charset after which the next change follows at once: decoders take these for an attack, many
/// mail programs write them.
fn without_idle_escapes(bytes: &[u8]) -> Cow<'_, [u8]> {
    let is_escape = |at: usize| bytes.get(at) == Some(&ESCAPE);
    let idle = |at: usize| is_escape(at) && is_escape(at + 3);
    if !(0..bytes.len()).any(idle) {
        return bytes.into();
    }
    let mut kept = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        if idle(at) {
            at += 3;
        } else {
            kept.push(*byte);
            at += 1;
        }
    }
    kept.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_what_their_label_says_or_what_old_japanese_mail_is() {
        for (label, bytes, text) in [
            (Some("ISO-2022-JP"), &b"\x1b$B9)\x1b(B\x1b$B;v\x1b(B"[..], "工事"),
            (Some("iso-2022-jp"), b"\x1b(I667\x1b(B", "ｶｶｷ"),
            (Some("us-ascii"), b"\x8d\x48\x8e\x96\x87\x40", "工事①"),
            (Some("iso-2022-jp"), b"\x8d\x48\x8e\x96", "工事"),
            (Some("utf-8"), b"\x8d\x48\x8e\x96", "工事"),
            (Some("no-such"), "工事".as_bytes(), "工事"),
            (None, b"\x1b$B9)\x1b(B", "工"),
            (Some("iso-8859-1"), b"caf\xe9", "café"),
            (Some("utf-8"), b"\xff\xff", "\u{fffd}\u{fffd}"),
        ] {
            assert_eq!(decode(label, bytes), text, "{label:?} {bytes:x?}");
        }
    }
}
