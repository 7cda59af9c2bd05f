//! Keys about whom to turn to, and how people are reached.

use std::{collections::BTreeMap, path::PathBuf};

use ruma::OwnedUserId;
use serde::{Deserialize, Serialize};

/// Whom users and other servers turn to about an authority.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SupportConfig {
    /// A page for users who need help.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
    /// People to turn to.
    pub contacts: Vec<ContactConfig>,
}

/// Somebody to turn to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContactConfig {
    /// For what: `m.role.admin`, `m.role.security`, or a name of one's own.
    pub role: String,
    /// By Matrix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix_id: Option<OwnedUserId>,
    /// By e-mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

/// How an authority sends mails, and whose addresses its users may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailConfig {
    /// The server that takes its mails.
    pub host: String,
    /// The server's port; else that which goes with `security`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How the connection is protected.
    #[serde(default)]
    pub security: MailSecurity,
    /// Who we are to the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// A file with the password that goes with that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// A PEM file with a certificate authority that the server's certificate may be of, besides those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The address that its mails are from.
    pub from: String,
    /// What stands beside that for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_name: Option<String>,
    /// Whether whoever registers gives an address.
    #[serde(default)]
    pub at_registration: EmailSetting,
    /// The domains whose addresses are taken; with none, all are.
    #[serde(default)]
    pub domains: Vec<String>,
    /// Where its users read in a browser what mails tell them of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web_client: Option<String>,
    /// Whether whoever asks is told that an address is known, or is not.
    #[serde(default)]
    pub tell_known: bool,
    /// Hosts to which a browser may be sent when an address is confirmed.
    #[serde(default)]
    pub next_hosts: Vec<String>,
}

/// How the connection to a mail server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailSecurity {
    /// TLS from the beginning.
    #[default]
    Tls,
    /// TLS after a word in the clear.
    StartTls,
    /// Not at all.
    None,
}

/// Whether whoever registers gives an e-mail address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmailSetting {
    /// Nobody does.
    Off,
    /// Whoever likes.
    #[default]
    Optional,
    /// Everybody.
    Required,
}

/// A document that whoever registers has to accept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TermsConfig {
    /// Its name for programs.
    pub id: String,
    /// Which version of it.
    pub version: String,
    /// It by language: `ja`, `en`.
    pub texts: BTreeMap<String, TermsTextConfig>,
}

/// A document in one language.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TermsTextConfig {
    /// What it is called.
    pub name: String,
    /// Where it is.
    pub url: String,
}
