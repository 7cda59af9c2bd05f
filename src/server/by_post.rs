//! The verbs that addresses of posts need, over the engine and the accounts.

use std::collections::{BTreeMap, BTreeSet};

use account::Accounts;
use async_trait::async_trait;
use engine::{Engine, Joining};
use posts::{IsIn, Outcome, Place, PortError, Rooms};
use room::{read::membership::UserRoom, tables::Membership};
use ruma::{OwnedUserId, RoomId, ServerName, UserId};

/// Rooms and accounts, for addresses.
pub(crate) struct ByPost {
    pub(crate) engine: Engine,
    pub(crate) accounts: Accounts,
}

/// Whose the names of users are, for the personnel desk.
pub(crate) struct TakenNames(pub(crate) Accounts);

#[async_trait]
impl personnel::Names for TakenNames {
    async fn taken(
        &self,
        authority: &ServerName,
        names: &[&str],
    ) -> Result<BTreeSet<String>, personnel::PortError> {
        let taken = self.0.taken_names(authority, names).await;
        taken.map_err(|error| personnel::PortError(error.to_string()))
    }
}

/// What those who are put out read.
const REASON: &str = "宛先の届け先ではなくなったため / no longer reached by this address";

#[async_trait]
impl Rooms for ByPost {
    async fn account(
        &self,
        authority: &ServerName,
        address: &str,
        shown: &str,
    ) -> Result<Option<OwnedUserId>, PortError> {
        self.accounts.address(authority, address, shown).await.map_err(of_account)
    }

    async fn rooms_of(&self, user: &UserId) -> Result<Vec<Place>, PortError> {
        let known = self.engine.rooms().memberships(user).await.map_err(failed)?;
        let rooms = known.rooms.iter().filter(|room| !room.forgotten);
        let place = |room: &UserRoom| {
            let (by, is) = (room.sender.clone(), is_in(room.membership)?);
            Some(Place { room: room.room_id.clone(), is, by })
        };
        Ok(rooms.filter_map(place).collect())
    }

    async fn join(&self, user: &UserId, room: &RoomId) -> Result<Outcome, PortError> {
        let known = self.engine.rooms().memberships(user).await.map_err(failed)?;
        // Who has invited it is of a server that is in the room.
        let via = known.rooms.iter().filter(|one| one.room_id == room);
        let via: Vec<_> = via.map(|one| one.sender.server_name().to_owned()).collect();
        let profile = self.accounts.member_profile(user).await.map_err(of_account)?;
        outcome(self.engine.join(user, room, &via, Joining { profile, ..Joining::default() }).await)
    }

    async fn leave(&self, user: &UserId, room: &RoomId) -> Result<Outcome, PortError> {
        outcome(self.engine.leave(user, room, None).await)
    }

    async fn members(
        &self,
        room: &RoomId,
        authority: &ServerName,
    ) -> Result<BTreeMap<OwnedUserId, IsIn>, PortError> {
        let rooms = self.engine.rooms();
        let Some(info) = rooms.room(room).await.map_err(failed)? else { return Ok(BTreeMap::new()) };
        let members = rooms.everybody_in(&info).await.map_err(failed)?.into_iter();
        let ours = members.filter(|(user, _)| user.server_name() == authority);
        Ok(ours.filter_map(|(user, membership)| Some((user, is_in(membership)?))).collect())
    }

    async fn open(&self, users: &[&UserId]) -> Result<BTreeSet<OwnedUserId>, PortError> {
        let acting = self.accounts.acting(users).await.map_err(of_account)?;
        let open = users
            .iter()
            .zip(acting)
            .filter(|(_, acting)| acting.as_ref().is_some_and(|acting| acting.can_act));
        Ok(open.map(|(user, _)| (*user).to_owned()).collect())
    }

    async fn takes_invites(&self, user: &UserId, from: &UserId) -> Result<bool, PortError> {
        self.accounts.takes_invites(user, from).await.map_err(of_account)
    }

    async fn invite(
        &self,
        user: &UserId,
        room: &RoomId,
        whom: &UserId,
        by: Option<&UserId>,
    ) -> Result<Outcome, PortError> {
        let reason = by.map(|by| format!("{by} から、宛先 {user} への招待 / {by} has invited {user}"));
        let profile = self.accounts.member_profile(whom).await.map_err(of_account)?;
        outcome(self.engine.invite(user, room, whom, &profile, reason.as_deref()).await)
    }

    async fn put_out(&self, user: &UserId, room: &RoomId, whom: &UserId) -> Result<Outcome, PortError> {
        outcome(self.engine.kick(user, room, whom, Some(REASON)).await)
    }
}

fn is_in(membership: Membership) -> Option<IsIn> {
    match membership {
        Membership::Join => Some(IsIn::Joined),
        Membership::Invite | Membership::Knock => Some(IsIn::Waits),
        Membership::Ban => Some(IsIn::Banned),
        Membership::Leave => None,
    }
}

fn outcome(done: Result<(), room::Error>) -> Result<Outcome, PortError> {
    match done {
        Ok(()) => Ok(Outcome::Done),
        Err(
            room::Error::Forbidden(_)
            | room::Error::NotAllowed(_)
            | room::Error::Denied(_)
            | room::Error::InviteBlocked(_)
            | room::Error::AclDenied(_)
            | room::Error::NotJoined { .. }
            | room::Error::NoRoom(_)
            | room::Error::Invalid(_)
            | room::Error::IncompatibleVersion(_)
            | room::Error::UnsupportedVersion(_),
        ) => Ok(Outcome::Refused),
        Err(error) => Err(failed(error)),
    }
}

fn failed(error: room::Error) -> PortError {
    PortError(error.to_string())
}

fn of_account(error: account::Error) -> PortError {
    PortError(error.to_string())
}
