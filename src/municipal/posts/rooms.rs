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

/// A room of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The room.
    pub room: OwnedRoomId,
    /// How the address is in it.
    pub is: IsIn,
    /// Who has said so last: who has invited it, where it waits.
    pub by: OwnedUserId,
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
    async fn rooms_of(&self, user: &UserId) -> Result<Vec<Place>, PortError>;

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

    /// Whether a user of ours takes invites of somebody.
    ///
    /// # Errors
    /// [`PortError`].
    async fn takes_invites(&self, user: &UserId, from: &UserId) -> Result<bool, PortError>;

    /// Invites somebody; `by` has invited the address.
    ///
    /// # Errors
    /// [`PortError`] where that may be tried again.
    async fn invite(
        &self,
        user: &UserId,
        room: &RoomId,
        whom: &UserId,
        by: Option<&UserId>,
    ) -> Result<Outcome, PortError>;

    /// Puts somebody out.
    ///
    /// # Errors
    /// [`PortError`] where that may be tried again.
    async fn put_out(&self, user: &UserId, room: &RoomId, whom: &UserId) -> Result<Outcome, PortError>;
}
