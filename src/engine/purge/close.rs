//! Closing a room: everybody of ours leaves, all who read the log hear of it, and then nobody knows the room.

use std::{sync::Arc, time::Duration};

use audit::Action;
use base::Timestamp;
use futures_util::{StreamExt, stream};
use room::{
    Error,
    people::WALKS,
    purge::{
        known::{purge_ordered, purges_moved},
        tables::{Phase, PurgeRow},
    },
    read::{
        directory::PUBLISHED,
        lacking::LACKING,
        open::OPEN_ROOMS,
        recency::{ACTIVITY, RECENCY},
        room::RoomInfo,
    },
    tables::{HEADS, LOCAL_MEMBERS, ROOM_IDS, ROOMS, RoomIdRow, RoomRow, SERVERS, SUMMARIES},
};
use ruma::{OwnedRoomId, OwnedUserId, ServerName};
use store::{Batch, Order, Range, Term, Topic};
use tracing::{info, warn};

use super::{
    debts::Debts,
    work::{Sliced, commit},
};
use crate::{Engine, tables::SWEEPS};

/// Users who are made to leave in one slice, and how many of them at the same time.
const LEAVERS: usize = 4;
const AT_ONCE: usize = 2;

/// So often it is gone through those who are to leave; whoever cannot even then is out with the room.
const MOST_ROUNDS: u8 = 10;

/// The pause after leaves that failed for troubles that pass.
const AGAIN: Duration = Duration::from_secs(1);

/// The longest wait for who reads the log. Who is so far behind finds gone what is gone.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// The longest wait for servers that cannot be reached, and how often it is looked whether they were. After it they
/// hear nothing more of the room from us.
const DEBTS: Duration = Duration::from_secs(3 * 24 * 60 * 60);
const LOOK_AT_DEBTS: Duration = Duration::from_secs(10);

impl Engine {
    /// Makes some users of ours leave.
    pub(super) async fn purge_leave(
        &self,
        term: &Term,
        room_id: &OwnedRoomId,
        row: &PurgeRow,
        rounds: u8,
    ) -> Result<Sliced, Error> {
        let mut range = Range::prefix(&row.room);
        if let Some(after) = &row.after {
            let last = String::from_utf8_lossy(after).into_owned();
            range = range.after(&(row.room, last));
        }
        let users = match row.force {
            true => self.store().scan(&LOCAL_MEMBERS, range, Order::Ascending, LEAVERS).await?,
            false => Vec::new(),
        };
        let users: Vec<String> = users.into_iter().map(|((_, user), ())| user).collect();
        let Some(last) = users.last().cloned() else {
            return self.purge_left(term, room_id, row, rounds).await;
        };
        let leaves = users.into_iter().filter_map(|user| OwnedUserId::try_from(user).ok());
        let mut leaves = stream::iter(leaves.map(|user| async move {
            let left = self.leave(&user, room_id, None).await;
            (user, left)
        }))
        .buffer_unordered(AT_ONCE);
        let mut comes_again = false;
        while let Some((user, left)) = leaves.next().await {
            match left {
                Err(error) if error.is_passing() => comes_again = true,
                Err(error) => info!(%room_id, user_id = %user, %error, "a user could not leave"),
                Ok(()) => {}
            }
        }
        let next = PurgeRow { after: Some(last.into_bytes().into()), ..row.clone() };
        commit(term, Batch::new(), room_id, row, Some(&next)).await?;
        // The next round is for them. Others are not held up.
        Ok(if comes_again { Sliced::WaitsFor(AGAIN) } else { Sliced::Done })
    }

    /// It was gone through all who are to leave.
    async fn purge_left(
        &self,
        term: &Term,
        room_id: &OwnedRoomId,
        row: &PurgeRow,
        rounds: u8,
    ) -> Result<Sliced, Error> {
        let room = RoomInfo { serial: row.room, ..(*self.rooms().get_room(room_id).await?).clone() };
        let phase = match self.has_local_members(&room).await? {
            true if !row.force => return self.purge_void(term, room_id, row).await,
            true if rounds < MOST_ROUNDS => Phase::Leaving { rounds: rounds + 1 },
            _ => {
                // A position of its own is behind all that was read, whoever wrote it.
                let through = self.store().publish([purge_ordered()]).await.map_err(Error::Commit)?;
                Phase::Telling { through, since: self.now() }
            }
        };
        commit(term, Batch::new(), room_id, row, Some(&row.in_phase(phase))).await?;
        Ok(Sliced::Done)
    }

    /// The order is void: somebody of ours is in the room, and was not to be made to leave.
    async fn purge_void(&self, term: &Term, room_id: &OwnedRoomId, row: &PurgeRow) -> Result<Sliced, Error> {
        warn!(%room_id, "a room is not purged: users of this server have come in");
        let room = self.rooms().get_room(room_id).await?;
        let mut batch = Batch::new();
        let deed = self.deed(Action::VoidPurge, &row.actor(), room_id.as_str());
        for authority in self.authorities_of(&room).await? {
            deed.write(&mut batch, authority);
        }
        commit(term, batch, room_id, row, None).await?;
        Ok(Sliced::Over)
    }

    /// Waits until everybody who reads the log has read that all are out, and other servers were told it; then closes
    /// the room.
    pub(super) async fn purge_tell(
        &self,
        term: &Term,
        room_id: &OwnedRoomId,
        row: &PurgeRow,
        (through, since): (store::Position, u64),
        debts: &dyn Debts,
    ) -> Result<Sliced, Error> {
        // By the calendar: the wait outlasts processes.
        let waited = self.0.clock.now().since(Timestamp(since));
        let slowest = self.store().slowest_cursor().await?;
        if slowest.is_some_and(|slowest| slowest < through) {
            if waited < PATIENCE {
                return Ok(Sliced::Waits);
            }
            warn!(%room_id, position = %through, "a room is purged before all have read the log so far");
        }
        let owed = debts.owed(room_id).await?;
        if owed > 0 {
            if waited < DEBTS {
                return Ok(Sliced::WaitsFor(LOOK_AT_DEBTS));
            }
            warn!(%room_id, count = owed, "a room is purged before all servers could be told that we left");
        }
        self.purge_close(term, room_id, row).await
    }

    /// Takes the room away from everybody at once.
    async fn purge_close(&self, term: &Term, room_id: &OwnedRoomId, row: &PurgeRow) -> Result<Sliced, Error> {
        let room: Arc<RoomInfo> = self.rooms().get_room(room_id).await?;
        if room.serial != row.room {
            return Err(Error::Inconsistent("a room that is to be purged has another serial"));
        }
        if self.0.workers.is_joining(room_id) {
            return Ok(Sliced::Waits);
        }
        // Nobody of this process builds on the head meanwhile; of others, no batch is written after it.
        let mut guard = self.lock_current(&room).await?;
        let head = guard.head()?.clone();
        if self.has_local_members(&room).await? && !row.force {
            return self.purge_void(term, room_id, row).await;
        }
        let mut batch = Batch::new();
        batch.require(&HEADS, &room.serial, Some(&head));
        batch.delete(&HEADS, &room.serial);
        batch.delete(&SUMMARIES, &room.serial);
        batch.delete(&OPEN_ROOMS, &room.serial);
        batch.delete(&RECENCY, &room.serial);
        batch.delete(&ACTIVITY, &room.serial);
        batch.delete(&WALKS, &room.serial);
        batch.delete(&LACKING, &room.serial);
        batch.delete(&SWEEPS, &room.serial);
        // Also of whom could not leave: nobody is in it.
        for authority in self.authorities().iter() {
            batch.delete(&SERVERS, &(room.serial, authority.name().as_str()));
        }
        self.stage_renumbered(&mut batch, &room).await?;
        self.stage_withdrawn(&mut batch, &room, row).await?;
        let deed = self.deed(Action::PurgeRoom, &row.actor(), room_id.as_str());
        let deed = deed.before("generation", head.generation.to_string());
        for authority in self.authorities_of(&room).await? {
            deed.write(&mut batch, authority);
        }
        batch.touch([purges_moved(), Topic::room(room_id.as_str()), Topic::ephemeral(room_id.as_str())]);
        commit(term, batch, room_id, row, Some(&row.in_phase(Phase::Aliases))).await?;
        guard.forget();
        info!(%room_id, "a room is closed, and what is stored of it goes");
        Ok(Sliced::Done)
    }

    /// Gives the room's id a serial under which nothing is stored.
    async fn stage_renumbered(&self, batch: &mut Batch, room: &RoomInfo) -> Result<(), Error> {
        let version = room.version.as_str();
        let old = RoomRow { serial: room.serial, version: version.to_owned() };
        let new = RoomRow { serial: self.new_room_serial().await?, version: version.to_owned() };
        batch.replace(&ROOMS, room.room_id.as_str(), &old, &new);
        batch.delete(&ROOM_IDS, &room.serial);
        let row = RoomIdRow { room_id: room.room_id.clone(), version: new.version };
        batch.put(&ROOM_IDS, &new.serial, &row);
        Ok(())
    }

    /// Takes the room out of all directories.
    async fn stage_withdrawn(&self, batch: &mut Batch, room: &RoomInfo, row: &PurgeRow) -> Result<(), Error> {
        let names: Vec<&ServerName> = self.authorities().iter().map(|authority| authority.name()).collect();
        let keys: Vec<_> = names.iter().map(|name| (name.as_str(), room.serial)).collect();
        let shown = self.store().get_many(&PUBLISHED, &keys).await?;
        for ((name, key), _) in names.into_iter().zip(&keys).zip(shown).filter(|(_, shown)| shown.is_some()) {
            batch.delete(&PUBLISHED, key);
            let deed = self.deed(Action::WithdrawRoom, &row.actor(), room.room_id.as_str());
            deed.write(batch, name);
        }
        Ok(())
    }
}
