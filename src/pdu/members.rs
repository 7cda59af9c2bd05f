//! Cutting canonical JSON into the members of an object, without building a tree.
//!
//! Hashing, redacting and signing leave members out or put one in. As canonical JSON has one spelling
//! and sorted keys, this is done by copying slices. The text must be JSON that was checked before: on
//! other text the walk ends early, it does not panic.

use crate::json;

/// The members of the object that `object` is: raw key (still escaped, without quotes) and raw value.
pub(crate) fn members(object: &str) -> Members<'_> {
    Members { rest: object.strip_prefix('{').unwrap_or("") }
}

/// The raw value of one member.
pub(crate) fn find<'a>(object: &'a str, key: &str) -> Option<&'a str> {
    members(object).find(|(name, _)| *name == key).map(|(_, value)| value)
}

/// The items of the array that `array` is, raw.
pub(crate) fn items(array: &str) -> Items<'_> {
    Items { rest: array.strip_prefix('[').unwrap_or("") }
}

pub(crate) struct Members<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.strip_prefix(',').unwrap_or(self.rest);
        if !rest.starts_with('"') {
            return None;
        }
        let (key, rest) = split_value(rest)?;
        let (value, rest) = split_value(rest.strip_prefix(':')?)?;
        self.rest = rest;
        Some((key.get(1..key.len() - 1)?, value))
    }
}

pub(crate) struct Items<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.strip_prefix(',').unwrap_or(self.rest);
        if rest.is_empty() || rest.starts_with(']') {
            return None;
        }
        let (value, rest) = split_value(rest)?;
        self.rest = rest;
        Some(value)
    }
}

/// Splits after the first value of `text`.
fn split_value(text: &str) -> Option<(&str, &str)> {
    let bytes = text.as_bytes();
    let end = match bytes.first()? {
        b'"' => string_end(bytes, 0)?,
        b'{' | b'[' => {
            let mut depth = 0_usize;
            let mut at = 0;
            loop {
                match bytes.get(at)? {
                    b'"' => {
                        at = string_end(bytes, at)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => {
                        depth = depth.checked_sub(1)?;
                        if depth == 0 {
                            break at + 1;
                        }
                    }
                    _ => {}
                }
                at += 1;
            }
        }
        _ => bytes.iter().position(|byte| matches!(byte, b',' | b'}' | b']')).unwrap_or(bytes.len()),
    };
    text.split_at_checked(end)
}

/// The index after the string that opens at `start`.
fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Where a part of a text is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Of a part that was cut out of this text.
    pub(crate) fn of(part: &str, text: &str) -> Self {
        let start = part.as_ptr() as usize - text.as_ptr() as usize;
        // What is longer was refused; otherwise there would be nothing at that place.
        let at = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
        Self { start: at(start), end: at(start + part.len()) }
    }

    /// The bytes there.
    pub(crate) fn bytes(self, text: &[u8]) -> &[u8] {
        text.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    /// The part there.
    pub(crate) fn part(self, text: &str) -> &str {
        text.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    /// How long it is.
    pub(crate) fn len(self) -> usize {
        (self.end - self.start) as usize
    }
}

/// Builds an object from members that come in the order of their keys.
pub(crate) struct ObjectWriter {
    out: String,
    empty: bool,
}

impl ObjectWriter {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let mut out = String::with_capacity(capacity);
        out.push('{');
        Self { out, empty: true }
    }

    /// Begins a member, whose value the caller then writes; `key` is raw, as from [`members`].
    pub(crate) fn key(&mut self, key: &str) -> &mut String {
        if !self.empty {
            self.out.push(',');
        }
        self.empty = false;
        self.out.push('"');
        self.out.push_str(key);
        self.out.push_str("\":");
        &mut self.out
    }

    pub(crate) fn raw(&mut self, key: &str, value: &str) {
        self.key(key).push_str(value);
    }

    pub(crate) fn string(&mut self, key: &str, value: &str) {
        json::write_string(value, self.key(key));
    }

    pub(crate) fn integer(&mut self, key: &str, value: i64) {
        json::write_integer(value, self.key(key));
    }

    pub(crate) fn finish(mut self) -> String {
        self.out.push('}');
        self.out
    }
}

/// A copy of `object` with `key` set to `value`, in the place that sorting gives it.
///
/// `key` must need no escapes.
pub(crate) fn with_member(object: &str, key: &str, value: &str) -> String {
    let mut writer = ObjectWriter::with_capacity(object.len() + key.len() + value.len() + 4);
    let mut pending = true;
    for (name, old) in members(object) {
        if pending && name >= key {
            writer.raw(key, value);
            pending = false;
            if name == key {
                continue;
            }
        }
        writer.raw(name, old);
    }
    if pending {
        writer.raw(key, value);
    }
    writer.finish()
}

/// `object` without the member `key`, which must need no escapes.
pub(crate) fn without_member(object: String, key: &str) -> String {
    if find(&object, key).is_none() {
        return object;
    }
    let mut writer = ObjectWriter::with_capacity(object.len());
    for (name, value) in members(&object).filter(|(name, _)| *name != key) {
        writer.raw(name, value);
    }
    writer.finish()
}

/// Reads a raw string value; `None` if it is none.
pub(crate) fn string(raw: &str) -> Option<std::borrow::Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(std::borrow::Cow::Borrowed(inner));
    }
    json::read_string(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: &str = r#"{"a":"x\"},","b":{"c":[1,{"d":2}]},"e":[],"f":-1,"g":null}"#;

    #[test]
    fn members_are_cut_at_their_borders() {
        let all: Vec<_> = members(OBJECT).collect();
        assert_eq!(
            all,
            [("a", r#""x\"},""#), ("b", r#"{"c":[1,{"d":2}]}"#), ("e", "[]"), ("f", "-1"), ("g", "null")]
        );
        assert_eq!(items(r#"[1,"a,b",[2,3],{}]"#).collect::<Vec<_>>(), ["1", "\"a,b\"", "[2,3]", "{}"]);
        assert_eq!(members("{}").count() + items("[]").count(), 0);
    }

    #[test]
    fn a_member_is_put_in_its_place_or_replaced() {
        assert_eq!(with_member(r#"{"a":1,"c":3}"#, "b", "2"), r#"{"a":1,"b":2,"c":3}"#);
        assert_eq!(with_member(r#"{"a":1}"#, "b", "2"), r#"{"a":1,"b":2}"#);
        assert_eq!(with_member(r#"{"b":1,"c":3}"#, "b", "2"), r#"{"b":2,"c":3}"#);
        assert_eq!(with_member("{}", "b", "2"), r#"{"b":2}"#);
    }

    #[test]
    fn a_member_is_left_out() {
        for (object, expected) in [
            (r#"{"a":1,"b":{"b":2},"c":3}"#, r#"{"a":1,"c":3}"#),
            (r#"{"b":2}"#, "{}"),
            (r#"{"a":{"b":2}}"#, r#"{"a":{"b":2}}"#),
        ] {
            assert_eq!(without_member(object.to_owned(), "b"), expected);
        }
    }

    #[test]
    fn broken_text_ends_the_walk() {
        for text in ["", "{", "{\"", "{\"a", "{\"a\"", "{\"a\":", "{\"a\":\"\\", "{\"a\":[", "x", "[1", "]"] {
            assert!(members(text).count() <= 1, "{text}");
            assert!(items(text).count() <= 1, "{text}");
        }
    }
}
