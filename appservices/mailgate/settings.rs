//! [`Settings`]: what stands under `[bot]`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use bot_kit::{Config, Span};
use serde::Deserialize;

/// Mails of this size at most can be set, in MiB.
const LARGEST: usize = 50;

/// The settings; `conf/mailgate.toml` explains each.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The bot's name.
    #[serde(default = "display_name")]
    pub(crate) display_name: String,
    /// What stands behind the `@` of rooms' addresses.
    pub(crate) domain: String,
    /// Where the MTA hands mail over.
    pub(crate) address: SocketAddr,
    /// How it does.
    #[serde(default)]
    pub(crate) protocol: Protocol,
    /// The MTA's name in `Authentication-Results`; none: nobody's address is taken as proved.
    pub(crate) authserv_id: Option<String>,
    /// Largest mail, in MiB.
    #[serde(default = "largest_mib")]
    pub(crate) largest_mib: usize,
    /// Mails to one address in an hour.
    #[serde(default = "hourly")]
    pub(crate) hourly: usize,
    /// Mails of one sender in an hour, to all addresses.
    #[serde(default = "hourly_of_sender")]
    pub(crate) hourly_of_sender: usize,
    /// Domains of the authority's own people: who is proved to write from one is shown as from inside.
    #[serde(default)]
    pub(crate) own_domains: Vec<String>,
    /// Where mails are laid that no room took.
    #[serde(default = "held_path")]
    pub(crate) held_path: PathBuf,
    /// The server that takes mails out; none: nothing goes out.
    pub(crate) smtp: Option<SmtpSettings>,
    /// Who has less power in the room sends nothing out.
    #[serde(default = "least_power")]
    pub(crate) send_power: i64,
    /// A mail waits for so long before it goes out.
    #[serde(default = "delay")]
    pub(crate) delay: Span,
    /// Mails out of a room in an hour.
    #[serde(default = "hourly_out")]
    pub(crate) hourly_out: usize,
    /// What stands beside a room's address for people.
    pub(crate) from_name: Option<String>,
    /// Who has less power in the room opens no address.
    #[serde(default = "least_power")]
    pub(crate) least_power: i64,
}

/// What the MTA speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    /// RFC 2033.
    #[default]
    Lmtp,
    /// RFC 5321.
    Smtp,
}

/// A server that takes mails.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SmtpSettings {
    /// Its host, which its certificate must be for.
    pub(crate) host: String,
    port: Option<u16>,
    /// How the connection is protected.
    #[serde(default)]
    pub(crate) security: Security,
    /// Who we are to it.
    pub(crate) user: Option<String>,
    pub(crate) password_file: Option<PathBuf>,
    /// A certificate authority (PEM) besides those of the operating system.
    pub(crate) ca_file: Option<PathBuf>,
}

impl SmtpSettings {
    /// Its port, or the usual one.
    pub(crate) fn port(&self) -> u16 {
        self.port.unwrap_or(match self.security {
            Security::Tls => 465,
            Security::StartTls => 587,
            Security::None => 25,
        })
    }
}

/// How a connection to a server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Security {
    /// TLS from the first byte on.
    #[default]
    Tls,
    /// TLS after a word in the clear, without which nothing is said.
    StartTls,
    /// Not at all: for a server on this machine.
    None,
}

fn display_name() -> String {
    "メール窓口".to_owned()
}

fn largest_mib() -> usize {
    25
}

fn hourly() -> usize {
    60
}

fn delay() -> Span {
    Span(Duration::from_secs(30))
}

fn hourly_out() -> usize {
    30
}

fn hourly_of_sender() -> usize {
    20
}

fn held_path() -> PathBuf {
    "held".into()
}

fn least_power() -> i64 {
    50
}

impl Settings {
    /// Largest mail in bytes.
    pub(crate) fn largest_bytes(&self) -> usize {
        self.largest_mib << 20
    }
}

/// What is wrong with the settings.
pub(crate) fn mistakes(config: &Config<Settings>) -> Vec<String> {
    let Settings { domain, largest_mib, hourly, hourly_of_sender, .. } = &config.bot;
    let mut mistakes = Vec::new();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    if domain.is_empty() || !domain.bytes().all(is_name) {
        mistakes.push("bot.domain: ドメイン名が必要です / a domain is needed".to_owned());
    }
    if !(1..=LARGEST).contains(largest_mib) {
        mistakes.push(format!("bot.largest_mib: 1 から {LARGEST} までです / from 1 to {LARGEST}"));
    }
    if *hourly == 0 || *hourly_of_sender == 0 {
        mistakes.push("bot.hourly, bot.hourly_of_sender: 1 以上が必要です / 1 or more is needed".to_owned());
    }
    let smtp = config.bot.smtp.as_ref();
    if smtp.is_some_and(|smtp| smtp.user.is_some() != smtp.password_file.is_some()) {
        mistakes.push(
            "bot.smtp: `user` と `password_file` は両方必要です / `user` needs `password_file`, and the other way round"
                .to_owned(),
        );
    }
    mistakes
}
