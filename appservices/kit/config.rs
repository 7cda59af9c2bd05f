//! [`Config`]: the configuration file of a service, TOML with one section of its own.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use ruma::OwnedServerName;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

/// Largest configuration file that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// A service's configuration. Relative paths in it begin at the directory of its file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config<S> {
    /// The server that it belongs to.
    pub homeserver: HomeserverConfig,
    /// How the server knows it.
    pub appservice: AppserviceConfig,
    /// Where it listens for the server.
    pub listener: ListenerConfig,
    /// What it keeps.
    pub store: StoreConfig,
    /// Its own settings.
    pub bot: S,
    /// Where the file is.
    #[serde(skip)]
    pub directory: PathBuf,
}

/// `[homeserver]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HomeserverConfig {
    /// Where its client API is.
    pub url: url::Url,
    /// The authority.
    pub server_name: OwnedServerName,
    /// A certificate authority (PEM) besides those of the operating system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// `[appservice]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppserviceConfig {
    /// The registration file, which the homeserver reads as well; both tokens stand in it.
    pub registration: PathBuf,
    /// Where the homeserver reaches the service.
    pub url: url::Url,
    /// The localpart of its user.
    #[serde(default)]
    pub sender: Option<String>,
}

/// `[listener]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    /// Address and port.
    pub address: SocketAddr,
}

/// `[store]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// The file; its directory is made.
    pub path: PathBuf,
}

impl<S: DeserializeOwned> Config<S> {
    /// Reads a file.
    ///
    /// # Errors
    /// What cannot be read, with key and line.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let length = std::fs::metadata(path)
            .with_context(|| format!("{shown} を読めません / {shown} cannot be read"))?
            .len();
        if length > LARGEST {
            anyhow::bail!("{shown} は 1 MiB を超えています / {shown} is larger than 1 MiB");
        }
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("{shown} を読めません / {shown} cannot be read"))?;
        let mut config: Self = toml::from_str(&text)
            .with_context(|| format!("{shown} に誤りがあります / {shown} has a mistake"))?;
        let path = std::path::absolute(path)?;
        config.directory = path.parent().map(Path::to_owned).unwrap_or_default();
        Ok(config)
    }

    /// A path of the configuration as seen from here.
    pub fn path(&self, path: &Path) -> PathBuf {
        self.directory.join(path)
    }
}

impl<S> Config<S> {
    /// How other servers' certificates are judged: by the system's authorities, and by that of `homeserver.ca_file`.
    ///
    /// # Errors
    /// When that file cannot be read.
    pub fn tls(&self) -> anyhow::Result<rustls::ClientConfig> {
        let ca =
            self.homeserver.ca_file.as_ref().map(|path| std::fs::read(self.directory.join(path))).transpose();
        let ca = ca.context("homeserver.ca_file を読めません / homeserver.ca_file cannot be read")?;
        crate::homeserver::tls(ca.as_deref())
    }
}

/// A length of time, written as a number with its unit: `90d`, `12h`, `30m`, `10s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Span {
    /// Of so many days.
    pub const fn days(days: u64) -> Self {
        Self(Duration::from_secs(days * 86_400))
    }

    fn parse(text: &str) -> Option<Self> {
        let unit = text.chars().next_back()?;
        let seconds: u64 = match unit {
            'd' => 86_400,
            'h' => 3_600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        let number: u64 = text.get(..text.len() - 1)?.parse().ok()?;
        // A hundred years: beyond it lies a slip of the pen, and no date.
        let all = number.checked_mul(seconds).filter(|all| *all <= 36_500 * 86_400)?;
        Some(Self(Duration::from_secs(all)))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(
                "期間は 90d, 12h, 30m, 10s のように書きます / write 90d, 12h, 30m or 10s",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_a_number_with_its_unit() {
        assert_eq!(Span::parse("90d"), Some(Span::days(90)));
        assert_eq!(Span::parse("10s"), Some(Span(Duration::from_secs(10))));
        for wrong in ["", "d", "9", "-1d", "9日", "1.5h", "36501d", "99999999999999999999d"] {
            assert_eq!(Span::parse(wrong), None, "{wrong}");
        }
    }
}
