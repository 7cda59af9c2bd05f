//! Messages of a directory as they come over the wire, looked at before anybody takes them apart.
//!
//! The library that speaks LDAP for us believes what a directory sends: it panics where a field is missing, goes as deep as
//! values stand in values, and waits for as many bytes as are announced. So each message is gone through here first. What
//! passes has one of five shapes that were asked for, with definite lengths, texts that are UTF-8, and nothing nested that
//! the shape does not have.
//!
//! Spec: <https://www.rfc-editor.org/rfc/rfc4511#section-4.1>, with the encoding of section 5.1

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Which operation a message answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `BindResponse`.
    Bound,
    /// `SearchResultEntry`.
    Entry,
    /// `SearchResultReference`.
    Reference,
    /// `SearchResultDone`.
    Done,
    /// `ExtendedResponse`.
    Extended,
}

impl Shape {
    /// Whether nothing more comes for the request.
    pub(crate) fn is_last(self) -> bool {
        !matches!(self, Self::Entry | Self::Reference)
    }
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// The number of the request that it answers; 0 is an answer to none.
    pub(crate) id: u32,
    /// Its shape.
    pub(crate) shape: Shape,
    /// The result code, where it has one.
    pub(crate) code: Option<u32>,
}

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const BOOLEAN: u8 = 0x01;
const ENUMERATED: u8 = 0x0a;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const CONTROLS: u8 = 0xa0;
const REFERRAL: u8 = 0xa3;

/// Values of an entry, each of which takes far more than its two bytes once it is taken apart.
const MOST_VALUES: usize = 200_000;

/// The control of paged results (RFC 2696).
const PAGED: &str = "1.2.840.113556.1.4.319";

/// How long the message is that begins here, with its head; nothing while the head is not there.
pub(crate) fn length(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    match bytes.first() {
        None => return Ok(None),
        Some(&SEQUENCE) => {}
        Some(_) => return Err(Malformed("it is no message of LDAP")),
    }
    match head(bytes)? {
        Some((begin, length)) => Ok(Some(begin.saturating_add(length))),
        None => Ok(None),
    }
}

/// Where a value begins behind its tag, and how long it is; nothing while that is not there.
fn head(bytes: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    if bytes.first().is_some_and(|tag| tag & 0x1f == 0x1f) {
        return Err(Malformed("a tag of several bytes"));
    }
    let Some(&first) = bytes.get(1) else { return Ok(None) };
    match first {
        0..=0x7f => Ok(Some((2, usize::from(first)))),
        0x81..=0x84 => {
            let count = usize::from(first & 0x0f);
            let Some(digits) = bytes.get(2..2 + count) else { return Ok(None) };
            let length = digits.iter().fold(0_u32, |length, byte| length << 8 | u32::from(*byte));
            let length = usize::try_from(length).map_err(|_| Malformed("a length without end"))?;
            Ok(Some((2 + count, length)))
        }
        _ => Err(Malformed("a length without end")),
    }
}

/// Values one after another.
struct Values<'a>(&'a [u8]);

impl<'a> Values<'a> {
    /// The next value with its tag; nothing at the end.
    fn next(&mut self) -> Result<Option<(u8, &'a [u8])>, Malformed> {
        let Some(&tag) = self.0.first() else { return Ok(None) };
        let short = Malformed("a value that is cut");
        let (begin, length) = head(self.0)?.ok_or(short)?;
        let end = begin.checked_add(length).ok_or(short)?;
        let value = self.0.get(begin..end).ok_or(short)?;
        self.0 = self.0.get(end..).unwrap_or_default();
        Ok(Some((tag, value)))
    }

    /// The next value, which has this tag.
    fn expect(&mut self, tag: u8) -> Result<&'a [u8], Malformed> {
        match self.next()? {
            Some((found, value)) if found == tag => Ok(value),
            _ => Err(Malformed("a value is missing or of another type")),
        }
    }

    /// That nothing is left.
    fn end(mut self) -> Result<(), Malformed> {
        match self.next()? {
            None => Ok(()),
            Some(_) => Err(Malformed("a value too many")),
        }
    }
}

fn number(value: &[u8]) -> Result<u32, Malformed> {
    match value {
        [first, ..] if value.len() <= 4 && first & 0x80 == 0 => {
            Ok(value.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
        }
        _ => Err(Malformed("a number out of its range")),
    }
}

fn text(value: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(value).map_err(|_| Malformed("a text that is not UTF-8"))
}

/// Goes through a message.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(message: &[u8]) -> Result<Message, Malformed> {
    let mut whole = Values(message);
    let mut parts = Values(whole.expect(SEQUENCE)?);
    whole.end()?;
    let id = number(parts.expect(INTEGER)?)?;
    let (tag, body) = parts.next()?.ok_or(Malformed("a message without content"))?;
    let (shape, code) = match tag {
        0x61 => (Shape::Bound, Some(result(body)?)),
        0x64 => {
            entry(body)?;
            (Shape::Entry, None)
        }
        0x65 => (Shape::Done, Some(result(body)?)),
        0x73 => {
            texts(body)?;
            (Shape::Reference, None)
        }
        0x78 => (Shape::Extended, Some(result(body)?)),
        _ => return Err(Malformed("an answer that nobody asked for")),
    };
    if let Some((tag, body)) = parts.next()? {
        // Active Directory writes the name of its notice of disconnection there.
        let is_name = tag == 0x8a && shape == Shape::Extended;
        if tag == CONTROLS {
            controls(body)?;
        } else if !is_name {
            return Err(Malformed("a value too many"));
        }
    }
    parts.end()?;
    Ok(Message { id, shape, code })
}

/// `LDAPResult` with what the answers add to it; its code.
fn result(body: &[u8]) -> Result<u32, Malformed> {
    let mut fields = Values(body);
    let code = number(fields.expect(ENUMERATED)?)?;
    text(fields.expect(OCTETS)?)?;
    text(fields.expect(OCTETS)?)?;
    while let Some((tag, value)) = fields.next()? {
        match tag {
            REFERRAL => texts(value)?,
            // The name of an extended answer, its value, and what a bind leaves to the client.
            0x8a => {
                text(value)?;
            }
            0x87 | 0x8b => {}
            _ => return Err(Malformed("a result with an unknown field")),
        }
    }
    Ok(code)
}

fn entry(body: &[u8]) -> Result<(), Malformed> {
    let mut fields = Values(body);
    text(fields.expect(OCTETS)?)?;
    let mut attributes = Values(fields.expect(SEQUENCE)?);
    fields.end()?;
    let mut count = 0;
    while let Some((tag, attribute)) = attributes.next()? {
        count += 1;
        if tag != SEQUENCE {
            return Err(Malformed("an attribute of another type"));
        }
        let mut attribute = Values(attribute);
        text(attribute.expect(OCTETS)?)?;
        let mut values = Values(attribute.expect(SET)?);
        attribute.end()?;
        while let Some((tag, _)) = values.next()? {
            count += 1;
            if count > MOST_VALUES {
                return Err(Malformed("an entry with too many values"));
            }
            if tag != OCTETS {
                return Err(Malformed("a value of another type"));
            }
        }
    }
    Ok(())
}

fn texts(body: &[u8]) -> Result<(), Malformed> {
    let mut all = Values(body);
    while let Some((tag, value)) = all.next()? {
        if tag != OCTETS {
            return Err(Malformed("a reference of another type"));
        }
        text(value)?;
    }
    Ok(())
}

fn controls(body: &[u8]) -> Result<(), Malformed> {
    let mut all = Values(body);
    while let Some((tag, control)) = all.next()? {
        if tag != SEQUENCE {
            return Err(Malformed("a control of another type"));
        }
        let mut fields = Values(control);
        let name = text(fields.expect(OCTETS)?)?;
        let mut next = fields.next()?;
        if let Some((BOOLEAN, value)) = next {
            if value.len() != 1 {
                return Err(Malformed("a control of another type"));
            }
            next = fields.next()?;
        }
        match next {
            Some((OCTETS, value)) if name == PAGED => paged(value)?,
            None if name == PAGED => return Err(Malformed("a page without a place")),
            Some((OCTETS, _)) | None => {}
            Some(_) => return Err(Malformed("a control of another type")),
        }
        fields.end()?;
    }
    Ok(())
}

/// The value of the control of paged results: an estimate and a cookie.
fn paged(value: &[u8]) -> Result<(), Malformed> {
    let mut whole = Values(value);
    let mut fields = Values(whole.expect(SEQUENCE)?);
    whole.end()?;
    number(fields.expect(INTEGER)?)?;
    fields.expect(OCTETS)?;
    fields.end()
}

/// The number of a request of ours.
pub(crate) fn request(message: &[u8]) -> Option<u32> {
    let mut parts = Values(Values(message).expect(SEQUENCE).ok()?);
    number(parts.expect(INTEGER).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bind's answer with code 49, and an entry with one attribute.
    const BOUND: &[u8] = b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x31\x04\x00\x04\x00";
    const ENTRY: &[u8] =
        b"\x30\x18\x02\x01\x02\x64\x13\x04\x04cn=a\x30\x0b\x30\x09\x04\x02cn\x31\x03\x04\x01a";

    #[test]
    fn what_directories_send_is_read() {
        assert_eq!(check(BOUND), Ok(Message { id: 1, shape: Shape::Bound, code: Some(49) }));
        assert_eq!(check(ENTRY), Ok(Message { id: 2, shape: Shape::Entry, code: None }));
        assert_eq!(length(ENTRY), Ok(Some(ENTRY.len())));
        assert_eq!(length(b"\x30"), Ok(None));
        assert_eq!(length(b"\x30\x84\x00\x00"), Ok(None));
        assert_eq!(length(b"\x30\x84\x7f\xff\xff\xff"), Ok(Some(0x8000_0005)));
        // Active Directory pads lengths.
        let long = [b"\x30\x84\x00\x00\x00\x0c".as_slice(), &BOUND[2..]].concat();
        assert_eq!(check(&long).map(|message| message.code), Ok(Some(49)));
    }

    #[test]
    fn nothing_else_is() {
        for wrong in [
            b"".as_slice(),
            b"\x30\x80\x00\x00",
            b"\x30\x00",
            b"\x30\x03\x02\x01\x01",
            b"\x02\x01\x01",
            // An integer of no bytes, one below zero, one of five bytes.
            b"\x30\x0b\x02\x00\x61\x07\x0a\x01\x31\x04\x00\x04\x00",
            b"\x30\x0c\x02\x01\xff\x61\x07\x0a\x01\x31\x04\x00\x04\x00",
            // Lists in lists where a text has to be.
            b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x31\x24\x00\x04\x00",
            // A text that is not UTF-8.
            b"\x30\x0d\x02\x01\x01\x61\x08\x0a\x01\x31\x04\x01\xff\x04\x00",
            // A request.
            b"\x30\x05\x02\x01\x01\x42\x00",
            // An intermediate answer, which nobody asked for.
            b"\x30\x05\x02\x01\x01\x79\x00",
        ] {
            assert!(check(wrong).is_err(), "{wrong:x?}");
        }
        assert!(length(b"GET / HTTP/1.1").is_err());
        assert!(length(b"\x30\x85\x01\x01\x01\x01\x01").is_err());
        for cut in 0..ENTRY.len() {
            assert!(check(&ENTRY[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn a_page_has_a_place() {
        let with = |control: &[u8]| {
            let body = [b"\x02\x01\x03\x65\x07\x0a\x01\x00\x04\x00\x04\x00".as_slice(), control].concat();
            let length = u8::try_from(body.len()).unwrap_or_default();
            check(&[&[0x30, length], body.as_slice()].concat())
        };
        let name = b"\x04\x161.2.840.113556.1.4.319";
        let good = [b"\xa0\x23\x30\x21".as_slice(), name, b"\x04\x07\x30\x05\x02\x01\x00\x04\x00"].concat();
        assert!(with(&good).is_ok());
        let bare = [b"\xa0\x1a\x30\x18".as_slice(), name].concat();
        assert_eq!(with(&bare), Err(Malformed("a page without a place")));
        let wrong = [b"\xa0\x1d\x30\x1b".as_slice(), name, b"\x04\x01x"].concat();
        assert!(with(&wrong).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_break_it(bytes: Vec<u8>) {
            let _read = (check(&bytes), length(&bytes), request(&bytes));
        }

        #[test]
        fn no_byte_of_a_message_breaks_it_when_it_is_another(at in 0..ENTRY.len(), byte: u8) {
            let mut entry = ENTRY.to_vec();
            entry[at] = byte;
            let _read = check(&entry);
        }
    }
}
