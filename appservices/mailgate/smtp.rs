//! The authority's mail server, which takes mails out.
//!
//! A mail is handed over in two steps: up to the server's word that it takes the bytes, and the bytes. Only what fails in
//! the second one may have gone out.

use std::time::Duration;

use anyhow::Context;
use bot_kit::Config;
use lettre::{
    Address, Message,
    message::{
        Mailbox,
        header::{ContentType, MIME_VERSION_1_0},
    },
    transport::smtp::{
        authentication::{Credentials, Mechanism},
        client::{AsyncSmtpConnection, Certificate, TlsParameters},
        commands::{Data, Mail as MailFrom, Rcpt},
        extension::ClientId,
        response::Response,
    },
};
use tokio::time::timeout;

use crate::settings::{Security, Settings};

/// A server takes no longer for one answer than this.
const EACH: Duration = Duration::from_secs(30);

/// Nor for each of the two steps than this.
const STEP: Duration = Duration::from_secs(120);

/// Longest address.
const LONGEST_ADDRESS: usize = 254;

/// Why a mail was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Another attempt may work.
    ForNow(String),
    /// No other attempt will.
    ForGood(String),
    /// It may have been taken.
    Unknown,
}

/// A mail.
pub(crate) struct Mail<'a> {
    /// Without its brackets.
    pub(crate) id: &'a str,
    pub(crate) from: &'a str,
    pub(crate) name: Option<&'a str>,
    pub(crate) to: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) text: &'a str,
    /// The mails before it, nearest first.
    pub(crate) before: &'a [String],
    pub(crate) asked_ms: u64,
}

/// The server.
pub(crate) struct Smtp {
    host: String,
    port: u16,
    hello: ClientId,
    wrapper: Option<TlsParameters>,
    start: Option<TlsParameters>,
    login: Option<Credentials>,
}

/// A mail whose bytes the server waits for.
pub(crate) struct Begun {
    connection: AsyncSmtpConnection,
    bytes: Vec<u8>,
}

impl Smtp {
    /// The server of the settings. No connection is made yet.
    ///
    /// # Errors
    /// A file that cannot be read, or a certificate that cannot be used.
    pub(crate) fn new(config: &Config<Settings>) -> anyhow::Result<Option<Self>> {
        let Some(smtp) = &config.bot.smtp else { return Ok(None) };
        let parameters = || -> anyhow::Result<TlsParameters> {
            let mut parameters = TlsParameters::builder(smtp.host.clone());
            if let Some(path) = &smtp.ca_file {
                let pem = std::fs::read(config.path(path))
                    .context("bot.smtp.ca_file を読めません / bot.smtp.ca_file cannot be read")?;
                parameters = parameters.add_root_certificate(Certificate::from_pem(&pem)?);
            }
            Ok(parameters.build_rustls()?)
        };
        let (wrapper, start) = match smtp.security {
            Security::Tls => (Some(parameters()?), None),
            Security::StartTls => (None, Some(parameters()?)),
            Security::None => (None, None),
        };
        let login = match (&smtp.user, &smtp.password_file) {
            (Some(user), Some(path)) => {
                let password = std::fs::read_to_string(config.path(path))
                    .context("bot.smtp.password_file を読めません / bot.smtp.password_file cannot be read")?;
                Some(Credentials::new(user.clone(), password.trim_end().to_owned()))
            }
            _ => None,
        };
        let hello = ClientId::Domain(config.bot.domain.clone());
        Ok(Some(Self { host: smtp.host.clone(), port: smtp.port(), hello, wrapper, start, login }))
    }

    /// Goes to the server with a mail until it waits for its bytes.
    pub(crate) async fn begin(&self, mail: &Mail<'_>) -> Result<Begun, Refusal> {
        let message = written(mail).map_err(|error| Refusal::ForGood(error.to_string()))?;
        let begun = timeout(STEP, self.greet(&message));
        match begun.await {
            Ok(Ok(connection)) => Ok(Begun { connection, bytes: message.formatted() }),
            Ok(Err(error)) => Err(judged(&error)),
            Err(_) => Err(Refusal::ForNow("the server takes too long".to_owned())),
        }
    }

    async fn greet(&self, message: &Message) -> Result<AsyncSmtpConnection, lettre::transport::smtp::Error> {
        let mut connection = AsyncSmtpConnection::connect_tokio1(
            (&*self.host, self.port),
            Some(EACH),
            &self.hello,
            self.wrapper.clone(),
            None,
        )
        .await?;
        if let Some(parameters) = &self.start {
            connection.starttls(parameters.clone(), &self.hello).await?;
        }
        if let Some(login) = &self.login {
            connection.auth(&[Mechanism::Plain, Mechanism::Login], login).await?;
        }
        let envelope = message.envelope();
        connection.command(MailFrom::new(envelope.from().cloned(), Vec::new())).await?;
        for to in envelope.to() {
            connection.command(Rcpt::new(to.clone(), Vec::new())).await?;
        }
        connection.command(Data).await?;
        Ok(connection)
    }
}

impl Begun {
    /// Hands the bytes over.
    pub(crate) async fn finish(mut self) -> Result<(), Refusal> {
        let given = timeout(STEP, self.connection.message(&self.bytes)).await;
        match given {
            Ok(Ok(Response { .. })) => {
                // It is the server's now, whatever becomes of the connection.
                let _end = timeout(EACH, self.connection.quit()).await;
                Ok(())
            }
            Ok(Err(error)) if error.status().is_some() => Err(judged(&error)),
            Ok(Err(_)) | Err(_) => Err(Refusal::Unknown),
        }
    }

    /// Ends without the bytes: a connection that breaks here has handed nothing over (RFC 5321 §4.1.1.4).
    pub(crate) async fn give_up(mut self) {
        self.connection.abort().await;
    }
}

/// An address to which mail can be written, in lower case: that of one person, without marks that mean something in SMTP.
pub(crate) fn recipient(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    let (local, domain) = text.rsplit_once('@')?;
    let is_atom = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&byte);
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    let is_fit = text.len() <= LONGEST_ADDRESS
        && local.bytes().all(is_atom)
        && domain.bytes().all(is_host)
        && text.parse::<Address>().is_ok();
    is_fit.then_some(text)
}

fn written(mail: &Mail<'_>) -> anyhow::Result<Message> {
    let one_line = |text: &str| text.chars().map(|mark| if mark.is_control() { ' ' } else { mark }).collect();
    let from = Mailbox::new(mail.name.map(one_line), mail.from.parse()?);
    let at = std::time::UNIX_EPOCH + Duration::from_millis(mail.asked_ms);
    let subject: String = one_line(mail.subject);
    // What others gave as an id may hold anything.
    let is_id = |id: &&String| {
        id.contains('@') && id.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>".contains(&byte))
    };
    let before: Vec<String> = mail.before.iter().filter(is_id).map(|id| format!("<{id}>")).collect();
    let mut message = Message::builder()
        .from(from)
        .to(Mailbox::new(None, mail.to.parse()?))
        .subject(subject)
        .date(at)
        .message_id(Some(format!("<{}>", mail.id)));
    if let Some(nearest) = before.first() {
        let oldest_first: Vec<&str> = before.iter().rev().map(String::as_str).collect();
        message = message.in_reply_to(nearest.clone()).references(oldest_first.join(" "));
    }
    // RFC 2045, 4 demands the version, and the builder leaves it out.
    Ok(message.header(MIME_VERSION_1_0).header(ContentType::TEXT_PLAIN).body(lines(mail.text))?)
}

/// A text whose lines end in CR LF, wherever they end: RFC 5321 §2.3.8 wants neither mark alone, which some servers take for an end
/// of a line and others do not. Other marks that control something are left out.
fn lines(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace(['\r', '\u{b}', '\u{c}', '\u{85}'], "\n");
    let kept = text.chars().filter(|mark| matches!(mark, '\n' | '\t') || !mark.is_control());
    kept.collect::<String>().replace('\n', "\r\n")
}

/// What another attempt is worth. Of what a server refuses for good, that is only what it says of the address or of the
/// mail: a wrong password of ours, or what it thinks of us today, will be mended.
fn judged(error: &lettre::transport::smtp::Error) -> Refusal {
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        reason = format!("{reason}: {cause}");
        source = cause.source();
    }
    // Another server has a word in it.
    let reason: String = reason.chars().filter(|mark| !mark.is_control()).take(300).collect();
    match error.status().map(u16::from) {
        Some(550..=556) => Refusal::ForGood(reason),
        _ => Refusal::ForNow(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail<'a>(subject: &'a str, before: &'a [String]) -> Mail<'a> {
        Mail {
            id: "1@in.test",
            from: "room@in.test",
            name: Some("金沢市"),
            to: "taro@example.co.jp",
            subject,
            text: "はい\n.\n以上",
            before,
            asked_ms: 0,
        }
    }

    #[test]
    fn a_mail_names_those_before_it_and_nothing_of_them_becomes_a_header() {
        let before = ["b@x", "a@x\r\nBcc: evil@x", "no id", "a@x"].map(str::to_owned);
        let written = written(&mail("Re: 橋\r\nBcc: evil@x", &before)).expect("written");
        let text = String::from_utf8(written.formatted()).expect("text");
        assert!(text.contains("Message-ID: <1@in.test>\r\n"), "{text}");
        assert!(
            text.contains("In-Reply-To: <b@x>\r\n") && text.contains("References: <a@x> <b@x>\r\n"),
            "{text}"
        );
        assert!(!text.to_lowercase().contains("\nbcc:"), "{text}");
    }

    #[test]
    fn no_cr_or_lf_of_a_text_goes_out_alone() {
        for text in
            ["a\r.\rMAIL FROM:<evil@x>\r.", "a\n.\nb\r\n.\r\nc\n", "橋\r.\r\n\n.\u{85}MAIL\0", "\r\n.\r\n"]
        {
            let mut mail = mail("s", &[]);
            mail.text = text;
            let bytes = written(&mail).expect("written").formatted();
            for (at, byte) in bytes.iter().enumerate() {
                let before = at.checked_sub(1).and_then(|at| bytes.get(at));
                let is_whole = match byte {
                    b'\n' => before == Some(&b'\r'),
                    b'\r' => bytes.get(at + 1) == Some(&b'\n'),
                    byte => *byte != 0,
                };
                assert!(is_whole, "{text:?}: {}", String::from_utf8_lossy(&bytes).escape_debug());
            }
        }
        assert_eq!(lines("a\rb\r\nc\n\td"), "a\r\nb\r\nc\r\n\td");
    }

    #[test]
    fn only_a_plain_address_is_written_to() {
        assert_eq!(recipient(" Taro@Example.co.jp").as_deref(), Some("taro@example.co.jp"));
        for text in [
            "",
            "taro",
            "taro@",
            "@x.jp",
            "a b@x.jp",
            "a@x.jp>\r\nRCPT TO:<b@x.jp",
            "a,b@x.jp",
            "<a@x.jp>",
            "\"a\"@x.jp",
        ] {
            assert_eq!(recipient(text), None, "{text}");
        }
    }
}
