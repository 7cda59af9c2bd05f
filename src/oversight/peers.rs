//! How an authority gets along with other servers: a port, which the sender of federation fills.

use async_trait::async_trait;
use base::Timestamp;
use ruma::{OwnedServerName, ServerName};

/// How an authority gets along with another server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Since when what is sent there fails, if it does.
    pub failing_since: Option<Timestamp>,
    /// When it is tried again.
    pub retry_at: Option<Timestamp>,
    /// When it was heard from; that may be a day before it was last.
    pub heard: Option<Timestamp>,
    /// Events of the authority that wait to be sent there.
    pub queued: usize,
    /// Rooms of the authority of which it has still to be sent what it lacks.
    pub owed_rooms: usize,
}

/// What sends our events to other servers.
#[async_trait]
pub trait Peers: Send + Sync {
    /// Whether it is this process that sends. What another one meets is not known here.
    fn sends_here(&self) -> bool;

    /// How an authority gets along with servers, in their order.
    ///
    /// # Errors
    /// When the store could not be read.
    async fn standings(
        &self,
        authority: &ServerName,
        servers: &[OwnedServerName],
    ) -> Result<Vec<Standing>, store::Error>;

    /// Tries one of them at once.
    fn retry_now(&self, server: &ServerName);
}
