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
    /// The newest `Authentication-Results`, and whether there is one sender only, of whom it could speak.
    results: Option<String>,
    has_one_sender: bool,
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
        let read = catch_unwind(AssertUnwindSafe(|| Self::of(&looked, raw, 0)));
        Ok(read.unwrap_or_default())
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
        let addresses = found_from.map_or(0, |from| from.iter().take(2).count());
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
            has_one_sender: senders == 1 && addresses == 1,
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
        self.has_one_sender
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
mod tests {
    use super::*;
    use crate::tnef::tests::winmail;

    fn letter(raw: &[u8]) -> Letter {
        Letter::read(raw).expect("within bounds").expect("a mail")
    }

    #[test]
    fn japanese_mail_of_every_age_is_readable() {
        let kana = b"From: a@b.jp\r\nSubject: =?ISO-2022-JP?B?GyhJNjY3GyhC?=\r\n\
            Content-Type: text/plain; charset=ISO-2022-JP\r\n\r\n\x1b(I667\x1b(B\r\n";
        let kana = letter(kana);
        assert_eq!((&*kana.subject, &*kana.text), ("ｶｶｷ", "ｶｶｷ"));
        // CP932 with no word about it, in the subject as well.
        let cp932 = letter(b"From: a@b.jp\r\nSubject: \x8d\x48\x8e\x96\r\n\r\n\x8d\x48\x8e\x96\x87\x40\r\n");
        assert_eq!((&*cp932.subject, &*cp932.text), ("工事", "工事①"));
        let html = letter(
            "From: a@b.jp\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>工事<b>中</b></p>\r\n"
                .as_bytes(),
        );
        assert_eq!(html.text, "工事中");
        let encoded = letter(
            b"From: a@b.jp\r\nContent-Type: text/plain; charset=\"Shift_JIS\"\r\n\
            Content-Transfer-Encoding: base64\r\n\r\njUiO\r\nlg==\r\n",
        );
        assert_eq!(encoded.text, "工事");
    }

    #[test]
    fn subjects_and_names_that_stand_there_as_bytes_are_readable() {
        for (charset, word) in [
            ("GB2312", &b"\xb9\xa4\xb3\xcc"[..]),
            ("Shift_JIS", b"\x8d\x48\x83\x5c"),
            ("EUC-JP", b"\xb9\xa9\xbb\xf6"),
            // With a quote and a bracket among its bytes.
            ("ISO-2022-JP", b"\x1b$B9)\"#\x21<\x1b(B"),
            ("UTF-8", "工事".as_bytes()),
        ] {
            let text = charset::decode(Some(charset), word);
            assert!(text.starts_with('工'), "{text}");
            let raw = [
                b"From: \"",
                word,
                b"\" <a@b.jp>\r\nReply-To: ",
                word,
                b" <c@b.jp>\r\nSubject: Re: ",
                word,
                b"\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain; charset=",
                charset.as_bytes(),
                b"\r\n\r\n",
                word,
                b"\r\n--x\r\nContent-Type: application/pdf; name=\"",
                word,
                b".pdf\"\r\n\r\n%PDF\r\n--x--\r\n",
            ]
            .concat();
            let read = letter(&raw);
            assert_eq!((&*read.subject, &*read.name, &*read.text), (&*format!("Re: {text}"), &*text, &*text));
            assert_eq!((&*read.from, read.reply_to.as_deref()), ("a@b.jp", Some("c@b.jp")), "{charset}");
            assert_eq!(read.files.first().map(|file| &*file.name), Some(&*format!("{text}.pdf")));
        }
    }

    #[test]
    fn paragraphs_flow_as_their_sender_says_and_files_within_a_text_are_files() {
        let read = |kind: &str, body: &str| {
            letter(format!("From: a@b.jp\r\nContent-Type: text/plain{kind}\r\n\r\n{body}").as_bytes())
        };
        let body = "橋は \r\n通行止め \r\nです\r\n\r\n> いつ \r\n> から\r\n";
        let flowed = read("; charset=utf-8; format=flowed; delsp=yes", body);
        assert_eq!((&*flowed.text, &*flowed.quoted), ("橋は通行止めです", "> いつから"));
        assert_eq!(read("; charset=utf-8; Format=Flowed", body).text, "橋は 通行止め です");
        assert_eq!(read("; charset=utf-8", body).text, "橋は \n通行止め \nです");

        let file = "see\r\nbegin 644 ../a.txt\r\n#0V%T\r\n`\r\nend\r\nbelow";
        let one = read("; format=flowed", file);
        assert_eq!(one.text, "see\nbelow");
        let files: Vec<(&str, &[u8])> = one.files.iter().map(|file| (&*file.name, &*file.bytes)).collect();
        assert_eq!(files, [(".._a.txt", &b"Cat"[..])]);
        let attached = "--x\r\nContent-Type: application/pdf; name=a.pdf\r\n\r\n%PDF\r\n".repeat(MOST_FILES);
        let both = format!(
            "From: a@b.jp\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\n{file}\r\n{attached}--x--\r\n"
        );
        let both = letter(both.as_bytes());
        assert_eq!((both.files.len(), both.left_out), (MOST_FILES, 1));
    }

    #[test]
    fn pictures_among_texts_are_files_and_a_page_stands_for_an_empty_text() {
        let part = |head: &str, body: &str| format!("--x\r\n{head}\r\n\r\n{body}\r\n");
        let mail = |kind: &str, parts: &[String]| {
            format!(
                "From: a@b.jp\r\nContent-Type: multipart/{kind}; boundary=x\r\n\r\n{}--x--\r\n",
                parts.concat()
            )
        };
        // As phones send it.
        for head in [
            "Content-Type: image/jpeg; name=p.jpg\r\nContent-Disposition: inline; filename=p.jpg",
            "Content-Type: image/jpeg; name=p.jpg",
            "Content-Type: audio/mpeg; name=p.jpg\r\nContent-Disposition: inline",
            "Content-Type: application/pdf; name=p.jpg\r\nContent-Disposition: inline",
        ] {
            let text = |text: &str| part("Content-Type: text/plain", text);
            let parts = [text("before"), part(head, "\u{fffd}EXIF of a place"), text("sent by a phone")];
            let read = letter(mail("mixed", &parts).as_bytes());
            assert_eq!(read.text, "before\n\nsent by a phone", "{head}");
            let files: Vec<&str> = read.files.iter().map(|file| &*file.name).collect();
            assert_eq!(files, ["p.jpg"], "{head}");
        }
        let page = part("Content-Type: text/html", "<div>until <a href=https://x.jp/q>Friday</a></div>");
        for blank in ["", "\r\n", " \r\n \r\n"] {
            let read = letter(
                mail("alternative", &[part("Content-Type: text/plain", blank), page.clone()]).as_bytes(),
            );
            assert_eq!(read.text, "until Friday (https://x.jp/q)");
        }
        let both = letter(mail("alternative", &[part("Content-Type: text/plain", "plain"), page]).as_bytes());
        assert_eq!(both.text, "plain");
        let invite = part("Content-Type: text/calendar; method=REQUEST", "BEGIN:VCALENDAR");
        let read = letter(mail("mixed", &[part("Content-Type: text/plain", "come"), invite]).as_bytes());
        assert!(
            read.files.iter().all(|file| file.name.ends_with(".ics")),
            "{:?}",
            read.files.first().map(|it| &it.name)
        );
    }

    #[test]
    fn files_have_their_names_and_no_way_out_of_a_directory() {
        let raw = b"From: a@b.jp\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\ntext\r\n--x\r\n\
            Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\
            Content-Disposition: attachment; filename*0*=UTF-8''%E5%B7%A5; filename*1*=%E4%BA%8B.pdf\r\n\r\nJVBE\r\nRg==\r\n\
            --x\r\nContent-Type: application/octet-stream\r\n\
            Content-Disposition: attachment; filename=\"../a\\\\b.txt\"\r\n\r\nT\r\n--x--\r\n";
        let read = letter(raw);
        let files: Vec<(&str, &[u8])> = read.files.iter().map(|file| (&*file.name, &*file.bytes)).collect();
        assert_eq!(files, [("工事.pdf", &b"%PDF"[..]), (".._a_b.txt", b"T")]);
        assert_eq!(read.text, "text");
    }

    /// MA12.
    #[test]
    fn a_winmail_gives_its_files_and_a_broken_one_is_said_to_be_so() {
        let mail = |bytes: &[u8]| {
            let head = b"From: a@b.jp\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\ntext\r\n--x\r\n\
                Content-Type: application/ms-tnef; name=winmail.dat\r\nContent-Transfer-Encoding: base64\r\n\r\n";
            let body = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, bytes);
            letter(&[head, body.as_bytes(), b"\r\n--x--\r\n"].concat())
        };
        let opened = mail(&winmail(&[(b"\x8d\x48\x8e\x96.pdf", b"%PDF-1.7"), (b"../a.txt", b"text")]));
        let names: Vec<&str> = opened.files.iter().map(|file| &*file.name).collect();
        assert_eq!((names, opened.has_sealed), (vec!["工事.pdf", ".._a.txt"], false));
        let sealed = mail(b"no such thing");
        assert_eq!((&*sealed.files[0].name, sealed.has_sealed), ("winmail.dat", true));
    }

    /// MA13.
    #[test]
    fn a_mail_within_is_a_text_with_its_files_beside_it_and_no_part_is_lost() {
        for (encoding, body) in
            [("7bit", "From: c@d.jp\r\n\r\nwithin"), ("base64", "RnJvbTogY0BkLmpwDQoNCndpdGhpbg==")]
        {
            let raw = format!(
                "From: a@b.jp\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\ntext\r\n--x\r\n\
                 Content-Type: message/rfc822\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{body}\r\n\
                 --x\r\nContent-Type: application/pdf; name=a.pdf\r\n\r\n%PDF\r\n--x--\r\n"
            );
            let read = letter(raw.as_bytes());
            let files: Vec<(&str, &str)> = read.files.iter().map(|file| (&*file.name, &*file.kind)).collect();
            assert_eq!(files, [("添付1.txt", "text/plain"), ("a.pdf", "application/pdf")], "{encoding}");
            let text = String::from_utf8_lossy(&read.files[0].bytes);
            assert!(text.contains("<c@d.jp>") && text.ends_with("\n\nwithin"), "{encoding}: {text}");
            assert_eq!(read.text, "text", "{encoding}");
        }
    }

    #[test]
    fn what_a_mail_within_carries_stands_beside_it_and_nowhere_else() {
        let within = |head: &str, body: &str| {
            format!(
                "Received: from a by b\r\nFrom: =?utf-8?B?5bel?= <c@d.jp>\r\nDate: Sat, 28 Nov 2026 10:00:00 +0900\r\nSubject: inner\r\n\
                 Content-Type: multipart/mixed; boundary=in\r\n\r\n--in\r\n\r\nsee\r\n--in\r\n{head}\r\n\r\n{body}\r\n--in--\r\n"
            )
        };
        let outer = |head: &str, body: &str| {
            format!(
                "From: a@b.jp\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\ntext\r\n--x\r\n{head}\r\n\r\n{body}\r\n--x--\r\n"
            )
        };
        let exe = "Content-Type: application/octet-stream; name=run.exe\r\nContent-Transfer-Encoding: base64";
        let mail = within(exe, "TVqQAEVWSUw=");
        let encoded = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &mail);
        for (head, body, name) in [
            ("Content-Type: message/rfc822", &*mail, "添付1.txt"),
            (
                "Content-Type: message/rfc822; name=\"FW.eml\"\r\nContent-Transfer-Encoding: base64",
                &*encoded,
                "FW.txt",
            ),
            (
                "Content-Type: application/octet-stream; name=FW.EML\r\nContent-Transfer-Encoding: base64",
                &*encoded,
                "FW.txt",
            ),
        ] {
            let read = letter(outer(head, body).as_bytes());
            let files: Vec<(&str, &[u8])> =
                read.files.iter().map(|file| (&*file.name, &*file.bytes)).collect();
            let [(first, text), ("run.exe", b"MZ\x90\0EVIL")] = files[..] else {
                unreachable!("{head}: {files:?}")
            };
            assert_eq!(first, name);
            let text = String::from_utf8_lossy(text);
            assert!(
                text.contains("工 <c@d.jp>") && text.contains("28 Nov") && text.ends_with("inner\n\nsee"),
                "{text}"
            );
            assert!(!text.contains("TVqQ"), "{text}");
        }
        // Too deep: it is left out, and that is said.
        let nested = (0..DEEPEST + 1).fold("From: z@d.jp\r\n\r\ndeepest".to_owned(), |mail, number| {
            format!(
                "From: a@d.jp\r\nContent-Type: multipart/mixed; boundary=n{number}\r\n\r\n--n{number}\r\n\r\nlevel {number}\r\n--n{number}\r\nContent-Type: message/rfc822\r\n\r\n{mail}\r\n--n{number}--\r\n"
            )
        });
        let read = letter(nested.as_bytes());
        assert_eq!((read.files.len(), read.left_out), (DEEPEST, 1));
        assert!(read.files.iter().all(|file| file.kind == "text/plain" && !file.bytes.ends_with(b"deepest")));
    }

    /// A report that whoever was sent a mail of ours made up.
    #[test]
    fn a_report_says_nothing_to_people_in_our_name() {
        let raw = "From: x@evil.example\r\nContent-Type: multipart/report; boundary=x\r\n\r\n--x\r\n\
            Content-Type: message/delivery-status\r\n\r\nAction: failed\r\nStatus: 至急：パスワードを\r\n\
            Diagnostic-Code: smtp; 550 go to https://evil.example/login or WWW.evil.example で更新 @room\r\n\r\n--x--\r\n";
        let report = letter(raw.as_bytes()).report.expect("a report");
        assert_eq!(report.why, "smtp; 550 go to … or … @room");
        let long = raw.replace("550", &"5".repeat(5_000));
        assert_eq!(letter(long.as_bytes()).report.expect("a report").why.chars().count(), LONGEST_WHY);
    }

    /// D10.
    #[test]
    fn what_is_quoted_below_is_folded_and_answers_in_between_are_not() {
        let parts = |text: &str| fold(text);
        assert_eq!(
            parts("了解です\n\n花子 wrote:\n> 明日は?\n> 晴れ\n"),
            ("了解です".into(), "花子 wrote:\n> 明日は?\n> 晴れ".into())
        );
        assert_eq!(parts("> 明日は?\n晴れです"), ("> 明日は?\n晴れです".into(), String::new()));
        assert_eq!(parts("はい\n-----Original Message-----\nFrom: x").0, "はい");
        let outlook = "承知しました。\n\n差出人: 花子 <a@b.jp>\n送信日時: 2026年11月28日\n件名: 橋\n\n本文";
        assert_eq!(parts(outlook).0, "承知しました。");
        assert_eq!(parts("差出人: は誰でしょう").1, "");
        assert_eq!(parts("> だけ"), ("> だけ".into(), String::new()));
    }

    /// D9.
    #[test]
    fn an_address_is_proved_by_our_own_mta_only() {
        let read = |results: &str, from: &str| {
            let raw = format!("Authentication-Results: {results}\r\n{from}\r\n\r\nx\r\n");
            letter(raw.as_bytes()).is_proved(Some("mx.kanazawa.test"))
        };
        let with = |results: &str| read(results, "From: a@b.jp");
        assert!(with("mx.kanazawa.test; spf=pass smtp.mailfrom=b.jp; dmarc=pass header.from=b.jp"));
        assert!(with("mx.kanazawa.test 1; dmarc=pass (p=none dis=none) header.from=B.JP"));
        for results in [
            "mx.kanazawa.test; spf=pass smtp.mailfrom=evil.test; dmarc=fail header.from=b.jp",
            "mx.kanazawa.test; dmarc=pass header.from=evil.test",
            "mx.kanazawa.test; dmarc=pass",
            "mx.evil.test; dmarc=pass header.from=b.jp",
            // The sender chose what stands in quotes and comments.
            "mx.kanazawa.test; spf=pass smtp.mailfrom=\"x; dmarc=pass header.from=b.jp\"@evil.test",
            "mx.kanazawa.test; spf=pass (x; dmarc=pass header.from=b.jp)",
            "mx.kanazawa.test; dmarc=fail header.from=b.jp; dmarc=pass header.from=b.jp",
            "mx.evil.test; dmarc=none\r\nAuthentication-Results: mx.kanazawa.test; dmarc=pass header.from=b.jp",
        ] {
            assert!(!with(results), "{results}");
        }
        let passed = "mx.kanazawa.test; dmarc=pass header.from=b.jp";
        assert!(!read(passed, "From: a@b.jp\r\nFrom: boss@b.jp"), "of whom does it speak?");
        assert!(!read(passed, "From: a@b.jp, boss@b.jp"));
        assert!(!letter(b"From: a@b.jp\r\n\r\nx").is_proved(Some("mx.kanazawa.test")));
        let raw = format!("Authentication-Results: {passed}\r\nFrom: a@b.jp\r\n\r\nx");
        assert!(!letter(raw.as_bytes()).is_proved(None));
    }

    /// D8.
    #[test]
    fn programs_and_lists_are_known_as_such() {
        let is = |header: &str| letter(format!("{header}\r\nFrom: a@b.jp\r\n\r\nx").as_bytes()).is_automatic;
        assert!(is("Auto-Submitted: auto-replied") && is("Precedence: bulk") && is("List-Id: <a.b>"));
        assert!(is("Precedence: Junk") && is("Content-Type: multipart/report; boundary=x"));
        assert!(!is("Auto-Submitted: no") && !is("X-A: b"));
    }

    /// MA2.
    #[test]
    fn a_bounce_says_of_which_mail_it_is_and_why() {
        let raw = b"From: mailer-daemon@mx.test\r\nAuto-Submitted: auto-replied\r\n\
            Content-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n--x\r\n\r\nsorry\r\n--x\r\n\
            Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.test\r\n\r\n\
            Final-Recipient: rfc822; taro@example.co.jp\r\nAction: failed\r\nStatus: 5.1.1\r\n\
            Diagnostic-Code: smtp; 550 no such user\r\n\r\n--x\r\nContent-Type: text/rfc822-headers\r\n\r\n\
            From: room@in.test\r\nMessage-ID: <ours@in.test>\r\n\r\n--x--\r\n";
        let report = letter(raw).report.expect("a report");
        assert_eq!((report.of.as_deref(), &*report.action), (Some("ours@in.test"), "failed"));
        assert_eq!(report.why, "5.1.1 smtp; 550 no such user");
        let whole = String::from_utf8_lossy(raw).replace("text/rfc822-headers", "message/rfc822");
        let report = letter(whole.as_bytes()).report.expect("a report");
        assert_eq!(report.of.as_deref(), Some("ours@in.test"));
    }

    #[test]
    fn a_mail_is_known_again_by_what_its_sender_gave_it_or_by_all_of_it() {
        let of = |head: &str, body: &str| letter(format!("{head}\r\n\r\n{body}").as_bytes()).digest;
        let head = "From: a@b.jp\r\nMessage-ID: <1@b.jp>\r\nDate: Sat, 28 Nov 2026 10:00:00 +0900";
        assert_eq!(of(head, "x"), of(&format!("Received: from y by z\r\n{head}"), "x"));
        assert_ne!(
            of(head, "x"),
            of(&head.replace("10:00", "10:01"), "x"),
            "a program that gives one id to all"
        );
        assert_ne!(of(head, "x"), of(head, "y"), "whoever knows its head cannot take its place");
        assert_ne!(of(head, "x"), of(&format!("{head}\r\nContent-Type: text/html"), "x"));
        assert_ne!(of("From: a@b.jp", "x"), of("From: a@b.jp", "y"));
        assert_eq!(of("From: a@b.jp", "x"), of("From: a@b.jp", "x"));
    }

    #[test]
    fn nothing_that_a_stranger_writes_breaks_the_reader() {
        let parts = [
            "Content-Type: multipart/mixed; boundary=x\r\n",
            "Content-Type: message/rfc822\r\n",
            "--x\r\n",
            "--x--\r\n",
            "\r\n",
            "Content-Type: multipart/digest; boundary=x\r\n",
            "=?utf-8?B?5bel",
            "?= ",
            "; filename*0*='",
            "<a&amp",
            "\u{1b}(I6",
            "Content-Transfer-Encoding: base64\r\n",
            "Content-Type: text/html\r\n",
            "Content-Type: text/plain; format=flowed\r\n",
            "begin 644 a\n",
            "#0V%T\n",
            "end\n",
            "From: (a",
            "<b>@\"c",
            "Date: x\r\n",
            "Content-Disposition: attachment",
            "References: <a> b\r\n",
            "\n",
            ":",
            " ",
            "工",
        ];
        // A generator of its own, so that each run looks at the same mails.
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap_or(0)
        };
        for _ in 0..3_000 {
            let mail: String = (0..next() % 30).map(|_| parts[next() % parts.len()]).collect();
            assert!(
                catch_unwind(|| scan::look(mail.as_bytes()).map(|looked| Letter::of(
                    &looked,
                    mail.as_bytes(),
                    0
                )))
                .is_ok(),
                "{mail:?}"
            );
        }
    }
}
