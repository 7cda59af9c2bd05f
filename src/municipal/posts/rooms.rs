//! What addresses need of accounts and rooms: a port, since these lie above.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, ServerName, UserId};

use crate::error::PortError;

/// How somebody is in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsIn {
    /// He is invited, or knocks.
    Waits,
    /// He is in it.
    Joined,
    /// He may not come.
    Banned,
}

/// What became of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It is not allowed there, and will not be by trying again.
    Refused,
}

/// Accounts and rooms, as addresses see them.
#[async_trait]
pub trait Rooms: Send + Sync {
    /// The user of an address, an account of the server's own that is made where there is none, and shows this name; nothing
    /// where somebody else has the name of the user.
    ///
    /// # Errors
    /// [`PortError`].
    async fn account(
        &self,
        authority: &ServerName,
        address: &str,
        shown: &str,
    ) -> Result<Option<OwnedUserId>, PortError>;

    /// The rooms in which a user of ours is, or to which he is invited.
    ///
    /// # Errors
    /// [`PortError`].
    async fn rooms_of(&self, user: &UserId) -> Result<Vec<(OwnedRoomId, IsIn)>, PortError>;

    /// Takes an invite.
    ///
    /// # Errors
    /// [`PortError`] where that may be tried again.
    async fn join(&self, user: &UserId, room: &RoomId) -> Result<Outcome, PortError>;

    /// Leaves a room, or refuses an invite.
    ///
    /// # Errors
    /// [`PortError`] where that may be tried again.
    async fn leave(&self, user: &UserId, room: &RoomId) -> Result<Outcome, PortError>;

    /// How the users of an authority are in a room; whoever is not named is not in it.
    ///
    /// # Errors
    /// [`PortError`].
    async fn members(
        &self,
        room: &RoomId,
        authority: &ServerName,
    ) -> Result<BTreeMap<OwnedUserId, IsIn>, PortError>;

    /// Of these users those whose accounts are open and may act.
    ///
    /// # Errors
    /// [`PortError`].
    async fn open(&self, users: &[&UserId]) -> Result<BTreeSet<OwnedUserId>, PortError>;

    /// Invites somebody.
    ///
    /// # Errors
    /// [`PortError`] where that may be tried again.
    async fn invite(&self, user: &UserId, room: &RoomId, whom: &UserId) -> Result<Outcome, PortError>;

    /// Puts somebody out.
    ///
    /// # Errors
    /// [`PortError`] where that may be tried again.
    async fn put_out(&self, user: &UserId, room: &RoomId, whom: &UserId) -> Result<Outcome, PortError>;
}
