//! Drawings: DXF, JWW, SXF (P21, SFC), and those whose inside cannot be checked.
//!
//! DXF is text of pairs, a code and a value, and is read to its end; objects that embed something are taken out, and
//! paths that lead to another machine are emptied. Everything else in it stays as it was, byte for byte.

use crate::{
    jww,
    kind::Kind,
    marks, markup,
    text::Text,
    verdict::{Made, Part, Parts, Reason, Refusal, malformed, note},
};

/// Objects of DXF that hold files or programs of other kinds.
const EMBEDDING: &[&[u8]] =
    &[b"OLEFRAME", b"OLE2FRAME", b"VBA_PROJECT", b"OLE2", b"ACAD_PROXY_OBJECT", b"ACAD_PROXY_ENTITY"];

/// The drawing that a text is, if it is one.
pub(crate) fn find_kind(file: &[u8]) -> Option<Kind> {
    let start = file.trim_ascii_start();
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    if start.starts_with(b"ISO-10303-21;") {
        let is_features = memchr::memmem::find(&start[..start.len().min(2048)], b"feature_mode").is_some();
        return Some(if is_features { Kind::Sfc } else { Kind::P21 });
    }
    let mut pairs = Pairs { rest: file };
    loop {
        match pairs.next()?.ok()? {
            Pair { code: 999, .. } => {}
            Pair { code: 0, value: b"SECTION", .. } => return Some(Kind::Dxf),
            _ => return None,
        }
    }
}

/// Checks a drawing, and takes out of DXF what does not belong there.
pub(crate) fn sanitise(kind: Kind, file: &[u8]) -> Made {
    match kind {
        Kind::Dxf => dxf(file),
        Kind::P21 | Kind::Sfc => exchange(file).map(|()| Parts::as_is()),
        Kind::Jww if jww::is_known(file) => {
            marks::check(file)?;
            jww::sanitise(file)
        }
        // What can be said of a file whose inside is not known: that nothing that runs lies open in it.
        _ => marks::check(file).map(|()| Parts::as_is()),
    }
}

/// A code, its value without blanks, and all bytes of both lines.
struct Pair<'a> {
    code: i32,
    value: &'a [u8],
    raw: &'a [u8],
}

struct Pairs<'a> {
    rest: &'a [u8],
}

impl<'a> Pairs<'a> {
    fn line(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', self.rest).map_or(self.rest.len(), |at| at + 1);
        let (line, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(line)
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<Pair<'a>, Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
        let whole = self.rest;
        let code = self.line()?;
        let number = std::str::from_utf8(code.trim_ascii()).ok().and_then(|code| code.parse().ok());
        // A last empty line or DOS's end of file.
        if self.rest.is_empty() && matches!(code.trim_ascii(), b"" | b"\x1a") {
            return None;
        }
        let Some(value) = self.line() else { return Some(Err(malformed("a code without a value"))) };
        let raw = &whole[..code.len() + value.len()];
        Some(match number {
            Some(code) if (-5..=1071).contains(&code) => Ok(Pair { code, value: value.trim_ascii(), raw }),
            _ => Err(malformed(format!("no code of DXF: {:?}", String::from_utf8_lossy(code)))),
        })
    }
}

fn dxf(file: &[u8]) -> Made {
    // Letters of the drawing may be of Windows' Japanese or UTF-8, but they are letters, and none that a browser follows.
    let text = Text::read(file)?;
    markup::check(&text.letters)?;
    let mut out = Vec::with_capacity(file.len());
    let mut removed = Vec::new();
    let (mut in_section, mut is_left_out, mut at_end) = (false, false, false);
    let mut object: &[u8] = b"";
    for pair in (Pairs { rest: file }) {
        let Pair { code, value, raw } = pair?;
        if at_end {
            return Err(Refusal::new(Reason::TwoTypes, "something after the end of the drawing"));
        }
        if code == 0 {
            object = value;
            is_left_out = EMBEDDING.contains(&value);
            match value {
                b"SECTION" if !in_section => in_section = true,
                b"ENDSEC" if in_section => in_section = false,
                b"EOF" if !in_section => at_end = true,
                b"SECTION" | b"ENDSEC" | b"EOF" => return Err(malformed("sections in disorder")),
                _ if !in_section => return Err(malformed("an object outside of sections")),
                _ => {}
            }
            if is_left_out {
                note(&mut removed, Part::CadObject, String::from_utf8_lossy(value));
            }
        }
        if is_left_out {
            continue;
        }
        if is_string(code) && leads_away(object, code, &text.of(value)) {
            note(&mut removed, Part::CadObject, String::from_utf8_lossy(object));
            let code_line = memchr::memchr(b'\n', raw).map_or(raw, |at| &raw[..=at]);
            out.extend(code_line);
            out.extend(b"\r\n");
            continue;
        }
        out.extend(raw);
    }
    if !at_end {
        return Err(malformed("the drawing does not end"));
    }
    if removed.is_empty() {
        return Ok(Parts::as_is());
    }
    Ok(Parts::rebuilt(out, removed))
}

/// Codes whose values are texts; 310 to 319 are bytes in digits, 320 to 369 handles.
fn is_string(code: i32) -> bool {
    matches!(code, 0..=9 | 100..=102 | 300..=309 | 410..=419 | 430..=439 | 470..=479 | 1000..=1009)
}

/// Objects whose own texts are drawn and followed by nothing.
const DRAWN: &[&[u8]] = &[
    b"TEXT",
    b"MTEXT",
    b"ATTRIB",
    b"ATTDEF",
    b"DIMENSION",
    b"ARC_DIMENSION",
    b"MULTILEADER",
    b"MLEADER",
    b"ACAD_TABLE",
    b"TOLERANCE",
];

/// Whether a value leads to another machine, or out of the drawing by an address that is none of the web: a drawing names files,
/// fonts, menus and links in many places, and what opens it follows some of them at once.
fn leads_away(object: &[u8], code: i32, value: &str) -> bool {
    // What is added to an object (1000 and more) is not drawn.
    if DRAWN.contains(&object) && code < 1000 {
        return false;
    }
    let value = unescaped(value).to_ascii_lowercase();
    let is_file = object == b"BLOCK" || object == b"IMAGEDEF" || object.ends_with(b"DEFINITION");
    if is_file && value.contains("://") {
        return true;
    }
    // Lists of folders, and paths in quotes, with a sheet behind a bar.
    value.split([';', ',', '"', '\'', '|', '*', '=', ' ', '(', ')', '<', '>']).any(|piece| {
        piece.starts_with("file:") || piece.starts_with(['/', '\\']) && piece[1..].starts_with(['/', '\\'])
    })
}

/// A value with the letters that DXF writes as signs: `\U+005C`, and `\M+15C5C` in Windows' letters.
fn unescaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let wide = rest.get(1..3).is_some_and(|sign| sign.eq_ignore_ascii_case("u+"));
        let old = rest.get(1..3).is_some_and(|sign| sign.eq_ignore_ascii_case("m+"));
        let digits = if old { 4 } else { 3 };
        let number = rest.get(digits..digits + 4).filter(|_| wide || old);
        match number.and_then(|number| u32::from_str_radix(number, 16).ok()).and_then(char::from_u32) {
            Some(letter) => {
                out.push(letter);
                rest = &rest[digits + 4..];
            }
            None => {
                out.push('\\');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// ISO 10303-21, also as SXF writes it: letters, a header, data, an end.
fn exchange(file: &[u8]) -> Result<(), Refusal> {
    markup::check(&Text::read(file)?.letters)?;
    let holds = |mark: &[u8]| memchr::memmem::find(file, mark);
    let (header, data) = (holds(b"HEADER;"), holds(b"DATA;"));
    let ends = file.trim_ascii_end().ends_with(b"END-ISO-10303-21;");
    match (header, data, holds(b"ENDSEC;")) {
        (Some(header), Some(data), Some(end)) if header < end && header < data && ends => Ok(()),
        _ => Err(malformed("sections of ISO 10303-21 are missing")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWING: &str = "999\r\n図面\r\n  0\r\nSECTION\r\n  2\r\nENTITIES\r\n  0\r\nLINE\r\n  8\r\n外壁\r\n  0\r\nENDSEC\r\n  0\r\nEOF\r\n";

    #[test]
    fn a_drawing_in_windows_japanese_stays_byte_for_byte() {
        let file = encoding_rs::SHIFT_JIS.encode(DRAWING).0.into_owned();
        assert_eq!(find_kind(&file), Some(Kind::Dxf));
        assert!(matches!(dxf(&file), Ok(Parts { bytes: None, .. })));
    }

    #[test]
    fn an_embedded_object_goes_and_its_neighbours_stay() {
        let ole = "  0\r\nOLE2FRAME\r\n310\r\nD0CF11E0\r\n";
        let file = DRAWING.replace("  0\r\nLINE", &format!("{ole}  0\r\nLINE"));
        let made = dxf(file.as_bytes()).unwrap_or_else(|refusal| panic!("{refusal:?}"));
        assert_eq!(made.bytes.as_deref(), Some(DRAWING.as_bytes()));
        assert_eq!(made.removed.len(), 1);
    }

    #[test]
    fn a_path_to_another_machine_is_emptied() {
        let file = DRAWING.replace("LINE\r\n  8\r\n外壁", "BLOCK\r\n  1\r\n\\\\evil\\share\\x.dwg");
        let made = dxf(file.as_bytes()).unwrap_or_else(|refusal| panic!("{refusal:?}"));
        assert!(!String::from_utf8_lossy(&made.bytes.unwrap_or_default()).contains("evil"));
    }

    #[test]
    fn no_name_in_a_drawing_leads_to_another_machine_and_what_is_drawn_stays() {
        let with = |pairs: &str| dxf(DRAWING.replace("LINE\r\n  8\r\n外壁", pairs).as_bytes());
        for pairs in [
            "STYLE\r\n  3\r\n\\\\evil.example\\s\\x.shx",
            "STYLE\r\n  4\r\n\\/evil.example/s/x.shx",
            "BLOCK\r\n  1\r\n\\U+005C\\u+005Cevil.example\\s\\x.dwg",
            "BLOCK\r\n  1\r\n\\M+1005C\\M+1005Cevil.example\\s",
            "BLOCK\r\n  1\r\nhttp://evil.example/x.dwg",
            "POINTCLOUDDEF\r\n  1\r\n //evil.example/s",
            "LINE\r\n1001\r\nPE_URL\r\n1000\r\nfile://evil.example/s/x.exe",
            "TEXT\r\n1000\r\n\\\\evil.example\\s",
            "DICTIONARY\r\n  3\r\na;\\\\evil.example\\s",
        ] {
            let made = with(pairs).unwrap_or_else(|refusal| panic!("{refusal:?}"));
            assert!(!String::from_utf8_lossy(&made.bytes.unwrap_or_default()).contains("evil"), "{pairs}");
            assert_eq!(made.removed.len(), 1, "{pairs}");
        }
        for pairs in [
            "TEXT\r\n  1\r\n\\\\fs1\\土木",
            "MTEXT\r\n  1\r\n//注記\\P\\\\x",
            "STYLE\r\n  3\r\ntxt.shx\r\n  4\r\nbigfont.shx",
            "STYLE\r\n  3\r\nC:\\fonts\\ソ\\x.shx",
            "LINE\r\n1001\r\nPE_URL\r\n1000\r\nhttps://www.city.example.jp/a",
        ] {
            assert!(matches!(with(pairs), Ok(Parts { bytes: None, .. })), "{pairs}");
        }
    }

    #[test]
    fn what_only_begins_like_a_drawing_is_refused() {
        for cut in [30, 60, DRAWING.len() - 10] {
            assert!(dxf(&DRAWING.as_bytes()[..cut]).is_err(), "{cut}");
        }
        assert!(exchange(b"ISO-10303-21; HEADER; DATA;").is_err());
        assert!(exchange(b"ISO-10303-21;\nHEADER;\nENDSEC;\nDATA;\nENDSEC;\nEND-ISO-10303-21;\n").is_ok());
        assert!(sanitise(Kind::Jww, b"JwwData.\x58\x02\0\0").is_err());
    }
}
