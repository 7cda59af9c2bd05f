//! Contents: what pages, forms, patterns and glyphs are drawn by, token by token.
//!
//! Format: ISO 32000-2, 7.2 (tokens), 7.8.2 (contents), 8.9.7 (pictures in them).

use std::borrow::Cow;

/// Most keys of a picture in contents that are kept: there are ten.
const MOST_KEYS: usize = 64;

/// How many ends of a picture are looked at before the first one counts, whatever follows it.
const MOST_ENDS: usize = 16;

/// How many bytes behind a picture's end must be letters, as contents are.
const LETTERS_BEHIND: usize = 10;

/// One token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token<'c> {
    Name(Cow<'c, [u8]>),
    /// A text, by the most letters of a byte each that it may have.
    Text(u64),
    /// The begin of a list or a dictionary, and its end.
    Open,
    Close,
    Number,
    Operator(&'c [u8]),
}

/// The tokens of contents.
pub(super) struct Tokens<'c> {
    bytes: &'c [u8],
    at: usize,
}

/// Keys, each with its value as it is written.
type Head<'c> = Vec<(Cow<'c, [u8]>, &'c [u8])>;

/// A picture that stands in contents.
pub(super) struct Inline<'c> {
    pub(super) head: Head<'c>,
    /// Its data, as they are packed.
    pub(super) data: &'c [u8],
}

impl<'c> Tokens<'c> {
    pub(super) fn new(bytes: &'c [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How far has been read.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The next token, if there is one.
    pub(super) fn next(&mut self) -> Option<Token<'c>> {
        self.pass_blanks();
        let first = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(match first {
            b'/' => Token::Name(plain_name(self.regular())),
            b'(' => Token::Text(self.text()),
            b'<' if self.bytes.get(self.at) == Some(&b'<') => {
                self.at += 1;
                Token::Open
            }
            b'<' => Token::Text(self.digits()),
            b'>' => {
                self.at += usize::from(self.bytes.get(self.at) == Some(&b'>'));
                Token::Close
            }
            b'[' | b'{' => Token::Open,
            b']' | b'}' => Token::Close,
            b')' => Token::Number,
            first if is_of_number(first) => {
                // What comes behind a number without a blank is a token of its own, as readers take it.
                let rest = &self.bytes[self.at..];
                self.at += rest.iter().position(|byte| !is_of_number(*byte)).unwrap_or(rest.len());
                Token::Number
            }
            _ => {
                self.at -= 1;
                Token::Operator(self.regular())
            }
        })
    }

    /// The picture that begins behind `BI`; nothing where it has no end.
    pub(super) fn picture(&mut self) -> Option<Inline<'c>> {
        let head = self.head()?;
        // One blank stands before the data.
        self.at += usize::from(self.bytes.get(self.at).is_some_and(|byte| is_blank(*byte)));
        let rest = self.bytes.get(self.at..)?;
        let is_end = |at: &usize| {
            let is_behind =
                rest[..*at].last().is_none_or(|before| is_blank(*before) || matches!(before, b'>'));
            let is_over = rest.get(at + 2).is_none_or(|behind| is_blank(*behind) || matches!(behind, b'/'));
            is_behind && is_over
        };
        let is_letters = |at: &usize| {
            let behind = &rest[at + 2..(at + 2 + LETTERS_BEHIND).min(rest.len())];
            behind.iter().all(|byte| is_blank(*byte) && *byte != 0 || (b' '..=b'~').contains(byte))
        };
        let mut ends = memchr::memmem::find_iter(rest, b"EI").filter(is_end).take(MOST_ENDS).peekable();
        let first = *ends.peek()?;
        let end = ends.find(is_letters).unwrap_or(first);
        self.at += end + 2;
        let data = &rest[..end];
        let data = match data.split_last() {
            Some((last, data)) if is_blank(*last) => data,
            _ => data,
        };
        Some(Inline { head, data })
    }

    /// The keys of a picture up to `ID`; nothing where that does not come.
    fn head(&mut self) -> Option<Head<'c>> {
        let mut head = Vec::new();
        loop {
            let key = match self.next()? {
                Token::Operator(b"ID") => return Some(head),
                Token::Name(key) => key,
                _ => continue,
            };
            self.pass_blanks();
            let from = self.at;
            let mut depth = 0_usize;
            loop {
                match self.next()? {
                    Token::Operator(b"ID") => return Some(head),
                    Token::Open => depth += 1,
                    Token::Close => depth = depth.saturating_sub(1),
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
            }
            if head.len() < MOST_KEYS {
                head.push((key, &self.bytes[from..self.at]));
            }
        }
    }

    /// Passes blanks and comments.
    fn pass_blanks(&mut self) {
        while let Some(byte) = self.bytes.get(self.at) {
            match byte {
                b'%' => {
                    let rest = &self.bytes[self.at..];
                    self.at += memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
                }
                byte if is_blank(*byte) => self.at += 1,
                _ => return,
            }
        }
    }

    /// What stands here of names and operators.
    fn regular(&mut self) -> &'c [u8] {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|byte| is_blank(*byte) || is_delimiter(*byte)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// Passes a text behind its bracket; how long it is.
    fn text(&mut self) -> u64 {
        let (from, mut depth) = (self.at, 1);
        while depth > 0 {
            let rest = &self.bytes[self.at..];
            let Some(at) = memchr::memchr3(b'(', b')', b'\\', rest) else {
                self.at = self.bytes.len();
                break;
            };
            self.at += at + 1;
            match rest[at] {
                b'(' => depth += 1,
                b')' => depth -= 1,
                _ => self.at = (self.at + 1).min(self.bytes.len()),
            }
        }
        (self.at - from) as u64
    }

    /// The same of one in digits.
    fn digits(&mut self) -> u64 {
        let rest = &self.bytes[self.at..];
        let end = memchr::memchr(b'>', rest).unwrap_or(rest.len());
        self.at = (self.at + end + 1).min(self.bytes.len());
        (end as u64).div_ceil(2)
    }
}

/// The values of a list as they are written, or the one that there is.
pub(super) fn values(written: &[u8]) -> Vec<&[u8]> {
    if !written.starts_with(b"[") {
        return vec![written];
    }
    let mut tokens = Tokens { bytes: written, at: 1 };
    let mut values = Vec::new();
    loop {
        tokens.pass_blanks();
        let (from, mut depth) = (tokens.at, 0_usize);
        loop {
            match tokens.next() {
                None => return values,
                Some(Token::Close) if depth == 0 => return values,
                Some(Token::Open) => depth += 1,
                Some(Token::Close) => depth -= 1,
                Some(_) => {}
            }
            if depth == 0 {
                break;
            }
        }
        if values.len() == MOST_KEYS {
            return values;
        }
        values.push(&written[from..tokens.at]);
    }
}

/// A name as it reads: `#` and two digits are a byte.
fn plain_name(written: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'#', written).is_none() {
        return Cow::Borrowed(written);
    }
    let digit = |at: usize| written.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut name, mut at) = (Vec::with_capacity(written.len()), 0);
    while let Some(byte) = written.get(at) {
        let pair = (*byte == b'#').then(|| digit(at + 1).zip(digit(at + 2))).flatten();
        match pair.and_then(|(high, low)| u8::try_from(high * 16 + low).ok()) {
            Some(byte) => {
                name.push(byte);
                at += 3;
            }
            None => {
                name.push(*byte);
                at += 1;
            }
        }
    }
    Cow::Owned(name)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | 0x0c | 0)
}

fn is_delimiter(byte: u8) -> bool {
    matches!(byte, b'(' | b')' | b'<' | b'>' | b'[' | b']' | b'{' | b'}' | b'/' | b'%')
}

fn is_of_number(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.')
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn contents_are_taken_apart_as_readers_do() {
        let bytes = b"q 1 0 0 1 .5 -2cm/X#31 Do %/Y Do\n[(a(b)\\)c)-20<0041>]TJ/P<</A(x)>>BDC(/Z Do";
        let mut tokens = Tokens::new(bytes);
        let mut found = Vec::new();
        while let Some(token) = tokens.next() {
            found.push(token);
        }
        let name = |name: &'static [u8]| Token::Name(Cow::Borrowed(name));
        let number = || Token::Number;
        let wanted = [
            Token::Operator(b"q"),
            number(),
            number(),
            number(),
            number(),
            number(),
            number(),
            Token::Operator(b"cm"),
            name(b"X1"),
            Token::Operator(b"Do"),
            Token::Open,
            Token::Text(8),
            number(),
            Token::Text(2),
            Token::Close,
            Token::Operator(b"TJ"),
            name(b"P"),
            Token::Open,
            name(b"A"),
            Token::Text(2),
            Token::Close,
            Token::Operator(b"BDC"),
            Token::Text(5),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_picture_ends_where_letters_follow_its_end() {
        let bytes = b"/W 2/CS[/I/RGB 1<00ff>]/F/Fl ID \xff EI \x80\x81 EI Q";
        let mut tokens = Tokens::new(bytes);
        let picture = tokens.picture().unwrap();
        assert_eq!(picture.data, b"\xff EI \x80\x81");
        let head: Vec<_> = picture.head.iter().map(|(key, value)| (key.as_ref(), *value)).collect();
        assert_eq!(head, [(&b"W"[..], &b"2"[..]), (b"CS", b"[/I/RGB 1<00ff>]"), (b"F", b"/Fl")]);
        assert_eq!(values(head[1].1), [&b"/I"[..], b"/RGB", b"1", b"<00ff>"]);
        assert_eq!(tokens.next(), Some(Token::Operator(b"Q")));
        assert!(Tokens::new(b"/W 2 ID \xff and no end").picture().is_none());
        assert!(Tokens::new(b"/W 2 q Q").picture().is_none());
    }
}
