//! What cases need of accounts: a port, since accounts lie above.

use std::sync::Arc;

use async_trait::async_trait;
use ruma::UserId;
use store::Batch;

use crate::words::Told;

/// How an open account stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether it administers its authority.
    pub administers: bool,
    /// Whether it may do what people do: neither locked nor suspended, no guest, none of the server's own.
    pub can_act: bool,
}

/// What a batch demands that is to be written only while an account is as it is now.
pub type Demand = Arc<dyn Fn(&mut Batch) + Send + Sync>;

/// What somebody is told by the server in his own room: what it is about and where it is, and nothing of what others wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// A sentence.
    pub text: Told,
    /// The page where more is.
    pub path: String,
    /// Its name: who is told twice under the same is told once.
    pub name: String,
}

/// Accounts could not be asked now.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PortError(pub String);

/// Accounts, as cases see them.
#[async_trait]
pub trait People: Send + Sync {
    /// How accounts of ours stand, in the order of `users`; nothing of those that are closed or not there.
    ///
    /// # Errors
    /// [`PortError`].
    async fn standing(&self, users: &[&UserId]) -> Result<Vec<Option<Standing>>, PortError>;

    /// What a batch demands that is to be written only while this account is as it is now.
    ///
    /// # Errors
    /// [`PortError`], also where there is no such account.
    async fn demand(&self, user: &UserId) -> Result<Demand, PortError>;

    /// Tells a user of ours something in his own room, once for each name of a message.
    ///
    /// # Errors
    /// [`PortError`] where that has to be tried again. Whom nothing can be told is told nothing, without an error.
    async fn tell(&self, user: &UserId, message: &Message) -> Result<(), PortError>;
}
