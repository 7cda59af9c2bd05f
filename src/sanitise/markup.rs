//! Markup in text: what makes a browser, an office program or another reader of XML open it as more than letters.
//!
//! Whoever saves a text gives it the name that he likes, so a text is judged by what it would be under any name, and searched
//! to its end: comments, blanks and headings of any length may stand before what counts. Data in XML that no program is
//! known to open as a document passes; so do headings and addresses in angle brackets.

use quick_xml::{
    Reader, XmlVersion,
    events::{BytesDecl, BytesStart, Event},
};

use crate::{
    blanks::is_nothing,
    prolog,
    verdict::{Reason, Refusal},
};

/// Elements that make a page of a text, run something in one, load it or send it, by their names without prefix.
///
/// Standard: <https://html.spec.whatwg.org/multipage/indices.html#elements-3>
const PAGE: &[&str] = &[
    "html",
    "script",
    "iframe",
    "frame",
    "frameset",
    "embed",
    "applet",
    "img",
    "math",
    "bgsound",
    "portal",
    "layer",
    "scriptlet",
    "isindex",
    "meta",
    "base",
    "form",
    "object",
    "input",
    // Of maps (KML): it loads another file.
    "networklink",
];

/// Elements that do so only by an attribute, and stand in data as well.
const LOADING: &[&str] = &[
    "image", "video", "audio", "source", "track", "body", "table", "thead", "tbody", "tfoot", "tr", "th",
    "td", "link", "style", "button",
];

/// Attributes by which they do.
const LOADED: &[&str] = &["src", "srcset", "poster", "background", "rel", "type"];

/// Elements with which a document of XML begins that a program opens and follows.
const DOCUMENTS: &[&str] = &[
    "worddocument",
    "pcsettings",
    "librarydescription",
    "searchconnectordescription",
    "mmc_consolefile",
    "jnlp",
    "appinstaller",
    "plist",
    "xdp",
    "xfdf",
    "rdcman",
    "persistedquery",
    "asx",
    "smil",
    "playlist",
    "opensearchdescription",
    // An invitation to take over a desk.
    "uploadinfo",
];

/// Elements with which orders for building a program stand in a `project`, and an attribute that leads to more of them.
const BUILT: &[&str] = &["<target", "<usingtask", "<import", "<exec", "<sdk", " sdk="];

/// Where links may lead; without any of these they lead to a place in the same text, or beside it.
const OPEN: &[&str] = &["http", "https", "mailto", "tel"];

/// What in a sheet of styles loads or runs something.
const STYLED: &[&str] = &["@import", "url(", "src(", "image(", "image-set(", "expression("];

/// An order of styles to load others is no longer than this, and may be written in signs for letters.
const LONGEST_ORDER: usize = 48;

/// What names of spaces hold whose elements programs follow: those of office programs, of pages, of what Windows opens.
const SPACES: &[&str] = &[
    "urn:oasis:names:tc:opendocument",
    "openoffice.org/",
    "schemas.microsoft.com/office",
    "schemas-microsoft-com",
    "schemas.openxmlformats.org",
    "purl.oclc.org/ooxml",
    "schemas.microsoft.com/search",
    "schemas.microsoft.com/windows",
    "schemas.microsoft.com/winfx",
    "schemas.microsoft.com/appx",
    "schemas.microsoft.com/developer",
    "w3.org/1999/xhtml",
    "w3.org/2000/svg",
    "w3.org/1999/xsl",
    "w3.org/1998/math",
    "ns.adobe.com/xdp",
    "xfa.org/schema",
    "gnumeric.org/",
    "schemas.microsoft.com/contact",
];

/// Letters that XML may say it is written in, which are those in which it is read here.
const ENCODINGS: &[&str] = &[
    "utf-8",
    "utf8",
    "utf-16",
    "shift_jis",
    "shift-jis",
    "x-sjis",
    "windows-31j",
    "ms932",
    "cp932",
    "us-ascii",
    "iso-8859-1",
    "windows-1252",
    // These differ from the others in no letter of markup.
    "euc-jp",
    "x-euc-jp",
    "iso-2022-jp",
];

/// Words that begin like the names of events and are none.
const NO_EVENTS: &[&str] = &["online", "ongoing", "ontology"];

/// Looks through a whole text for markup that a program would follow.
pub(crate) fn check(letters: &str) -> Result<(), Refusal> {
    let text = letters.to_ascii_lowercase();
    let page = |what: &str| Err(Refusal::new(Reason::Page, what));
    let (mut first_tag, mut has_link, mut may_load, mut has_project) = (None, false, false, false);
    let mut is_definition = None;
    for at in memchr::memchr_iter(b'<', text.as_bytes()) {
        let rest = &text[at + 1..];
        match rest.as_bytes() {
            // The head of XML is looked at with the document.
            [b'?', b'x', b'm', b'l', blank, ..] if blank.is_ascii_whitespace() => {}
            [b'?', letter, ..] if letter.is_ascii_alphabetic() || *letter == b'=' => {
                let name = name_at(&rest[1..]);
                let reason = if name == "mso-application" { Reason::NotAllowed } else { Reason::Page };
                return Err(Refusal::new(reason, format!("<?{name}")));
            }
            [b'!', letter, ..] if letter.is_ascii_alphabetic() => {
                let is_declared = prolog::DECLARED.iter().any(|begin| rest.starts_with(begin));
                if first_tag.is_none() && may_stand(rest)
                    || is_declared && *is_definition.get_or_insert_with(|| prolog::is_definition(&text))
                {
                    continue;
                }
                let is_svg =
                    rest[1..].strip_prefix("doctype").is_some_and(|of| of.trim_start().starts_with("svg"));
                return Err(Refusal::new(
                    if is_svg { Reason::Svg } else { Reason::Page },
                    "a definition of a document",
                ));
            }
            [letter, ..] if letter.is_ascii_alphabetic() => {
                first_tag.get_or_insert(at);
                let name = name_at(rest);
                let local = name.rsplit(':').next().unwrap_or(name);
                match local {
                    "svg" => return Err(Refusal::new(Reason::Svg, "SVG")),
                    "a" | "area" => has_link = true,
                    "project" => has_project = true,
                    local if PAGE.contains(&local) || name.starts_with("hta:") => return page(name),
                    local if LOADING.contains(&local) => may_load = true,
                    local if DOCUMENTS.contains(&local) => {
                        return Err(Refusal::new(Reason::NotAllowed, name));
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
    let begun = letters.trim_start_matches(is_nothing);
    let Some(first_tag) = first_tag else {
        // A definition without elements is read in the letters that its head names.
        return if begun.starts_with("<?xml") { document(begun) } else { Ok(()) };
    };
    let inside = &text[first_tag..];
    if let Some(found) = SPACES.iter().find(|space| inside.contains(**space)) {
        return Err(Refusal::new(Reason::NotAllowed, *found));
    }
    if has_project && BUILT.iter().any(|order| inside.contains(order)) {
        return Err(Refusal::new(Reason::NotAllowed, "orders for building"));
    }
    if is_styled(inside) {
        return page("styles");
    }
    // Browsers pass over these wherever they stand in an address.
    let whole: String = inside.chars().filter(|letter| !matches!(letter, '\t' | '\n' | '\r')).collect();
    let signs = ["&#", "&colon", "&tab;", "&newline;", "&bsol;", "&sol;", "&period;"];
    if whole.contains("script:") || has_link && signs.iter().any(|sign| inside.contains(sign)) {
        return page("an address that runs");
    }
    if has_link && let Some(address) = addresses(&whole).find(|address| !is_open(address)) {
        return page(address);
    }
    if let Some(name) = attributes(inside).find(|name| runs(name) || may_load && LOADED.contains(name)) {
        return page(name);
    }
    if begun.starts_with('<') { document(begun) } else { Ok(()) }
}

/// Whether a document's definition is a file beside it, of elements that make no page.
fn may_stand(rest: &str) -> bool {
    let definition =
        rest.strip_prefix("!doctype").filter(|of| of.starts_with(|one: char| one.is_whitespace()));
    let definition = definition.and_then(|of| of.split_once('>'));
    definition.is_some_and(|(definition, _)| is_beside(definition))
}

fn is_beside(definition: &str) -> bool {
    let of = prolog::defined(definition).map(str::to_ascii_lowercase);
    let local = of.as_deref().map(|of| of.rsplit(':').next().unwrap_or(of));
    local.is_some_and(|local| local != "svg" && !PAGE.contains(&local) && !DOCUMENTS.contains(&local))
}

/// Puts a blank behind each sign that begins markup; says how many there were. For a browser and a reader of XML it is a letter
/// then.
///
/// Standard: <https://html.spec.whatwg.org/multipage/parsing.html#tag-open-state>
pub(crate) fn apart(letters: &str) -> (String, usize) {
    let (mut out, mut changed) = (String::with_capacity(letters.len() + 16), 0);
    let mut all = letters.chars().peekable();
    while let Some(letter) = all.next() {
        out.push(letter);
        let begins = |next: &char| next.is_ascii_alphabetic() || matches!(next, '!' | '?' | '/');
        if letter == '<' && all.peek().is_some_and(begins) {
            out.push(' ');
            changed += 1;
        }
    }
    (out, changed)
}

fn name_at(text: &str) -> &str {
    let is_part = |letter: char| letter.is_alphanumeric() || matches!(letter, ':' | '-' | '_' | '.');
    let end = text.find(|letter| !is_part(letter)).unwrap_or(text.len());
    &text[..end]
}

/// The words before equals signs that may be names of attributes. Where a tag ends is not asked: quotes and comments
/// are read in many ways.
fn attributes(text: &str) -> impl Iterator<Item = &str> {
    memchr::memchr_iter(b'=', text.as_bytes()).filter_map(|at| {
        let before = text[..at].trim_ascii_end();
        let begin = before.bytes().rposition(|byte| !byte.is_ascii_lowercase()).map_or(0, |at| at + 1);
        let parts = begin.checked_sub(1).is_some_and(|at| {
            let byte = before.as_bytes()[at];
            byte.is_ascii_whitespace() || matches!(byte, b'/' | b'"' | b'\'' | b'>')
        });
        parts.then(|| &before[begin..])
    })
}

/// Whether an element of styles loads or runs something, also where signs stand for letters: data have elements of this name
/// that do not, and manuals write it for a name that is to be put in.
fn is_styled(text: &str) -> bool {
    let loads = |sheet: &str| {
        let has_sign =
            |at: usize| sheet.as_bytes()[at..].iter().take(LONGEST_ORDER).any(|byte| *byte == b'\\');
        STYLED.iter().any(|what| sheet.contains(what))
            || sheet.contains('{') && sheet.contains('\\')
            || memchr::memchr_iter(b'@', sheet.as_bytes()).any(has_sign)
    };
    let mut rest = text;
    while let Some(at) = rest.find("<style") {
        rest = &rest[at + 1..];
        let end = rest.find("</style").unwrap_or(rest.len());
        if loads(&rest[..end]) {
            return true;
        }
        rest = &rest[end..];
    }
    false
}

/// What links lead to, as far as it tells where.
fn addresses(text: &str) -> impl Iterator<Item = &str> {
    memchr::memmem::find_iter(text.as_bytes(), b"href").filter_map(|at| {
        let behind = text[at + 4..].trim_start_matches(is_left_out).strip_prefix('=')?;
        let behind = behind.trim_start_matches(|letter| is_left_out(letter) || matches!(letter, '"' | '\''));
        let end = behind.find(['"', '\'', '>', ' ']).unwrap_or(behind.len());
        let end = end.min(behind.floor_char_boundary(LONGEST_ADDRESS));
        Some(&behind[..end])
    })
}

/// So much of an address is looked at.
const LONGEST_ADDRESS: usize = 64;

/// What stands before an address and is none of it.
fn is_left_out(letter: char) -> bool {
    letter.is_control() || is_nothing(letter)
}

/// Whether an address leads to the web or to a mail, or stays where it is: none to another machine's files, to data that are a
/// page, or to another program.
fn is_open(address: &str) -> bool {
    if address.starts_with(['/', '\\']) && address[1..].starts_with(['/', '\\']) {
        return false;
    }
    let begin = address.split(['/', '\\', '?', '#']).next().unwrap_or(address);
    begin.split_once(':').is_none_or(|(scheme, _)| OPEN.contains(&scheme))
}

/// Whether an attribute of this name runs something, or looks so that it may.
fn runs(name: &str) -> bool {
    let is_event = name.starts_with("on") && name.len() > 4 && !NO_EVENTS.contains(&name);
    is_event || matches!(name, "style" | "srcdoc" | "formaction")
}

/// A document of XML: the names of its spaces may be written in signs for letters, and its letters be others than were read.
/// What is no such document after all has been looked through already.
fn document(letters: &str) -> Result<(), Refusal> {
    let mut reader = Reader::from_str(letters);
    loop {
        match reader.read_event() {
            Ok(Event::Decl(head)) => encoding(&head)?,
            Ok(Event::DocType(of)) if is_beside(&String::from_utf8_lossy(&of)) => {}
            Ok(Event::DocType(_)) => return Err(Refusal::new(Reason::XmlEntity, "a DTD")),
            Ok(Event::PI(_)) => return Err(Refusal::new(Reason::Page, "an instruction to programs")),
            Ok(Event::Start(element) | Event::Empty(element)) => spaces(&element)?,
            Ok(Event::Eof) | Err(_) => return Ok(()),
            Ok(_) => {}
        }
    }
}

fn encoding(head: &BytesDecl<'_>) -> Result<(), Refusal> {
    let Some(told) = head.encoding() else { return Ok(()) };
    let told = told.map(|told| String::from_utf8_lossy(&told).to_ascii_lowercase()).unwrap_or_default();
    match ENCODINGS.contains(&told.as_str()) {
        true => Ok(()),
        false => Err(Refusal::new(Reason::Unknown, format!("XML in {told}"))),
    }
}

fn spaces(element: &BytesStart<'_>) -> Result<(), Refusal> {
    // Without a look for names that come twice, which takes the square of their number.
    for one in element.attributes().with_checks(false).flatten() {
        let key = one.key.as_ref();
        if key != b"xmlns" && !key.starts_with(b"xmlns:") {
            continue;
        }
        let space = one.normalized_value(XmlVersion::Implicit1_0);
        let space = space.map_err(|error| Refusal::new(Reason::XmlEntity, error))?.to_ascii_lowercase();
        if let Some(found) = SPACES.iter().find(|known| space.contains(**known)) {
            return Err(Refusal::new(Reason::NotAllowed, *found));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(text: &str) -> Option<Reason> {
        check(text).err().map(|refusal| refusal.reason)
    }

    #[test]
    fn what_is_opened_as_a_page_or_document_is_known_behind_comments_and_blanks_of_any_length() {
        let office = "urn:oasis:names:tc:opendocument:xmlns:office:1.0";
        let word = "http://schemas.microsoft.com/office/word/2003/wordml";
        let pages = [
            ("<html><body><script>alert(1)</script></body></html>".to_owned(), Reason::Page),
            ("<hta:application><p>".to_owned(), Reason::Page),
            ("<IMG src=x onerror=\"alert(1)\">".to_owned(), Reason::Page),
            ("<p\nonclick = alert(1)>".to_owned(), Reason::Page),
            ("<p/onclick=alert(1)>".to_owned(), Reason::Page),
            ("<video src=http://evil.example/x>".to_owned(), Reason::Page),
            ("<table><th background=http://evil.example/x>".to_owned(), Reason::Page),
            ("<style type='text/css'>p{x:expression(alert(1))}</style>".to_owned(), Reason::Page),
            ("<x style=\"a:b\">".to_owned(), Reason::Page),
            ("<a href=\"javascript:x\">".to_owned(), Reason::Page),
            ("<a href=\"java&#115;cript:x\">".to_owned(), Reason::Page),
            ("<a href=\"javascr\nipt:x\">".to_owned(), Reason::Page),
            ("<a href = '\tjava\tscript:x'>".to_owned(), Reason::Page),
            ("<a href=data:text/html,x>".to_owned(), Reason::Page),
            ("<a href=\"file://evil.example/s/x.exe\">".to_owned(), Reason::Page),
            ("<a href=\"\\\\evil.example\\s\">".to_owned(), Reason::Page),
            ("<a href=\"/\\evil.example/s\">".to_owned(), Reason::Page),
            ("<a href=\"search-ms:query=x\">".to_owned(), Reason::Page),
            ("<style>@import url(http://evil.example/)</style>".to_owned(), Reason::Page),
            ("<style>p{background:url(x)}</style>".to_owned(), Reason::Page),
            ("<style>@im\\port 'x'".to_owned(), Reason::Page),
            ("<style>p{background:u\\72l(http://evil.example/x)}".to_owned(), Reason::Page),
            (
                "<Project><Target Name=\"a\"><Exec Command=\"x\"/></Target></Project>".to_owned(),
                Reason::NotAllowed,
            ),
            ("<Project Sdk=\"x\"/>".to_owned(), Reason::NotAllowed),
            ("<asx><entry><ref href=\"x\"/></entry></asx>".to_owned(), Reason::NotAllowed),
            ("<smil><body/></smil>".to_owned(), Reason::NotAllowed),
            ("<?php x ?>".to_owned(), Reason::Page),
            ("<?xml-stylesheet href=\"x.xsl\"?><a/>".to_owned(), Reason::Page),
            ("<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"/>".to_owned(), Reason::Svg),
            ("<a:b xmlns:a=\"http://www.w3.org/1999/xhtml\"/>".to_owned(), Reason::NotAllowed),
            ("<?mso-application progid=\"Word.Document\"?><w:x/>".to_owned(), Reason::NotAllowed),
            (format!("<w:wordDocument xmlns:w=\"{word}\"/>"), Reason::NotAllowed),
            (format!("<w:x xmlns:w=\"{word}\"/>"), Reason::NotAllowed),
            (format!("<office:document xmlns:office=\"{office}\"/>"), Reason::NotAllowed),
            (format!("<o:document xmlns:o=\"{}\"/>", office.replace('s', "&#x73;")), Reason::NotAllowed),
            ("<PCSettings><x/></PCSettings>".to_owned(), Reason::NotAllowed),
            ("<kml><NetworkLink><Link/></NetworkLink></kml>".to_owned(), Reason::Page),
            ("<OpenSearchDescription><x/></OpenSearchDescription>".to_owned(), Reason::NotAllowed),
            ("<UPLOADINFO TYPE=\"Escalated\"><x/></UPLOADINFO>".to_owned(), Reason::NotAllowed),
            ("<?xml version=\"1.0\" encoding=\"UTF-7\"?><a/>".to_owned(), Reason::Unknown),
        ];
        for (page, wanted) in pages {
            for before in
                [String::new(), "\u{feff}\n \u{feff}".into(), format!("<!-- {} -->", "x".repeat(9_000))]
            {
                // Nothing stands before the head of XML.
                if !before.is_empty() && page.starts_with("<?xml ") {
                    continue;
                }
                assert_eq!(reason(&format!("{before}{page}")), Some(wanted), "{page}");
            }
            assert_eq!(reason(&format!("{page}{}", "x".repeat(9_000))), Some(wanted), "{page}");
        }
    }

    #[test]
    fn data_headings_and_addresses_in_angle_brackets_pass() {
        for text in [
            "<お知らせ>\n本文です。",
            "<1> 橋の点検 <2> 道路",
            "山田 <yamada@city.example.jp>, a < b, x <- y, <https://www.city.kanazawa.lg.jp/?online=1>",
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Report xmlns=\"http://xml.kishou.go.jp/jmaxml1/\"><Head>x</Head><Body/></Report>",
            "<?xml version=\"1.0\"?><kml xmlns=\"http://www.opengis.net/kml/2.2\"><name>a=b</name></kml>",
            "<Event xmlns=\"http://schemas.microsoft.com/win/2004/08/events/event\"/>",
            "手順 <br> 次<sub>2</sub> <a href=\"https://x/\">x</a>",
            "<a href='#a'>a</a> <a href=\"次.txt\">b</a> <A HREF=mailto:a@b.jp>c</A> <a href=x/y:z>d</a>",
            "<kml><Style id=\"a\"><LineStyle><width>2</width></LineStyle></Style><styleUrl>#a</styleUrl></kml>",
            "--pretty=<style> と HEAD@{1} を使います。",
            "<Project><Name>橋の点検</Name><Tasks><Task><UID>1</UID></Task></Tasks></Project>",
        ] {
            assert_eq!(reason(text), None, "{text}");
        }
    }

    #[test]
    fn a_megabyte_is_looked_through_in_time_that_grows_with_it() {
        for piece in
            ["<", "<a ", "=", "on=", " =", "<a b=\"", "<!--", "<a x='1' ", "<style>", "<project>", "<a href="]
        {
            let begun = std::time::Instant::now();
            drop(check(&piece.repeat((1 << 18) / piece.len())));
            assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{piece}");
        }
    }
}
