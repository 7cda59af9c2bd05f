//! What can be set about federation.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use base::ByteSize;
use ruma::OwnedServerName;

use crate::addresses::AddressPolicy;

/// Settings of federation, for all authorities of this process.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// How peers are found and reached.
    pub network: NetworkConfig,
    /// How server keys are had and given.
    pub keys: KeyConfig,
    /// How events go out.
    pub sender: SenderConfig,
    /// Who may federate with us.
    pub peers: Peers,
}

/// Who may federate with us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Peers {
    /// Nobody: the safe default.
    #[default]
    Nobody,
    /// These servers only.
    Only(BTreeSet<OwnedServerName>),
    /// Everybody.
    Everybody,
}

impl Peers {
    /// Whether requests may be sent to, and taken from, this server.
    pub fn include(&self, server: &ruma::ServerName) -> bool {
        match self {
            Self::Nobody => false,
            Self::Only(servers) => servers.contains(server),
            Self::Everybody => true,
        }
    }
}

/// How peers are found and reached.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// Fixed addresses by server name; no look-up of any kind is made for these, and
    /// [`NetworkConfig::addresses`] does not apply to them.
    pub fixed: BTreeMap<OwnedServerName, FixedAddress>,
    /// Which addresses names may lead to.
    pub addresses: AddressPolicy,
    /// Which addresses the names of pages may lead to that users link to; none: no page is looked at.
    pub pages: Option<AddressPolicy>,
    /// Which addresses the names of push gateways may lead to.
    pub gateways: AddressPolicy,
    /// PEM files with certificates of authorities to trust besides [`NetworkConfig::trust`].
    pub ca_files: Vec<PathBuf>,
    /// Which certificate authorities are trusted without being named.
    pub trust: Trust,
    /// Whether DNS may be asked at all. Without it only fixed addresses and IP literals are reached.
    pub dns: bool,
    /// Time to find a peer and have a TLS connection to it.
    pub connect_timeout: Duration,
    /// Time for a whole request, from finding the peer to the last byte of its answer.
    pub request_timeout: Duration,
    /// Requests to one peer at a time; more wait.
    pub requests_per_peer: usize,
    /// Requests in all at a time; more wait. The two that follow come on top.
    pub requests: usize,
    /// Questions for profiles at a time, which anybody may have us ask; more fail.
    pub profiles: usize,
    /// Requests at a time for keys of servers that somebody names without proof; more fail.
    pub unproven_keys: usize,
    /// Files of other servers that are fetched at a time, and from one of them; more wait.
    pub files: usize,
    /// The latter.
    pub files_per_peer: usize,
    /// Connections to push gateways and push services in all, beside as many again to those that did not answer last or
    /// were not met yet; more wait.
    pub gateway_sockets: usize,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// Largest answer that is read, unless the request says otherwise.
    pub largest_response: ByteSize,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            fixed: BTreeMap::new(),
            addresses: AddressPolicy::default(),
            pages: None,
            gateways: AddressPolicy::default(),
            ca_files: Vec::new(),
            trust: Trust::System,
            dns: true,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(60),
            requests_per_peer: 16,
            requests: 2_048,
            profiles: 64,
            unproven_keys: 256,
            files: 64,
            files_per_peer: 8,
            gateway_sockets: 128,
            idle_timeout: Duration::from_secs(90),
            largest_response: ByteSize::mib(32),
        }
    }
}

/// Where a peer is, by configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedAddress {
    /// IP address or host name, with a port: `10.1.2.3:8448`, `[fd00::7]:8448`, `matrix.pref.test:443`.
    /// Without a port: 8448.
    pub address: String,
    /// The name that the peer's certificate must be for; else the host of its server name.
    pub certificate_name: Option<String>,
}

/// Which certificate authorities are trusted without being named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Those of the operating system; Mozilla's list where it has none.
    #[default]
    System,
    /// Mozilla's list, as built in.
    Mozilla,
    /// None: only those in the named files.
    FilesOnly,
}

/// How server keys are had and given.
#[derive(Clone, Debug)]
pub struct KeyConfig {
    /// How long the keys that we publish are good for.
    pub lifetime: Duration,
    /// Servers that are asked for the keys of servers that do not answer.
    pub notaries: Vec<OwnedServerName>,
    /// Time for one request for keys.
    pub fetch_timeout: Duration,
}

impl Default for KeyConfig {
    fn default() -> Self {
        Self {
            lifetime: Duration::from_secs(24 * 60 * 60),
            notaries: Vec::new(),
            fetch_timeout: Duration::from_secs(10),
        }
    }
}

/// How events go out.
#[derive(Clone, Debug)]
pub struct SenderConfig {
    /// The first wait after a failed transaction; it doubles with each further failure.
    pub first_retry: Duration,
    /// The longest wait between two attempts.
    pub longest_retry: Duration,
    /// Events waiting in memory for one peer. With more it is served from the store instead.
    pub queue: usize,
    /// Transactions under way at a time to peers that answered last time.
    pub healthy: usize,
    /// Transactions under way at a time to peers that did not.
    pub suspect: usize,
    /// Transactions under way at a time to servers that never answered.
    pub strangers: usize,
    /// Servers that never answered which are tried at all; with more, the one that failed most is given up.
    pub most_strangers: usize,
    /// The longest wait between two attempts to reach a server that never answered.
    pub longest_stranger_retry: Duration,
    /// A server that never answered is given up after so long.
    pub give_up: Duration,
    /// After an outage, the newest events of a room that are sent; older ones the peer asks for.
    pub catch_up_events: usize,
    /// Time over which peers that were left waiting are tried after a start.
    pub spread: Duration,
    /// Rooms with more servers than this send no typing notifications and no receipts out.
    pub largest_ephemeral_room: usize,
    /// Memory for the sets of servers that are in rooms; with less they are read more often.
    pub memory: ByteSize,
}

impl Default for SenderConfig {
    fn default() -> Self {
        Self {
            first_retry: Duration::from_millis(500),
            longest_retry: Duration::from_secs(15 * 60),
            queue: 1_000,
            healthy: 1_024,
            suspect: 64,
            strangers: 16,
            most_strangers: 1_000,
            longest_stranger_retry: Duration::from_secs(60 * 60),
            give_up: Duration::from_secs(24 * 60 * 60),
            catch_up_events: 500,
            spread: Duration::from_secs(10),
            largest_ephemeral_room: 200,
            memory: ByteSize::mib(8),
        }
    }
}
