//! What administrators ask of the sender: which servers do not answer.

use admin_api::{Peer, Peers};
use federation::Sender;
use ruma::ServerName;

/// What sends our events to other servers.
pub(crate) struct Sending(pub(crate) Sender);

impl Peers for Sending {
    fn failing(&self) -> Vec<Peer> {
        let peers = self.0.peers().into_iter();
        peers
            .filter_map(|peer| Some(Peer { failing_since: peer.failing_since?, server: peer.server }))
            .collect()
    }

    fn retry_now(&self, server: &ServerName) {
        self.0.retry_now(server);
    }
}
