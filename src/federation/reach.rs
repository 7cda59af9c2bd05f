//! With whom requests are exchanged at all: [`Reach`].

use std::sync::Arc;

use room::Policy;
use ruma::ServerName;

use crate::config::Peers;

/// With whom requests are exchanged, in either direction: who is in the settings, and whom the deployment's policy does
/// not shut out.
#[derive(Clone)]
pub(crate) struct Reach {
    pub(crate) peers: Peers,
    pub(crate) policy: Arc<dyn Policy>,
}

impl Reach {
    /// Whether requests may be sent to, and taken from, this server.
    pub(crate) fn includes(&self, server: &ServerName) -> bool {
        self.peers.include(server) && self.policy.contact(server).is_ok()
    }

    #[cfg(test)]
    pub(crate) fn of(peers: Peers) -> Self {
        Self { peers, policy: Arc::new(room::AllowAll) }
    }
}
