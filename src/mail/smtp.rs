//! Mails over SMTP, to the one server that an authority hands them to.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{
        Mailbox, MultiPart,
        header::{ContentType, HeaderName, HeaderValue, MIME_VERSION_1_0},
    },
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, Tls, TlsParameters},
        extension::ClientId,
    },
};

use crate::{Carrier, EmailAddress, Letter, Refusal};

/// A server takes no longer for one command than this.
const EACH_COMMAND: Duration = Duration::from_secs(30);

/// Nor for a whole mail than this.
const WHOLE: Duration = Duration::from_secs(120);

/// Longest subject, and name of who sends, in characters.
const LONGEST_HEADING: usize = 250;

/// How the connection to a server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// TLS from the first byte on.
    #[default]
    Tls,
    /// TLS after a word in the clear, without which nothing is said.
    StartTls,
    /// Not at all: for a server on this machine.
    None,
}

/// A server that takes mails.
#[derive(Clone)]
pub struct SmtpServer {
    /// Its host, which its certificate must be for.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection to it is protected.
    pub security: Security,
    /// Who we are to it: a name and a password.
    pub user: Option<(String, String)>,
    /// A certificate authority (PEM) that its certificate may be of, besides those of the operating system.
    pub ca: Option<Vec<u8>>,
    /// Whom its mails are from.
    pub from: EmailAddress,
    /// What stands beside that for people.
    pub from_name: Option<String>,
}

impl std::fmt::Debug for SmtpServer {
    /// Passwords do not belong in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmtpServer")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// Why a server cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SmtpError(String);

/// The servers of all authorities that send mails.
#[derive(Debug, Default)]
pub struct Smtp {
    ways: BTreeMap<String, Way>,
}

struct Way {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Way").field("from", &self.from).finish_non_exhaustive()
    }
}

impl Smtp {
    /// The servers of these authorities. No connection is made yet.
    ///
    /// # Errors
    /// A certificate or a name that cannot be used.
    pub fn new(servers: impl IntoIterator<Item = (String, SmtpServer)>) -> Result<Self, SmtpError> {
        let ways = servers.into_iter().map(|(authority, server)| Ok((authority, Way::to(server)?)));
        Ok(Self { ways: ways.collect::<Result<_, SmtpError>>()? })
    }
}

impl Way {
    fn to(server: SmtpServer) -> Result<Self, SmtpError> {
        let SmtpServer { host, port, security, user, ca, from, from_name } = server;
        let tls = match security {
            Security::None => Tls::None,
            Security::Tls => Tls::Wrapper(parameters(&host, ca.as_deref())?),
            Security::StartTls => Tls::Required(parameters(&host, ca.as_deref())?),
        };
        let address: Address = from
            .as_str()
            .parse()
            .map_err(|error| SmtpError(format!("{from} cannot be written from: {error}")))?;
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(port)
            .tls(tls)
            .hello_name(ClientId::Domain(from.domain().to_owned()))
            .timeout(Some(EACH_COMMAND));
        if let Some((name, password)) = user {
            transport = transport.credentials(Credentials::new(name, password));
        }
        Ok(Self {
            transport: transport.build(),
            from: Mailbox::new(from_name.as_deref().map(heading), address),
        })
    }
}

fn parameters(host: &str, ca: Option<&[u8]>) -> Result<TlsParameters, SmtpError> {
    let wrong = |error: &dyn std::error::Error| SmtpError(error.to_string());
    let mut parameters = TlsParameters::builder(host.to_owned());
    if let Some(pem) = ca {
        parameters =
            parameters.add_root_certificate(Certificate::from_pem(pem).map_err(|error| wrong(&error))?);
    }
    parameters.build_rustls().map_err(|error| wrong(&error))
}

#[async_trait]
impl Carrier for Smtp {
    fn authorities(&self) -> Vec<String> {
        self.ways.keys().cloned().collect()
    }

    fn serves(&self, authority: &str) -> bool {
        self.ways.contains_key(authority)
    }

    async fn carry(&self, letter: &Letter) -> Result<(), Refusal> {
        let Some(way) = self.ways.get(&letter.authority) else {
            return Err(Refusal::ForNow("this authority sends no mails".to_owned()));
        };
        let message = written(letter, &way.from)?;
        // By the machine's own clock, as lettre's waits are: this bounds the world, not what we know.
        match tokio::time::timeout(WHOLE, way.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(refused(&error)),
            Err(_) => Err(Refusal::ForNow("the server takes too long".to_owned())),
        }
    }
}

fn written(letter: &Letter, from: &Mailbox) -> Result<Message, Refusal> {
    let unusable = |error: &dyn std::error::Error| Refusal::ForGood(error.to_string());
    let to: Address = letter.to.parse().map_err(|error: lettre::address::AddressError| unusable(&error))?;
    let at = std::time::UNIX_EPOCH + Duration::from_millis(letter.written.millis());
    let domain = from.email.domain();
    let begun = Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to))
        .subject(heading(&letter.subject))
        .date(at)
        .message_id(Some(format!("<{}@{domain}>", letter.id)));
    let text = lines(&letter.text);
    let message = match &letter.html {
        Some(html) => begun.multipart(MultiPart::alternative_plain_html(text, lines(html))),
        // RFC 2045, 4 demands the version of each; the builder names it for those of several parts alone.
        None => begun.header(MIME_VERSION_1_0).header(ContentType::TEXT_PLAIN).body(text),
    };
    let mut message = message.map_err(|error| unusable(&error))?;
    let mut say = |name, value| {
        let name = HeaderName::new_from_ascii_str(name);
        message.headers_mut().insert_raw(HeaderValue::new(name, value));
    };
    // So that nobody's absence is answered to us.
    say("Auto-Submitted", "auto-generated".to_owned());
    if let Some(address) = &letter.unsubscribe {
        // RFC 2369, and that a program may do it for its user (RFC 8058).
        say("List-Unsubscribe", format!("<{address}>"));
        say("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned());
    }
    Ok(message)
}

/// A text for the head of a mail: one line without what is no letter there, so short that it fits however it has to be written.
/// Lettre encodes what is not ASCII, and folds at spaces; the rest goes as it stands, a word of any length among it, and what
/// looks as if it were encoded (RFC 2047) already.
fn heading(text: &str) -> String {
    let dark = |letter: char| if letter.is_control() { ' ' } else { letter };
    let clean: String = text.chars().map(dark).collect();
    let line = clean.split_whitespace().collect::<Vec<_>>().join(" ").replace("=?", "= ?");
    match line.char_indices().nth(LONGEST_HEADING) {
        None => line,
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default().trim_end()),
    }
}

/// A text of which each line ends as those of mails do (lettre looks for `\n` alone), without what does nothing but harm.
fn lines(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    text.replace(|letter: char| letter.is_control() && !matches!(letter, '\n' | '\t'), "")
}

/// What another attempt is worth. Of what a server refuses for good, that is only what it says of the address or of the
/// mail: a wrong password of ours, or what it thinks of us today, will be mended.
fn refused(error: &lettre::transport::smtp::Error) -> Refusal {
    let code = error.status().map(u16::from);
    let reason = told(error);
    match code {
        Some(550..=553 | 555 | 556) => Refusal::ForGood(reason),
        _ => Refusal::ForNow(reason),
    }
}

/// An error with its sources, within bounds, since another server has a word in it.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text.chars().take(300).collect()
}
