//! What rules need of rooms: a port, so that what is decided here is tried without any room, and no rooms know of rules.

use async_trait::async_trait;
use organisation::PersonId;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, ServerName, UserId};
use serde_json::Value;
use store::Batch;

use crate::{
    actual::{Actual, Piece},
    roster::Account,
};

/// Why a verb was not done.
#[derive(Debug, thiserror::Error)]
pub enum VerbError {
    /// The room does not allow it, or a policy.
    #[error("refused: {0}")]
    Refused(String),
    /// It failed now, and may not the next time.
    #[error("failed: {0}")]
    Failed(String),
}

/// A room that is to be made.
#[derive(Clone, Debug)]
pub struct NewRoom {
    /// Whether it is a space.
    pub is_space: bool,
    /// Whether other servers may ever take part.
    pub is_federated: bool,
    /// Its name.
    pub name: String,
    /// Its topic.
    pub topic: Option<String>,
    /// Its power levels, whole.
    pub levels: Value,
    /// Further state.
    pub state: Vec<(Piece, Value)>,
}

/// A change of a room.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A user of the authority comes in, without being asked.
    Join(OwnedUserId),
    /// Somebody is put out.
    Leave(OwnedUserId),
    /// A piece of state says something else.
    State(Piece, Value),
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It was so already.
    Unchanged,
    /// The room does not allow it.
    Refused,
}

/// What else is written in the commit of a deed, once it is known in which room it is done and what becomes of its changes.
/// It may be asked several times, for as many tries.
pub type Beside<'a> = &'a (dyn Fn(&mut Batch, &RoomId, &[Outcome]) + Send + Sync);

/// The verbs that rules need of rooms and accounts.
#[async_trait]
pub trait Rooms: Send + Sync {
    /// The user of an authority who makes its rooms and has all power in them; an account that is made once.
    ///
    /// # Errors
    /// [`VerbError`], where somebody else has the name.
    async fn steward(&self, authority: &ServerName) -> Result<OwnedUserId, VerbError>;

    /// Of people with the names of their accounts those whose account is open, with it.
    ///
    /// # Errors
    /// [`VerbError::Failed`].
    async fn open_accounts(
        &self,
        authority: &ServerName,
        people: &[(PersonId, &str)],
    ) -> Result<Vec<(PersonId, Account)>, VerbError>;

    /// A room as it is, with these pieces of its state; nothing if it is not there (any more).
    ///
    /// # Errors
    /// [`VerbError::Failed`].
    async fn look(&self, room: &RoomId, pieces: &[Piece]) -> Result<Option<Actual>, VerbError>;

    /// These pieces of a room's state alone.
    ///
    /// # Errors
    /// [`VerbError::Failed`].
    async fn pieces(&self, room: &RoomId, pieces: &[Piece]) -> Result<Vec<Option<Value>>, VerbError>;

    /// Makes a room of the steward's, with what is written beside it.
    ///
    /// # Errors
    /// [`VerbError`]; then there is no room, and nothing is written.
    async fn make(
        &self,
        steward: &UserId,
        room: NewRoom,
        beside: Beside<'_>,
    ) -> Result<OwnedRoomId, VerbError>;

    /// Changes a room in the steward's name, all of it in one commit with what is written beside it. What the room does not
    /// allow is left out.
    ///
    /// # Errors
    /// [`VerbError`]; then nothing is changed or written.
    async fn change(
        &self,
        steward: &UserId,
        room: &RoomId,
        changes: &[Change],
        beside: Beside<'_>,
    ) -> Result<Vec<Outcome>, VerbError>;

    /// Gives the steward all power in a room that somebody made, by one of ours who has it and keeps a moderator's.
    ///
    /// # Errors
    /// [`VerbError::Refused`] where nobody of ours has the power to; then nothing is changed or written.
    async fn take_over(&self, steward: &UserId, room: &RoomId, beside: Beside<'_>) -> Result<(), VerbError>;
}
