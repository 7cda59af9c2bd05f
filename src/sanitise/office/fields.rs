//! Fields of Word: which of a part's go, by the code that Word reads.
//!
//! A field is what stands between the signs of its begin and its end; its code may be split over many runs and hold other
//! fields. Only elements and attributes of Word's own space count: those of other spaces Word passes over, and so they are
//! left out of the new part. Code that can be read in more than one way (deleted here and put in there, one of
//! two alternatives, in places that some programs pass over) has to be harmless in each.
//!
//! Grammar: ECMA-376 part 1, 17.16.

use std::collections::HashMap;

use quick_xml::{
    XmlVersion,
    events::{BytesStart, Event},
};

use super::spaces::Space;
use crate::{links::is_open, settings::Links};

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

/// Names of fields that start or load something. They stand nowhere in a code outside of quotes, and not within them where a
/// piece of the code that holds a quote might be passed over.
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

/// What becomes of an element of a part for the fields' sake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    Gone,
    /// What is in it stays.
    Unwrapped,
}

/// Elements of Word's space in which runs stand as they are read, one after another.
const PASSED: &[&str] = &[
    "bdo",
    "body",
    "customXml",
    "del",
    "dir",
    "docPartBody",
    "document",
    "fldSimple",
    "hyperlink",
    "ins",
    "moveFrom",
    "moveTo",
    "p",
    "r",
    "rt",
    "ruby",
    "rubyBase",
    "sdt",
    "sdtContent",
    "smartTag",
    "tbl",
    "tc",
    "tr",
];

/// Elements of Word's space whose text is read by itself: no field goes on in it or comes out of it.
const STORIES: &[&str] = &["comment", "docPart", "endnote", "footnote", "txbxContent"];

/// An element that is open while a part is read.
#[derive(Clone, Copy, Default)]
struct Place {
    /// Where it begins.
    at: usize,
    is_run: bool,
    begins_story: bool,
    /// The alternative around it, by its begin.
    branch: Option<usize>,
    /// The element around the run in which it stands.
    holder: Option<usize>,
    /// Whether Word reads what stands in it: each element around it lets that through.
    is_read: bool,
    /// Whether it is to hold letters and no runs.
    is_end: bool,
    is_deleted: bool,
    is_inserted: bool,
    /// Whether its letters are code.
    is_code: bool,
}

/// A field that is open while a part is read.
#[derive(Default)]
struct Open {
    /// Its signs and code: where these elements begin.
    elements: Vec<usize>,
    /// Its code as it may be read: all, without what is deleted, without what is inserted, what is deleted alone.
    codes: [String; 4],
    /// Whether its code has ended.
    is_separate: bool,
    /// In which element the runs of its code stand.
    holder: Option<usize>,
    is_of_several: bool,
    /// Which of two alternatives it began in, by the begin of that; it has to stay there.
    branch: Option<usize>,
    is_odd: bool,
}

impl Open {
    fn push(&mut self, text: &str, place: Place) {
        let [all, kept, old, deleted] = &mut self.codes;
        all.push_str(text);
        if !place.is_deleted {
            kept.push_str(text);
        }
        if !place.is_inserted {
            old.push_str(text);
        }
        if place.is_deleted {
            deleted.push_str(text);
        }
        self.is_odd |= !place.is_read;
        self.is_of_several |= self.holder.is_some() && self.holder != place.holder;
        self.holder = self.holder.or(place.holder);
    }

    fn is_bad(&self, links: Links) -> bool {
        let [all, others @ ..] = &self.codes;
        let mut others = others.iter().filter(|code| !code.trim().is_empty());
        self.is_odd
            || !is_good(all, links)
            || others.any(|code| !is_good(code, links))
            || self.is_of_several && self.codes.iter().any(|code| hides_call(code))
    }
}

/// What becomes of the elements of fields that go, by their places among the events of a part, and how many fields these
/// are. The events are those that are written: what else goes out of a part must have gone before, or it would be read here
/// as a piece of code that nobody reads any more. `text_of` gives the letters of an event.
pub(super) fn judge(
    events: &[Event<'_>],
    spaces: &[Space],
    links: Links,
    text_of: impl Fn(&[Event<'_>]) -> String,
) -> (HashMap<usize, Fate>, usize) {
    // The fields that are open, by story.
    let mut reading = Reading { stories: vec![Vec::new()], ..Reading::default() };
    for (at, event) in events.iter().enumerate() {
        match event {
            Event::Start(element) => {
                let place = reading.place(at, element, spaces[at]);
                reading.element(at, element, spaces[at], place, links);
                if place.begins_story {
                    reading.stories.push(Vec::new());
                }
                reading.places.push(place);
            }
            Event::Empty(element) => {
                let place = reading.place(at, element, spaces[at]);
                reading.element(at, element, spaces[at], place, links);
            }
            Event::End(_) => reading.leave(),
            Event::Text(_) | Event::CData(_) | Event::GeneralRef(_) => {
                if let Some(place) = reading.places.last().copied().filter(|place| place.is_code) {
                    reading.put(|| text_of(&events[at..=at]), place);
                }
            }
            _ => {}
        }
    }
    while !reading.stories.is_empty() {
        reading.end_story();
    }
    (reading.fates, reading.count)
}

/// A part that is read for its fields.
#[derive(Default)]
struct Reading {
    places: Vec<Place>,
    stories: Vec<Vec<Open>>,
    fates: HashMap<usize, Fate>,
    count: usize,
}

impl Reading {
    /// Where an element stands.
    fn place(&self, at: usize, element: &BytesStart<'_>, space: Space) -> Place {
        let local = element.local_name();
        let local = std::str::from_utf8(local.as_ref()).unwrap_or_default();
        let above = self.places.last().copied();
        let around = above.unwrap_or(Place { is_read: true, ..Place::default() });
        let is_word = space == Space::Word;
        let begins_story = is_word && STORIES.contains(&local);
        let is_branch = matches!(local, "Choice" | "Fallback");
        let is_run = is_word && local == "r";
        // The element of the whole part is of one kind or another.
        let is_passed = is_word && PASSED.contains(&local)
            || space == Space::Office && (is_branch || local == "AlternateContent")
            || is_word && above.is_none();
        let sign = sign(element, space).ok().flatten();
        let is_code = matches!(sign, Some(Sign::Code | Sign::Deleted));
        let is_sign = sign.is_some();
        let is_end = !matches!(sign, None | Some(Sign::Simple));
        Place {
            at,
            is_run,
            begins_story,
            branch: if is_branch { Some(at) } else { around.branch },
            holder: if is_run { above.map(|above| above.at) } else { around.holder },
            is_read: begins_story || around.is_read && !around.is_end && (is_passed || is_sign),
            is_end,
            is_deleted: around.is_deleted
                || sign == Some(Sign::Deleted)
                || is_word && matches!(local, "del" | "moveFrom"),
            is_inserted: around.is_inserted || is_word && matches!(local, "ins" | "moveTo"),
            is_code: is_code || around.is_code && !begins_story,
        }
    }

    fn innermost(&mut self) -> Option<&mut Open> {
        self.stories.last_mut().and_then(|open| open.last_mut())
    }

    fn element(&mut self, at: usize, element: &BytesStart<'_>, space: Space, place: Place, links: Links) {
        let Ok(Some(sign)) = sign(element, space) else { return };
        let branch = place.branch;
        let is_in_run = self.places.last().is_some_and(|place| place.is_run);
        // Stops of tabulators have the name of a blank.
        if sign == Sign::Blank && !is_in_run {
            return;
        }
        let is_in_place = place.is_read && (is_in_run || sign == Sign::Simple);
        if let Some(field) = self.innermost() {
            field.is_odd |= (field.branch != branch || !is_in_place) && !field.is_separate;
        }
        match sign {
            Sign::Begin => {
                self.put(|| FIELD.to_string(), place);
                let field = Open { elements: vec![at], branch, is_odd: !is_in_place, ..Open::default() };
                if let Some(open) = self.stories.last_mut() {
                    open.push(field);
                }
            }
            Sign::Separate => {
                if let Some(field) = self.innermost() {
                    field.is_odd |= field.branch != branch || field.is_separate || !is_in_place;
                    field.is_separate = true;
                    field.elements.push(at);
                }
            }
            Sign::End => {
                let Some(mut field) = self.stories.last_mut().and_then(Vec::pop) else { return };
                field.elements.push(at);
                field.is_odd |= field.branch != branch || !is_in_place;
                if field.is_bad(links) {
                    self.leave_out(field);
                    self.spoil();
                }
            }
            Sign::Simple => {
                self.put(|| FIELD.to_string(), place);
                if !attribute(element, "instr").is_some_and(|code| is_good(&code, links)) {
                    self.fates.insert(at, Fate::Unwrapped);
                    self.count += 1;
                    self.spoil();
                }
            }
            Sign::Blank => self.put(|| " ".to_owned(), place),
            // Text is text.
            Sign::Code | Sign::Deleted if element.local_name().as_ref().ends_with(b"nstrText") => {
                match self.innermost() {
                    Some(field) if !field.is_separate => field.elements.push(at),
                    // Code outside of any field is nothing that Word writes.
                    _ => {
                        self.fates.insert(at, Fate::Gone);
                    }
                }
            }
            Sign::Code | Sign::Deleted => {}
        }
    }

    /// Puts letters into the code that is open, if one is.
    fn put(&mut self, text: impl FnOnce() -> String, place: Place) {
        if let Some(field) = self.innermost().filter(|field| !field.is_separate) {
            field.push(&text(), place);
        }
    }

    /// What a field leaves behind when it goes would become code of the one around it.
    fn spoil(&mut self) {
        if let Some(around) = self.innermost() {
            around.is_odd |= !around.is_separate;
        }
    }

    fn leave_out(&mut self, field: Open) {
        self.count += 1;
        self.fates.extend(field.elements.into_iter().map(|at| (at, Fate::Gone)));
    }

    /// Goes on behind the end of an element.
    fn leave(&mut self) {
        let left = self.places.pop();
        if left.is_some_and(|place| place.begins_story) {
            self.end_story();
        }
    }

    /// Fields that have not ended where their text does never do.
    fn end_story(&mut self) {
        for field in self.stories.pop().unwrap_or_default() {
            self.leave_out(field);
        }
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

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// Whether a code would be another field's if the begin of it were passed over.
fn hides_call(code: &str) -> bool {
    let is_call = |word: &str| word == "HYPERLINK" || CALLS.contains(&word);
    words(code).skip(1).any(|word| is_call(&word.to_ascii_uppercase()))
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
    let calls = |text: &str| words(text).any(|word| CALLS.contains(&word.to_ascii_uppercase().as_str()));
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
