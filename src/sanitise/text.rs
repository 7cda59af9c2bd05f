//! Text and CSV.
//!
//! Text passes as it is, in the encoding that it has (UTF-8, UTF-16 with a mark, Windows' Japanese), if it is text to
//! the last byte. What programs would run or show as a page is no text, by its begin: HTML, SVG, RTF, spreadsheets of
//! the SYLK form (which Excel opens whatever their name says). Scripts are text, and get a name that nothing runs
//! ([`Kind::name_for`]).

use encoding_rs::{SHIFT_JIS, UTF_8, UTF_16BE, UTF_16LE};

use crate::{
    kind::Kind,
    settings::Cells,
    verdict::{Made, Part, Parts, Reason, Refusal, note},
};

/// A text in letters, and how it was written.
pub(crate) struct Text {
    pub(crate) letters: String,
    encoding: &'static encoding_rs::Encoding,
    has_mark: bool,
}

impl Text {
    /// Reads bytes that are text to the last.
    pub(crate) fn read(file: &[u8]) -> Result<Self, Refusal> {
        let (encoding, mark) = match encoding_rs::Encoding::for_bom(file) {
            Some((encoding, mark)) => (encoding, mark),
            None if std::str::from_utf8(file).is_ok() => (UTF_8, 0),
            None => (SHIFT_JIS, 0),
        };
        let letters = encoding.decode_without_bom_handling_and_without_replacement(&file[mark..]);
        let letters =
            letters.ok_or_else(|| Refusal::new(Reason::Unknown, "neither a known type nor text"))?;
        // DOS's programs end a text by 1A.
        let body = letters.strip_suffix('\u{1a}').unwrap_or(&letters);
        let is_odd =
            |letter: char| letter.is_control() && !matches!(letter, '\t' | '\n' | '\r' | '\u{c}' | '\u{85}');
        if let Some(odd) = body.chars().find(|letter| is_odd(*letter)) {
            return Err(Refusal::new(Reason::Unknown, format!("a control character, {odd:?}")));
        }
        Ok(Self { letters: letters.into_owned(), encoding, has_mark: mark > 0 })
    }

    /// Other letters as the text was written.
    fn write(&self, letters: &str) -> Vec<u8> {
        let mark = if self.has_mark { "\u{feff}" } else { "" };
        let marked = || format!("{mark}{letters}").encode_utf16().collect::<Vec<_>>();
        match self.encoding {
            encoding if encoding == UTF_16LE => marked().into_iter().flat_map(u16::to_le_bytes).collect(),
            encoding if encoding == UTF_16BE => marked().into_iter().flat_map(u16::to_be_bytes).collect(),
            encoding if encoding == SHIFT_JIS => SHIFT_JIS.encode(letters).0.into_owned(),
            _ => format!("{mark}{letters}").into_bytes(),
        }
    }

    /// What of text it is: refused if programs would run it or show it as a page, whatever its name says.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        let head: String = self.letters.trim_start().chars().take(HEAD).collect::<String>().to_lowercase();
        let page = [
            "<!doctype html",
            "<html",
            "<script",
            "<body",
            "<iframe",
            "<head",
            "<!doctype svg",
            "mime-version:",
        ];
        if head.contains("<svg") {
            return Err(Refusal::new(Reason::Svg, "SVG"));
        }
        if let Some(found) = page.iter().find(|begin| head.contains(**begin)) {
            return Err(Refusal::new(Reason::Page, *found));
        }
        // Documents that an office program opens with all that runs in them, written as one file of XML.
        let documents = ["oasis:names:tc:opendocument", "mso-application", "schemas.microsoft.com/office/"];
        let mark = documents.iter().find(|mark| head.contains(**mark));
        if let Some(found) = mark.filter(|_| head.starts_with('<')) {
            return Err(Refusal::new(Reason::NotAllowed, *found));
        }
        let others = [
            "{\\rtf",
            "id;",
            "%!ps",
            "[internetshortcut]",
            "[{000214a0",
            "windows registry editor",
            "regedit4",
        ];
        match others.iter().find(|begin| head.starts_with(**begin)) {
            Some(found) => Err(Refusal::new(Reason::NotAllowed, *found)),
            None => Ok(()),
        }
    }
}

/// How much of a text is looked at for what it begins with, in letters.
const HEAD: usize = 2048;

/// Whether a text is a table: by its name, or if it has none by its look.
pub(crate) fn kind(text: &Text, name: Option<&str>) -> Kind {
    let end = name.and_then(|name| name.rsplit_once('.')).map(|(_, end)| end.to_lowercase());
    match end.as_deref() {
        // Excel opens these by a double click.
        Some("csv" | "tsv" | "xls" | "xlsx" | "xlsm" | "prn") => Kind::Csv,
        Some(_) => Kind::Text,
        None => {
            let columns = |line: &str| line.matches([',', '\t']).count();
            let mut lines = text.letters.lines().take(20).map(columns);
            let first = lines.next().unwrap_or(0);
            if first > 0 && lines.all(|count| count == first) { Kind::Csv } else { Kind::Text }
        }
    }
}

/// A table, in which no cell is computed when it is opened.
pub(crate) fn table(text: &Text, cells: Cells) -> Made {
    without(text, cells, is_computed)
}

/// Text by its name. Whoever saves it may do so under another one: the name that a message gives is not the one that was
/// uploaded with the file. So nothing may be in it that a spreadsheet would take for a formula which does something; what
/// prose, lists and source code begin lines with stays.
pub(crate) fn plain(text: &Text, cells: Cells) -> Made {
    without(text, cells, is_call)
}

fn without(text: &Text, cells: Cells, is_harmful: fn(&str, bool) -> bool) -> Made {
    if cells == Cells::Kept {
        return Ok(Parts::as_is());
    }
    let (letters, changed) = neutralise(&text.letters, is_harmful);
    if changed == 0 {
        return Ok(Parts::as_is());
    }
    let mut removed = Vec::new();
    note(&mut removed, Part::FormulaCell, format!("{changed} cells"));
    Ok(Parts::rebuilt(text.write(&letters), removed))
}

/// Puts an apostrophe before each cell that is harmful as it begins here, in quotes or not; says how many there were.
///
/// A cell begins after comma, semicolon, tab or a new line outside of quotes, whichever of them divides this table:
/// Excel decides that by the region of whoever opens it, or by what a first line `sep=` names. Whether something is in quotes
/// is read in both ways that there are: a quote inside a cell that has not begun with one is a letter for some programs,
/// and begins something quoted for others.
fn neutralise(letters: &str, is_harmful: fn(&str, bool) -> bool) -> (String, usize) {
    let named = divider_of(letters);
    let divides = |letter: char| matches!(letter, ',' | ';' | '\t' | '\n' | '\r') || Some(letter) == named;
    let mut out = String::with_capacity(letters.len() + 16);
    // As those read it for whom only a cell's first letter opens quotes, and as those for whom each quote does.
    let (mut strict, mut loose) = (false, false);
    let (mut changed, mut begins) = (0, true);
    let mut all = letters.char_indices().peekable();
    while let Some((at, letter)) = all.next() {
        if letter == '"' {
            out.push(letter);
            loose = !loose;
            if !strict {
                strict = begins;
            } else if all.next_if(|(_, next)| *next == '"').is_some() {
                out.push('"');
                loose = !loose;
            } else {
                strict = false;
            }
            // What a cell is begins after its quotes.
            continue;
        }
        if begins && is_harmful(&letters[at..], strict) {
            out.push('\'');
            changed += 1;
        }
        begins = divides(letter) && !(strict && loose);
        out.push(letter);
    }
    (out, changed)
}

/// The letter that a first line names as what divides the cells, for Excel.
fn divider_of(letters: &str) -> Option<char> {
    let line = letters.trim_start_matches('\u{feff}').lines().next()?;
    let named = line.get(..4).filter(|begin| begin.eq_ignore_ascii_case("sep="))?;
    line[named.len()..].chars().next()
}

/// Whether a cell that begins here would be computed and reach for something: a function, a program, another file. A sum of
/// numbers does not, nor a heading's line of signs, a list's dash before a word, or somebody's name after an `@`.
fn is_call(rest: &str, quoted: bool) -> bool {
    if !is_computed(rest, quoted) {
        return false;
    }
    let ends: &[char] = if quoted { &['"'] } else { &['\n', '\r'] };
    let line = rest.split(ends).next().unwrap_or(rest).trim_start();
    let is_one_of = |of: &'static str| move |letter: char| of.contains(letter);
    if line.starts_with(['=', '＝']) {
        return line.contains(is_one_of("(|!（｜！"));
    }
    let formula = line.trim_start_matches(is_one_of("+-@＋－＠"));
    let runs_program = formula.contains(is_one_of("|｜")) && formula.contains(is_one_of("!！"));
    let calls =
        || formula.split(is_one_of("(（")).rev().skip(1).any(|name| name.ends_with(char::is_alphanumeric));
    !formula.starts_with(char::is_whitespace) && (runs_program || calls())
}

/// Whether a cell that begins here would be computed. Numbers and dashes are not.
fn is_computed(rest: &str, quoted: bool) -> bool {
    // Excel's Japanese edition takes full-width letters for these as well.
    let Some(first) = rest.trim_start_matches([' ', '\u{3000}', '\u{a0}']).chars().next() else {
        return false;
    };
    if quoted && first == '\t' {
        return true;
    }
    if !matches!(first, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠') {
        return false;
    }
    let ends: &[char] = if quoted { &['"'] } else { &[',', ';', '\t', '\n', '\r'] };
    let cell = rest.split(ends).next().unwrap_or(rest).trim();
    let number = cell.trim_start_matches(['+', '-', '－', '＋']).trim_end_matches(['%', '％', '円']);
    let is_number = number.chars().any(|letter| letter.is_ascii_digit())
        && cell.len() <= number.len() + 6
        && number.chars().all(|letter| letter.is_ascii_digit() || matches!(letter, ',' | '.'));
    let is_dash = cell.chars().all(|letter| matches!(letter, '-' | '－'));
    !is_number && !is_dash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_that_would_be_computed_are_not_and_numbers_stay_numbers() {
        let cases = [
            ("=1+1,2", "'=1+1,2"),
            ("a,=cmd|' /C calc'!A0", "a,'=cmd|' /C calc'!A0"),
            ("\"=HYPERLINK(\"\"http://x\"\")\",b", "\"'=HYPERLINK(\"\"http://x\"\")\",b"),
            ("-5,+3.5,-1200円,-5%,-,--", "-5,+3.5,-1200円,-5%,-,--"),
            ("\"-1,234\"", "\"-1,234\""),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("＝1+1", "'＝1+1"),
            ("x; =1+1", "x;' =1+1"),
            ("+81-76-220-2111", "'+81-76-220-2111"),
            ("\"\t=1\"", "\"'\t=1\""),
            ("名前,所属\r\n-A1,b\r\n", "名前,所属\r\n'-A1,b\r\n"),
            ("\"a\n=1\",b", "\"a\n=1\",b"),
            ("5\" nail,1\n=1+1,2", "5\" nail,1\n'=1+1,2"),
            ("a\"\n=1+1,2", "a\"\n'=1+1,2"),
            ("5\" nail,=1+1", "5\" nail,'=1+1"),
            ("\"a\"\"\n\",\n=1", "\"a\"\"\n\",\n'=1"),
            ("sep=^\na^=1+1", "sep=^\na^'=1+1"),
            ("SEP=|\nx|=1+1", "SEP=|\nx|'=1+1"),
        ];
        for (given, wanted) in cases {
            assert_eq!(neutralise(given, is_computed).0, wanted);
        }
    }

    #[test]
    fn text_that_is_saved_as_a_table_reaches_for_nothing_and_prose_stays_as_it_is() {
        let harmful = [
            "=cmd|' /C calc'!A0",
            "名前\n=HYPERLINK(\"http://x\",1)",
            "a,@SUM(1)",
            "a\t+cmd|' /C calc'!A0",
            "-2+3+cmd|' /C calc'!A0",
            "＝ＷＥＢＳＥＲＶＩＣＥ（1）",
            "='http://x/[a.xls]b'!A1",
            "+(1)+SUM(1)",
            "\"=IMPORTXML(\"\"http://x\"\")\"",
        ];
        for text in harmful {
            assert_eq!(neutralise(text, is_call).1, 1, "{text}");
        }
        let prose = [
            "- 橋の点検 (国道)\n- 完了!",
            "=====\n見出し\n=====",
            "-1200円 (税込)",
            "@hanako よろしく (至急)",
            "+81-76-220-2111",
            "a = f(x)\n  if (a) {}",
            "=1+1",
            "-v, --verbose",
        ];
        for text in prose {
            assert_eq!(neutralise(text, is_call).1, 0, "{text}");
        }
    }

    #[test]
    fn a_table_keeps_its_encoding() {
        let file = SHIFT_JIS.encode("表,能\r\n=1,ソ\r\n").0.into_owned();
        let text = Text::read(&file).unwrap_or_else(|refusal| panic!("{refusal:?}"));
        let made = table(&text, Cells::Neutralised).ok().and_then(|parts| parts.bytes);
        assert_eq!(made, Some(SHIFT_JIS.encode("表,能\r\n'=1,ソ\r\n").0.into_owned()));
        assert!(matches!(table(&text, Cells::Kept), Ok(Parts { bytes: None, .. })));
    }

    #[test]
    fn pages_and_sheets_in_text_are_refused() {
        let reason = |file: &[u8]| Text::read(file).and_then(|text| text.check()).map_err(|r| r.reason).err();
        assert_eq!(reason(b"\xef\xbb\xbf <!DOCTYPE html><p>"), Some(Reason::Page));
        assert_eq!(reason(b"<?xml version='1.0'?><svg onload='x'/>"), Some(Reason::Svg));
        assert_eq!(reason(b"ID;PWXL;N;E\n"), Some(Reason::NotAllowed));
        assert_eq!(reason(b"\xff\xfe<\0s\0v\0g\0>\0"), Some(Reason::Svg));
        let word = b"<?xml version=\"1.0\"?><?mso-application progid=\"Word.Document\"?><w:wordDocument/>";
        assert_eq!(reason(word), Some(Reason::NotAllowed));
        assert_eq!(reason(b"a\x1b[2Jb"), Some(Reason::Unknown));
        assert_eq!(reason("こんにちは\r\n\u{1a}".as_bytes()), None);
    }
}
