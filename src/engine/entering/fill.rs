//! The members of a room that lacks them come: who asks for them, and the state before our join as it is with them.
//!
//! A row says of each such room how far that is ([`LACKING`]). Every slice takes it on, and demands it as it was: so
//! two who do the same take turns, and whoever dies leaves the rest to the next. It also says for how long it is somebody's, so
//! that not all processes ask other servers for the same; that is by the calendar, as the row outlasts processes.
//!
//! First the events of the whole state before the join come, as outliers; those that are here already are not taken
//! again. Then the state is made of them, slice by slice, over what was told when we came in: that stands, for by it we
//! are in the room. What is left is what has happened since ([`settle`](super::settle)).

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use room::{
    Error,
    attempts::Attempts,
    ids::RoomSerial,
    read::{
        event::StoredEvent,
        lacking::{Filling, LACKING, MOST_ASKED, lacking_moved},
        room::{RoomInfo, bind},
    },
};
use ruma::{OwnedEventId, OwnedServerName};
use store::{Batch, CommitError};
use tracing::{info, warn};

use super::{SLICE, lacking::stored, permit::Permit, state::ToldState};
use crate::{
    Engine,
    inbound::{peers::Size, receive::deciding_names},
    under_way::ASKING,
};

/// How often it is looked which rooms lack members, if nothing says so before.
const LOOK: Duration = Duration::from_secs(30);

/// Rooms that are looked at in one look.
const ROOMS_AT_ONCE: usize = 100;

/// Rooms whose members one process asks for at a time.
const FILLS: usize = 4;

/// For how long a room is somebody's who has just written of it.
const HELD: Duration = Duration::from_secs(5 * 60);

/// The pause after all servers were asked in vain, doubled each time.
const PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);

impl Engine {
    /// Fills the rooms that lack members, as long as the process lives.
    pub(crate) fn start_filling(&self) {
        let engine = self.clone();
        self.0.tasks.spawn_restarting("members of rooms", move || {
            let engine = engine.clone();
            async move {
                let stop = engine.0.tasks.shutdown_token();
                // Before the look: a room that comes in between must not be missed.
                let mut watch = engine.store().watch(vec![lacking_moved()]);
                let mut lacked = HashSet::new();
                loop {
                    if let Err(error) = engine.fill_what_lacks(&mut lacked).await {
                        warn!(%error, "the members of rooms could not be brought");
                    }
                    let next = engine.0.clock.timeout(LOOK, watch.changed());
                    if stop.run_until_cancelled(next).await.is_none() {
                        return;
                    }
                }
            }
        });
    }

    /// Fills the rooms that lack members and are nobody's. Of those that lacked them at the last look and do not any more,
    /// whoever has filled them, what waits in this process is taken up.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(crate) async fn fill_what_lacks(&self, lacked: &mut HashSet<RoomSerial>) -> Result<(), Error> {
        let rooms: Vec<RoomSerial> = self.rooms().lacking().await?.all().collect();
        let whole: Vec<RoomSerial> = lacked.iter().filter(|room| !rooms.contains(room)).copied().collect();
        lacked.extend(&rooms);
        for room in self.rooms().room_infos(&whole).await?.into_iter().flatten() {
            self.take_up_settled(&room).await?;
        }
        lacked.retain(|room| rooms.contains(room));
        for part in rooms.chunks(ROOMS_AT_ONCE) {
            let rows = self.store().get_many(&LACKING, part).await?;
            let mut due: Vec<RoomSerial> = Vec::new();
            for (room, row) in part.iter().zip(rows) {
                let filling = row.and_then(|row| row.value.filling);
                due.extend(filling.is_some_and(|filling| !self.is_held(&filling)).then_some(*room));
            }
            let fills = stream::iter(due).map(|room| self.fill_unless_held(room));
            fills.buffer_unordered(FILLS).collect::<()>().await;
        }
        Ok(())
    }

    /// Whether somebody else goes on with a room. A time further away than anybody holds one is as good as none: the
    /// calendar was set back.
    fn is_held(&self, filling: &Filling) -> bool {
        let left = filling.held_until.saturating_sub(self.now());
        left > 0 && u128::from(left) <= LONGEST_PAUSE.as_millis()
    }

    async fn fill_unless_held(&self, serial: RoomSerial) {
        let filled = async {
            let Some(room) = self.rooms().room_infos(&[serial]).await?.pop().flatten() else { return Ok(()) };
            self.fill(&room).await
        };
        match filled.await {
            // Somebody else does the same.
            Ok(()) | Err(Error::Contended) => {}
            Err(error) => warn!(room = serial.0, %error, "the members of a room could not be brought"),
        }
    }

    /// Brings the members of a room that lacks them, as far as they can be had. Whoever begins goes on with what others,
    /// or he himself before a crash, have brought.
    ///
    /// # Errors
    /// [`Error::Contended`] when somebody else does the same; [`Error::Store`], [`Error::Commit`] and others: what has
    /// come so far stays.
    #[crate::boxed]
    pub(crate) async fn fill(&self, room: &Arc<RoomInfo>) -> Result<(), Error> {
        let row = self.store().get(&LACKING, &room.serial).await?;
        let Some(mut filling) = row.and_then(|row| row.value.filling) else { return Ok(()) };
        if !self.rooms().is_resident(room).await? {
            // All have left. Whoever comes back begins anew.
            return Ok(());
        }
        // It is ours from here on.
        self.carry_on(room, &mut filling, Batch::new(), |_| {}).await?;
        if !filling.is_made && !self.make_state(room, &mut filling).await? {
            return self.put_off_filling(room, &mut filling).await;
        }
        let mut attempts = Attempts::default();
        loop {
            match self.settle(room, &mut filling).await {
                Ok(true) => break,
                Ok(false) => attempts = Attempts::default(),
                // Others speak in the room, or do the same.
                Err(Error::Contended) => {
                    attempts.again(self.rooms()).await?;
                    let row = self.store().get(&LACKING, &room.serial).await?;
                    let Some(next) = row.and_then(|row| row.value.filling) else { return Ok(()) };
                    filling = next;
                }
                Err(error) => return Err(error),
            }
        }
        info!(room_id = %room.room_id, "all members of a room are known");
        self.take_up_settled(room).await
    }

    /// Nobody could be asked, or nobody helped.
    async fn put_off_filling(&self, room: &RoomInfo, filling: &mut Filling) -> Result<(), Error> {
        let pause = PAUSE.saturating_mul(1 << filling.tries.min(16)).min(LONGEST_PAUSE);
        let mut batch = Batch::new();
        bind(&mut batch, room);
        let tries = filling.tries.saturating_add(1);
        self.carry_on_until(room, filling, batch, pause, |next| next.tries = tries).await
    }

    /// Makes the state before the join with all its members. False: nobody could tell it.
    async fn make_state(&self, room: &Arc<RoomInfo>, filling: &mut Filling) -> Result<bool, Error> {
        let missing = Error::Inconsistent("a join by which we came in is not there");
        let join = self.rooms().load_event(room.serial, filling.join).await?.ok_or(missing)?;
        let from = self.speaker(room).await?;
        let began = self.0.clock.instant();
        for server in &self.whom_to_ask_for_members(room, filling).await? {
            // Other rooms wait for who asks: servers that never answer must not hold them up.
            if self.0.clock.instant().since(began) > ASKING {
                break;
            }
            let told = match self.ask_for_members(room, &from, server, &join).await {
                Ok(told) => told,
                Err(Error::Remote(error)) => {
                    info!(room_id = %room.room_id, destination = %server, %error, "the members of a room were not given");
                    continue;
                }
                Err(error) => return Err(error),
            };
            self.make_of(room, filling, told, &join).await?;
            return Ok(true);
        }
        Ok(false)
    }

    /// First those whom the server named that let us in. If these had nothing to tell, others each time, every second of
    /// them one that is known to have been in the room: who names servers that never answer must not keep the members
    /// from us for ever.
    async fn whom_to_ask_for_members(
        &self,
        room: &RoomInfo,
        filling: &Filling,
    ) -> Result<Vec<OwnedServerName>, Error> {
        let mut named = filling.via.clone();
        named.retain(|server| !self.is_ours(server));
        if filling.tries == 0 {
            return Ok(named);
        }
        let mut known = self.rooms().servers_with_members(room.serial).await?;
        let state = self.rooms().full_states(&[(room.serial, filling.without)], false).await?;
        known.extend(state.iter().flatten().map(|event| event.sender().server_name().to_owned()));
        known.sort_unstable();
        known.dedup();
        known.retain(|server| !self.is_ours(server));
        let mut chosen: Vec<OwnedServerName> = Vec::with_capacity(MOST_ASKED);
        while chosen.len() < MOST_ASKED && !(named.is_empty() && known.is_empty()) {
            for servers in [&mut named, &mut known].into_iter().filter(|servers| !servers.is_empty()) {
                let count = u64::try_from(servers.len()).unwrap_or(u64::MAX);
                let index = usize::try_from(self.0.random.range(0..count)).unwrap_or_default();
                let server = servers.swap_remove(index);
                if !chosen.contains(&server) {
                    chosen.push(server);
                }
            }
        }
        Ok(chosen)
    }

    /// The state before a join as a server tells it, with its events stored.
    async fn ask_for_members(
        &self,
        room: &Arc<RoomInfo>,
        from: &OwnedServerName,
        server: &OwnedServerName,
        join: &StoredEvent,
    ) -> Result<ToldState, Error> {
        let request = self.0.remote.state(from, server, &room.room_id, join.event_id());
        let answer = self.ask(server, Size::Large, request).await?;
        let mut events = answer.auth_chain;
        let is_state = events.len();
        events.extend(answer.state);
        let ids = self.bring_events(room, &mut Permit::in_room(), events).await?;
        let ids: Vec<OwnedEventId> = ids.into_iter().skip(is_state).flatten().collect();
        let names = deciding_names(join.pdu()).map_err(Error::Forbidden)?;
        let told = self.told_state(room, &ids, &names, &join.pdu().auth_events().to_vec()).await?;
        told.check_join(room, server, join.pdu())?;
        Ok(told)
    }

    /// Takes the state as it is made on to the one that was told, slice by slice.
    async fn make_of(
        &self,
        room: &Arc<RoomInfo>,
        filling: &mut Filling,
        told: ToldState,
        join: &StoredEvent,
    ) -> Result<(), Error> {
        let changes = self.changes_to_told(room, filling.before, told, join.meta().before).await?;
        for slice in changes.chunks(SLICE) {
            let hold = self.snapshots().hold();
            let mut batch = Batch::new();
            bind(&mut batch, room);
            let before = self.snapshots().apply(room.serial, filling.before, slice, &mut batch).await?;
            self.carry_on(room, filling, batch, |next| next.before = before).await?;
            drop(hold);
        }
        let mut batch = Batch::new();
        bind(&mut batch, room);
        self.carry_on(room, filling, batch, |next| next.is_made = true).await
    }

    /// Writes a batch that takes the row on.
    pub(super) async fn carry_on(
        &self,
        room: &RoomInfo,
        filling: &mut Filling,
        batch: Batch,
        change: impl FnOnce(&mut Filling),
    ) -> Result<(), Error> {
        self.carry_on_until(room, filling, batch, HELD, change).await
    }

    async fn carry_on_until(
        &self,
        room: &RoomInfo,
        filling: &mut Filling,
        mut batch: Batch,
        held: Duration,
        change: impl FnOnce(&mut Filling),
    ) -> Result<(), Error> {
        let mut next = self.held(filling, held);
        change(&mut next);
        batch.replace(&LACKING, &room.serial, &stored(filling), &stored(&next));
        match self.store().commit(batch).await {
            Ok(_) => {
                *filling = next;
                Ok(())
            }
            // Somebody else has taken it on, or what came of it is not known: the row says how far it is.
            Err(CommitError::Conflict { .. } | CommitError::Unknown) => Err(Error::Contended),
            Err(error) => Err(Error::Commit(error)),
        }
    }

    /// The next row of who holds it.
    pub(super) fn held(&self, filling: &Filling, held: Duration) -> Filling {
        let held = u64::try_from(held.as_millis()).unwrap_or(u64::MAX);
        Filling { slices: filling.slices + 1, held_until: self.now().saturating_add(held), ..filling.clone() }
    }
}

/// For how long whoever writes a slice holds the room.
pub(super) const fn held() -> Duration {
    HELD
}
