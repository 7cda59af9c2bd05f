//! Ordering a purge, and how far those under way are.

use std::collections::BTreeSet;

use audit::{Action, Actor};
use bytes::Bytes;
use room::{
    Error,
    attempts::Attempts,
    ids::RoomSerial,
    purge::{
        known::purge_ordered,
        tables::{MOST_AT_ONCE, PURGES, Phase, PurgeRow},
    },
    read::{
        administration::AuthorityRoom,
        room::{RoomInfo, bind},
    },
    tables::{HEADS, LOCAL_MEMBERS, MEMBERS},
};
use ruma::{OwnedRoomId, RoomId, ServerName, UserId};
use store::{Batch, CommitError, Order, Range, decode_key};

use crate::Engine;

/// Members read at once.
const MEMBERS_READ: usize = 1_000;

/// Rooms looked at at once.
const ROOMS_AT_A_TIME: usize = 1_000;

/// How far a purge is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurgeStatus {
    /// The room.
    pub room_id: OwnedRoomId,
    /// What is done now.
    pub phase: &'static str,
    /// How many rows are gone.
    pub rows: u64,
    /// When it was ordered, in ms since 1970.
    pub since: u64,
}

impl Engine {
    /// Orders that everything stored of a room goes; `by` is who demands it, for the audit log. On return the order is
    /// on disk; it is carried out in the background, and after a restart goes on.
    ///
    /// With `force` the users of all authorities who are in it are made to leave it first.
    ///
    /// # Errors
    /// [`Error::NoRoom`]; [`Error::NotAllowed`] when somebody of ours is in it and there is no `force`;
    /// [`Error::BeingPurged`]; [`Error::Busy`] when too many are; [`Error::Commit`].
    pub async fn purge(&self, room_id: &RoomId, force: bool, by: &Actor) -> Result<(), Error> {
        self.order_purge(room_id, force, None, by).await
    }

    /// As [`Engine::purge`] with `force`, for who administers one authority: only where no user of another of ours is, was
    /// or was asked in. What is stored is shared, and is theirs as well.
    ///
    /// # Errors
    /// As [`Engine::purge`]; [`Error::NotAllowed`] when the room is not this authority's alone; [`Error::Contended`] when
    /// something happens in the room all the time.
    pub async fn purge_own(&self, authority: &ServerName, room_id: &RoomId, by: &Actor) -> Result<(), Error> {
        let mut attempts = Attempts::default();
        loop {
            match self.order_purge(room_id, true, Some(authority), by).await {
                Err(Error::Contended) => attempts.again(self.rooms()).await?,
                done => return done,
            }
        }
    }

    /// Whether of our authorities this one alone has, or had, anybody in a room.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn is_room_of(&self, authority: &ServerName, room: &RoomInfo) -> Result<bool, Error> {
        Ok(self.authorities_of(room).await?.into_iter().all(|present| present == authority))
    }

    /// Whether of our authorities this one alone had anybody in a room, in which nobody of ours is any more.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn is_left_by(&self, authority: &ServerName, room: &RoomInfo) -> Result<bool, Error> {
        // Without a head it is no room any more, and what is left of it goes.
        let is_there = self.store().get(&HEADS, &room.serial).await?.is_some();
        Ok(is_there && !self.has_local_members(room).await? && self.is_room_of(authority, room).await?)
    }

    /// Rooms that an authority has left, in which of our authorities it alone had anybody, by their serials. Looks at all rooms
    /// of the process, a thousand at a time.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn rooms_left_by(&self, authority: &ServerName) -> Result<Vec<AuthorityRoom>, Error> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let rooms = self.rooms().rooms_by_serial(after, ROOMS_AT_A_TIME).await?;
            let Some((last, _)) = rooms.last() else { return Ok(found) };
            after = Some(*last);
            let ranges = rooms.iter().map(|(serial, _)| Range::prefix(serial)).collect();
            let members = self.store().scan_many(&LOCAL_MEMBERS, ranges, Order::Ascending, 1).await?;
            let left = rooms.into_iter().zip(members).filter(|(_, members)| members.is_empty());
            for ((serial, room_id), _) in left {
                let Some(room) = self.rooms().room(&room_id).await? else { continue };
                if room.serial == serial && self.is_left_by(authority, &room).await? {
                    found.push(AuthorityRoom { serial, room_id, members: 0 });
                }
            }
        }
    }

    async fn order_purge(
        &self,
        room_id: &RoomId,
        force: bool,
        only: Option<&ServerName>,
        by: &Actor,
    ) -> Result<(), Error> {
        if self.is_being_purged(room_id).await? {
            return Err(Error::BeingPurged(room_id.to_owned()));
        }
        let room = self.rooms().get_room(room_id).await?;
        let head = self.rooms().get_head(&room).await?;
        if let Some(authority) = only
            && !self.is_room_of(authority, &room).await?
        {
            return Err(Error::NotAllowed("users of other authorities have to do with the room".to_owned()));
        }
        if !force && self.has_local_members(&room).await? {
            return Err(Error::NotAllowed("users of this server are in the room".to_owned()));
        }
        if self.store().scan(&PURGES, Range::all(), Order::Ascending, MOST_AT_ONCE).await?.len()
            >= MOST_AT_ONCE
        {
            return Err(Error::Busy);
        }
        let row = PurgeRow {
            room: room.serial,
            force,
            by: by.name().to_owned(),
            since: self.now(),
            phase: Phase::Leaving { rounds: 0 },
            after: None,
            rows: 0,
        };
        let mut batch = Batch::new();
        batch.insert(&PURGES, room_id.as_str(), &row);
        // Nobody has purged it meanwhile.
        bind(&mut batch, &room);
        if only.is_some() {
            // Nor has anybody come.
            batch.require(&HEADS, &room.serial, Some(&head));
        }
        let members = if force { "made to leave" } else { "none" };
        let deed = self.deed(Action::OrderPurge, by, room_id.as_str()).after("members", members);
        for authority in self.authorities_of(&room).await? {
            deed.write(&mut batch, authority);
        }
        batch.touch([purge_ordered()]);
        match self.store().commit(batch).await {
            Ok(_) => Ok(()),
            Err(CommitError::Conflict { .. }) if only.is_some() => Err(Error::Contended),
            Err(CommitError::Conflict { .. }) => Err(Error::BeingPurged(room_id.to_owned())),
            Err(error) => Err(Error::Commit(error)),
        }
    }

    /// How far the purges under way are.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn purges(&self) -> Result<Vec<PurgeStatus>, Error> {
        let rows = self.store().scan(&PURGES, Range::all(), Order::Ascending, MOST_AT_ONCE).await?;
        let status = rows.into_iter().filter_map(|(room_id, row)| {
            // Written by us from ids, so they read back as ids.
            let room_id = OwnedRoomId::try_from(room_id).ok()?;
            Some(PurgeStatus { room_id, phase: row.phase.word(), rows: row.rows, since: row.since })
        });
        Ok(status.collect())
    }

    async fn is_being_purged(&self, room_id: &RoomId) -> Result<bool, Error> {
        Ok(self.store().get(&PURGES, room_id.as_str()).await?.is_some())
    }

    /// Makes sure that a user may come into a room as far as purges go. One who never had to do with the room hears
    /// what anybody hears of a room that nobody here knows.
    ///
    /// # Errors
    /// [`Error::BeingPurged`]; [`Error::NoRoom`]; [`Error::Store`].
    pub(crate) async fn check_not_purged(&self, user: &UserId, room_id: &RoomId) -> Result<(), Error> {
        if !self.is_being_purged(room_id).await? {
            return Ok(());
        }
        let rooms = self.rooms().memberships(user).await?;
        Err(match rooms.rooms.iter().any(|row| row.room_id == room_id) {
            true => Error::BeingPurged(room_id.to_owned()),
            false => Error::NoRoom(room_id.to_owned()),
        })
    }

    pub(super) async fn has_local_members(&self, room: &RoomInfo) -> Result<bool, Error> {
        let range = Range::prefix(&room.serial);
        Ok(!self.store().scan(&LOCAL_MEMBERS, range, Order::Ascending, 1).await?.is_empty())
    }

    /// The authorities whose users are or were in a room; all, where nobody was.
    pub(super) async fn authorities_of(&self, room: &RoomInfo) -> Result<BTreeSet<&ServerName>, Error> {
        let mut present = BTreeSet::new();
        let swath = MEMBERS.swath(&room.serial);
        let mut after: Option<Bytes> = None;
        loop {
            let rows = self.store().rows_of(&swath, after.as_deref(), MEMBERS_READ).await?;
            let Some((last, _)) = rows.last() else { break };
            after = Some(last.clone());
            let users = rows.iter().filter_map(|(key, _)| decode_key::<(RoomSerial, String)>(key).ok());
            for (_, user) in users {
                let server =
                    user.split_once(':').and_then(|(_, server)| <&ServerName>::try_from(server).ok());
                let ours = server.and_then(|server| self.authorities().find(server));
                present.extend(ours.map(|authority| authority.name()));
            }
        }
        if present.is_empty() {
            present.extend(self.authorities().iter().map(|authority| authority.name()));
        }
        Ok(present)
    }
}
