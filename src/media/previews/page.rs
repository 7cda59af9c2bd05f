//! What a page says of itself: its title, and what is in its `meta` elements.
//!
//! The page is a stranger's. Of it a bounded beginning is read, by the rules of browsers, token by token; no tree is
//! built, and what is kept of it is short.

use std::{cell::RefCell, collections::BTreeMap};

use encoding_rs::{EUC_JP, Encoding, SHIFT_JIS, UTF_8, UTF_16BE, UTF_16LE};
use html5ever::{
    tendril::StrTendril,
    tokenizer::{
        BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
        states::RawKind,
    },
};
use url::Url;

/// An address of a base that is longer counts as none, in bytes.
const LONGEST_URL: usize = 2_048;
/// Texts longer than this are cut, in characters.
const LONGEST_TEXT: usize = 1_000;
/// So many properties are kept.
const MOST_PROPERTIES: usize = 40;
/// In so many bytes from its beginning a page says in which encoding it is.
const SAID_WITHIN: usize = 4 << 10;
/// So much is read between two looks at whether it takes too long: a tag of very many attributes does.
const PIECE: usize = 4 << 10;

/// What a page says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// The content of its `title`.
    pub(crate) title: Option<String>,
    /// Its `meta` elements by property or name, in small letters; of several with one name the first.
    pub(crate) properties: BTreeMap<String, String>,
    /// The address that its own are relative to, as it says.
    pub(crate) base: Option<String>,
}

impl Said {
    /// The first of these properties that says something.
    pub(crate) fn first(&self, names: &[&str]) -> Option<&str> {
        let mut found = names.iter().filter_map(|name| self.properties.get(*name));
        found.find(|text| !text.is_empty()).map(String::as_str)
    }

    /// What addresses on the page are relative to, which is at this one.
    pub(crate) fn base(&self, address: &str) -> Option<Url> {
        let own = Url::parse(address).ok()?;
        let said = self.base.as_ref().and_then(|base| own.join(base).ok());
        Some(said.filter(|said| matches!(said.scheme(), "http" | "https")).unwrap_or(own))
    }
}

/// Reads the beginning of a page until `is_over`.
pub(crate) fn read(text: &str, is_over: impl Fn() -> bool) -> Said {
    let tokenizer = Tokenizer::new(Sink::default(), TokenizerOpts::default());
    let queue = BufferQueue::default();
    let mut rest = text;
    while !rest.is_empty() && !is_over() {
        let mut end = rest.len().min(PIECE);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (piece, after) = rest.split_at(end);
        queue.push_back(StrTendril::from_slice(piece));
        // It stops at the end of each script, for whoever would run it.
        while !queue.is_empty() && !is_over() {
            drop(tokenizer.feed(&queue));
        }
        rest = after;
    }
    let Reading { mut said, title, .. } = tokenizer.sink.0.into_inner();
    said.title = Some(tidy(&title)).filter(|title| !title.is_empty());
    said
}

#[derive(Default)]
struct Reading {
    said: Said,
    title: String,
    /// Whether the title is being read, and whether it has been.
    in_title: bool,
    titled: bool,
}

#[derive(Default)]
struct Sink(RefCell<Reading>);

impl TokenSink for Sink {
    type Handle = ();

    fn process_token(&self, token: Token, _: u64) -> TokenSinkResult<()> {
        let reading = &mut *self.0.borrow_mut();
        match token {
            Token::TagToken(tag) => return reading.tag(&tag),
            Token::CharacterTokens(text) if reading.in_title && reading.title.len() < 8 * LONGEST_TEXT => {
                reading.title.push_str(&text);
            }
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

impl Reading {
    fn tag(&mut self, tag: &Tag) -> TokenSinkResult<()> {
        let name: &str = &tag.name;
        if tag.kind == TagKind::EndTag {
            if name == "title" && self.in_title {
                (self.in_title, self.titled) = (false, true);
            }
            return TokenSinkResult::Continue;
        }
        match name {
            "title" => {
                self.in_title = !self.titled;
                TokenSinkResult::RawData(RawKind::Rcdata)
            }
            "textarea" => TokenSinkResult::RawData(RawKind::Rcdata),
            "style" | "xmp" | "iframe" | "noembed" | "noframes" => TokenSinkResult::RawData(RawKind::Rawtext),
            "script" => TokenSinkResult::RawData(RawKind::ScriptData),
            "plaintext" => TokenSinkResult::Plaintext,
            "meta" => {
                self.meta(tag);
                TokenSinkResult::Continue
            }
            "base" => {
                // The first that says one.
                let href = value(tag, "href").filter(|href| href.len() <= LONGEST_URL);
                if self.said.base.is_none() {
                    self.said.base = href.map(|href| href.trim().to_owned());
                }
                TokenSinkResult::Continue
            }
            _ => TokenSinkResult::Continue,
        }
    }

    fn meta(&mut self, tag: &Tag) {
        let name = value(tag, "property").or_else(|| value(tag, "name"));
        let (Some(name), Some(content)) = (name, value(tag, "content")) else {
            return;
        };
        let name = name.trim().to_ascii_lowercase();
        let is_of_use = name.starts_with("og:") || name.starts_with("twitter:") || name == "description";
        let properties = &mut self.said.properties;
        if is_of_use && name.len() <= 64 && properties.len() < MOST_PROPERTIES {
            properties.entry(name).or_insert_with(|| tidy(content));
        }
    }
}

/// What an attribute of a tag says.
fn value<'a>(tag: &'a Tag, wanted: &str) -> Option<&'a str> {
    tag.attrs.iter().find(|attribute| &*attribute.name.local == wanted).map(|found| &*found.value)
}

/// A text in one line, without what cannot be seen at its ends, and not too long.
fn tidy(text: &str) -> String {
    let mut tidied = String::new();
    let (mut count, mut gap) = (0, false);
    for letter in text.trim().chars() {
        if letter.is_whitespace() || letter.is_control() {
            gap = true;
            continue;
        }
        if std::mem::take(&mut gap) {
            tidied.push(' ');
            count += 1;
        }
        if count >= LONGEST_TEXT {
            break;
        }
        tidied.push(letter);
        count += 1;
    }
    tidied
}

/// A page's bytes as text: by the mark at their beginning, else as the header has it, else as the page says; where nobody
/// says it, as UTF-8, or as what Japanese pages were written in before. What does not fit is replaced.
pub(crate) fn decode(bytes: &[u8], kind: Option<&str>) -> String {
    let said = kind.and_then(charset_in).or_else(|| charset_within(bytes));
    let encoding = said.or_else(|| guess(bytes)).unwrap_or(UTF_8);
    // It reads the mark by itself.
    encoding.decode(bytes).0.into_owned()
}

/// The encoding that a media type names.
fn charset_in(kind: &str) -> Option<&'static Encoding> {
    label_after(kind.as_bytes())
}

/// The encoding that a page's own beginning names, in whatever way. One that would not let it be read so far is meant
/// as UTF-8.
fn charset_within(bytes: &[u8]) -> Option<&'static Encoding> {
    let found = label_after(&bytes[..bytes.len().min(SAID_WITHIN)])?;
    Some(if [UTF_16BE, UTF_16LE].contains(&found) { UTF_8 } else { found })
}

/// The encoding whose label stands behind the first `charset=` that has one.
fn label_after(text: &[u8]) -> Option<&'static Encoding> {
    const NAME: &[u8] = b"charset";
    let mut rest = text;
    loop {
        let at = rest.windows(NAME.len()).position(|part| part.eq_ignore_ascii_case(NAME))?;
        rest = &rest[at + NAME.len()..];
        let Some(value) = rest.trim_ascii_start().strip_prefix(b"=") else { continue };
        let value = value.trim_ascii_start();
        let value = value.strip_prefix(b"\"").or_else(|| value.strip_prefix(b"'")).unwrap_or(value);
        let is_of_label = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_:.".contains(byte);
        let end = value.iter().position(|byte| !is_of_label(byte)).unwrap_or(value.len());
        if let Some(encoding) = Encoding::for_label(&value[..end]) {
            return Some(encoding);
        }
    }
}

/// An encoding in which all of it can be read. The end may be cut in the middle of a letter.
fn guess(bytes: &[u8]) -> Option<&'static Encoding> {
    let bytes = match std::str::from_utf8(bytes) {
        Ok(_) => return Some(UTF_8),
        Err(error) if error.error_len().is_none() => return Some(UTF_8),
        Err(_) => bytes,
    };
    let fits = |encoding: &&'static Encoding| {
        (0..2).any(|cut| !encoding.decode_without_bom_handling(&bytes[..bytes.len().saturating_sub(cut)]).1)
    };
    [EUC_JP, SHIFT_JIS].into_iter().find(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(page: &str) -> Said {
        read(page, || false)
    }

    #[test]
    fn what_a_page_says_of_itself_is_found_and_nothing_that_only_looks_so() {
        let page = said(
            r#"<!doctype html><html><head>
            <script>document.write("<title>no</title><meta property='og:title' content='no'>")</script>
            <style>/* <title>no</title> */</style><!-- <title>no</title> -->
            <TITLE>防災の
              しおり</TITLE><svg><title>no</title></svg>
            <meta Property="OG:Title" content="避難所 &#039;一覧&#039; &amp;#039;"><meta property="og:title" content="no">
            <meta name=description content=短い><meta name="keywords" content="no"><meta property="og:image">
            <textarea><meta property="og:type" content="no"></textarea>
            <meta property="og:empty" content=" "><meta property="og:type" content="article">"#,
        );
        assert_eq!(page.title.as_deref(), Some("防災の しおり"));
        // Entities are decoded once.
        assert_eq!(page.first(&["og:title"]), Some("避難所 '一覧' &#039;"));
        assert_eq!(page.first(&["og:empty", "og:description", "description"]), Some("短い"));
        assert_eq!((page.first(&["og:type"]), page.first(&["og:image"])), (Some("article"), None));
        assert!(!page.properties.contains_key("keywords"));
    }

    #[test]
    fn what_is_kept_of_a_page_is_bounded() {
        let many: String =
            (0..5_000).map(|number| format!("<meta property=og:p{number} content=x>")).collect();
        let long = "字".repeat(100_000);
        let page = said(&format!("<title>{long}</title><meta property=og:title content={long}>{many}"));
        assert_eq!(page.title.map(|title| title.chars().count()), Some(LONGEST_TEXT));
        assert_eq!(page.properties.len(), MOST_PROPERTIES);
        assert_eq!(page.properties["og:title"].chars().count(), LONGEST_TEXT);
        assert_eq!(said("<title>"), Said::default());
        assert_eq!(said("<title>half"), Said { title: Some("half".to_owned()), ..Said::default() });
        assert_eq!(said("<meta property=og:title content='half"), Said::default());
    }

    #[test]
    fn a_page_that_takes_too_long_is_read_no_further() {
        let looks = std::cell::Cell::new(0);
        let attributes: String = (0..200_000).map(|number| format!(" a{number}")).collect();
        let page =
            read(&format!("<title>a</title><x{attributes}><meta property=og:title content=b>"), || {
                looks.set(looks.get() + 1);
                looks.get() > 4
            });
        assert_eq!((page.title.as_deref(), page.properties.len()), (Some("a"), 0));
    }

    #[test]
    fn japanese_pages_are_read_in_the_encoding_that_they_are_in() {
        let text = "<title>輪島市の漆器、﨑と髙</title>";
        for encoding in [SHIFT_JIS, EUC_JP, UTF_8, encoding_rs::ISO_2022_JP] {
            let plain = "<title>輪島市の漆器</title>";
            let (bytes, ..) = encoding.encode(plain);
            let name = encoding.name();
            assert_eq!(decode(&bytes, Some(&format!("text/html; charset=\"{name}\""))), plain, "{name}");
            let within = format!("<meta charset={name}>{plain}");
            assert_eq!(decode(&encoding.encode(&within).0, Some("text/html")), within, "{name}");
            let old = format!(
                "<meta http-equiv=Content-Type content='text/html; charset = {}'>{plain}",
                name.to_lowercase()
            );
            assert_eq!(decode(&encoding.encode(&old).0, None), old, "{name}");
            if encoding.is_ascii_compatible() {
                assert_eq!(decode(&bytes, None), plain, "{name} that nobody names");
                let cut = &bytes[..bytes.len() - "</title>".len() - 1];
                assert!(decode(cut, None).starts_with("<title>輪島市の漆"), "{name} that is cut");
            }
        }
        assert_eq!(decode(text.as_bytes(), Some("text/html; charset=nonsense")), text);
        let marked = [b"\xef\xbb\xbf", text.as_bytes()].concat();
        assert_eq!(decode(&marked, Some("text/html; charset=shift_jis")), text);
        // The header lies: what does not fit is replaced.
        assert_eq!(
            decode(b"<title>a\xffb</title>", Some("text/html; charset=utf-8")),
            "<title>a\u{fffd}b</title>"
        );
    }
}
