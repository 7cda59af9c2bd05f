//! Keys about the log servers that audit logs go to.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Longest name of a log server.
const LONGEST_NAME: usize = 32;

/// How what goes to a log server is kept from others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyslogSecurity {
    /// TLS (RFC 5425).
    #[default]
    Tls,
    /// Nothing: for a relay on this machine.
    None,
}

/// A log server of an authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyslogConfig {
    /// Its name here: part of what is kept of it.
    pub name: String,
    /// Where it listens, host and port.
    pub address: String,
    /// How what goes there is kept from others.
    #[serde(default)]
    pub security: SyslogSecurity,
    /// A PEM file with a certificate authority that its certificate may be of, besides those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The certificate (PEM) that we show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// The key that goes with it (PEM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// The enterprise number of structured data.
    #[serde(default = "enterprise")]
    pub enterprise: u32,
}

const fn enterprise() -> u32 {
    syslog::EXAMPLE_NUMBER
}

impl SyslogConfig {
    pub(crate) fn has_good_name(&self) -> bool {
        let is_of_name = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        (1..=LONGEST_NAME).contains(&self.name.len()) && self.name.bytes().all(is_of_name)
    }
}
