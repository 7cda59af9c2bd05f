//! Canonical JSON: reading it strictly and writing the one spelling that is hashed and signed.
//!
//! Events are hashed and signed as bytes, so what we accept must have exactly one meaning: duplicate
//! keys, invalid UTF-8, lone surrogates and (from room version 6) anything but integers between
//! −(2⁵³−1) and 2⁵³−1 are refused. Nesting is bounded, so that no input can exhaust the stack here
//! or in readers after us.
//!
//! Spec: <https://spec.matrix.org/v1.19/appendices/#canonical-json>

use std::borrow::Cow;

use crate::float;

/// The deepest nesting that is accepted from others, counting the outermost object as 1.
///
/// The specification names no limit, and an event that others accept and we refuse leaves a hole in our part of
/// the room. So this is far above what readers elsewhere manage in practice: serde_json 127 levels, Python (Synapse)
/// several hundred; Go stops at 10,000. It is what 2 MiB of stack bear without care.
pub const MAX_NESTING: usize = 500;

/// The deepest nesting of events that are made here.
///
/// What we say must be readable for all. Readers built on serde_json stop at 127, and where a whole `/sync` answer is
/// read at once, an event stands six levels deep in it.
pub const MAX_OWN_NESTING: usize = 121;

/// The largest integer of canonical JSON, 2⁵³ − 1.
pub const MAX_SAFE_INTEGER: i64 = (1 << 53) - 1;

/// Why bytes are not acceptable JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault} at byte {offset}")]
pub struct JsonError {
    /// Where reading stopped.
    pub offset: usize,
    /// What is wrong there.
    pub fault: JsonFault,
}

/// The kinds of [`JsonError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    /// The bytes are not UTF-8.
    #[error("invalid UTF-8")]
    Utf8,
    /// Not JSON.
    #[error("malformed JSON")]
    Syntax,
    /// Something follows the value.
    #[error("trailing characters")]
    Trailing,
    /// An object names a key twice.
    #[error("duplicate key")]
    DuplicateKey,
    /// A number with a fraction, an exponent or a negative zero where only integers are allowed.
    #[error("a number that is not an integer")]
    NotAnInteger,
    /// An integer outside ±(2⁵³−1).
    #[error("an integer out of range")]
    IntegerRange,
    /// A string with an invalid escape, a control character or half a surrogate pair.
    #[error("an invalid string")]
    String,
    /// Nested more than [`MAX_NESTING`] deep, or [`MAX_OWN_NESTING`] where it is ours.
    #[error("nested too deeply")]
    Nesting,
}

/// Which numbers are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// Only integers of the safe range: room version 6 and later, and everything that is not an event.
    Strict,
    /// Any JSON number, written as the first servers did: room versions 3 to 5.
    Lax,
}

/// A JSON value that borrows from the text it was read from.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// An integer of the safe range.
    Integer(i64),
    /// Another number, in its canonical spelling; only read with [`Numbers::Lax`].
    Number(String),
    /// A string without its escapes.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Value<'a>>),
    /// An object, sorted by key, without duplicates.
    Object(Vec<(Cow<'a, str>, Value<'a>)>),
}

/// Reads one JSON value, which must be all there is.
///
/// # Errors
/// [`JsonError`] as described in the module.
pub fn parse(bytes: &[u8], numbers: Numbers) -> Result<Value<'_>, JsonError> {
    parse_within(bytes, numbers, MAX_NESTING)
}

/// As [`parse`], with another limit of nesting.
///
/// # Errors
/// As [`parse`].
pub(crate) fn parse_within(bytes: &[u8], numbers: Numbers, nesting: usize) -> Result<Value<'_>, JsonError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| JsonError { offset: error.valid_up_to(), fault: JsonFault::Utf8 })?;
    let mut reader = Reader { text, at: 0, numbers, nesting };
    let value = reader.value(0)?;
    reader.skip_space();
    if reader.at != text.len() {
        return Err(reader.fault(JsonFault::Trailing));
    }
    Ok(value)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    numbers: Numbers,
    nesting: usize,
}

impl<'a> Reader<'a> {
    fn fault(&self, fault: JsonFault) -> JsonError {
        JsonError { offset: self.at, fault }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        Err(self.fault(JsonFault::Syntax))
    }

    fn word(&mut self, word: &str, value: Value<'a>) -> Result<Value<'a>, JsonError> {
        if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(value);
        }
        Err(self.fault(JsonFault::Syntax))
    }

    fn value(&mut self, depth: usize) -> Result<Value<'a>, JsonError> {
        self.skip_space();
        match self.peek() {
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => Err(self.fault(JsonFault::Syntax)),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value<'a>, JsonError> {
        if depth > self.nesting {
            return Err(self.fault(JsonFault::Nesting));
        }
        let start = self.at;
        self.at += 1;
        let mut members: Vec<(Cow<'a, str>, Value<'a>)> = Vec::new();
        let mut sorted = true;
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(members));
        }
        loop {
            self.skip_space();
            let key = self.string()?;
            self.skip_space();
            self.expect(b':')?;
            let value = self.value(depth)?;
            sorted = sorted && members.last().is_none_or(|(last, _)| *last < key);
            members.push((key, value));
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return Err(self.fault(JsonFault::Syntax)),
            }
        }
        self.at += 1;
        if !sorted {
            members.sort_by(|a, b| a.0.cmp(&b.0));
            if members.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                return Err(JsonError { offset: start, fault: JsonFault::DuplicateKey });
            }
        }
        Ok(Value::Object(members))
    }

    fn array(&mut self, depth: usize) -> Result<Value<'a>, JsonError> {
        if depth > self.nesting {
            return Err(self.fault(JsonFault::Nesting));
        }
        self.at += 1;
        let mut items = Vec::new();
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value(depth)?);
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return Err(self.fault(JsonFault::Syntax)),
            }
        }
        self.at += 1;
        Ok(Value::Array(items))
    }

    /// Reads a string; the position is at its opening quote.
    fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            match self.peek() {
                Some(b'"') => {
                    let plain = &self.text[start..self.at];
                    self.at += 1;
                    return Ok(Cow::Borrowed(plain));
                }
                Some(b'\\') => break,
                Some(0..=0x1f) | None => return Err(self.fault(JsonFault::String)),
                Some(_) => self.at += 1,
            }
        }
        let mut owned = self.text[start..self.at].to_owned();
        loop {
            let run = self.at;
            while matches!(self.peek(), Some(byte) if byte != b'"' && byte != b'\\' && byte > 0x1f) {
                self.at += 1;
            }
            owned.push_str(&self.text[run..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(owned));
                }
                Some(b'\\') => owned.push(self.escape()?),
                _ => return Err(self.fault(JsonFault::String)),
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        self.at += 1;
        let byte = self.peek().ok_or_else(|| self.fault(JsonFault::String))?;
        self.at += 1;
        Ok(match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex4()?;
                if !(0xd800..0xdc00).contains(&first) {
                    // A low half alone is no character either.
                    return char::from_u32(first).ok_or_else(|| self.fault(JsonFault::String));
                }
                self.expect(b'\\')
                    .and_then(|()| self.expect(b'u'))
                    .map_err(|_| self.fault(JsonFault::String))?;
                let second = self.hex4()?;
                if !(0xdc00..0xe000).contains(&second) {
                    return Err(self.fault(JsonFault::String));
                }
                let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return char::from_u32(code).ok_or_else(|| self.fault(JsonFault::String));
            }
            _ => return Err(self.fault(JsonFault::String)),
        })
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            code = code * 16 + digit.ok_or_else(|| self.fault(JsonFault::String))?;
            self.at += 1;
        }
        Ok(code)
    }

    fn number(&mut self) -> Result<Value<'a>, JsonError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.fault(JsonFault::Syntax)),
        }
        let mut integer = true;
        if self.peek() == Some(b'.') {
            integer = false;
            self.at += 1;
            self.some_digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            integer = false;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.some_digits()?;
        }
        let text = &self.text[start..self.at];
        let fault = |fault| JsonError { offset: start, fault };
        if integer && text != "-0" {
            let small =
                text.parse::<i64>().ok().filter(|n| n.unsigned_abs() <= MAX_SAFE_INTEGER.unsigned_abs());
            return match (small, self.numbers) {
                (Some(number), _) => Ok(Value::Integer(number)),
                (None, Numbers::Strict) => Err(fault(JsonFault::IntegerRange)),
                (None, Numbers::Lax) => Ok(Value::Number(text.to_owned())),
            };
        }
        match self.numbers {
            Numbers::Strict => Err(fault(JsonFault::NotAnInteger)),
            Numbers::Lax if integer => Ok(Value::Integer(0)),
            Numbers::Lax => float::canonical(text).map(Value::Number).ok_or_else(|| fault(JsonFault::Syntax)),
        }
    }

    fn digits(&mut self) {
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    fn some_digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        self.digits();
        if self.at == start { Err(self.fault(JsonFault::Syntax)) } else { Ok(()) }
    }
}

impl Value<'_> {
    /// Writes the canonical spelling to the end of `out`.
    pub fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(true) => out.push_str("true"),
            Self::Bool(false) => out.push_str("false"),
            Self::Integer(number) => write_integer(*number, out),
            Self::Number(number) => out.push_str(number),
            Self::String(text) => write_string(text, out),
            Self::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (index, (key, value)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    write_string(key, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// Writes a string with its quotes and the fewest escapes, as canonical JSON wants them.
pub fn write_string(text: &str, out: &mut String) {
    out.push('"');
    let mut plain = 0;
    for (index, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            0x08 => "\\b",
            0x09 => "\\t",
            0x0a => "\\n",
            0x0c => "\\f",
            0x0d => "\\r",
            0..=0x1f => "",
            _ => continue,
        };
        out.push_str(&text[plain..index]);
        plain = index + 1;
        if escape.is_empty() {
            const HEX: [char; 16] =
                ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
            out.push_str("\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        } else {
            out.push_str(escape);
        }
    }
    out.push_str(&text[plain..]);
    out.push('"');
}

/// Writes an integer.
pub fn write_integer(number: i64, out: &mut String) {
    use std::fmt::Write as _;
    // Writing to a `String` cannot fail.
    write!(out, "{number}").unwrap_or_default();
}

/// Reads JSON and writes its canonical form.
///
/// # Errors
/// As [`parse`].
pub fn canonicalize(bytes: &[u8], numbers: Numbers) -> Result<String, JsonError> {
    let mut out = String::with_capacity(bytes.len());
    parse(bytes, numbers)?.write(&mut out);
    Ok(out)
}
