//! [`Letter`]: what a mail says, as text that a room can show.
//!
//! Nothing here trusts what a mail says of itself: the address of the sender is always shown, without marks that turn text
//! around, and it counts as proved only by what the MTA of the configuration noted.

use std::panic::{AssertUnwindSafe, catch_unwind};

use mail_parser::{
    Address, Header, HeaderName, HeaderValue, Message, MessageParser, MessagePart, MimeHeaders, PartType,
    decoders::quoted_printable::quoted_printable_decode,
};
use sha2::{Digest, Sha256};

use crate::{
    charset,
    flowed::{self, Blank},
    header, page,
    scan::{self, Refused},
    tnef, uuencoded,
};

/// Shown of a subject, a name, a file's name, in characters.
const LONGEST_SUBJECT: usize = 300;
const LONGEST_NAME: usize = 100;

/// An address, and the id of a mail, in bytes; longer ones are none.
const LONGEST_ADDRESS: usize = 254;
pub(crate) const LONGEST_ID: usize = 500;

/// Files that are taken out of one mail.
pub(crate) const MOST_FILES: usize = 30;

/// How deep mails that lie in one another are opened.
const DEEPEST: usize = 5;

/// Mails that a mail names as those before it, the nearest ones.
const MOST_BEFORE: usize = 20;

/// A mail.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) subject: String,
    /// The sender's name as he gives it, and his address in lower case.
    pub(crate) name: String,
    pub(crate) from: String,
    /// How many more the header names beside him.
    pub(crate) more_senders: usize,
    /// Whom he wants answers to go to, where that is another.
    pub(crate) reply_to: Option<String>,
    /// What he writes, and what he quotes below it.
    pub(crate) text: String,
    pub(crate) quoted: String,
    pub(crate) files: Vec<File>,
    /// Files beyond those.
    pub(crate) left_out: usize,
    /// Whether a `winmail.dat` is among the files that could not be opened.
    pub(crate) has_sealed: bool,
    pub(crate) id: Option<String>,
    /// The mails before it, nearest first.
    pub(crate) before: Vec<String>,
    /// Whether a program wrote it (RFC 3834), a bounce, or a mailing list sent it.
    pub(crate) is_automatic: bool,
    /// What a mail server reports of a mail, if it is that.
    pub(crate) report: Option<Report>,
    /// By which it is known again: what a sender's program gave it, or all of it.
    pub(crate) digest: String,
    /// The newest `Authentication-Results`.
    results: Option<String>,
    /// Headers that say whose it is.
    senders: usize,
}

/// A file.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) bytes: Vec<u8>,
}

/// What became of a mail (RFC 3464).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// The id of that mail.
    pub(crate) of: Option<String>,
    /// `failed`, `delayed`, `delivered`, …
    pub(crate) action: String,
    /// What the server said of it.
    pub(crate) why: String,
}

/// Reads a mail into its headers and parts. What is encoded stays so: it is decoded here, part by part.
fn parser() -> MessageParser {
    MessageParser::new()
        .with_mime_headers()
        .with_address_headers()
        .with_message_ids()
        .header_raw(HeaderName::Subject)
        .ignore_header(HeaderName::ContentTransferEncoding)
}

impl Letter {
    /// Reads a mail; none if it has no header at all.
    ///
    /// # Errors
    /// [`Refused`]
    pub(crate) fn read(raw: &[u8]) -> Result<Option<Self>, Refused> {
        let looked = scan::look(raw)?;
        // A fault in taking apart what strangers write is no reason to end.
        let read = catch_unwind(AssertUnwindSafe(|| Self::of(&looked, raw, 0))).unwrap_or_default();
        match read {
            // Seen as such by this reader alone.
            Some(letter) if letter.senders > 1 => Err(Refused::Senders),
            read => Ok(read),
        }
    }

    /// Reads a mail that lies so deep in others.
    fn of(looked: &[u8], raw: &[u8], depth: usize) -> Option<Self> {
        let message = parser().parse(looked)?;
        let header = |name: &'static str| message.header_raw(name).map(str::trim);
        let newest_results =
            message.headers_raw().find(|(name, _)| name.eq_ignore_ascii_case("Authentication-Results"));
        let label = label(&message, looked);
        let label = label.as_deref();
        let people = people(&message, looked, label);
        let people = parser().parse_headers(&people);
        let found_from = people.as_ref().and_then(Message::from);
        let sender = found_from.and_then(Address::first);
        let senders = message.headers().iter().filter(|header| header.name == HeaderName::From).count();
        let addresses = found_from.map_or(0, |from| from.iter().count());
        let from = address(sender.and_then(|sender| sender.address()));
        let reply_to = people.as_ref().and_then(Message::reply_to).and_then(Address::first);
        let reply_to = address(reply_to.and_then(|to| to.address()));
        let (whole, files) = written(&message, looked);
        let (text, quoted) = fold(&plain(&whole.join("\n\n")));
        let mut taken = Taken::default();
        files.into_iter().for_each(|file| taken.add(file, depth));
        for (number, part) in message.attachments().enumerate() {
            taken.add(file(number, part, looked, label), depth);
        }
        let Taken { files, left_out, has_sealed } = taken;
        let is_report = message.is_content_type("multipart", "report");
        let is_automatic = header("Auto-Submitted").is_some_and(|value| !value.eq_ignore_ascii_case("no"))
            || header("Precedence").is_some_and(|value| {
                ["bulk", "junk", "list", "auto_reply"].iter().any(|word| value.eq_ignore_ascii_case(word))
            })
            || header("X-Autoreply").is_some()
            || header("List-Id").is_some()
            || is_report;
        let id = message.message_id().filter(|id| id.len() <= LONGEST_ID).map(str::to_owned);
        Some(Self {
            subject: line(&subject(&message, looked, label), LONGEST_SUBJECT),
            name: line(sender.and_then(|sender| sender.name()).unwrap_or_default(), LONGEST_NAME),
            reply_to: Some(reply_to).filter(|to| !to.is_empty() && *to != from),
            from,
            more_senders: addresses.saturating_sub(1),
            text,
            quoted,
            files,
            left_out,
            has_sealed,
            before: before(&message),
            is_automatic,
            report: is_report.then(|| report(&message, looked)),
            digest: digest(
                id.as_deref(),
                ["From", "Date", "Subject", "Content-Type", "Content-Transfer-Encoding"].map(header),
                raw,
            ),
            id,
            results: newest_results.map(|(_, value)| value.trim().to_owned()),
            senders,
        })
    }

    /// Whether this MTA found that the domain of the sender stands for the mail (DMARC).
    ///
    /// SPF and DKIM alone say nothing of the address that is shown. Only the uppermost result counts, and only with the
    /// MTA's own name: those below may come from outside. What stands in quotes or comments, a sender may have written.
    ///
    /// Spec: <https://www.rfc-editor.org/rfc/rfc8601#section-2.2>
    pub(crate) fn is_proved(&self, authserv_id: Option<&str>) -> bool {
        let (Some(wanted), Some(results)) = (authserv_id, &self.results) else { return false };
        let parts = header::parts(results.as_bytes(), b';');
        let parts: Vec<String> =
            parts.iter().map(|part| String::from_utf8_lossy(part).trim().to_ascii_lowercase()).collect();
        let Some((id, found)) = parts.split_first() else { return false };
        let dmarc: Vec<&String> = found.iter().filter(|part| part.starts_with("dmarc")).collect();
        let [dmarc] = dmarc[..] else { return false };
        let mut words = dmarc.split_whitespace();
        let domain = self.from.rsplit_once('@').map(|(_, domain)| format!("header.from={domain}"));
        // There is one sender only, of whom it could speak.
        self.senders == 1
            && self.more_senders == 0
            && id.split_whitespace().next().is_some_and(|id| id.eq_ignore_ascii_case(wanted))
            && words.next() == Some("dmarc=pass")
            && domain.is_some_and(|domain| words.any(|word| word == domain))
    }
}

impl File {
    /// A file of which nothing but its name is said.
    fn named(name: &str, bytes: Vec<u8>) -> Self {
        let name = file_name(name);
        let name = if name.is_empty() { "添付".to_owned() } else { name };
        Self { name, kind: "application/octet-stream".to_owned(), bytes }
    }
}

impl From<tnef::Found> for File {
    fn from(found: tnef::Found) -> Self {
        Self::named(&found.name, found.bytes)
    }
}

/// The files of a mail.
#[derive(Default)]
struct Taken {
    files: Vec<File>,
    left_out: usize,
    has_sealed: bool,
}

impl Taken {
    /// Adds a file of a mail that lies so deep in others; what files lie in, is opened.
    fn add(&mut self, file: File, depth: usize) {
        if self.files.len() >= MOST_FILES {
            self.left_out += 1;
            return;
        }
        let is_winmail = file.kind == "application/ms-tnef" || file.name.eq_ignore_ascii_case("winmail.dat");
        if is_winmail {
            let inside = tnef::files(&file.bytes);
            self.has_sealed |= inside.is_none();
            match inside {
                Some(found) => found.into_iter().for_each(|found| self.add(found.into(), depth)),
                None => self.files.push(file),
            }
        } else if file.is_mail() {
            self.add_mail(&file, depth);
        } else {
            self.files.push(file);
        }
    }

    /// Adds what a mail within says, as a text, and its files beside that. As it came, it would carry its files where nobody looks at
    /// them; so one that cannot be read, or lies too deep, is left out.
    fn add_mail(&mut self, file: &File, depth: usize) {
        let looked = scan::look_within(&file.bytes).ok().filter(|_| depth < DEEPEST);
        let Some(within) = looked.and_then(|looked| Letter::of(&looked, &file.bytes, depth + 1)) else {
            self.left_out += 1;
            return;
        };
        let stem = file.name.get(..file.name.len().saturating_sub(EML.len())).filter(|_| is_eml(&file.name));
        let name = format!("{}.txt", stem.unwrap_or(&file.name));
        let bytes = within.shown(&file.bytes).into_bytes();
        self.files.push(File { name, kind: "text/plain".to_owned(), bytes });
        self.left_out += within.left_out;
        self.has_sealed |= within.has_sealed;
        // They are opened already.
        for file in within.files {
            if self.files.len() >= MOST_FILES {
                self.left_out += 1;
            } else {
                self.files.push(file);
            }
        }
    }
}

/// How the name of a mail ends that is a file.
const EML: &str = ".eml";

fn is_eml(name: &str) -> bool {
    name.len()
        .checked_sub(EML.len())
        .and_then(|at| name.get(at..))
        .is_some_and(|end| end.eq_ignore_ascii_case(EML))
}

impl File {
    /// Whether it is a mail, by its type or by its name.
    fn is_mail(&self) -> bool {
        matches!(&*self.kind, "message/rfc822" | "message/global" | "message/x-mail") || is_eml(&self.name)
    }
}

impl Letter {
    /// What it says, for whoever gets it within another mail. Nothing in it is proved.
    fn shown(&self, raw: &[u8]) -> String {
        let headers = parser().parse_headers(raw);
        let header = |name: &'static str| {
            let value = headers.as_ref().and_then(|headers| headers.header_raw(name)).unwrap_or_default();
            line(&header::words(&value.as_bytes().replace_breaks(), None), LONGEST_SUBJECT)
        };
        let mut text = format!(
            "差出人 / From: {} <{}>\n宛先 / To: {}\n日時 / Date: {}\n件名 / Subject: {}\n\n{}",
            self.name,
            self.from,
            header("To"),
            header("Date"),
            self.subject,
            self.text
        );
        if !self.quoted.is_empty() {
            text.push_str("\n\n");
            text.push_str(&self.quoted);
        }
        text
    }
}

/// What tells a mail from all others: not its id alone, since programs give one id to many mails; nor what else stands above it, which
/// others may know before it comes. What servers add on its way does not count.
fn digest(id: Option<&str>, headers: [Option<&str>; 5], raw: &[u8]) -> String {
    let mut hash = Sha256::new();
    match id {
        Some(id) => {
            for part in [Some(id)].into_iter().chain(headers) {
                let part = part.unwrap_or_default();
                hash.update(part.len().to_be_bytes());
                hash.update(part);
            }
            let body = raw.windows(4).position(|window| window == b"\r\n\r\n");
            hash.update(body.and_then(|at| raw.get(at..)).unwrap_or_default());
        }
        None => hash.update(raw),
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// An address in lower case; empty if it is none that can be shown and written to.
fn address(given: Option<&str>) -> String {
    let address = given.unwrap_or_default().trim().to_lowercase();
    let is_fit =
        address.len() <= LONGEST_ADDRESS && address.chars().all(|mark| is_shown(mark) && mark != ' ');
    if is_fit { address } else { String::new() }
}

/// The bytes of a part as it was sent.
fn encoded<'a>(part: &MessagePart<'_>, raw: &'a [u8]) -> &'a [u8] {
    let at = |offset: u32| usize::try_from(offset).unwrap_or(usize::MAX);
    raw.get(at(part.raw_body_offset())..at(part.raw_end_offset())).unwrap_or_default()
}

/// A header of a part as it stands there.
fn raw_header<'a>(part: &MessagePart<'_>, name: &HeaderName<'_>, raw: &'a [u8]) -> Option<&'a [u8]> {
    value(part.headers().iter().find(|header| header.name == *name)?, raw)
}

fn value<'a>(header: &Header<'_>, raw: &'a [u8]) -> Option<&'a [u8]> {
    let at = |offset: u32| usize::try_from(offset).unwrap_or(usize::MAX);
    raw.get(at(header.offset_start())..at(header.offset_end()))
}

/// The bytes of a part as they are meant.
fn content(part: &MessagePart<'_>, raw: &[u8]) -> Vec<u8> {
    let bytes = encoded(part, raw);
    let encoding = raw_header(part, &HeaderName::ContentTransferEncoding, raw).unwrap_or_default();
    let encoding = String::from_utf8_lossy(encoding).trim().to_ascii_lowercase();
    match &*encoding {
        "base64" => header::from_base64(bytes),
        "quoted-printable" => quoted_printable_decode(bytes).unwrap_or_else(|| bytes.to_vec()),
        _ => bytes.to_vec(),
    }
}

/// What is written in a mail: its texts, or its pages where there is nothing in them; and the files that stand in its texts.
/// Pictures and sounds among them are files of their own.
fn written(message: &Message<'_>, raw: &[u8]) -> (Vec<String>, Vec<File>) {
    let is_text = |part: &&MessagePart<'_>| matches!(part.body, PartType::Text(_) | PartType::Html(_));
    let mut files = Vec::new();
    let mut texts = Vec::new();
    for part in message.text_bodies().filter(is_text) {
        let (text, found) = text(part, raw);
        texts.push(text);
        files.extend(found);
    }
    if texts.iter().all(|text| text.trim().is_empty()) {
        texts = message.html_bodies().filter(is_text).map(|part| text(part, raw).0).collect();
    }
    (texts, files)
}

/// The text of a part that is one, and the files that stand in it.
fn text(part: &MessagePart<'_>, raw: &[u8]) -> (String, Vec<File>) {
    let label = charset_of(part, raw);
    let label = label.as_deref();
    let bytes = content(part, raw);
    if matches!(part.body, PartType::Html(_)) {
        return (page::text(&charset::decode(label, &bytes)), Vec::new());
    }
    let (bytes, found) = uuencoded::taken_out(&bytes);
    let named = |file: uuencoded::Found| File::named(&charset::decode(label, &file.name), file.bytes);
    let files = found.into_iter().map(named).collect();
    let text = charset::decode(label, &bytes);
    let says = |name: &str, value: &str| {
        let kind = raw_header(part, &HeaderName::ContentType, raw);
        let said = kind.and_then(|kind| header::parameter(kind, name, None));
        said.is_some_and(|said| said.trim().eq_ignore_ascii_case(value))
    };
    if !says("format", "flowed") {
        return (text, files);
    }
    let blank = if says("delsp", "yes") { Blank::Added } else { Blank::Kept };
    (flowed::joined(&text, blank), files)
}

/// In what a part says that it is written.
fn charset_of(part: &MessagePart<'_>, raw: &[u8]) -> Option<String> {
    header::parameter(raw_header(part, &HeaderName::ContentType, raw)?, "charset", None)
}

/// In what a mail is written, as far as one of its texts says it.
fn label(message: &Message<'_>, raw: &[u8]) -> Option<String> {
    let bodies = message.text_bodies().chain(message.html_bodies());
    std::iter::once(message.root_part()).chain(bodies).find_map(|part| charset_of(part, raw))
}

/// The headers that name people, as a mail of its own in UTF-8.
fn people(message: &Message<'_>, raw: &[u8], label: Option<&str>) -> Vec<u8> {
    let mut all = Vec::new();
    for name in [HeaderName::From, HeaderName::ReplyTo] {
        // Of several the last, as everywhere in this reader.
        let found = message.headers().iter().rev().find(|header| header.name == name);
        let Some(value) = found.and_then(|header| value(header, raw)) else { continue };
        all.extend(name.as_str().as_bytes());
        all.extend(b": ");
        all.extend(&*charset::bare(label, &value.replace_breaks()));
        all.extend(b"\r\n");
    }
    all.extend(b"\r\n");
    all
}

/// The subject, also where it stands there as bytes of no declared charset.
fn subject(message: &Message<'_>, raw: &[u8], label: Option<&str>) -> String {
    let found = raw_header(message.root_part(), &HeaderName::Subject, raw);
    header::words(&found.unwrap_or_default().replace_breaks(), label)
}

/// Folded lines as one.
trait Unfolded {
    fn replace_breaks(&self) -> Vec<u8>;
}

impl Unfolded for [u8] {
    fn replace_breaks(&self) -> Vec<u8> {
        self.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect()
    }
}

/// What a mail server reports, from its part for programs and from the mail that it gives back.
fn report(message: &Message<'_>, raw: &[u8]) -> Report {
    let mut report = Report { of: None, action: String::new(), why: String::new() };
    for part in &message.parts {
        let Some(kind) = part.content_type() else { continue };
        match (kind.ctype(), kind.subtype().unwrap_or_default()) {
            ("message", "delivery-status" | "global-delivery-status") => {
                let text = charset::decode(None, &content(part, raw));
                let field = |name: &str| {
                    text.lines().find_map(|line| {
                        let (found, value) = line.split_once(':')?;
                        found.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
                    })
                };
                report.action = field("Action").unwrap_or_default().to_ascii_lowercase();
                let why = [field("Status"), field("Diagnostic-Code")].into_iter().flatten();
                report.why = technical(&why.collect::<Vec<_>>().join(" "));
            }
            ("text", "rfc822-headers") | ("message", "rfc822" | "x-mail" | "global" | "global-headers") => {
                let inside = content(part, raw);
                report.of = parser().parse_headers(&inside).and_then(|inside| {
                    inside.message_id().filter(|id| id.len() <= LONGEST_ID).map(str::to_owned)
                });
            }
            _ => {}
        }
    }
    report
}

fn file(number: usize, part: &MessagePart<'_>, raw: &[u8], label: Option<&str>) -> File {
    let kind = part.content_type().map_or_else(
        || "application/octet-stream".to_owned(),
        |kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or("octet-stream")).to_lowercase(),
    );
    let is_mail = part.is_message() || kind == "message/x-mail";
    let name = |header, parameter| {
        raw_header(part, &header, raw).and_then(|header| header::parameter(header, parameter, label))
    };
    let name =
        name(HeaderName::ContentDisposition, "filename").or_else(|| name(HeaderName::ContentType, "name"));
    let name = file_name(&name.unwrap_or_default());
    let name = match (name.is_empty(), is_mail) {
        (true, true) => format!("添付{}.eml", number + 1),
        (true, false) => format!("添付{}{}", number + 1, ending(&kind)),
        (false, _) => name,
    };
    let kind = if is_mail { "message/rfc822".to_owned() } else { kind };
    let is_type = kind.len() <= LONGEST_TYPE
        && kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/.+-_".contains(&byte));
    let kind = if is_type { kind } else { "application/octet-stream".to_owned() };
    File { name, kind, bytes: content(part, raw) }
}

/// How the name of a file ends that has none, so that a program is found for it.
fn ending(kind: &str) -> &'static str {
    match kind {
        "text/calendar" => ".ics",
        "text/vcard" | "text/x-vcard" => ".vcf",
        "text/csv" => ".csv",
        "text/html" => ".html",
        "text/plain" => ".txt",
        "application/pdf" => ".pdf",
        "image/gif" => ".gif",
        "image/heic" => ".heic",
        "image/jpeg" => ".jpg",
        "image/png" => ".png",
        "image/tiff" => ".tif",
        _ => "",
    }
}

/// The longest type of a file (RFC 6838 §4.2: 127 for each half).
const LONGEST_TYPE: usize = 255;

/// A name that leads out of no directory.
fn file_name(name: &str) -> String {
    line(name, LONGEST_NAME).replace(['/', '\\'], "_")
}

/// Those that it answers.
fn before(message: &Message<'_>) -> Vec<String> {
    let ids = |value: &HeaderValue<'_>| -> Vec<String> {
        let one = value.as_text().map(str::to_owned).into_iter();
        match value.as_text_list() {
            Some(list) => list.iter().map(|id| id.to_string()).collect(),
            None => one.collect(),
        }
    };
    let mut all = ids(message.in_reply_to());
    all.extend(ids(message.references()).into_iter().rev());
    all.truncate(MOST_BEFORE);
    all
}

/// What a server says of a mail, without what would speak to people: whoever was sent a mail of ours can write such a report. Servers say
/// it in ASCII (RFC 3464 §2.3.6), and no addresses of pages are left to follow.
fn technical(text: &str) -> String {
    let leads = |word: &str| word.contains("//") || word.to_ascii_lowercase().contains("www.");
    let kept = |word: &str| word.chars().filter(char::is_ascii_graphic).collect::<String>();
    let words = text.split_whitespace().map(kept).filter(|word| !word.is_empty());
    let words: Vec<String> = words.map(|word| if leads(&word) { "…".to_owned() } else { word }).collect();
    words.join(" ").chars().take(LONGEST_WHY).collect()
}

/// Longest word of a server about a mail, in characters.
const LONGEST_WHY: usize = 200;

/// Text without marks that move what is around them, and with one kind of line's end.
fn plain(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace(['\u{2028}', '\u{2029}'], "\n");
    text.chars().filter(|&mark| mark == '\n' || mark == '\t' || is_shown(mark)).collect()
}

/// The same as one line of at most so many characters.
fn line(text: &str, longest: usize) -> String {
    let text: String = text.chars().map(|mark| if mark.is_whitespace() { ' ' } else { mark }).collect();
    text.trim().chars().filter(|&mark| is_shown(mark)).take(longest).collect()
}

fn is_shown(mark: char) -> bool {
    !mark.is_control()
        && !matches!(mark, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// What is written, and what is quoted below it. Answers between quoted lines stay where they are.
fn fold(text: &str) -> (String, String) {
    let lines: Vec<&str> = text.trim().lines().collect();
    let is_quoted = |line: &str| line.starts_with(['>', '＞']) || line.trim().is_empty();
    let begin =
        (0..lines.len()).find(|at| divides(lines.get(*at..).unwrap_or_default())).unwrap_or_else(|| {
            let below = lines.iter().rev().take_while(|line| is_quoted(line)).count();
            let begin = lines.len() - below;
            // The line that names whom it quotes, which may be broken in two.
            let names = |line: &str| {
                let line = line.trim_end();
                line.ends_with([':', '：']) || line.ends_with("wrote")
            };
            let is_naming =
                begin.checked_sub(1).and_then(|last| lines.get(last)).is_some_and(|line| names(line));
            begin - usize::from(below > 0 && is_naming)
        });
    let (written, quoted) = lines.split_at(begin);
    let (written, quoted) = (written.join("\n"), quoted.join("\n"));
    if written.trim().is_empty() {
        return (quoted, String::new());
    }
    (written.trim_end().to_owned(), quoted.trim().to_owned())
}

/// Whether an older mail begins here, with a line that says so or with its headers, as Outlook puts them.
fn divides(lines: &[&str]) -> bool {
    let Some(first) = lines.first() else { return false };
    let says = ["Original Message", "元のメッセージ", "Forwarded message", "転送メッセージ"];
    if first.starts_with("--") && says.iter().any(|words| first.contains(words)) {
        return true;
    }
    let begins = |line: &str, words: [&str; 3]| words.iter().any(|word| line.trim_start().starts_with(word));
    begins(first, ["From:", "差出人:", "差出人："])
        && lines.iter().skip(1).take(3).any(|line| {
            begins(line, ["Sent:", "送信日時:", "送信日時："]) || begins(line, ["Date:", "日時:", "日付:"])
        })
}

#[cfg(test)]
mod tests;
