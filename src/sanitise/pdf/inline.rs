//! Pictures that stand in contents: cleaned as others are, and written so that all readers find the same end of them.
//!
//! Where such a picture ends, readers guess in different ways: what one takes for its data another draws. So the data are
//! written in hexadecimal digits, whose end none mistakes, and of the keys those stay that the format has.
//!
//! Format: ISO 32000-2, 8.9.7.

use std::borrow::Cow;

use lopdf::{Dictionary, Object};

use super::{
    content::{Inline, Token, Tokens, values},
    stream::{Data, Packer, digits, is_of_picture, whole_name},
};
use crate::verdict::{Part, Refusal, Removed, note};

/// Keys that stay, by their short and their long names. What says how the data are packed is written with them.
const KEYS: &[(&str, &str)] = &[
    ("W", "Width"),
    ("H", "Height"),
    ("BPC", "BitsPerComponent"),
    ("CS", "ColorSpace"),
    ("IM", "ImageMask"),
    ("D", "Decode"),
    ("I", "Interpolate"),
    ("Intent", "Intent"),
];

const FILTER: (&str, &str) = ("F", "Filter");
const PARAMETERS: (&str, &str) = ("DP", "DecodeParms");

/// What of a cleaned picture's dictionary takes the place of what was written, if it has it.
const SHAPE: &[&str] = &["Width", "Height", "BitsPerComponent", "ColorSpace"];

fn is(key: &[u8], (short, long): (&str, &str)) -> bool {
    key == short.as_bytes() || key == long.as_bytes()
}

impl Inline<'_> {
    /// The value of a key as it is written.
    pub(super) fn value(&self, names: (&str, &str)) -> Option<&[u8]> {
        self.head.iter().find(|(key, _)| is(key, names)).map(|(_, value)| *value)
    }

    /// How the data are packed, the outermost first.
    fn filters(&self) -> Vec<Vec<u8>> {
        let written = self.value(FILTER).map(values).unwrap_or_default();
        let name = |value| match Tokens::new(value).next() {
            Some(Token::Name(name)) => whole_name(&name).to_vec(),
            _ => Vec::new(),
        };
        written.into_iter().map(name).collect()
    }

    /// Whether it is written as those are that are written here, and holds no picture in a packing of its own.
    fn is_ours(&self, filters: &[Vec<u8>]) -> bool {
        let listed = |key: &[u8]| KEYS.iter().chain([&FILTER, &PARAMETERS]).any(|names| is(key, *names));
        self.head.iter().all(|(key, _)| listed(key))
            && filters.first().is_some_and(|name| name == b"ASCIIHexDecode")
            && !filters.iter().any(|name| is_of_picture(name))
            && self
                .data
                .split_last()
                .is_some_and(|(end, digits)| *end == b'>' && digits.iter().all(u8::is_ascii_hexdigit))
    }
}

impl Packer<'_> {
    /// Contents with their pictures cleaned; nothing where they may stay as they are. What has no end goes with its begin.
    pub(super) fn pictures(
        &mut self,
        content: &[u8],
        removed: &mut Vec<Removed>,
    ) -> Result<Option<Vec<u8>>, Refusal> {
        if memchr::memmem::find(content, b"BI").is_none() {
            return Ok(None);
        }
        let (mut out, mut copied) = (Vec::new(), 0);
        let mut tokens = Tokens::new(content);
        while let Some(token) = tokens.next() {
            if token != Token::Operator(b"BI") {
                continue;
            }
            let begin = tokens.at() - 2;
            let Some(picture) = tokens.picture() else {
                note(removed, Part::Drawing, "");
                out.extend(&content[copied..begin]);
                copied = content.len();
                break;
            };
            let filters = picture.filters();
            if !picture.is_ours(&filters) {
                out.extend(&content[copied..begin]);
                self.inline(&mut out, &picture, filters, removed)?;
                copied = tokens.at();
            }
        }
        if copied == 0 {
            return Ok(None);
        }
        out.extend(&content[copied..]);
        Ok(Some(out))
    }

    /// Writes one picture anew.
    fn inline(
        &mut self,
        out: &mut Vec<u8>,
        picture: &Inline<'_>,
        filters: Vec<Vec<u8>>,
        removed: &mut Vec<Removed>,
    ) -> Result<(), Refusal> {
        let mut parameters: Vec<&[u8]> = picture.value(PARAMETERS).map(values).unwrap_or_default();
        let all = filters.len();
        let mut data = Data {
            filters: filters.into_iter().map(|name| (name, None)).collect(),
            content: picture.data.to_vec(),
        };
        let mut shape = Dictionary::new();
        let is_shown = match data.filters.iter().position(|(name, _)| is_of_picture(name)) {
            Some(at) => {
                self.picture(&mut shape, &mut data, at, removed)?;
                shape.get(b"ColorSpace").is_err()
            }
            None => true,
        };
        // What has been unpacked around it needs none, nor does a picture that is no more packed.
        parameters.drain(..parameters.len().min(all - data.filters.len()));
        out.extend(b"BI");
        for (short, long) in KEYS {
            let made = shape.get(long.as_bytes()).ok().filter(|_| SHAPE.contains(long)).and_then(written);
            let kept = is_shown || SHAPE.contains(long);
            let value = made.or_else(|| picture.value((*short, *long)).filter(|_| kept).map(Cow::Borrowed));
            if let Some(value) = value {
                out.extend([b" /".as_slice(), short.as_bytes(), b" ", value.as_ref()].concat());
            }
        }
        out.extend(b" /F [/AHx");
        for (name, _) in &data.filters {
            out.extend([b" /".as_slice(), name.as_slice()].concat());
        }
        out.push(b']');
        if !parameters.is_empty() {
            out.extend([b" /DP [null ".as_slice(), parameters.join(&b' ').as_slice(), b"]"].concat());
        }
        out.extend(b" ID ");
        out.extend(digits(&data.content));
        out.extend(b"\nEI");
        Ok(())
    }
}

/// A number or a name as contents have it.
fn written(value: &Object) -> Option<Cow<'_, [u8]>> {
    match value {
        Object::Integer(number) => Some(Cow::Owned(number.to_string().into_bytes())),
        Object::Name(name) => Some(Cow::Owned([b"/".as_slice(), name.as_slice()].concat())),
        _ => None,
    }
}
