//! How we get along with other servers: a port.

use base::Timestamp;
use ruma::{OwnedServerName, ServerName};

/// A server that does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub server: OwnedServerName,
    /// Since when.
    pub failing_since: Timestamp,
}

/// What sends our events to other servers.
pub trait Peers: Send + Sync {
    /// The servers that do not answer.
    fn failing(&self) -> Vec<Peer>;

    /// Tries one of them at once.
    fn retry_now(&self, server: &ServerName);
}
