//! Bytes of mail as text: by the charset that they are labelled with, and by what old Japanese mail is where no label fits.

use std::borrow::Cow;

use encoding_rs::{EUC_JP, Encoding, GBK, ISO_2022_JP, SHIFT_JIS, UTF_8};

/// Begins a change of charset in ISO-2022-JP.
const ESCAPE: u8 = 0x1b;

/// Characters by which a guess is judged, from the beginning.
const JUDGED: usize = 2_000;

/// Text of bytes that bear this label, or none.
///
/// What a label says counts where the bytes fit it; else they are ISO-2022-JP or UTF-8 if they fit, or what reads best of
/// CP932, EUC-JP and GB2312; at last what does not fit is marked by U+FFFD, so that nothing is lost in silence.
pub(crate) fn decode(label: Option<&str>, bytes: &[u8]) -> String {
    let named = label.and_then(|label| Encoding::for_label(label.trim().as_bytes()));
    // `us-ascii` and `iso-8859-1` are what programs write that know nothing: no byte is wrong in them.
    let named = named.filter(|encoding| *encoding != encoding_rs::WINDOWS_1252 || fits_western(bytes));
    if let Some(text) = named.and_then(|encoding| strictly(encoding, bytes)) {
        return text;
    }
    let of_escapes = bytes.contains(&ESCAPE).then_some(ISO_2022_JP);
    let others = of_escapes.into_iter().chain([UTF_8]);
    let fitting = others.into_iter().find_map(|encoding| strictly(encoding, bytes));
    let fitting = fitting.or_else(|| east_asian(bytes));
    fitting.unwrap_or_else(|| named.unwrap_or(UTF_8).decode_without_bom_handling(bytes).0.into_owned())
}

/// A header that stands in a mail as bytes and not as encoded words, as UTF-8; the label is that of the mail's text.
///
/// RFC 2047 wants encoded words, RFC 6532 UTF-8; what writes neither writes headers as it writes its text.
pub(crate) fn bare<'a>(label: Option<&str>, bytes: &'a [u8]) -> Cow<'a, [u8]> {
    if bytes.is_ascii() && !bytes.contains(&ESCAPE) {
        return bytes.into();
    }
    if bytes.contains(&ESCAPE)
        && let Some(text) = strictly(ISO_2022_JP, bytes)
    {
        return text.into_bytes().into();
    }
    // Two bytes of GB2312 or EUC-JP may be a letter of UTF-8, but hardly ever one of those that it needs three bytes for.
    let is_wide = |text: &str| text.chars().any(|mark| mark >= '\u{800}');
    if std::str::from_utf8(bytes).is_ok_and(is_wide) {
        return bytes.into();
    }
    decode(label, bytes).into_bytes().into()
}

/// Bytes in the charset without a state that they read best in; none if they fit no such one.
fn east_asian(bytes: &[u8]) -> Option<String> {
    let readings = [(SHIFT_JIS, EUC_JP), (EUC_JP, EUC_JP), (GBK, GBK)];
    let fitting = readings.into_iter().filter_map(|(encoding, home)| {
        let text = strictly(encoding, bytes)?;
        Some((strangeness(&text, home), text))
    });
    // Of equal ones the first: Japanese.
    fitting.min_by_key(|(strangeness, _)| *strangeness).map(|(_, text)| text)
}

/// How little a text looks like one that somebody writes; `home` has the common characters of its language first.
fn strangeness(text: &str, home: &'static Encoding) -> usize {
    // Where the less common characters begin: JIS X 0208 and GB 2312, level 2.
    let second_level = if home == GBK { 0xd8 } else { 0xd0 };
    let of_one = |mark: char| match mark {
        '\0'..='\x7f' => 0,
        '\u{3041}'..='\u{30ff}' if home == GBK => 6,
        '\u{3000}'..='\u{30ff}' | '\u{ff01}'..='\u{ff5e}' => 0,
        // A byte each: what looks like several of them may be half as many of others.
        '\u{ff61}'..='\u{ff9f}' => 1,
        '\u{2000}'..='\u{33ff}' => 2,
        '\u{4e00}'..='\u{9fff}' => {
            let mut letters = [0; 4];
            let (encoded, ..) = home.encode(mark.encode_utf8(&mut letters));
            match encoded.first() {
                Some(lead) if encoded.len() == 2 && (0xb0..second_level).contains(lead) => 2,
                _ => 6,
            }
        }
        _ => 6,
    };
    text.chars().take(JUDGED).map(of_one).sum()
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
            (Some("euc-jp"), b"\xb9\xa9\xbb\xf6", "工事"),
            (Some("gb2312"), b"\xb9\xa4\xb3\xcc", "工程"),
            // Without a word about it: kana, a name, half-width kana, Chinese.
            (None, b"\xb9\xa9\xbb\xf6\xa4\xce\xa4\xaa\xc3\xce\xa4\xe9\xa4\xbb", "工事のお知らせ"),
            (None, b"\xb6\xe2\xc2\xf4\xbb\xd4", "金沢市"),
            (None, b"\xba\xb3\xbc\xde\xc9\xb5\xbc\xd7\xbe", "ｺｳｼﾞﾉｵｼﾗｾ"),
            (None, b"\xb9\xd8\xd3\xda\xd6\xd0\xb9\xfa\xb5\xc4\xbb\xe1\xd2\xe9", "关于中国的会议"),
        ] {
            assert_eq!(decode(label, bytes), text, "{label:?} {bytes:x?}");
        }
    }

    #[test]
    fn bytes_in_a_header_are_as_the_mails_text_or_utf_8() {
        for (label, bytes, text) in [
            (Some("gb2312"), &b"\xb9\xa4\xb3\xcc"[..], "工程"),
            // Both are letters of UTF-8 as well, of two bytes.
            (Some("gb2312"), b"\xc3\xa9\xc4\xbf", "茅目"),
            (Some("gb2312"), "工事".as_bytes(), "工事"),
            (Some("iso-2022-jp"), b"\x8d\x48\x8e\x96", "工事"),
            (Some("euc-jp"), b"Re: \xb9\xa9\xbb\xf6", "Re: 工事"),
            (Some("utf-8"), b"\x1b$B9)\x1b(B =?UTF-8?B?5bel?=", "工 =?UTF-8?B?5bel?="),
            (None, "工事".as_bytes(), "工事"),
        ] {
            assert_eq!(String::from_utf8_lossy(&bare(label, bytes)), text, "{label:?} {bytes:x?}");
        }
    }
}
