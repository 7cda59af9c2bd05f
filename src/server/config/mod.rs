//! The configuration: one TOML file, strict, with overrides from the environment.
//!
//! What each key means to an operator stands in the reference, `conf/yakuba.toml`; a test holds the
//! two together. Paths are taken from the directory of the file.

mod audit;
mod audit_years;
mod bucket;
mod cases;
mod check;
mod check_classes;
mod check_sources;
mod classes;
mod contacts;
mod convert;
mod factors;
mod files;
mod found;
mod gateway;
mod ldap;
mod listeners;
mod log;
mod log_servers;
mod organisation;
mod presence;
mod providers;
mod rates;
mod scim;
mod services;
mod sources;
mod syslog;
mod types;
mod upstream;
mod zones;

use std::path::{Path, PathBuf};

use base::config::Problem;

use crate::{causes, hosts, texts::tr};

pub use self::audit::AuditConfig;
pub use self::bucket::BucketConfig;
pub use self::cases::CasesConfig;
pub use self::classes::{ClassConfig, ClassFactor, ClassFiles, MakeRooms};
pub use self::contacts::{
    ContactConfig, EmailSetting, MailConfig, MailSecurity, SupportConfig, TermsConfig, TermsTextConfig,
};
pub use self::factors::{FactorsConfig, RequiredFactors};
pub use self::gateway::{GatewayAppConfig, GatewayConfig, GatewayKind};
pub use self::ldap::{LdapConfig, LdapKind};
pub use self::listeners::{Listener, ListenerTls, Serves};
pub use self::log::Log;
pub use self::organisation::OrganisationConfig;
pub use self::presence::PresenceSettings;
pub use self::scim::ScimConfig;
pub use self::syslog::{SyslogConfig, SyslogSecurity};
pub use self::types::{
    Admin, AuthorityConfig, Backend, Config, Durability, FederationConfig, FixedAddress, LimitsConfig,
    MediaSettings, OldKey, PeersSetting, PrivateAddresses, ProxiesConfig, ProxyHeaderSetting, PushMails,
    PushSettings, RateSetting, Registration, RegistrationMode, Rooms, Secret, StoreConfig, StoreTls,
    TlsFiles, TrustSetting,
};
pub use self::upstream::UpstreamConfig;
pub use self::zones::{FilesSetting, ZoneConfig};

/// The commented reference, as `yakuba init` writes it.
pub const REFERENCE: &str = include_str!("../../../conf/yakuba.toml");

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("{}", tr!(
        "{path} を読めません: {cause}",
        "{path} cannot be read: {cause}",
        path = path.display(),
        cause = causes::of_io(cause)
    ))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// Its content is wrong.
    #[error("{}", Listed { path, problems })]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Every mistake found.
        problems: Vec<Problem>,
    },
}

struct Listed<'a> {
    path: &'a Path,
    problems: &'a [Problem],
}

impl std::fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&tr!(
            "{path} に {count} 件の誤りがあります:",
            "{path} has {count} mistake(s):",
            path = self.path.display(),
            count = self.problems.len()
        ))?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

/// Whether a server name stands at a key.
fn is_of_a_name(key: &str) -> bool {
    let parts: Vec<&str> = key.split('.').collect();
    matches!(
        parts.as_slice(),
        ["authorities", _, "name"]
            | ["listeners", _, "authority"]
            | ["federation", "trusted_notaries", ..]
            | ["store", "retired_authorities", ..]
    )
}

/// Adds how a server name is to be written that somebody wrote in Japanese.
fn with_hints(mut problems: Vec<Problem>) -> Vec<Problem> {
    for problem in problems.iter_mut().filter(|problem| is_of_a_name(&problem.key)) {
        if let Some(ascii) = problem.found.as_deref().and_then(hosts::in_ascii) {
            problem.message =
                tr!("サーバー名は ASCII で書きます: {ascii}", "a server name is written in ASCII: {ascii}");
        }
    }
    problems
}

/// Whether a configuration has secrets from its text. Those that the environment gives do not stand there.
fn secrets_stand_in(
    text: &str,
    environment: impl IntoIterator<Item = (String, String)>,
    config: &Config,
) -> bool {
    let of_authorities = config.authorities.iter().enumerate().filter_map(|(index, authority)| {
        let has_tokens = !authority.registration.tokens.is_empty();
        has_tokens.then(|| format!("authorities.{index}.registration.tokens"))
    });
    let of_store = config.store.url.iter().map(|_| "store.url".to_owned());
    let mut secrets: Vec<Problem> =
        of_authorities.chain(of_store).map(|key| Problem::of_key(key, "")).collect();
    base::config::locate(text, environment, &mut secrets);
    secrets.iter().any(|secret| secret.variable.is_none())
}

impl Config {
    /// Reads the file with the overrides of this process's environment, and checks it.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn read(path: &Path) -> Result<Config, Error> {
        let text = std::fs::read_to_string(path)
            .map_err(|cause| Error::Unreadable { path: path.to_owned(), cause })?;
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        // Names and values that are no text cannot be meant for us.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let config = Config::parse(&text, environment, &directory)
            .map_err(|problems| Error::Wrong { path: path.to_owned(), problems })?;
        Ok(Config { file: path.to_owned(), ..config })
    }

    /// Reads a configuration from text; `directory` is where its relative paths begin.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn parse(
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
        directory: &Path,
    ) -> Result<Config, Vec<Problem>> {
        // Variables that choose the file, and the language of what is said, are not keys in it.
        let environment: Vec<(String, String)> = environment
            .into_iter()
            .filter(|(name, _)| name != "YAKUBA_CONFIG" && name != "YAKUBA_LANG")
            .collect();
        let mut config: Config = base::config::load(text, environment.iter().cloned()).map_err(with_hints)?;
        config.directory = directory.to_owned();
        config.tells_secrets = secrets_stand_in(text, environment.iter().cloned(), &config);
        let mut problems = check::problems(&config);
        base::config::locate(text, environment, &mut problems);
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    /// A path of the configuration, seen from the configuration's directory.
    pub fn path(&self, path: &Path) -> PathBuf {
        self.directory.join(path)
    }
}
