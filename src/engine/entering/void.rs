//! Taking away again what was written of a room that nobody came into.
//!
//! That is left when a server tells a state that does not allow the join, or a process dies in the middle of one. It
//! stays for a while: whoever is asked next, or joins next, goes on with it. Then it goes, slice by slice, but for what
//! belongs to others: invites and knocks of our users, and the events that their rows name.

use std::time::Duration;

use bytes::Bytes;
use room::{
    Error,
    attempts::Attempts,
    ids::{EventSerial, RoomSerial},
    read::{
        event::{Keep, touch_changed},
        lacking::TOLD_SERVERS,
        receipts::{RECEIPT_LOG, RECEIPTS},
        room::RoomInfo,
    },
    snapshot::CHUNKS,
    tables::{
        EVENT_IDS, EVENT_META, EVENTS, HEADS, MEMBER_COUNTS, MEMBERS, MEMBERSHIPS, SERVERS, STATE_KEY_NAMES,
        STATE_KEYS, StateKeyName,
    },
};
use store::{Batch, CommitError, Order, Range, Swath};
use tracing::{info, warn};

use super::{
    SLICE,
    tables::{BROUGHT, ENTERINGS, EnteringRow},
};
use crate::{Engine, graph::AUTH, inbound::adopt::LONGEST_JOIN, projections};

/// How often it is looked for what is left.
const LOOK: Duration = Duration::from_secs(10 * 60);

/// Rows that are looked at in one look.
const ROOMS_AT_ONCE: usize = 100;

impl Engine {
    /// Takes away what is left of joins that came to nothing, from time to time.
    pub(crate) fn start_voiding(&self) {
        let engine = self.clone();
        self.0.tasks.spawn_restarting("rooms not come into", move || {
            let engine = engine.clone();
            async move {
                let stop = engine.0.tasks.shutdown_token();
                while stop.run_until_cancelled(engine.0.clock.sleep(LOOK)).await.is_some() {
                    if let Err(error) = engine.void_what_is_left().await {
                        warn!(%error, "what is left of joins could not be taken away");
                    }
                }
            }
        });
    }

    /// Takes away what is left of joins that nobody has gone on with for longer than any takes.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Commit`].
    pub(crate) async fn void_what_is_left(&self) -> Result<(), Error> {
        let mut range = Range::all();
        loop {
            let rows = self.store().scan(&ENTERINGS, range, Order::Ascending, ROOMS_AT_ONCE).await?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            range = Range::all().after(last);
            for (serial, row) in rows {
                let Some(room) = self.rooms().room_infos(&[serial]).await?.pop().flatten() else { continue };
                if self.0.workers.is_joining(&room.room_id) || !self.is_left(&room, row).await? {
                    continue;
                }
                match self.void(&room).await {
                    // Somebody has begun to join it.
                    Err(Error::Contended) => {}
                    done => done?,
                }
            }
        }
    }

    /// Whether nobody goes on with what this row says. By the calendar, as the row outlasts processes; one that is from
    /// the future is as of now.
    async fn is_left(&self, room: &RoomInfo, row: EnteringRow) -> Result<bool, Error> {
        let now = self.now();
        if row.is_void || u128::from(now.saturating_sub(row.since)) >= LONGEST_JOIN.as_millis() {
            return Ok(true);
        }
        if row.since > now {
            let mut batch = Batch::new();
            batch.replace(&ENTERINGS, &room.serial, &row, &EnteringRow { since: now, ..row });
            match self.store().commit(batch).await {
                Ok(_) | Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(Error::Commit(error)),
            }
        }
        Ok(false)
    }

    /// Takes away all that was written of a room beforehand. Nobody writes more of it meanwhile.
    ///
    /// # Errors
    /// [`Error::Contended`] when somebody came into the room, or goes on with it; [`Error::Store`], [`Error::Commit`].
    #[crate::boxed]
    pub(crate) async fn void(&self, room: &RoomInfo) -> Result<(), Error> {
        let (head, row) = self.entering(room).await?;
        let Some(row) = row.filter(|_| head.is_none()) else { return Ok(()) };
        let void = EnteringRow { is_void: true, ..row };
        if !row.is_void {
            let mut batch = Batch::new();
            batch.require(&HEADS, &room.serial, None);
            batch.replace(&ENTERINGS, &room.serial, &row, &void);
            self.commit_void(batch).await?;
        }
        self.void_events(room, &void).await?;
        let others = self.0.projections.iter().flat_map(|projection| projection.swaths(room.serial));
        for swath in swaths(room.serial).into_iter().chain(others) {
            self.void_swath(room, &void, &swath).await?;
        }
        let mut batch = Batch::new();
        batch.require(&ENTERINGS, &room.serial, Some(&void));
        batch.delete(&BROUGHT, &room.serial);
        batch.delete(&ENTERINGS, &room.serial);
        self.commit_void(batch).await?;
        info!(room_id = %room.room_id, "what was stored of a room that nobody came into is gone");
        Ok(())
    }

    /// The events, but for those that tell users of ours what they are in the room.
    async fn void_events(&self, room: &RoomInfo, void: &EnteringRow) -> Result<(), Error> {
        let mut range = Range::prefix(&room.serial);
        let mut attempts = Attempts::default();
        loop {
            let rows = self.store().scan(&EVENT_META, range.clone(), Order::Ascending, SLICE).await?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            let next = Range::prefix(&room.serial).after(last);
            let mut batch = Batch::new();
            batch.require(&ENTERINGS, &room.serial, Some(void));
            let events: Vec<EventSerial> = rows.iter().map(|((_, event), _)| *event).collect();
            let kept = self.kept_for_ours(room, &events, &mut batch).await?;
            let mut gone = Vec::with_capacity(rows.len());
            for ((_, event), meta) in rows.iter().filter(|((_, event), _)| !kept.contains(event)) {
                batch.delete(&EVENT_IDS, meta.value.event_id.as_str());
                batch.delete(&EVENTS, &(room.serial, *event));
                batch.delete(&EVENT_META, &(room.serial, *event));
                batch.delete(&AUTH, &(room.serial, *event));
                gone.push(*event);
            }
            touch_changed(self.store(), &mut batch, &gone);
            self.rooms().forget_cached(gone.iter().copied());
            match self.commit_void(batch).await {
                Err(Error::Contended) if self.is_void(room, void).await? => {
                    // What a user of ours is has changed.
                    attempts.again(self.rooms()).await?;
                    continue;
                }
                done => done?,
            }
            self.rooms().forget_cached(gone);
            range = next;
        }
    }

    /// Which of these events rows of our users name. The batch demands that these stay as they are.
    async fn kept_for_ours(
        &self,
        room: &RoomInfo,
        events: &[EventSerial],
        batch: &mut Batch,
    ) -> Result<Vec<EventSerial>, Error> {
        let keys: Vec<_> = events.iter().map(|event| (room.serial, *event)).collect();
        let mut ours: Vec<(EventSerial, String)> = Vec::new();
        for event in self.rooms().find_events(&keys, Keep::Known).await?.into_iter().flatten() {
            let Some(key) = event.state_key() else { continue };
            let name = StateKeyName { kind: event.kind().to_owned(), key: key.to_owned() };
            if projections::is_ours(self.authorities(), &name) {
                ours.push((event.serial(), name.key));
            }
        }
        let keys: Vec<_> = ours.iter().map(|(_, user)| (user.as_str(), room.serial)).collect();
        let rows = self.store().get_many(&MEMBERSHIPS, &keys).await?;
        let mut kept = Vec::new();
        for (((event, _), key), row) in ours.iter().zip(&keys).zip(rows) {
            batch.require(&MEMBERSHIPS, key, row.as_ref());
            kept.extend(row.and_then(|row| row.value.event).filter(|named| named == event));
        }
        Ok(kept)
    }

    /// All rows of a swath.
    async fn void_swath(&self, room: &RoomInfo, void: &EnteringRow, swath: &Swath) -> Result<(), Error> {
        let mut after: Option<Bytes> = None;
        loop {
            let rows = self.store().rows_of(swath, after.as_deref(), SLICE).await?;
            let Some((last, _)) = rows.last().cloned() else { return Ok(()) };
            let mut batch = Batch::new();
            batch.require(&ENTERINGS, &room.serial, Some(void));
            rows.into_iter().for_each(|(key, _)| batch.delete_row(swath, key));
            self.commit_void(batch).await?;
            after = Some(last);
        }
    }

    async fn is_void(&self, room: &RoomInfo, void: &EnteringRow) -> Result<bool, Error> {
        Ok(self.entering(room).await?.1.as_ref() == Some(void))
    }

    async fn commit_void(&self, batch: Batch) -> Result<(), Error> {
        match self.store().commit(batch).await {
            Ok(_) => Ok(()),
            // Another process voids the same, or what came of it is not known: the row says how far that is.
            Err(CommitError::Conflict { .. } | CommitError::Unknown) => Err(Error::Contended),
            Err(error) => Err(Error::Commit(error)),
        }
    }
}

/// The tables that have rows of a room which nobody is in yet, but for those of events, and of our users.
fn swaths(room: RoomSerial) -> Vec<Swath> {
    vec![
        CHUNKS.swath(&room),
        MEMBERS.swath(&room),
        SERVERS.swath(&room),
        MEMBER_COUNTS.swath(&room),
        STATE_KEYS.swath(&room),
        STATE_KEY_NAMES.swath(&room),
        // Others may have told what members read before anybody was in the room.
        RECEIPTS.swath(&room),
        RECEIPT_LOG.swath(&room),
        TOLD_SERVERS.swath(&room),
    ]
}
