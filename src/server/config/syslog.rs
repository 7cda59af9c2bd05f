//! Keys about the log servers that audit logs go to.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::anyhow;
use ruma::OwnedServerName;
use serde::{Deserialize, Serialize};

use super::{AuthorityConfig, Config, found::Found};
use crate::{causes, texts::tr};

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
    fn has_good_name(&self) -> bool {
        let is_of_name = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        (1..=LONGEST_NAME).contains(&self.name.len()) && self.name.bytes().all(is_of_name)
    }
}

/// What is wrong with the log servers of the authority of this number.
pub(super) fn check_log_servers(authority: &AuthorityConfig, index: usize, found: &mut Found) {
    let mut names = BTreeMap::new();
    for (number, server) in authority.syslog.iter().enumerate() {
        let key = |part: &str| format!("authorities.{index}.syslog.{number}.{part}");
        if !server.has_good_name() {
            found.wrong(
                key("name"),
                tr!(
                    "英小文字・数字・- ・_ で 32 文字以内にしてください",
                    "a name has at most 32 of a-z, 0-9, - and _"
                ),
            );
        }
        if let Some(first) = names.insert(&server.name, key("name")) {
            found.contradiction(
                key("name"),
                vec![first],
                tr!("{name} が二度あります", "{name} is there twice", name = server.name),
            );
        }
        match syslog::Place::parse(&server.address) {
            Err(_) => found.wrong(
                key("address"),
                tr!(
                    "log.example.lg.jp:6514 のようなホストとポートが必要です",
                    "a host and a port such as log.example.lg.jp:6514 are needed"
                ),
            ),
            Ok(place) if server.security == SyslogSecurity::None && !place.is_here() => found.contradiction(
                key("security"),
                vec![key("address")],
                tr!(
                    "監査ログを平文でネットワークに流すことはできません。TLS を使うか、このマシンの中継を指定してください",
                    "an audit log does not go over a network in the clear: use TLS, or a relay on this machine"
                ),
            ),
            Ok(_) => {}
        }
        if server.certificate_file.is_some() != server.key_file.is_some() {
            found.contradiction(
                key("certificate_file"),
                vec![key("key_file")],
                tr!("証明書と鍵は両方必要です", "a certificate and its key belong together"),
            );
        }
        if server.enterprise == 0 {
            found.wrong(key("enterprise"), tr!("1 以上の番号です", "it is a number from 1 on"));
        }
    }
}

impl Config {
    /// The log servers of our authorities.
    ///
    /// # Errors
    /// A certificate or key that cannot be read or used.
    pub fn log_servers(&self) -> anyhow::Result<BTreeMap<OwnedServerName, Vec<syslog::Settings>>> {
        let mut all: BTreeMap<OwnedServerName, Vec<syslog::Settings>> = BTreeMap::new();
        for authority in &self.authorities {
            for server in &authority.syslog {
                all.entry(authority.name.clone()).or_default().push(self.log_server(server)?);
            }
        }
        Ok(all)
    }

    fn log_server(&self, server: &SyslogConfig) -> anyhow::Result<syslog::Settings> {
        let SyslogConfig { name, address, security, ca_file, certificate_file, key_file, enterprise } =
            server;
        let place = syslog::Place::parse(address).map_err(|error| anyhow!("{address}: {error}"))?;
        let tls = match security {
            SyslogSecurity::None => None,
            SyslogSecurity::Tls => {
                let files: Vec<_> = ca_file.iter().map(|file| self.path(file)).collect();
                let own = certificate_file.as_ref().zip(key_file.as_ref());
                let own = own.map(|(certificate, key)| (self.path(certificate), self.path(key)));
                let tls = federation::tls_client_showing(federation::Trust::System, &files, own)
                    .map_err(|error| anyhow!(causes::of_network(&error)))?;
                Some(tls)
            }
        };
        Ok(syslog::Settings {
            name: name.clone(),
            place,
            tls,
            enterprise: *enterprise,
            bounds: syslog::Bounds::default(),
        })
    }
}
