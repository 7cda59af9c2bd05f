//! A look at a mail's bytes before any of it is taken apart: whoever makes one with a hundred thousand parts, one inside the other,
//! costs us a look.

use std::borrow::Cow;

/// Parts that say what they are, which is also how deep one lies in the other.
pub(crate) const MOST_PARTS: usize = 300;

/// Lines that may divide parts.
const MOST_BORDERS: usize = 10_000;

/// A header with its folded lines, and all headers of all parts, in bytes; and how many of them.
pub(crate) const LONGEST_HEADER: usize = 32 << 10;
pub(crate) const MOST_HEADER_BYTES: usize = 256 << 10;
pub(crate) const MOST_HEADERS: usize = 5_000;

/// Servers that a mail went through (RFC 5321 §6.3): one that went through more goes round.
pub(crate) const MOST_HOPS: usize = 50;

/// Why a mail is not looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Parts,
    Headers,
    Hops,
    /// More than one header says whose it is (RFC 5322 §3.6): which one is shown, each reader decides for himself.
    Senders,
}

impl Refused {
    /// As the MTA is told it.
    pub(crate) fn line(self) -> &'static str {
        match self {
            Self::Parts => "5.6.0 too many parts",
            Self::Headers => "5.6.0 headers too many or too long",
            Self::Hops => "5.4.6 this mail goes round",
            // As large mail services answer it.
            Self::Senders => "5.7.1 more than one From header (RFC 5322, 3.6)",
        }
    }
}

/// Looks over a mail; the same mail again, with a type that is taken apart nowhere in place of mails that are encoded.
///
/// An encoded mail inside of another is against RFC 2046 §5.2.1; it becomes a file as it is.
pub(crate) fn look(raw: &[u8]) -> Result<Cow<'_, [u8]>, Refused> {
    look_as(raw, Scan { is_head: true, ..Scan::default() })
}

/// The same for a mail that lies in another one. How it came there is of no account.
pub(crate) fn look_within(raw: &[u8]) -> Result<Cow<'_, [u8]>, Refused> {
    look_as(raw, Scan { is_head: true, is_below: true, ..Scan::default() })
}

fn look_as(raw: &[u8], mut scan: Scan) -> Result<Cow<'_, [u8]>, Refused> {
    let mut encoded: Vec<usize> = Vec::new();
    let mut at = 0;
    for line in raw.split_inclusive(|byte| *byte == b'\n') {
        if line.trim_ascii().is_empty() {
            encoded.extend(scan.end_block());
        } else if line.starts_with(b"--") {
            encoded.extend(scan.border());
        } else {
            scan.line(line, at);
        }
        scan.judge()?;
        at += line.len();
    }
    encoded.extend(scan.end_block());
    if encoded.is_empty() {
        return Ok(raw.into());
    }
    let mut copy = raw.to_vec();
    for at in encoded {
        if let Some(place) = copy.get_mut(at..at + MAIL.len()) {
            place.copy_from_slice(OPAQUE);
        }
    }
    Ok(copy.into())
}

/// The type of a mail, and one as long that nobody knows.
const MAIL: &[u8] = b"message/rfc822";
const OPAQUE: &[u8] = b"message/x-mail";

#[derive(Default)]
struct Scan {
    parts: usize,
    borders: usize,
    headers: usize,
    /// Of all headers, and of the one that the last line belongs to.
    all_bytes: usize,
    header_bytes: usize,
    hops: usize,
    senders: usize,
    /// Whether the lines that stand together now may be read as headers, and whether they are the mail's own.
    is_head: bool,
    is_below: bool,
    /// Of them: whether there are any, whether the last is a type, whether one is the type of a mail within, where one
    /// says that it is a mail, and whether one says that it is encoded.
    has_lines: bool,
    is_type: bool,
    has_mail: bool,
    mail_at: Option<usize>,
    is_encoded: bool,
}

impl Scan {
    fn line(&mut self, line: &[u8], begin: usize) {
        let name = name(line);
        if name == b"content-type" {
            self.parts += 1;
        }
        if !self.is_head {
            return;
        }
        let is_folded = self.has_lines && line.first().is_some_and(u8::is_ascii_whitespace);
        self.has_lines = true;
        self.headers += usize::from(!is_folded);
        self.header_bytes = if is_folded { self.header_bytes + line.len() } else { line.len() };
        self.all_bytes += line.len();
        self.hops += usize::from(!self.is_below && name == b"received");
        self.senders += usize::from(!self.is_below && !is_folded && name == b"from");
        self.is_type = name == b"content-type" || is_folded && self.is_type;
        // Not any header that has the word in it: what follows upon `Message-ID` is a text, and may be long.
        self.has_mail |= self.is_type && find(line, b"message").is_some();
        if let Some(within) = find(line, MAIL) {
            self.mail_at = Some(begin + within);
        }
        if name == b"content-transfer-encoding" {
            self.is_encoded = find(line, b"base64").is_some() || find(line, b"quoted-printable").is_some();
        }
    }

    /// Ends the lines that stand together; where a mail begins among them that is encoded.
    fn end_block(&mut self) -> Option<usize> {
        // Headers follow on headers where a mail lies within; a part without any may be one in a digest.
        self.is_head = self.is_head && (self.has_mail || !self.has_lines);
        self.is_below = true;
        (self.has_lines, self.is_type, self.has_mail, self.header_bytes) = (false, false, false, 0);
        let is_encoded = std::mem::take(&mut self.is_encoded);
        self.mail_at.take().filter(|_| is_encoded)
    }

    /// A line that may divide parts: headers follow.
    fn border(&mut self) -> Option<usize> {
        self.borders += 1;
        let encoded = self.end_block();
        self.is_head = true;
        encoded
    }

    fn judge(&self) -> Result<(), Refused> {
        if self.parts > MOST_PARTS || self.borders > MOST_BORDERS {
            return Err(Refused::Parts);
        }
        if self.headers > MOST_HEADERS
            || self.header_bytes > LONGEST_HEADER
            || self.all_bytes > MOST_HEADER_BYTES
        {
            return Err(Refused::Headers);
        }
        if self.senders > 1 {
            return Err(Refused::Senders);
        }
        if self.hops > MOST_HOPS { Err(Refused::Hops) } else { Ok(()) }
    }
}

/// The name of a header as lenient readers find it: blanks do not count, nor marks before it. Longer ones than any are cut.
fn name(line: &[u8]) -> Vec<u8> {
    let is_blank = |byte: &u8| byte.is_ascii_whitespace();
    let begun = line.iter().skip_while(|byte| is_blank(byte) || **byte == b':');
    let name = begun.take_while(|byte| **byte != b':').filter(|byte| !is_blank(byte));
    name.take(40).map(u8::to_ascii_lowercase).collect()
}

fn find(line: &[u8], word: &[u8]) -> Option<usize> {
    line.windows(word.len()).position(|window| window.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_of_too_many_parts_or_headers_is_not_looked_into() {
        let nested = "Content-Type: message/rfc822\r\n\r\n".repeat(200_000);
        assert_eq!(look(nested.as_bytes()), Err(Refused::Parts));
        let empty = "--x\r\n\r\n".repeat(200_000);
        assert_eq!(look(empty.as_bytes()), Err(Refused::Parts));
        let headers = "A: b\r\n".repeat(MOST_HEADERS + 1);
        assert_eq!(look(headers.as_bytes()), Err(Refused::Headers));
        let evasive = "Con tent-Type: message/rfc822\r\n\r\n: content-type: message/rfc822\r\n\r\n";
        assert_eq!(look(evasive.repeat(MOST_PARTS).as_bytes()), Err(Refused::Parts));
        let many = format!("Subject: x\r\n{}", "A: bbbbbbbbbb\r\nx\r\n".repeat(MOST_HEADERS));
        assert_eq!(look(many.as_bytes()), Err(Refused::Headers));
        let body = format!("A: b\r\n\r\n{}", "12:00 a line of a log\r\n".repeat(20_000));
        assert!(look(body.as_bytes()).is_ok(), "no header");
        // A text, an HTML page and a file without an empty line, behind headers with the word.
        for body in [
            "> a\r\n".repeat(20_000),
            "a".repeat(4_000_000),
            format!("{}\r\n", "A".repeat(76)).repeat(10_000),
        ] {
            let mail = format!("Message-ID: <1@x>\r\nContent-Type: text/html; name=x\r\n\r\n{body}");
            assert!(look(mail.as_bytes()).is_ok());
            let part = "--x\r\nContent-Disposition: attachment; filename=message.pdf\r\n\r\n";
            assert!(look(format!("A: b\r\n\r\n{part}{body}").as_bytes()).is_ok());
        }
        let within = format!(
            "A: b\r\n\r\n--x\r\nContent-Type:\r\n message/rfc822\r\n\r\n{}",
            "A: b\r\n".repeat(MOST_HEADERS)
        );
        assert_eq!(look(within.as_bytes()), Err(Refused::Headers));
        let long = format!("Subject: x\r\n{}", " y\r\n".repeat(LONGEST_HEADER / 4));
        assert_eq!(look(long.as_bytes()), Err(Refused::Headers));
        let names: String = (0..8_192).map(|number| format!(" filename*{number}=a;\r\n")).collect();
        assert_eq!(
            look(format!("Content-Disposition: attachment;\r\n{names}").as_bytes()),
            Err(Refused::Headers)
        );
        let hops = "Received: from a by b\r\n".repeat(MOST_HOPS + 1);
        assert_eq!(look(hops.as_bytes()), Err(Refused::Hops));
        let quoted = format!("A: b\r\n\r\n{}", hops.replace("Received", "> Received"));
        assert!(look(quoted.as_bytes()).is_ok());
    }

    #[test]
    fn a_mail_within_that_is_encoded_becomes_a_file() {
        let raw = b"A: b\r\n\r\n--x\r\nContent-Type: Message/RFC822\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n";
        let looked = look(raw).expect("taken");
        assert!(find(&looked, OPAQUE).is_some() && find(&looked, MAIL).is_none());
        let plain = b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nA: b\r\n";
        assert_eq!(look(plain).as_deref(), Ok(&plain[..]));
    }
}
