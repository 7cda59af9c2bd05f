//! Types and names of files, as headers carry them.
//!
//! Both were chosen by whoever uploaded the file. A browser that shows it must not take it for a page of ours, so only
//! what the specification lists is shown at all, and nothing of a name leaves its quotes.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#serving-inline-content>

use std::fmt::Write;

/// The type of what has none.
pub const UNKNOWN: &str = "application/octet-stream";

/// Longest type, in bytes.
const LONGEST_KIND: usize = 255;
/// Longest name, in letters: as many as Windows has. A Japanese one takes three times the bytes.
const LONGEST_NAME: usize = 255;
/// Longest end of a name that stays when it is cut, with its dot.
const LONGEST_END: usize = 16;

/// What browsers may show in place of saving it.
const INLINE: [&str; 26] = [
    "text/css",
    "text/plain",
    "text/csv",
    "application/json",
    "application/ld+json",
    "image/jpeg",
    "image/gif",
    "image/png",
    "image/apng",
    "image/webp",
    "image/avif",
    "video/mp4",
    "video/webm",
    "video/ogg",
    "video/quicktime",
    "audio/mp4",
    "audio/webm",
    "audio/aac",
    "audio/mpeg",
    "audio/ogg",
    "audio/wave",
    "audio/wav",
    "audio/x-wav",
    "audio/x-pn-wav",
    "audio/flac",
    "audio/x-flac",
];

/// A type that fits into a header: the given one if it is one, else [`UNKNOWN`].
pub fn kind(given: Option<&str>) -> String {
    let given = given.map(str::trim).filter(|given| given.len() <= LONGEST_KIND);
    let is_one = |given: &&str| {
        let is_printable = given.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        // Outside of quotes a comma makes two of it, of which browsers take the last.
        let is_single = given.split('"').step_by(2).all(|unquoted| !unquoted.contains(','));
        is_printable
            && is_single
            && essence(given).split_once('/').is_some_and(|(main, sub)| is_token(main) && is_token(sub))
    };
    given.filter(is_one).unwrap_or(UNKNOWN).to_owned()
}

/// A name as it is kept: without what would mislead or break out, and not too long; none if nothing is left.
pub fn name(given: Option<&str>) -> Option<String> {
    let misleads = |letter: char| {
        letter.is_control()
            // A name is of a file and leads to no other place.
            || matches!(letter, '/' | '\\')
            // Letters that turn others round: `…gpj.exe` would be read as `…exe.jpg`.
            || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let name: String = given?.chars().map(|letter| if misleads(letter) { '_' } else { letter }).collect();
    Some(cut(name)).filter(|name| !name.trim().is_empty())
}

/// A name that is no longer than names are. It is cut before its end, which says what it is.
fn cut(name: String) -> String {
    let letters = name.chars().count();
    if letters <= LONGEST_NAME {
        return name;
    }
    let end = name.rfind('.').map(|dot| &name[dot..]);
    let end = end.filter(|end| end.chars().count() <= LONGEST_END).unwrap_or_default();
    let begin = name.chars().take(LONGEST_NAME - end.chars().count());
    begin.chain(end.chars()).collect()
}

/// Whether browsers may show a file of this type.
pub fn is_inline(kind: &str) -> bool {
    INLINE.contains(&essence(kind).to_ascii_lowercase().as_str())
}

/// The header `Content-Disposition` of a file.
///
/// Spec: RFC 6266
pub fn disposition(kind: &str, name: Option<&str>) -> String {
    let mut header = if is_inline(kind) { "inline" } else { "attachment" }.to_owned();
    let Some(name) = name else { return header };
    if name.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        let quoted = name.replace('\\', r"\\").replace('"', "\\\"");
        header.push_str("; filename=\"");
        header.push_str(&quoted);
        header.push('"');
        return header;
    }
    header.push_str("; filename*=utf-8''");
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            header.push(char::from(byte));
        } else {
            // A `String` takes whatever is written to it.
            write!(header, "%{byte:02X}").ok();
        }
    }
    header
}

/// The name in another server's `Content-Disposition`. What cannot be read is passed over.
pub fn name_in(disposition: &str) -> Option<String> {
    let mut plain = None;
    let mut rest = disposition.split_once(';')?.1;
    loop {
        let (key, after) = rest.split_once('=')?;
        let (value, after) = value(after.trim_start());
        match key.trim().to_ascii_lowercase().as_str() {
            "filename*" => {
                if let Some(decoded) = extended(&value) {
                    return name(Some(&decoded));
                }
            }
            "filename" => plain = plain.or(Some(value)),
            _ => {}
        }
        let Some((_, after)) = after.split_once(';') else { return name(plain.as_deref()) };
        rest = after;
        if !rest.contains('=') {
            return name(plain.as_deref());
        }
    }
}

/// A value at the beginning, and what follows it.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return (text[..end].trim().to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(letters.next().map(|(_, letter)| letter)),
            letter => value.push(letter),
        }
    }
    (value, "")
}

/// A value of RFC 8187, in UTF-8.
fn extended(value: &str) -> Option<String> {
    let mut parts = value.splitn(3, '\'');
    let (charset, _language, text) = (parts.next()?, parts.next()?, parts.next()?);
    if !charset.eq_ignore_ascii_case("utf-8") {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            bytes.push(*byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// A type without its parameters.
pub(crate) fn essence(kind: &str) -> &str {
    kind.split(';').next().unwrap_or_default().trim()
}

fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_one_or_unknown() {
        assert_eq!(kind(Some("Text/Plain; charset=utf-8")), "Text/Plain; charset=utf-8");
        assert_eq!(kind(Some("img/png")), "img/png");
        let quoted = r#"video/mp4; codecs="avc1.42E01E, mp4a.40.2""#;
        assert_eq!(kind(Some(quoted)), quoted);
        for two in ["image/png;a, text/html", "image/png ;,text/html", r#"image/png;a="b", text/html"#] {
            assert_eq!(kind(Some(two)), UNKNOWN, "{two}");
        }
        let longest = format!("a/{}", "b".repeat(300));
        for bad in ["", "png", "/", "a/", "a b/c", "a/b\r\nX: y", "文/字", "a/b; x=字", longest.as_str()] {
            assert_eq!(kind(Some(bad)), UNKNOWN, "{bad}");
        }
        assert_eq!(kind(None), UNKNOWN);
    }

    #[test]
    fn only_listed_types_are_shown_whatever_their_parameters() {
        assert!(is_inline("Image/PNG") && is_inline("Text/Plain; charset=utf-8"));
        for saved in ["image/svg+xml", "image/svg", "text/html", "application/pdf", "image/pngx", UNKNOWN] {
            assert!(!is_inline(saved), "{saved}");
        }
    }

    #[test]
    fn a_name_is_quoted_or_encoded_and_is_read_back() {
        for (name, header) in [
            ("ascii", r#"inline; filename="ascii""#),
            ("name with spaces", r#"inline; filename="name with spaces""#),
            ("name;with;semicolons", r#"inline; filename="name;with;semicolons""#),
            (r#"a"b"#, r#"inline; filename="a\"b""#),
            (
                "申請書 第1号.png",
                "inline; filename*=utf-8''%E7%94%B3%E8%AB%8B%E6%9B%B8%20%E7%AC%AC1%E5%8F%B7.png",
            ),
        ] {
            assert_eq!(disposition("image/png", Some(name)), header);
            assert_eq!(name_in(header).as_deref(), Some(name));
        }
        assert_eq!(disposition("text/html", None), "attachment");
        // A name leads nowhere.
        for (given, kept) in [("../../etc/passwd", ".._.._etc_passwd"), (r"C:\Users\a.txt", "C:_Users_a.txt")]
        {
            assert_eq!(name(Some(given)).as_deref(), Some(kept));
            assert_eq!(
                name_in(&format!("inline; filename=\"{}\"", given.replace('\\', r"\\"))).as_deref(),
                Some(kept)
            );
        }
    }

    #[test]
    fn what_misleads_in_a_name_is_taken_out_and_a_bad_header_is_passed_over() {
        assert_eq!(name(Some("a\r\nSet-Cookie: x")).as_deref(), Some("a__Set-Cookie: x"));
        assert_eq!(name(Some("x\u{202e}gpj.exe")).as_deref(), Some("x_gpj.exe"));
        assert_eq!(name(Some("字".repeat(255).as_str())).as_deref(), Some(&*"字".repeat(255)));
        let kept = name(Some(&format!("{}.docx", "字".repeat(255))));
        assert_eq!(kept, Some(format!("{}.docx", "字".repeat(250))), "what it is still stands at its end");
        let kept = name(Some(&format!(".{}", "字".repeat(300))));
        assert_eq!(kept.map(|name| name.chars().count()), Some(255));
        assert_eq!((name(Some(" ")), name(Some("")), name(None)), (None, None, None));
        assert_eq!(name_in("attachment; filename=plain.txt; x=y").as_deref(), Some("plain.txt"));
        assert_eq!(
            name_in("attachment; x=y; FileName*=UTF-8'ja'%E5%AD%97; filename=z").as_deref(),
            Some("字")
        );
        assert_eq!(name_in("attachment; filename*=utf-8''%E5; filename=z").as_deref(), Some("z"));
        for bad in [
            "",
            "attachment",
            ";",
            ";;;=",
            "attachment; filename",
            "a; filename*=latin1''x",
            "字; filename=\"",
        ] {
            assert_eq!(name_in(bad), None, "{bad}");
        }
    }
}
