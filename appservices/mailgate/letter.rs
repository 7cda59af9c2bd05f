//! [`Letter`]: what a mail says, as text that a room can show.
//!
//! Nothing here trusts what a mail says of itself: the address of the sender is always shown, without marks that turn text
//! around, and it counts as proved only by what the MTA of the configuration noted.

use mail_parser::{Address, HeaderValue, Message, MessageParser, MessagePart, MimeHeaders, PartType};

/// Shown of a subject, a name, a file's name, in characters.
const LONGEST_SUBJECT: usize = 300;
const LONGEST_NAME: usize = 100;

/// Files that are taken out of one mail.
pub(crate) const MOST_FILES: usize = 30;

/// Mails that a mail names as those before it, the nearest ones.
const MOST_BEFORE: usize = 20;

/// A mail.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) subject: String,
    /// The sender's name as he gives it, and his address in lower case.
    pub(crate) name: String,
    pub(crate) from: String,
    /// What he writes, and what he quotes below it.
    pub(crate) text: String,
    pub(crate) quoted: String,
    pub(crate) files: Vec<File>,
    /// Files beyond those.
    pub(crate) left_out: usize,
    pub(crate) id: Option<String>,
    /// The mails before it, nearest first.
    pub(crate) before: Vec<String>,
    /// Whether a program wrote it (RFC 3834), a bounce, or a mailing list sent it.
    pub(crate) is_automatic: bool,
    /// The newest `Authentication-Results`.
    results: Option<String>,
}

/// A file.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) bytes: Vec<u8>,
}

impl Letter {
    /// Reads a mail; none if it has no header at all.
    pub(crate) fn read(raw: &[u8]) -> Option<Self> {
        let message = MessageParser::default().parse(raw)?;
        let header = |name: &'static str| message.header_raw(name).map(str::trim);
        let newest_results =
            message.headers_raw().find(|(name, _)| name.eq_ignore_ascii_case("Authentication-Results"));
        let sender = message.from().and_then(Address::first);
        let whole: Vec<String> = (0..message.text_body_count())
            .filter_map(|number| {
                let part = message.text_part(u32::try_from(number).ok()?)?;
                Some(match unlabelled(part, raw) {
                    Some(text) => text,
                    None => message.body_text(number)?.into_owned(),
                })
            })
            .collect();
        let (text, quoted) = fold(&plain(&whole.join("\n\n")));
        let all = message.attachment_count();
        let files =
            message.attachments().take(MOST_FILES).enumerate().map(|(number, part)| file(number, part));
        let is_automatic = header("Auto-Submitted").is_some_and(|value| !value.eq_ignore_ascii_case("no"))
            || header("Precedence").is_some_and(|value| {
                ["bulk", "junk", "list", "auto_reply"].iter().any(|word| value.eq_ignore_ascii_case(word))
            })
            || header("List-Id").is_some()
            || message.is_content_type("multipart", "report");
        Some(Self {
            subject: line(&subject(&message, raw), LONGEST_SUBJECT),
            name: line(sender.and_then(|sender| sender.name()).unwrap_or_default(), LONGEST_NAME),
            from: line(sender.and_then(|sender| sender.address()).unwrap_or_default(), LONGEST_SUBJECT)
                .to_lowercase(),
            text,
            quoted,
            files: files.collect(),
            left_out: all.saturating_sub(MOST_FILES),
            id: message.message_id().map(str::to_owned),
            before: before(&message),
            is_automatic,
            results: newest_results.map(|(_, value)| value.trim().to_owned()),
        })
    }

    /// Whether this MTA found that the domain of the sender stands for the mail (DMARC).
    ///
    /// SPF and DKIM alone say nothing of the address that is shown. Only the uppermost result counts, and only with the
    /// MTA's own name: those below may come from outside.
    ///
    /// Spec: <https://www.rfc-editor.org/rfc/rfc8601#section-2.2>
    pub(crate) fn is_proved(&self, authserv_id: Option<&str>) -> bool {
        let (Some(wanted), Some(results)) = (authserv_id, &self.results) else { return false };
        let mut parts = results.split(';').map(str::trim);
        let id = parts.next().and_then(|id| id.split_whitespace().next()).unwrap_or_default();
        id.eq_ignore_ascii_case(wanted)
            && parts.any(|part| part.split_whitespace().next() == Some("dmarc=pass"))
    }
}

/// The text of a part that does not say its charset and is not UTF-8: ISO-2022-JP or CP932 then, where it fits.
fn unlabelled(part: &MessagePart<'_>, raw: &[u8]) -> Option<String> {
    let PartType::Text(_) = part.body else { return None };
    let is_labelled = part.content_type().is_some_and(|kind| kind.has_attribute("charset"));
    let is_plain = part.content_transfer_encoding().is_none_or(|encoding| {
        ["7bit", "8bit", "binary"].iter().any(|word| encoding.trim().eq_ignore_ascii_case(word))
    });
    if is_labelled || !is_plain {
        return None;
    }
    let begin = usize::try_from(part.raw_body_offset()).ok()?;
    let end = usize::try_from(part.raw_end_offset()).ok()?;
    japanese(raw.get(begin..end)?)
}

/// Bytes in one of the charsets of old Japanese mail; none if they are UTF-8 or neither.
fn japanese(bytes: &[u8]) -> Option<String> {
    let charset = match std::str::from_utf8(bytes) {
        Ok(_) if !bytes.contains(&0x1b) => return None,
        Ok(_) => encoding_rs::ISO_2022_JP,
        Err(_) => encoding_rs::SHIFT_JIS,
    };
    charset.decode_without_bom_handling_and_without_replacement(bytes).map(std::borrow::Cow::into_owned)
}

/// The subject, also where it stands there as bytes of no declared charset.
fn subject(message: &Message<'_>, raw: &[u8]) -> String {
    let header = message.headers().iter().find(|header| header.name().eq_ignore_ascii_case("subject"));
    let bytes = header.and_then(|header| {
        let begin = usize::try_from(header.offset_start()).ok()?;
        raw.get(begin..usize::try_from(header.offset_end()).ok()?)
    });
    bytes.and_then(japanese).unwrap_or_else(|| message.subject().unwrap_or_default().to_owned())
}

fn file(number: usize, part: &MessagePart<'_>) -> File {
    let kind = part.content_type().map_or_else(
        || "application/octet-stream".to_owned(),
        |kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or("octet-stream")).to_lowercase(),
    );
    let is_mail = part.is_message();
    let name = line(part.attachment_name().unwrap_or_default(), LONGEST_NAME).replace(['/', '\\'], "_");
    let name = match (name.is_empty(), is_mail) {
        (true, true) => format!("添付{}.eml", number + 1),
        (true, false) => format!("添付{}", number + 1),
        (false, _) => name,
    };
    let kind = if is_mail { "message/rfc822".to_owned() } else { kind };
    File { name, kind, bytes: part.contents().to_vec() }
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

/// Text without marks that move what is around them, and with one kind of line's end.
fn plain(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    text.chars().filter(|&mark| mark == '\n' || mark == '\t' || is_shown(mark)).collect()
}

/// The same as one line of at most so many characters.
fn line(text: &str, longest: usize) -> String {
    let text: String = text.chars().map(|mark| if mark.is_whitespace() { ' ' } else { mark }).collect();
    text.trim().chars().filter(|&mark| is_shown(mark)).take(longest).collect()
}

fn is_shown(mark: char) -> bool {
    !mark.is_control()
        && !matches!(mark, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// What is written, and what is quoted below it. Answers between quoted lines stay where they are.
fn fold(text: &str) -> (String, String) {
    let lines: Vec<&str> = text.trim().lines().collect();
    let is_divider = |line: &&str| {
        line.starts_with("--") && (line.contains("Original Message") || line.contains("元のメッセージ"))
    };
    let is_quoted = |line: &str| line.starts_with('>') || line.trim().is_empty();
    let begin = lines.iter().position(is_divider).unwrap_or_else(|| {
        let below = lines.iter().rev().take_while(|line| is_quoted(line)).count();
        let begin = lines.len() - below;
        // The line that names whom it quotes.
        let names = begin.checked_sub(1).and_then(|last| lines.get(last)).is_some_and(|line| {
            let line = line.trim_end();
            below > 0 && (line.ends_with([':', '：']) || line.ends_with("wrote"))
        });
        begin - usize::from(names)
    });
    let (written, quoted) = lines.split_at(begin);
    let (written, quoted) = (written.join("\n"), quoted.join("\n"));
    if written.trim().is_empty() {
        return (quoted, String::new());
    }
    (written.trim_end().to_owned(), quoted.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(raw: &[u8]) -> Letter {
        Letter::read(raw).expect("a mail")
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
    }

    #[test]
    fn files_have_their_names_and_no_way_out_of_a_directory() {
        let raw = b"From: a@b.jp\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\ntext\r\n--x\r\n\
            Content-Type: application/pdf\r\n\
            Content-Disposition: attachment; filename*0*=UTF-8''%E5%B7%A5; filename*1*=%E4%BA%8B.pdf\r\n\r\nPDF\r\n\
            --x\r\nContent-Type: application/ms-tnef\r\n\
            Content-Disposition: attachment; filename=\"../winmail.dat\"\r\n\r\nT\r\n--x--\r\n";
        let read = letter(raw);
        let names: Vec<&str> = read.files.iter().map(|file| &*file.name).collect();
        assert_eq!(names, ["工事.pdf", ".._winmail.dat"]);
        assert_eq!(read.text, "text");
    }

    #[test]
    fn what_is_quoted_below_is_folded_and_answers_in_between_are_not() {
        let parts = |text: &str| fold(text);
        assert_eq!(
            parts("了解です\n\n花子 wrote:\n> 明日は?\n> 晴れ\n"),
            ("了解です".into(), "花子 wrote:\n> 明日は?\n> 晴れ".into())
        );
        assert_eq!(parts("> 明日は?\n晴れです"), ("> 明日は?\n晴れです".into(), String::new()));
        assert_eq!(parts("はい\n-----Original Message-----\nFrom: x").0, "はい");
        assert_eq!(parts("> だけ"), ("> だけ".into(), String::new()));
    }

    #[test]
    fn an_address_is_proved_by_our_own_mta_only() {
        let with = |results: &str| {
            let raw = format!("Authentication-Results: {results}\r\nFrom: a@b.jp\r\n\r\nx\r\n");
            letter(raw.as_bytes()).is_proved(Some("mx.kanazawa.test"))
        };
        assert!(with("mx.kanazawa.test; spf=pass smtp.mailfrom=b.jp; dmarc=pass header.from=b.jp"));
        assert!(!with("mx.kanazawa.test; spf=pass smtp.mailfrom=evil.test; dmarc=fail"));
        assert!(!with("mx.evil.test; dmarc=pass"));
        let ours_below = "mx.evil.test; dmarc=none\r\nAuthentication-Results: mx.kanazawa.test; dmarc=pass";
        assert!(!with(ours_below));
        assert!(!letter(b"From: a@b.jp\r\n\r\nx").is_proved(Some("mx.kanazawa.test")));
    }

    #[test]
    fn programs_and_lists_are_known_as_such() {
        let is = |header: &str| letter(format!("{header}\r\nFrom: a@b.jp\r\n\r\nx").as_bytes()).is_automatic;
        assert!(is("Auto-Submitted: auto-replied") && is("Precedence: bulk") && is("List-Id: <a.b>"));
        assert!(is("Content-Type: multipart/report; boundary=x"));
        assert!(!is("Auto-Submitted: no") && !is("X-A: b"));
    }
}
