//! What stands before the first element of a document of XML: sheets of styles, and the file by which it is checked.
//!
//! 電子納品 (what public works deliver) names the definition of its indexes by a bare file name and brings the file along.
//! Such a name stays, since it can lead nowhere else, and what lies there has been judged itself: it may declare elements and
//! attributes, nothing more. A definition within the document, and entities anywhere, are refused.

use crate::{
    blanks::is_nothing,
    verdict::{Part, Removed, note},
};

/// Instructions that have a program make another document of this one, by a file that is a program itself.
const STYLES: &str = "<?xml-stylesheet";

/// What declarations of elements and attributes begin with, behind `<` and in small letters.
pub(crate) const DECLARED: &[&str] = &["!element", "!attlist"];

/// Takes away the instructions before a document that have it shown by a sheet of styles, if there are any.
pub(crate) fn without_styles(letters: &str, removed: &mut Vec<Removed>) -> Option<String> {
    let is_blank = |letter: char| letter.is_ascii_whitespace();
    let (mut out, mut kept) = (String::new(), 0);
    let mut at = letters.len() - letters.trim_start_matches(is_nothing).len();
    loop {
        let rest = letters[at..].trim_start_matches(is_blank);
        at = letters.len() - rest.len();
        let of_styles = rest.strip_prefix(STYLES).is_some_and(|behind| behind.starts_with(is_blank));
        let end = if of_styles || rest.starts_with("<?xml") {
            "?>"
        } else if rest.starts_with("<!--") {
            "-->"
        } else if rest.starts_with("<!DOCTYPE") {
            ">"
        } else {
            break;
        };
        let Some(length) = rest.find(end).map(|found| found + end.len()) else { break };
        if of_styles {
            out.push_str(&letters[kept..at]);
            let behind = &rest[length..];
            let line = behind.strip_prefix("\r\n").or_else(|| behind.strip_prefix('\n')).unwrap_or(behind);
            kept = letters.len() - line.len();
            note(removed, Part::ExternalTemplate, "xml-stylesheet");
        }
        at += length;
    }
    if kept == 0 {
        return None;
    }
    out.push_str(&letters[kept..]);
    Some(out)
}

/// What element a definition is of that names a file beside the document and says nothing else.
pub(crate) fn defined(definition: &str) -> Option<&str> {
    let mut words = definition.split_ascii_whitespace();
    let (of, way, file) = (words.next()?, words.next()?, words.next()?);
    let quote = file.chars().next().filter(|one| matches!(one, '"' | '\''))?;
    let file = file[1..].strip_suffix(quote)?;
    let stem = file.len().checked_sub(4).filter(|at| file.is_char_boundary(*at))?;
    let (stem, end) = file.split_at(stem);
    let is_bare = !stem.is_empty()
        && !stem.starts_with('.')
        && stem.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    let is_name =
        of.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.' | ':'));
    let is_it = words.next().is_none() && way.eq_ignore_ascii_case("system") && is_name;
    (is_it && is_bare && end.eq_ignore_ascii_case(".dtd")).then_some(of)
}

/// Whether a text in small letters is a definition of documents that declares elements and attributes, and has no entities,
/// no spaces of names and no markup within its comments.
pub(crate) fn is_definition(text: &str) -> bool {
    let is_known = |at: usize| {
        let rest = &text[at + 1..];
        let follows = |begin: &&str| {
            rest.strip_prefix(*begin).is_some_and(|of| of.starts_with([' ', '\t', '\r', '\n']))
        };
        rest.starts_with("!--") || follows(&"?xml") || DECLARED.iter().any(follows)
    };
    let is_begun = text.trim_start_matches(is_nothing).starts_with('<');
    is_begun && !text.contains("xmlns") && memchr::memchr_iter(b'<', text.as_bytes()).all(is_known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_of_styles_goes_and_the_document_stays() {
        let head = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n";
        let style = "<?xml-stylesheet type=\"text/xsl\" href=\"kousei.xsl\"?>\r\n";
        for (before, behind) in
            [(head, ""), ("\u{feff}", "<!-- 公文書 -->\n"), ("<!-- 1 -->", "<!DOCTYPE D SYSTEM \"a.dtd\">")]
        {
            let mut removed = Vec::new();
            let made =
                without_styles(&format!("{before}{style}{behind}{style}<DOC>本文</DOC>"), &mut removed);
            assert_eq!(made, Some(format!("{before}{behind}<DOC>本文</DOC>")));
            assert_eq!(removed.iter().map(|one| one.what).collect::<Vec<_>>(), [Part::ExternalTemplate]);
        }
        for text in [
            format!("{head}<DOC>{style}</DOC>"),
            format!("本文 {style}"),
            "<?xml-stylesheet x".to_owned(),
            "<?xml-stylesheets?>".to_owned(),
        ] {
            assert_eq!(without_styles(&text, &mut Vec::new()), None, "{text}");
        }
    }

    #[test]
    fn a_definition_is_a_file_beside_the_document_or_none_that_may_stand() {
        for (definition, of) in [
            (" constdata SYSTEM \"INDE_C07.DTD\"", "constdata"),
            (" 図面管理ファイル\r\nSYSTEM 'DRAW04.dtd' ", "図面管理ファイル"),
        ] {
            assert_eq!(defined(definition), Some(of));
        }
        for definition in [
            " constdata SYSTEM \"http://evil.example/a.dtd\"",
            " constdata SYSTEM \"../a.dtd\"",
            " constdata SYSTEM \"\\\\evil\\a.dtd\"",
            " constdata SYSTEM \"c:a.dtd\"",
            " constdata SYSTEM \"a.dtd\" [<!ENTITY x \"y\"]",
            " constdata SYSTEM \"a.dtd\"[]",
            " constdata PUBLIC \"-//X\" \"a.dtd\"",
            " constdata SYSTEM \"a.txt\"",
            " constdata SYSTEM \".dtd\"",
            " constdata SYSTEM \"a%2f.dtd\"",
            " constdata SYSTEM a.dtd",
            " constdata SYSTEM \"",
            " constdata",
            "",
        ] {
            assert_eq!(defined(definition), None, "{definition}");
        }
    }

    #[test]
    fn a_file_of_definitions_declares_elements_and_attributes_only() {
        let sound = "<?xml version=\"1.0\" encoding=\"shift_jis\"?>\r\n<!-- inde_c07.dtd / 2008 -->\r\n<!element constdata (基礎情報, 工事件名等)>\r\n\
            <!attlist constdata dtd_version cdata #fixed \"07\">\r\n<!element 基礎情報 (#pcdata)>\r\n";
        assert!(is_definition(sound));
        for more in [
            "<!entity x system \"file:///c:/\">",
            "<!entity % x system \"http://evil.example/\">",
            "<!notation x system \"calc.exe\">",
            "<![include[ ]]>",
            "<!attlist p xmlns cdata #fixed \"http://www.w3.org/1999/xhtml\">",
            "<!-- <script> -->",
            "<script>",
            "<?php x?>",
            "<!elementx>",
        ] {
            assert!(!is_definition(&format!("{sound}{more}")), "{more}");
        }
    }
}
