//! What stands in headers: encoded words (RFC 2047) and parameters (RFC 2231), as Japanese mail programs write them.

use mail_parser::decoders::{base64::base64_decode, quoted_printable::quoted_printable_decode};

use crate::charset;

/// Pieces of a parameter that are joined at most; what follows is left out.
const MOST_PIECES: usize = 100;

/// A piece of an unstructured header.
enum Word {
    /// As it stands.
    Plain(Vec<u8>),
    /// Of this charset.
    Encoded(String, Vec<u8>),
}

/// Text of an unstructured header, as it stands in the mail; the label is of what the mail's text is written in.
///
/// Neighbouring words of one charset are joined before they are decoded, since programs split characters among them, except
/// where the charset has a state: there each word begins anew.
///
/// Spec: <https://www.rfc-editor.org/rfc/rfc2047>
pub(crate) fn words(raw: &[u8], label: Option<&str>) -> String {
    let raw = charset::bare(label, raw);
    let mut words: Vec<Word> = Vec::new();
    let mut rest = &*raw;
    while !rest.is_empty() {
        let begin = rest.windows(2).position(|pair| pair == b"=?").unwrap_or(rest.len());
        let (plain, encoded) = rest.split_at(begin);
        let Some((charset, bytes, after)) = encoded_word(encoded) else {
            // Two marks that begin no word are text as well.
            let plain = rest.get(..(begin + 2).min(rest.len())).unwrap_or(rest);
            push_plain(&mut words, plain);
            rest = rest.get(plain.len()..).unwrap_or_default();
            continue;
        };
        let is_between = matches!(words.last(), Some(Word::Encoded(..))) && is_blank(plain);
        if !is_between {
            push_plain(&mut words, plain);
        }
        match words.last_mut() {
            Some(Word::Encoded(last, all))
                if last.eq_ignore_ascii_case(&charset) && !charset::has_state(&charset) =>
            {
                all.extend(bytes);
            }
            _ => words.push(Word::Encoded(charset, bytes)),
        }
        rest = after;
    }
    let decoded = words.into_iter().map(|word| match word {
        Word::Plain(bytes) => charset::decode(None, &bytes),
        Word::Encoded(label, bytes) => charset::decode(Some(&label), &bytes),
    });
    decoded.collect()
}

fn push_plain(words: &mut Vec<Word>, plain: &[u8]) {
    match words.last_mut() {
        _ if plain.is_empty() => {}
        Some(Word::Plain(last)) => last.extend(plain),
        _ => words.push(Word::Plain(plain.to_vec())),
    }
}

fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_whitespace)
}

/// The word that bytes begin with: its charset, what it says, and what follows.
fn encoded_word(bytes: &[u8]) -> Option<(String, Vec<u8>, &[u8])> {
    let (charset, rest) = split(bytes.strip_prefix(b"=?")?, b"?")?;
    let (encoding, rest) = split(rest, b"?")?;
    let (text, rest) = split(rest, b"?=")?;
    // With a language behind the charset (RFC 2231 §5).
    let charset = std::str::from_utf8(charset).ok()?.split('*').next()?.to_owned();
    if charset.is_empty() || text.contains(&b'\n') {
        return None;
    }
    let bytes = match encoding {
        b"B" | b"b" => from_base64(text),
        b"Q" | b"q" => {
            let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'_' { b' ' } else { *byte }).collect();
            quoted_printable_decode(&spaced).unwrap_or(spaced)
        }
        _ => return None,
    };
    Some((charset, bytes, rest))
}

fn split<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(mark.len()).position(|window| window == mark)?;
    Some((bytes.get(..at)?, bytes.get(at + mark.len()..)?))
}

/// What base64 says, also where other bytes stand in it and its end is missing.
pub(crate) fn from_base64(text: &[u8]) -> Vec<u8> {
    let is_of_it = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    let mut kept: Vec<u8> = text.iter().copied().filter(is_of_it).collect();
    if kept.len() % 4 == 1 {
        kept.pop();
    }
    kept.resize(kept.len().next_multiple_of(4), b'=');
    base64_decode(&kept).unwrap_or_default()
}

/// The value of a parameter (`filename`, `name`, `charset`) of a structured header, as it stands in the mail; the label is of
/// what the mail's text is written in.
///
/// The pieces of a value (`name*0*`, `name*1`) are joined in their order, and are decoded after that; of two pieces with one number
/// the first counts. A value in one piece with a charset (`name*`) counts more than one without.
///
/// Spec: <https://www.rfc-editor.org/rfc/rfc2231>
pub(crate) fn parameter(raw: &[u8], wanted: &str, label: Option<&str>) -> Option<String> {
    // First of all: bytes of CP932 and of ISO-2022-JP may look like quotes and backslashes.
    let raw = &*charset::bare(label, raw);
    let mut plain: Option<Vec<u8>> = None;
    let mut pieces: Vec<(usize, bool, Vec<u8>)> = Vec::new();
    for (name, value) in pairs(raw) {
        let mut parts = name.split('*');
        if !parts.next().is_some_and(|name| name.eq_ignore_ascii_case(wanted)) {
            continue;
        }
        match (parts.next(), parts.next()) {
            (None, _) => {
                plain.get_or_insert(value);
            }
            // One piece with a charset.
            (Some(""), None) if pieces.len() < MOST_PIECES => pieces.push((0, true, value)),
            (Some(number), escaped) if pieces.len() < MOST_PIECES => {
                if let Ok(number) = number.parse() {
                    pieces.push((number, escaped == Some(""), value));
                }
            }
            _ => {}
        }
    }
    // Stable: of one number the first stays first.
    pieces.sort_by_key(|(number, ..)| *number);
    pieces.dedup_by_key(|(number, ..)| *number);
    if pieces.first().is_none_or(|(number, ..)| *number != 0) {
        return plain.map(|plain| words(&plain, None));
    }
    let mut label = None;
    let mut all = Vec::new();
    for (at, (number, is_escaped, value)) in pieces.into_iter().enumerate() {
        if number != at {
            break;
        }
        if !is_escaped {
            all.extend(value);
            continue;
        }
        let mut value = &*value;
        if number == 0
            && let Some((charset, rest)) = split(value, b"'")
            && let Some((_language, rest)) = split(rest, b"'")
        {
            label =
                std::str::from_utf8(charset).ok().filter(|charset| !charset.is_empty()).map(str::to_owned);
            value = rest;
        }
        all.extend(percent_decoded(value));
    }
    Some(charset::decode(label.as_deref(), &all))
}

fn percent_decoded(bytes: &[u8]) -> Vec<u8> {
    let mut all = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok()).filter(|_| *first == b'%');
        match digits.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => {
                all.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                all.push(*first);
                rest = after;
            }
        }
    }
    all
}

/// Names and values behind the first `;`, without quotes and comments.
fn pairs(raw: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut pairs = Vec::new();
    for part in parts(raw, b';').into_iter().skip(1) {
        let Some(at) = part.iter().position(|byte| *byte == b'=') else { continue };
        let (name, value) = part.split_at(at);
        let name = String::from_utf8_lossy(name.trim_ascii()).into_owned();
        pairs.push((name, unquoted(value.get(1..).unwrap_or_default().trim_ascii())));
    }
    pairs
}

/// A header in parts between marks that stand in no quotes; comments are left out, quotes stay.
pub(crate) fn parts(raw: &[u8], mark: u8) -> Vec<Vec<u8>> {
    let mut all = vec![Vec::new()];
    let (mut is_quoted, mut depth) = (false, 0_usize);
    let mut bytes = raw.iter().copied();
    while let Some(byte) = bytes.next() {
        let Some(part) = all.last_mut() else { break };
        match byte {
            b'\r' | b'\n' => {}
            b'\\' if is_quoted || depth > 0 => {
                let next = bytes.next();
                if depth == 0 {
                    part.push(byte);
                    part.extend(next);
                }
            }
            b'(' if !is_quoted => depth += 1,
            b')' if !is_quoted && depth > 0 => depth -= 1,
            _ if depth > 0 => {}
            b'"' => {
                is_quoted = !is_quoted;
                part.push(byte);
            }
            byte if byte == mark && !is_quoted => all.push(Vec::new()),
            byte => part.push(byte),
        }
    }
    all
}

/// A value without its quotes. A backslash before anything else stands for itself, as programs of Windows write it.
fn unquoted(value: &[u8]) -> Vec<u8> {
    let Some(inside) = value.strip_prefix(b"\"") else { return value.to_vec() };
    let inside = inside.strip_suffix(b"\"").unwrap_or(inside);
    let mut all = Vec::with_capacity(inside.len());
    let mut bytes = inside.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' || !matches!(bytes.peek(), Some(b'"' | b'\\')) {
            all.push(byte);
        } else {
            all.extend(bytes.next());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MA4, MA5, MA6, MA7.
    #[test]
    fn encoded_words_are_joined_where_a_character_is_split_and_apart_where_a_charset_has_a_state() {
        for (raw, text) in [
            // Each word begins in ASCII and ends where it will.
            (&b"=?ISO-2022-JP?B?GyRCOSkbKEI=?=\r\n =?ISO-2022-JP?B?GyRCO3YbKEI=?= 12"[..], "工事 12"),
            (b"=?ISO-2022-JP?B?GyhJNjY3GyhC?=", "ｶｶｷ"),
            (b"=?UTF-8?B?5bel?= =?UTF-8?B?5LqL?=", "工事"),
            // The three bytes of a character in two words.
            (b"=?UTF-8?B?5bc=?=\r\n\t=?utf-8?B?peS6iw==?=", "工事"),
            (b"=?UTF-8?Q?a_=E5=B7=A5?= b =?x", "a 工 b =?x"),
            (b"Re: =?UTF-8*ja?B?5bel?=", "Re: 工"),
            (b"\x8d\x48\x8e\x96", "工事"),
        ] {
            assert_eq!(words(raw, None), text, "{}", String::from_utf8_lossy(raw));
        }
    }

    /// MA9, MA10, MA11.
    #[test]
    fn names_in_pieces_are_joined_before_they_are_decoded_and_the_first_of_a_number_counts() {
        let name = |raw: &[u8]| parameter(raw, "filename", None);
        let split = b"attachment; filename*0*=ISO-2022-JP''%1B$B$%22$;\r\n filename*1*=$%1B%28B.png";
        assert_eq!(name(split).as_deref(), Some("あい.png"));
        let tricky = b"attachment; filename*0*=\"''attached%2E\"; filename*1*=%62; filename*2=at";
        assert_eq!(name(tricky).as_deref(), Some("attached.bat"));
        let twice = b"attachment; filename*0=a; filename*1=b; filename*1=c; filename*0=d";
        assert_eq!(name(twice).as_deref(), Some("ab"));
        assert_eq!(name(b"attachment; filename*=UTF-8''%E5%B7%A5; filename=x").as_deref(), Some("工"));
        assert_eq!(name(b"attachment; filename=\"=?UTF-8?B?5bel?=\"").as_deref(), Some("工"));
        // ソ has a backslash as its second byte in CP932.
        assert_eq!(name(b"attachment; filename=\"\x83\x5c.txt\"").as_deref(), Some("ソ.txt"));
        // A quote within a character of ISO-2022-JP.
        assert_eq!(name(b"attachment; filename=\"\x1b$B\"#\x1b(B.txt\"").as_deref(), Some("■.txt"));
        let euc = b"attachment; filename=\"\xb9\xa9\xbb\xf6.txt\"";
        assert_eq!(parameter(euc, "filename", Some("EUC-JP")).as_deref(), Some("工事.txt"));
        let many: String = (0..8_192).map(|number| format!("; filename*{number}=aaaa")).collect();
        let begun = std::time::Instant::now();
        assert_eq!(name(many.as_bytes()).map(|name| name.len()), Some(4 * MOST_PIECES));
        assert!(begun.elapsed().as_millis() < 100, "no quadratic work");
    }

    #[test]
    fn what_stands_in_quotes_or_comments_divides_nothing() {
        let found = parts(b"mx.test; a=\"x; dmarc=pass\" (; dmarc=pass) b; c", b';');
        let found: Vec<_> = found.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect();
        assert_eq!(found, ["mx.test", " a=\"x; dmarc=pass\"  b", " c"]);
    }
}
