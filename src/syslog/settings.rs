//! What is set about a destination.

use std::{fmt, sync::Arc, time::Duration};

use tokio_rustls::rustls::ClientConfig;

/// Where a log server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its host: a name, or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// What was given is no place of a log server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a host and a port such as log.example.test:6514 are needed")]
pub struct NoPlace;

impl Place {
    /// Reads `host:port`; an IPv6 address stands in brackets.
    ///
    /// # Errors
    /// [`NoPlace`].
    pub fn parse(text: &str) -> Result<Self, NoPlace> {
        let (host, port) = text.rsplit_once(':').ok_or(NoPlace)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_good = match bare {
            Some(bare) => bare.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                let is_of_host =
                    |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
                !host.is_empty() && host.bytes().all(is_of_host)
            }
        };
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(NoPlace)?;
        if is_good { Ok(Self { host: bare.unwrap_or(host).to_owned(), port }) } else { Err(NoPlace) }
    }

    /// Whether it is on this machine, so that nobody on a network reads what goes there.
    #[must_use]
    pub fn is_here(&self) -> bool {
        self.host == "localhost"
            || self.host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// What a destination may cost us, whatever it does.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// How long a connection may take to be there, with TLS.
    pub connecting: Duration,
    /// How long it may take nothing of a page of rows.
    pub writing: Duration,
    /// How long what was sent may be unconfirmed by the network. Less than [`Bounds::settle`].
    pub confirming: Duration,
    /// How long the connection has to stand after a row was confirmed by the network until the row counts as sent.
    pub settle: Duration,
    /// Rows that were written and do not count as sent yet, at most.
    pub unsettled: u64,
    /// Rows that are read at once.
    pub page: usize,
    /// The first and the longest pause after a failure.
    pub again: (Duration, Duration),
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connecting: Duration::from_secs(10),
            writing: Duration::from_secs(30),
            confirming: Duration::from_secs(20),
            settle: Duration::from_secs(30),
            unsettled: 20_000,
            page: 200,
            again: (Duration::from_secs(1), Duration::from_secs(60)),
        }
    }
}

/// What is set about a destination.
#[derive(Clone)]
pub struct Settings {
    /// What the configuration calls it: part of keys, so that another name is another destination.
    pub name: String,
    /// Where it is.
    pub place: Place,
    /// The certificates that are believed, and the one that is shown; in the clear without it.
    pub tls: Option<Arc<ClientConfig>>,
    /// The enterprise number behind the name of our structured data.
    pub enterprise: u32,
    /// What it may cost.
    pub bounds: Bounds,
}

impl fmt::Debug for Settings {
    /// Keys do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("name", &self.name)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}
