//! Fields of Word: which of a part's go, by the code that Word reads.
//!
//! A field is what stands between the signs of its begin and its end; its code may be split over many runs and hold other
//! fields. Only elements and attributes of Word's own space count: those of other spaces Word passes over, and so they are
//! left out of the new part. Code that can be read in more than one way (deleted here and put in there, one of
//! two alternatives) has to be harmless in each.
//!
//! Grammar: ECMA-376 part 1, 17.16.

use quick_xml::{
    XmlVersion,
    events::{BytesStart, Event},
};

use super::{address::is_open, spaces::Space};
use crate::settings::Links;

/// Fields that compute from the document alone: how many words they take, and which switches besides those of all.
const FIELDS: &[(&str, usize, &str)] = &[
    ("PAGE", 0, ""),
    ("NUMPAGES", 0, ""),
    ("SECTION", 0, ""),
    ("SECTIONPAGES", 0, ""),
    ("TOC", 0, "abcdfhlnopstuwxz"),
    ("TC", 1, "fln"),
    ("TOA", 0, "bcdefghlps"),
    ("TA", 0, "bcilrs"),
    ("REF", 1, "dfhnprtw"),
    ("PAGEREF", 1, "hp"),
    ("NOTEREF", 1, "fhp"),
    ("HYPERLINK", 1, "hlmnost"),
    ("DATE", 0, "hlsu"),
    ("TIME", 0, "hlsu"),
    ("CREATEDATE", 0, "hsu"),
    ("SAVEDATE", 0, "hsu"),
    ("PRINTDATE", 0, "hsu"),
    ("EDITTIME", 0, ""),
    ("SEQ", 2, "chnrs"),
    ("STYLEREF", 1, "lnprtw"),
    ("EQ", usize::MAX, "abdfilorsxhtu"),
    ("FORMTEXT", 0, ""),
    ("FORMCHECKBOX", 0, ""),
    ("FORMDROPDOWN", 0, ""),
    ("AUTHOR", 1, ""),
    ("TITLE", 1, ""),
    ("SUBJECT", 1, ""),
    ("KEYWORDS", 1, ""),
    ("COMMENTS", 1, ""),
    ("FILENAME", 0, "p"),
    ("NUMWORDS", 0, ""),
    ("NUMCHARS", 0, ""),
    ("DOCPROPERTY", 1, ""),
    ("INDEX", 0, "bcdefghklprsyz"),
    ("XE", 1, "bfirty"),
    ("SYMBOL", 2, "afhjsu"),
    ("ADVANCE", 0, "dlruxy"),
    ("LISTNUM", 1, "ls"),
    ("AUTONUM", 0, "es"),
    ("AUTONUMLGL", 0, "es"),
    ("AUTONUMOUT", 0, ""),
    ("MERGEFIELD", 1, "bfmv"),
    ("CITATION", 1, "flmnpstvy"),
    ("BIBLIOGRAPHY", 0, "flm"),
    ("RUBY", 2, ""),
    ("=", usize::MAX, ""),
];

/// Switches that every field may have.
const OF_ALL: &str = "*#@!";

/// Fields in whose code others may stand: what these give is a number or a text there, and no name or address.
const HOLDERS: &[&str] = &["=", "EQ", "TC", "XE", "SEQ"];

/// Names of fields that start or load something. They stand nowhere in a code outside of quotes.
const CALLS: &[&str] = &[
    "DDE",
    "DDEAUTO",
    "LINK",
    "EMBED",
    "INCLUDE",
    "INCLUDETEXT",
    "INCLUDEPICTURE",
    "IMPORT",
    "DATABASE",
    "MACROBUTTON",
    "CONTROL",
    "HTMLCONTROL",
    "RD",
    "PRINT",
];

/// Stands in a code for a field in it.
const FIELD: char = '\u{1}';

/// What an element is to fields.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// The begin of a field.
    Begin,
    /// The end of its code.
    Separate,
    /// Its end.
    End,
    /// Code, or text that is code where it stands within one.
    Code,
    /// The same, deleted and yet to be seen.
    Deleted,
    /// A field with its code in an attribute.
    Simple,
    /// A blank within code.
    Blank,
}

/// What an element is to fields; an error if it has the name of something that is, and not Word's space.
pub(super) fn sign(element: &BytesStart<'_>, space: Space) -> Result<Option<Sign>, ()> {
    let local = element.local_name();
    let sign = match local.as_ref() {
        b"fldChar" => match attribute(element, "fldCharType").as_deref() {
            Some("begin") => Sign::Begin,
            Some("separate") => Sign::Separate,
            Some("end") => Sign::End,
            _ => return Err(()),
        },
        b"instrText" => Sign::Code,
        b"delInstrText" => Sign::Deleted,
        b"fldSimple" => Sign::Simple,
        b"t" if space == Space::Word => Sign::Code,
        b"delText" if space == Space::Word => Sign::Deleted,
        b"tab" | b"br" | b"cr" if space == Space::Word => Sign::Blank,
        _ => return Ok(None),
    };
    if space == Space::Word { Ok(Some(sign)) } else { Err(()) }
}

/// The value of an attribute of an element's own space.
pub(super) fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let prefix = element.name().prefix()?.as_ref().to_vec();
    let mut attributes = element.attributes().flatten();
    let found = attributes.find(|one| {
        one.key.prefix().is_some_and(|of| of.as_ref() == prefix)
            && one.key.local_name().as_ref() == name.as_bytes()
    })?;
    found.normalized_value(XmlVersion::Implicit1_0).ok().map(std::borrow::Cow::into_owned)
}

/// A field that is open while a part is read.
struct Open {
    /// Its place in the order of begins.
    index: usize,
    /// All of its code, what of it is not deleted, what of it is.
    codes: [String; 3],
    /// Whether its code has ended.
    is_separate: bool,
    /// Which of two alternatives it began in, by the begin of that; it has to stay there.
    branch: usize,
    is_odd: bool,
}

impl Open {
    fn push(&mut self, text: &str, sign: Sign) {
        let [all, kept, deleted] = &mut self.codes;
        all.push_str(text);
        if sign != Sign::Deleted {
            kept.push_str(text);
        }
        if sign != Sign::Code {
            deleted.push_str(text);
        }
    }
}

/// For each field in the order of their begins, whether it goes. `text_of` gives the letters of an event.
pub(super) fn bad(
    events: &[Event<'_>],
    spaces: &[Space],
    links: Links,
    text_of: impl Fn(&[Event<'_>]) -> String,
) -> Vec<bool> {
    let (mut bad, mut open): (Vec<bool>, Vec<Open>) = (Vec::new(), Vec::new());
    let (mut branches, mut text): (Vec<usize>, Option<Sign>) = (Vec::new(), None);
    for (at, event) in events.iter().enumerate() {
        let branch = branches.last().copied().unwrap_or(0);
        match event {
            Event::Start(element) | Event::Empty(element) => {
                let is_start = matches!(event, Event::Start(_));
                if is_start && is_branch(element.local_name().as_ref()) {
                    branches.push(at);
                }
                let Ok(Some(sign)) = sign(element, spaces[at]) else { continue };
                if let Some(field) = open.last_mut() {
                    field.is_odd |= field.branch != branch && !field.is_separate;
                }
                match sign {
                    Sign::Begin => {
                        put(&mut open, &FIELD.to_string(), Sign::Blank);
                        let codes = [const { String::new() }; 3];
                        open.push(Open {
                            index: bad.len(),
                            codes,
                            is_separate: false,
                            branch,
                            is_odd: false,
                        });
                        // Until its end is seen.
                        bad.push(true);
                    }
                    Sign::Separate => {
                        if let Some(field) = open.last_mut() {
                            field.is_odd |= field.branch != branch;
                            field.is_separate = true;
                        }
                    }
                    Sign::End => {
                        if let Some(field) = open.pop() {
                            let is_odd = field.is_odd || field.branch != branch;
                            let [all, rest @ ..] = &field.codes;
                            let mut others = rest.iter().filter(|code| !code.trim().is_empty());
                            bad[field.index] =
                                is_odd || !is_good(all, links) || others.any(|code| !is_good(code, links));
                        }
                    }
                    Sign::Simple => put(&mut open, &FIELD.to_string(), Sign::Blank),
                    Sign::Blank => put(&mut open, " ", Sign::Blank),
                    Sign::Code | Sign::Deleted => text = is_start.then_some(sign),
                }
            }
            Event::End(element) => {
                if is_branch(element.local_name().as_ref()) {
                    branches.pop();
                }
                text = None;
            }
            Event::Text(_) | Event::CData(_) | Event::GeneralRef(_) => {
                if let Some(sign) = text {
                    put(&mut open, &text_of(&events[at..=at]), sign);
                }
            }
            _ => {}
        }
    }
    bad
}

/// Whether an element is one of alternatives, of which a program shows one.
fn is_branch(local: &[u8]) -> bool {
    local == b"Choice" || local == b"Fallback"
}

/// Puts letters into the code that is open.
fn put(open: &mut [Open], text: &str, sign: Sign) {
    if let Some(field) = open.last_mut().filter(|field| !field.is_separate) {
        field.push(text, sign);
    }
}

/// A part of a code.
#[derive(PartialEq, Eq)]
enum Token {
    Switch(char),
    Word(String),
    Quoted(String),
}

/// The parts of a code; nothing if a quote does not end.
fn tokens(code: &str) -> Option<Vec<Token>> {
    let is_quote = |letter: char| matches!(letter, '"' | '“' | '”');
    let (mut tokens, mut rest) = (Vec::new(), code.trim_start());
    while let Some(first) = rest.chars().next() {
        if is_quote(first) {
            let (mut text, mut all) = (String::new(), rest[first.len_utf8()..].char_indices());
            let end = loop {
                match all.next()? {
                    (_, '\\') => text.push(all.next()?.1),
                    (at, letter) if is_quote(letter) => break at + letter.len_utf8(),
                    (_, letter) => text.push(letter),
                }
            };
            rest = &rest[first.len_utf8() + end..];
            tokens.push(Token::Quoted(text));
        } else if let Some(letter) =
            rest.strip_prefix('\\').and_then(|rest| rest.chars().next()).filter(|letter| *letter != '\\')
        {
            rest = &rest[1 + letter.len_utf8()..];
            tokens.push(Token::Switch(letter.to_ascii_lowercase()));
        } else {
            let mut all = rest.char_indices().peekable();
            let mut end = rest.len();
            while let Some((at, letter)) = all.next() {
                let is_path = letter == '\\' && all.next_if(|(_, next)| *next == '\\').is_some();
                if letter.is_whitespace() || is_quote(letter) || letter == '\\' && !is_path {
                    end = at;
                    break;
                }
            }
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    Some(tokens)
}

/// Whether a field computes from the document alone, by all of its code.
pub(super) fn is_good(code: &str, links: Links) -> bool {
    let code = code.trim();
    let Some(tokens) = tokens(code) else { return false };
    let Some((Token::Word(name), rest)) = tokens.split_first() else { return false };
    let name = if name.starts_with('=') { "=".to_owned() } else { name.to_ascii_uppercase() };
    let Some((name, most, switches)) = FIELDS.iter().find(|(known, ..)| *known == name) else { return false };
    if code.contains(FIELD) && !HOLDERS.contains(name) {
        return false;
    }
    let calls = |word: &str| {
        let mut words = word.split(|letter: char| !letter.is_alphanumeric());
        words.any(|word| CALLS.contains(&word.to_ascii_uppercase().as_str()))
    };
    let (mut count, mut before): (usize, Option<&Token>) = (0, None);
    for token in rest {
        match token {
            Token::Switch(letter) => {
                if !OF_ALL.contains(*letter) && !switches.contains(*letter) {
                    return false;
                }
            }
            Token::Word(word) if calls(word) => return false,
            Token::Word(text) | Token::Quoted(text) => {
                // HYPERLINK's take none: what follows them is where it leads.
                let of_switch = matches!(before, Some(Token::Switch(letter)) if *name != "HYPERLINK" || "lost*".contains(*letter));
                if !of_switch {
                    count += 1;
                    let leads_nowhere = text.is_empty();
                    if *name == "HYPERLINK" && !leads_nowhere && !(links == Links::Kept && is_open(text)) {
                        return false;
                    }
                }
            }
        }
        before = Some(token);
    }
    count <= *most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_judged_by_all_of_its_code() {
        for code in [
            " DDEAUTO c:\\\\windows ",
            "dde x",
            "INCLUDEPICTURE \"http://x\"",
            "\u{1} x",
            "HYPERLINK \u{1}",
            "HYPERLINK \"file:///x\"",
            "HYPERLINK \\l \"a\" \"\\\\\\\\evil.example\\\\s\\\\run.exe\"",
            "HYPERLINK \\n \"\\\\\\\\evil.example\\\\s\"",
            "HYPERLINK \"https://x/\" \"file:///x\"",
            "PAGE DDEAUTO c:\\\\windows\\\\system32\\\\cmd.exe \"/k calc.exe\"",
            "TITLE DDEAUTO",
            "PAGE \\x",
            "PAGE \"a\"",
            "TITLE \"a",
            "= DDE(x)",
            "",
        ] {
            assert!(!is_good(code, Links::Kept), "{code}");
        }
        for code in [
            "PAGE \\* MERGEFORMAT",
            "PAGE\\*MERGEFORMAT",
            " TOC \\o \"1-3\" \\h \\z \\u ",
            " TOC \\o",
            "PAGEREF _Toc1 \\h",
            "HYPERLINK \\l \"_Toc1\"",
            "HYPERLINK \"https://x/\" \\o \"説明\" \\t \"_blank\"",
            "HYPERLINK \"https://x/\"",
            "HYPERLINK https://x/",
            "=SUM(ABOVE) \\# \"#,##0\"",
            "= 1 + \u{1}",
            "DATE \\@ \"ggge年M月d日\"",
            "EQ \\* jc2 \\* \"Font:ＭＳ 明朝\" \\* hps10 \\o\\ad(\\s\\up 9(かなざわ),金沢)",
            "SEQ 図 \\* ARABIC",
            "STYLEREF \"見出し 1\" \\n",
        ] {
            assert!(is_good(code, Links::Kept), "{code}");
        }
        assert!(!is_good("HYPERLINK \"https://x/\"", Links::Removed));
        assert!(is_good("HYPERLINK \\l \"_Toc1\"", Links::Removed));
    }
}
