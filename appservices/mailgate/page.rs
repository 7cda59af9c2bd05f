//! A mail's HTML as text: its lines, the cells of its tables, and where its links lead.
//!
//! It is read token by token, by the rules of browsers; no tree is built, so nesting costs nothing. A tag of very many attributes
//! costs more than its length, so the time is bounded too.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use html5ever::{
    tendril::StrTendril,
    tokenizer::{
        BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
        states::RawKind,
    },
};

/// Longest address of a link that is shown, in bytes.
const LONGEST_LINK: usize = 2_048;

/// Most bytes of text; what comes then is left out. Links may make a text longer than its page.
const MOST: usize = 32 << 20;

/// A page that takes longer is cut, and says so.
const LONGEST: Duration = Duration::from_secs(5);

/// So much is read between two looks at the time.
const PIECE: usize = 4 << 10;

/// What begins and ends a line.
const BLOCKS: [&str; 25] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "center",
    "dd",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figure",
    "footer",
    "form",
    "header",
    "hr",
    "li",
    "main",
    "nav",
    "ol",
    "section",
    "table",
    "tbody",
    "tr",
    "ul",
    "caption",
];

/// What has an empty line before and behind it.
const PARAGRAPHS: [&str; 8] = ["p", "h1", "h2", "h3", "h4", "h5", "h6", "pre"];

/// The text of a page.
pub(crate) fn text(html: &str) -> String {
    text_within(html, LONGEST)
}

fn text_within(html: &str, longest: Duration) -> String {
    let tokenizer = Tokenizer::new(Sink::default(), TokenizerOpts::default());
    let queue = BufferQueue::default();
    let (begun, mut rest) = (Instant::now(), html);
    let is_over = || begun.elapsed() > longest;
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
    let is_cut = !rest.is_empty() || !queue.is_empty();
    if !is_cut {
        tokenizer.end();
    }
    let mut page = tokenizer.sink.0.into_inner();
    page.end_link();
    if is_cut {
        page.push("\n（以下省略 / cut）");
    }
    page.text
}

#[derive(Default)]
struct Sink(RefCell<Page>);

#[derive(Default)]
struct Page {
    text: String,
    /// Where the link leads that is open, and where in the text it begins.
    link: Option<(String, usize)>,
    /// What is open of which nothing is shown.
    hidden: Option<&'static str>,
    is_kept: bool,
    /// Whether a blank is due before the next letter.
    has_blank: bool,
}

impl TokenSink for Sink {
    type Handle = ();

    fn process_token(&self, token: Token, _: u64) -> TokenSinkResult<()> {
        let page = &mut *self.0.borrow_mut();
        match token {
            Token::TagToken(tag) => return page.tag(&tag),
            Token::CharacterTokens(text) if page.hidden.is_none() => page.characters(&text),
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

impl Page {
    fn tag(&mut self, tag: &Tag) -> TokenSinkResult<()> {
        let name: &str = &tag.name;
        let is_end = tag.kind == TagKind::EndTag;
        if let Some(hidden) = self.hidden {
            if is_end && name == hidden {
                self.hidden = None;
            }
            return TokenSinkResult::Continue;
        }
        if BLOCKS.contains(&name) {
            self.lines(1);
        } else if PARAGRAPHS.contains(&name) {
            self.lines(2);
        }
        match name {
            "br" => self.push("\n"),
            "td" | "th" if is_end => self.push("\t"),
            "li" if !is_end => self.push("・"),
            "pre" => self.is_kept = !is_end,
            "a" => {
                self.end_link();
                let address = tag.attrs.iter().find(|it| &*it.name.local == "href").map(|it| it.value.trim());
                if let Some(address) = address.filter(|it| !is_end && leads(it)) {
                    self.link = Some((address.to_owned(), self.text.len()));
                }
            }
            "img" if !is_end => {
                let alt = tag.attrs.iter().find(|it| &*it.name.local == "alt").map(|it| it.value.clone());
                self.characters(&alt.unwrap_or_default());
            }
            "title" | "textarea" if !is_end => {
                self.hidden = (name == "title").then_some("title");
                return TokenSinkResult::RawData(RawKind::Rcdata);
            }
            "style" | "xmp" | "iframe" | "noembed" | "noframes" if !is_end => {
                self.hidden =
                    ["style", "xmp", "iframe", "noembed", "noframes"].into_iter().find(|it| *it == name);
                return TokenSinkResult::RawData(RawKind::Rawtext);
            }
            "script" if !is_end => {
                self.hidden = Some("script");
                return TokenSinkResult::RawData(RawKind::ScriptData);
            }
            "plaintext" if !is_end => return TokenSinkResult::Plaintext,
            _ => {}
        }
        TokenSinkResult::Continue
    }

    fn characters(&mut self, text: &str) {
        if self.is_kept {
            return self.push(text);
        }
        // Blanks of the page are one blank; that of Japanese texts is a letter, and one that does not break is meant.
        for piece in text.split_inclusive([' ', '\t', '\n', '\r', '\u{c}']) {
            let word = piece.trim_end_matches([' ', '\t', '\n', '\r', '\u{c}']);
            if !word.is_empty() {
                if std::mem::take(&mut self.has_blank)
                    && !self.text.is_empty()
                    && !self.text.ends_with(['\n', '\t'])
                {
                    self.push(" ");
                }
                self.push(&word.replace('\u{a0}', " "));
            }
            self.has_blank |= piece.len() > word.len();
        }
    }

    /// Has the text end with so many ends of lines, unless it is empty.
    fn lines(&mut self, wanted: usize) {
        self.has_blank = false;
        let kept = self.text.trim_end_matches([' ', '\t']).len();
        self.text.truncate(kept);
        let there = self.text.bytes().rev().take(wanted).take_while(|byte| *byte == b'\n').count();
        if !self.text.is_empty() {
            self.push(&"\n".repeat(wanted.saturating_sub(there)));
        }
    }

    /// Shows where a link leads, if its text does not.
    fn end_link(&mut self) {
        let Some((address, begin)) = self.link.take() else { return };
        let shown = self.text.get(begin..).unwrap_or_default().trim();
        let bare = |text: &str| text.trim_end_matches('/').trim_start_matches("mailto:").to_owned();
        if bare(shown) != bare(&address) {
            let shown = if shown.is_empty() { format!("({address})") } else { format!(" ({address})") };
            self.push(&shown);
        }
    }

    fn push(&mut self, text: &str) {
        if self.text.len() + text.len() <= MOST {
            self.text.push_str(text);
        }
    }
}

/// Whether an address leads anywhere from a mail.
fn leads(address: &str) -> bool {
    let begins = |scheme: &str| address.get(..scheme.len()).is_some_and(|it| it.eq_ignore_ascii_case(scheme));
    address.len() <= LONGEST_LINK && ["http://", "https://", "mailto:", "tel:"].into_iter().any(begins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_cells_and_links_of_a_page_are_in_its_text() {
        for (html, shown) in [
            ("<div>1行目</div><div>2行目</div><ul><li>甲</li><li>乙</li></ul>", "1行目\n2行目\n・甲\n・乙\n"),
            ("<table><tr><td>3</td><td>5</td></tr><tr><td>7</td><td>9</td></tr></table>", "3\t5\n7\t9\n"),
            ("<h1>見出し</h1><p>本\n文</p>x", "見出し\n\n本 文\n\nx"),
            ("<pre>a\n  b</pre>", "a\n  b\n\n"),
            (
                r#"<a href="https://form.example.jp/q?t=1&amp;u">回答は<b>こちら</b></a>。"#,
                "回答はこちら (https://form.example.jp/q?t=1&u)。",
            ),
            (
                r#"<a href="https://x.jp/">https://x.jp</a> <a href="mailto:a@x.jp">a@x.jp</a>"#,
                "https://x.jp a@x.jp",
            ),
            (r#"<a href="javascript:alert(1)">x</a><a href="/a">y</a>"#, "xy"),
            (
                r#"<a href="https://x.jp/a"><img src="https://x.jp/p.gif" alt="図"></a>"#,
                "図 (https://x.jp/a)",
            ),
            (r#"<a href="https://x.jp/a">open"#, "open (https://x.jp/a)"),
            (
                "<title>t</title><style>p{}</style><script>x('</div>')</script><!-- c -->a&nbsp;b<br>c",
                "a b\nc",
            ),
            ("  <p> </p> a  &lt;b&gt;", "a <b>"),
        ] {
            assert_eq!(text(html), shown, "{html}");
        }
    }

    #[test]
    fn a_page_that_is_nested_or_broken_is_read_to_its_end() {
        for html in [
            "<div>",
            "<table><tr><td>",
            "<a href=https://x.jp>",
            "<ul><li>",
            "<",
            "&",
            "<!--",
            "<script>",
            "</p>",
        ] {
            let page = html.repeat(20_000);
            assert!(text(&page).len() <= 4 * page.len());
        }
        // Many ends of lines are not counted anew by each block behind them.
        let page = format!("{}{}x", "<br>".repeat(200_000), "<div>".repeat(200_000));
        assert!(text(&page).ends_with("\nx"));
    }

    #[test]
    fn a_tag_of_very_many_attributes_is_given_up() {
        let attributes: String = (0..300_000).map(|number| format!(" a{number}=x")).collect();
        let shown = text_within(&format!("before<p{attributes}>behind"), Duration::from_millis(50));
        assert!(shown.starts_with("before") && shown.ends_with("cut）"), "{}", shown.len());
    }
}
