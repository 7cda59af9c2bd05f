//! The log servers that a configuration names: what is wrong with them, and what sends to them needs.

use std::collections::BTreeMap;

use anyhow::anyhow;
use ruma::OwnedServerName;

use super::{AuthorityConfig, Config, SyslogConfig, SyslogSecurity, found::Found};
use crate::{causes, texts::tr};

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
