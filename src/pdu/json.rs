//! Canonical JSON: reading it strictly and writing the one spelling that is hashed and signed.
//!
//! Events are hashed and signed as bytes, so what we accept must have exactly one meaning: duplicate
//! keys, invalid UTF-8, lone surrogates and (from room version 6) anything but integers between
//! −(2⁵³−1) and 2⁵³−1 are refused. Nesting is bounded, so that no input can exhaust the stack here
//! or in readers after us.
//!
//! Spec: <https://spec.matrix.org/v1.19/appendices/#canonical-json>

use std::{borrow::Cow, ops::Range};

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
    /// More than 4 GiB.
    #[error("too long")]
    TooLong,
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

/// Reads one JSON value, which must be all there is, and writes its canonical form.
///
/// Beside text and result it takes some bytes for each member of an object whose keys are out of order.
///
/// # Errors
/// [`JsonError`] as described in the module.
pub fn canonicalize(bytes: &[u8], numbers: Numbers) -> Result<String, JsonError> {
    canonicalize_within(bytes, numbers, MAX_NESTING)
}

/// As [`canonicalize`], with another limit of nesting.
///
/// # Errors
/// As [`canonicalize`].
pub(crate) fn canonicalize_within(
    bytes: &[u8],
    numbers: Numbers,
    nesting: usize,
) -> Result<String, JsonError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| JsonError { offset: error.valid_up_to(), fault: JsonFault::Utf8 })?;
    if u32::try_from(text.len()).is_err() {
        return Err(JsonError { offset: 0, fault: JsonFault::TooLong });
    }
    let reader = Reader { text, at: 0 };
    let out = String::with_capacity(text.len());
    let mut writer =
        Writer { reader, numbers, nesting, out, open: Vec::new(), disorder: Disorder::default() };
    writer.value(0)?;
    writer.reader.skip_space();
    if writer.reader.at != text.len() {
        return Err(writer.reader.fault(JsonFault::Trailing));
    }
    if !writer.disorder.objects.is_empty() {
        writer.disorder.objects.sort_unstable_by_key(|object| object.start);
        writer.disorder.is_complete = true;
        writer.reader.at = 0;
        writer.out.clear();
        writer.value(0)?;
    }
    Ok(writer.out)
}

/// The text of a string, of which `raw` is the whole spelling with its quotes.
pub(crate) fn read_string(raw: &str) -> Option<Cow<'_, str>> {
    let mut reader = Reader { text: raw, at: 0 };
    reader.string().ok().filter(|_| reader.at == raw.len())
}

/// Writes canonical JSON while it reads.
struct Writer<'a> {
    reader: Reader<'a>,
    numbers: Numbers,
    nesting: usize,
    out: String,
    /// Where the members of the objects that are being read begin, the innermost object's last.
    open: Vec<Place>,
    disorder: Disorder,
}

/// A place in the text. There may be many of them, so they are small.
type Place = u32;

/// The objects whose keys are out of order.
#[derive(Default)]
struct Disorder {
    /// Sorted by `start` when it is complete.
    objects: Vec<Disordered>,
    /// Where their members begin, in the order of the keys; those of an object stand together.
    members: Vec<Place>,
    /// Whether the whole text was read.
    is_complete: bool,
}

/// One of them.
struct Disordered {
    /// Where it begins in the text.
    start: Place,
    /// Its members among [`Disorder::members`].
    members: Range<u32>,
}

impl Disorder {
    /// The members of the object that begins at `start`, if it is one of these and all of them are known.
    fn of(&self, start: Place) -> Option<Range<usize>> {
        if !self.is_complete {
            return None;
        }
        let at = self.objects.binary_search_by_key(&start, |object| object.start).ok()?;
        let Range { start, end } = self.objects.get(at)?.members;
        Some(index(start)..index(end))
    }
}

impl<'a> Writer<'a> {
    fn value(&mut self, depth: usize) -> Result<(), JsonError> {
        self.reader.skip_space();
        match self.reader.peek() {
            Some(b'{' | b'[') if depth >= self.nesting => Err(self.reader.fault(JsonFault::Nesting)),
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => self.string().map(|_| ()),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            _ => Err(self.reader.fault(JsonFault::Syntax)),
        }
    }

    /// Reads and writes a string; returns its text.
    fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        let text = self.reader.string()?;
        match &text {
            // It had no escapes, and so it needs none.
            Cow::Borrowed(plain) => {
                self.out.push('"');
                self.out.push_str(plain);
                self.out.push('"');
            }
            Cow::Owned(text) => write_string(text, &mut self.out),
        }
        Ok(text)
    }

    fn word(&mut self, word: &str) -> Result<(), JsonError> {
        self.reader.word(word)?;
        self.out.push_str(word);
        Ok(())
    }

    fn number(&mut self) -> Result<(), JsonError> {
        let start = self.reader.at;
        let (text, is_integer) = self.reader.number()?;
        let fault = |fault| Err(JsonError { offset: start, fault });
        if is_integer && text != "-0" {
            let is_safe =
                text.parse::<i64>().is_ok_and(|n| n.unsigned_abs() <= MAX_SAFE_INTEGER.unsigned_abs());
            if !is_safe && self.numbers == Numbers::Strict {
                return fault(JsonFault::IntegerRange);
            }
            self.out.push_str(text);
            return Ok(());
        }
        match self.numbers {
            Numbers::Strict => return fault(JsonFault::NotAnInteger),
            Numbers::Lax if is_integer => self.out.push('0'),
            Numbers::Lax => match float::canonical(text) {
                Some(number) => self.out.push_str(&number),
                None => return fault(JsonFault::Syntax),
            },
        }
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Result<(), JsonError> {
        self.reader.at += 1;
        self.out.push('[');
        self.reader.skip_space();
        if self.reader.peek() != Some(b']') {
            self.value(depth)?;
            while self.reader.goes_on(b']')? {
                self.out.push(',');
                self.value(depth)?;
            }
        }
        self.reader.at += 1;
        self.out.push(']');
        Ok(())
    }

    fn object(&mut self, depth: usize) -> Result<(), JsonError> {
        let start = place(self.reader.at);
        self.out.push('{');
        match self.disorder.of(start) {
            Some(members) => self.members_in_order(members, depth)?,
            None => self.members(start, depth)?,
        }
        self.out.push('}');
        Ok(())
    }

    /// Writes the members of an object as they come, and notes it if they should come otherwise.
    fn members(&mut self, start: Place, depth: usize) -> Result<(), JsonError> {
        let first = self.open.len();
        let mut last: Option<Cow<'a, str>> = None;
        let (mut is_sorted, mut has_escapes) = (true, false);
        self.reader.at += 1;
        self.reader.skip_space();
        if self.reader.peek() != Some(b'}') {
            loop {
                self.reader.skip_space();
                self.open.push(place(self.reader.at));
                let key = self.member(depth)?;
                has_escapes |= matches!(key, Cow::Owned(_));
                is_sorted = is_sorted && last.is_none_or(|last| last < key);
                last = Some(key);
                if !self.reader.goes_on(b'}')? {
                    break;
                }
                self.out.push(',');
            }
        }
        self.reader.at += 1;
        if !is_sorted {
            self.note(start, first, has_escapes)?;
        }
        self.open.truncate(first);
        Ok(())
    }

    /// Reads and writes a member; returns its key.
    fn member(&mut self, depth: usize) -> Result<Cow<'a, str>, JsonError> {
        let key = self.string()?;
        self.reader.skip_space();
        self.reader.expect(b':')?;
        self.out.push(':');
        self.value(depth)?;
        Ok(key)
    }

    /// Notes the order of the object that begins at `start` and whose members are those from `first` on.
    fn note(&mut self, start: Place, first: usize, has_escapes: bool) -> Result<(), JsonError> {
        let begin = self.disorder.members.len();
        self.disorder.members.extend(self.open.drain(first..));
        let members = self.disorder.members.get_mut(begin..).unwrap_or_default();
        let text = self.reader.text;
        if has_escapes {
            members.sort_by_cached_key(|at| key_at(text, *at));
        } else {
            // These are found again faster than they are kept.
            members.sort_unstable_by(|a, b| key_at(text, *a).cmp(&key_at(text, *b)));
        }
        let is_same = |pair: &[Place]| matches!(pair, [a, b] if key_at(text, *a) == key_at(text, *b));
        if members.windows(2).any(is_same) {
            return Err(JsonError { offset: index(start), fault: JsonFault::DuplicateKey });
        }
        // There are fewer members than bytes.
        let members = place(begin)..place(self.disorder.members.len());
        self.disorder.objects.push(Disordered { start, members });
        Ok(())
    }

    fn members_in_order(&mut self, members: Range<usize>, depth: usize) -> Result<(), JsonError> {
        let mut end = self.reader.at;
        for member in members.clone() {
            if member > members.start {
                self.out.push(',');
            }
            self.reader.at = self.disorder.members.get(member).map_or(end, |member| index(*member));
            self.member(depth)?;
            end = end.max(self.reader.at);
        }
        self.reader.at = end;
        self.reader.skip_space();
        self.reader.expect(b'}')
    }
}

/// An index of a text whose length was looked at.
fn place(index: usize) -> Place {
    Place::try_from(index).unwrap_or(Place::MAX)
}

fn index(place: Place) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

/// The key that begins there, in a text that was read before.
fn key_at(text: &str, at: Place) -> Cow<'_, str> {
    let at = index(at);
    let inside = text.get(at + 1..).unwrap_or_default();
    match inside.find('"').and_then(|end| inside.get(..end)) {
        Some(plain) if !plain.contains('\\') => Cow::Borrowed(plain),
        _ => Reader { text, at }.string().unwrap_or_default(),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
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

    fn word(&mut self, word: &str) -> Result<(), JsonError> {
        if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(());
        }
        Err(self.fault(JsonFault::Syntax))
    }

    /// Whether another item of a list follows; the position is then after the comma, else at `end`.
    fn goes_on(&mut self, end: u8) -> Result<bool, JsonError> {
        self.skip_space();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(byte) if byte == end => Ok(false),
            _ => Err(self.fault(JsonFault::Syntax)),
        }
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

    /// Reads a number; tells whether it has neither fraction nor exponent.
    fn number(&mut self) -> Result<(&'a str, bool), JsonError> {
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
        Ok((&self.text[start..self.at], integer))
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

/// As [`write_string`], into bytes.
pub fn write_str(out: &mut Vec<u8>, text: &str) {
    // All are looked at, so that many are at once.
    if text.bytes().fold(true, |plain, byte| plain & (byte >= 0x20) & (byte != b'"') & (byte != b'\\')) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    let mut escaped = String::new();
    write_string(text, &mut escaped);
    out.extend_from_slice(escaped.as_bytes());
}

/// Writes a number.
pub fn write_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] += u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}
