//! What has happened in a room while it lacked members, once they have come.
//!
//! Events that got their place meanwhile are looked at again in the order in which they stand on each other
//! ([`Stage::settle_events`]): each gets the states before and after it that it would have had, and is judged by them.
//! Who turns out not to have been allowed is rejected, and leaves the timeline. Nothing is soft-failed in hindsight: what
//! was shown was shown. Then the current state, and with it the projections, takes on the members, slice by slice
//! ([`Stage::bring_members`]); who has changed meanwhile is as he has changed. The last batch does what is left of both, and
//! from then on the room has all its members.
//!
//! Each batch is one of the room's own, made under its lock: others speak between any two.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use pdu::Pdu;
use room::{
    Error,
    ids::{EventSerial, Root, StateKeySerial},
    read::{
        event::StoredEvent,
        lacking::{Filling, LACKING, LackingRow, TOLD_SERVERS, UNSETTLED, lacking_moved},
        room::RoomInfo,
    },
    snapshot::{Change, in_tree_order},
    tables::{
        DEPARTURES, EVENT_META, EventMeta, Lacking, MEMBERSHIPS, Members, Membership, Place, TIMELINE,
        TimelineRow, Verdict,
    },
};
use ruma::{OwnedEventId, UserId};
use store::{CommitError, Order as Reading, Range, Stamped, Topic};
use tracing::info;

use super::{SLICE, fill::held, lacking::stored};
use crate::{
    Engine,
    graph::AUTH,
    inbound::fetch::walk_first,
    pipeline::{Stage, name},
    projections::{self, Step},
};

impl Engine {
    /// One batch of what is left to be done for a room whose members have come. True: nothing is left.
    ///
    /// # Errors
    /// [`Error::Contended`] when somebody else has written of the room: begin again.
    pub(super) async fn settle(&self, room: &Arc<RoomInfo>, filling: &mut Filling) -> Result<bool, Error> {
        let mut guard = self.lock(room).await?;
        guard.land(self).await?;
        let Some(lacking) = guard.head()?.members.lacking().copied() else { return Ok(true) };
        let mut stage = Stage::new(self, room, guard.live()?);
        let is_whole = stage.settle(filling, lacking).await?;
        stage.batch.require(&LACKING, &room.serial, Some(&stored(filling)));
        let next = self.held(filling, held());
        if !is_whole {
            stage.batch.put(&LACKING, &room.serial, &stored(&next));
        }
        let landing = {
            let staged = stage.finish();
            guard.submit(self, staged, None)
        };
        drop(guard);
        match landing.await {
            Ok(_) => {
                *filling = next;
                Ok(is_whole)
            }
            Err(error @ CommitError::Store(_)) => Err(Error::Commit(error)),
            Err(_) => Err(Error::Contended),
        }
    }
}

/// What is read of some events to look at them again.
#[derive(Default)]
struct Page {
    events: HashMap<OwnedEventId, Arc<StoredEvent>>,
    metas: HashMap<EventSerial, Stamped<EventMeta>>,
    rows: HashMap<EventSerial, TimelineRow>,
}

impl Stage<'_> {
    async fn settle(&mut self, filling: &Filling, lacking: Lacking) -> Result<bool, Error> {
        // What is known in memory of the current state is not what is made of it here.
        self.forget_state = true;
        self.state.clear();
        let own = self.join_key(lacking.join).await?;
        let whole = self.apply(filling.before, &[(own, Some(lacking.join))]).await?;
        let is_settled = self.settle_events(filling, lacking.join, whole).await?;
        if self.head.beside != Root::EMPTY {
            self.head.beside = self.lift(self.head.beside, filling, whole).await?;
        }
        let mut roots: Vec<Root> = self.head.extremities.iter().map(|extremity| extremity.after).collect();
        roots.extend((self.head.beside != Root::EMPTY).then_some(self.head.beside));
        let resolved = self.resolve(&roots).await?;
        self.head.members = Members::Lacking(Lacking { resolved, ..lacking });
        if !is_settled {
            return Ok(false);
        }
        self.bring_members(resolved).await
    }

    /// The state key of the join by which we came in.
    async fn join_key(&mut self, join: EventSerial) -> Result<StateKeySerial, Error> {
        let event = self.view().events(&[join]).await?.pop().flatten();
        let event = event.ok_or(Error::Inconsistent("a join by which we came in is not there"))?;
        self.intern(&name(event.kind(), event.state_key().unwrap_or_default())).await
    }

    async fn apply(&mut self, root: Root, changes: &[Change]) -> Result<Root, Error> {
        Ok(self.engine.snapshots().apply(self.room.serial, root, changes, &mut self.batch).await?)
    }

    /// A state that lacks members with them: `whole` is the state after the join, and what differs from it as it was
    /// without them has happened since.
    async fn lift(&mut self, root: Root, filling: &Filling, whole: Root) -> Result<Root, Error> {
        if root == Root::EMPTY {
            return Ok(root);
        }
        let room = self.room.serial;
        let differences = self.engine.snapshots().difference(room, filling.without, root).await?;
        let changes: Vec<Change> = differences.iter().map(|it| (it.key, it.after)).collect();
        self.apply(whole, &changes).await
    }

    /// Looks at some events again. True: there are no more.
    async fn settle_events(
        &mut self,
        filling: &Filling,
        join: EventSerial,
        whole: Root,
    ) -> Result<bool, Error> {
        let room = self.room.serial;
        let mut range = Range::prefix(&room);
        let mut is_first = true;
        loop {
            let rows = self.engine.store().scan(&UNSETTLED, range.clone(), Reading::Ascending, SLICE).await?;
            let Some((last, ())) = rows.last().cloned() else {
                let stuck = Error::Inconsistent("events wait for the states of each other");
                return if is_first { Ok(true) } else { Err(stuck) };
            };
            let is_last = rows.len() < SLICE;
            let serials: Vec<EventSerial> = rows.into_iter().map(|((_, event), ())| event).collect();
            let settled = self.settle_page(&serials, filling, join, whole).await?;
            if settled > 0 {
                return Ok(is_first && is_last && settled == serials.len());
            }
            // Each of them stands on one that comes later in the order of their numbers.
            (is_first, range) = (false, range.after(&last));
        }
    }

    /// Looks again at those of these events that stand on none that is still to be looked at. Answers how many.
    async fn settle_page(
        &mut self,
        serials: &[EventSerial],
        filling: &Filling,
        join: EventSerial,
        whole: Root,
    ) -> Result<usize, Error> {
        let page = self.read_page(serials).await?;
        let mut open = self.open_before(&page).await?;
        let pdus: HashMap<OwnedEventId, Pdu> =
            page.events.iter().map(|(id, event)| (id.clone(), event.pdu().clone())).collect();
        let mut ids: Vec<OwnedEventId> = pdus.keys().cloned().collect();
        ids.sort_unstable();
        // Rows of events that are not there name nothing.
        let mut settled = serials.len() - page.events.len();
        let here: HashSet<EventSerial> = page.events.values().map(|event| event.serial()).collect();
        for gone in serials.iter().filter(|serial| !here.contains(serial)) {
            self.batch.delete(&UNSETTLED, &(self.room.serial, *gone));
        }
        for id in walk_first(&ids, &pdus, |pdu| pdu.prev_events()) {
            let Some(event) = page.events.get(&id) else { continue };
            let stands_on_open = event.pdu().prev_events().iter().any(|previous| open.contains(previous));
            if event.serial() != join && stands_on_open {
                open.insert(id);
                continue;
            }
            self.settle_event(event, &page, filling, join, whole).await?;
            settled += 1;
        }
        Ok(settled)
    }

    async fn read_page(&self, serials: &[EventSerial]) -> Result<Page, Error> {
        let room = self.room.serial;
        let events = self.view().events(serials).await?;
        let keys: Vec<_> = serials.iter().map(|serial| (room, *serial)).collect();
        let metas = self.engine.store().get_many(&EVENT_META, &keys).await?;
        let mut page = Page::default();
        let mut places = Vec::new();
        for (event, meta) in events.into_iter().zip(metas) {
            let (Some(event), Some(meta)) = (event, meta) else { continue };
            if let Some(order) = meta.value.order(meta.position) {
                places.push((event.serial(), (room, order)));
            }
            page.metas.insert(event.serial(), meta);
            page.events.insert(event.event_id().to_owned(), event);
        }
        let keys: Vec<_> = places.iter().map(|(_, key)| *key).collect();
        let rows = self.engine.store().get_many(&TIMELINE, &keys).await?;
        let rows = places.iter().zip(rows).filter_map(|((event, _), row)| Some((*event, row?)));
        page.rows.extend(rows);
        Ok(page)
    }

    /// The previous events of a page, not in it, that are still to be looked at themselves.
    async fn open_before(&self, page: &Page) -> Result<HashSet<OwnedEventId>, Error> {
        let named = page.events.values().flat_map(|event| event.pdu().prev_events());
        let outside: HashSet<OwnedEventId> =
            named.filter(|id| !page.events.contains_key(*id)).map(ToOwned::to_owned).collect();
        let outside: Vec<OwnedEventId> = outside.into_iter().collect();
        let found = self.view().events_by_id(&outside).await?;
        let partial: Vec<Arc<StoredEvent>> =
            found.into_iter().flatten().filter(|event| event.meta().partial).collect();
        let keys: Vec<_> = partial.iter().map(|event| (self.room.serial, event.serial())).collect();
        let rows = self.engine.store().get_many(&UNSETTLED, &keys).await?;
        let open = partial.iter().zip(rows).filter(|(_, row)| row.is_some());
        Ok(open.map(|(event, _)| event.event_id().to_owned()).collect())
    }

    /// Gives an event the states that it would have had.
    async fn settle_event(
        &mut self,
        event: &Arc<StoredEvent>,
        page: &Page,
        filling: &Filling,
        join: EventSerial,
        whole: Root,
    ) -> Result<(), Error> {
        let (room, serial) = (self.room.serial, event.serial());
        let Some(stamped) = page.metas.get(&serial).cloned() else { return Ok(()) };
        let was = stamped.value;
        let before = match serial == join {
            true => filling.before,
            false => self.state_settled(event, &was, filling, whole).await?,
        };
        let counts = matches!(was.verdict, Verdict::Accepted | Verdict::SoftFailed);
        let allowed = match counts && serial != join {
            true => self.check_by(event.pdu(), before).await?,
            false => Ok(()),
        };
        // What it stands on by its auth events was looked at before it.
        let named = self.view().events(&was.auth).await?;
        let is_refuted = named.iter().flatten().any(|named| named.meta().verdict == Verdict::Rejected);
        let verdict = match allowed {
            Ok(()) if !(counts && is_refuted) => was.verdict,
            outcome => {
                info!(room_id = %self.room.room_id, event_id = %event.event_id(), ?outcome, "event rejected, now that all members are known");
                Verdict::Rejected
            }
        };
        let counts = matches!(verdict, Verdict::Accepted | Verdict::SoftFailed);
        let after = match event.state_key().filter(|_| counts) {
            Some(key) => {
                let key = self.intern(&name(event.kind(), key)).await?;
                self.apply(before, &[(key, Some(serial))]).await?
            }
            None => before,
        };
        let is_out = verdict == Verdict::Rejected && was.verdict != Verdict::Rejected;
        let place = if is_out { Place::None } else { was.place };
        if is_out {
            // Nobody may rightly refer to it.
            self.batch.delete(&AUTH, &(room, serial));
            self.unrelate(event);
        }
        let meta = EventMeta { verdict, place, before, after, partial: false, ..was.clone() };
        let stamped = Stamped { position: stamped.position, value: meta };
        if is_out {
            let emptied = StoredEvent::new(room, serial, pdu::redact(event.pdu())?, stamped.clone());
            projections::empty(&self.engine.0.projections, self.room, event, &emptied, &mut self.batch);
        }
        self.batch.put(&EVENT_META, &(room, serial), &stamped);
        self.batch.delete(&UNSETTLED, &(room, serial));
        if let (Some(row), Some(order)) = (page.rows.get(&serial), was.order(stamped.position)) {
            let key = (room, order);
            match was.place {
                // Its row by time goes with the room: whoever finds it there finds no event here.
                _ if is_out => self.batch.delete(&TIMELINE, &key),
                Place::History(_) => {
                    self.batch.put(&TIMELINE, &key, &TimelineRow { current: after, ..*row });
                }
                Place::Live | Place::None => {
                    let current = self.lift(row.current, filling, whole).await?;
                    self.batch.put(&TIMELINE, &key, &TimelineRow { current, ..*row });
                }
            }
        }
        if event.membership().is_some() {
            self.settle_own(event, stamped.position, filling, whole).await?;
        }
        for extremity in self.head.extremities.iter_mut().filter(|extremity| extremity.serial == serial) {
            extremity.after = after;
        }
        self.batch.touch([lacking_moved()]);
        self.note_changed(serial);
        self.add_fresh(Arc::new(StoredEvent::new(room, serial, event.pdu().clone(), stamped)));
        Ok(())
    }

    /// The state before an event that was placed while members were lacking: what those that it names resolve to; of
    /// those that are not here, what was told of them.
    async fn state_settled(
        &mut self,
        event: &StoredEvent,
        was: &EventMeta,
        filling: &Filling,
        whole: Root,
    ) -> Result<Root, Error> {
        let named = event.pdu().prev_events().to_vec();
        let mut roots = Vec::with_capacity(named.len());
        let mut lacks_some = false;
        for previous in self.view().events_by_id(&named).await? {
            match previous {
                Some(previous) if previous.meta().is_placed() => roots.push(previous.meta().after),
                _ => lacks_some = true,
            }
        }
        if lacks_some || roots.is_empty() {
            roots.push(self.lift(was.before, filling, whole).await?);
        }
        self.resolve(&roots).await
    }

    /// The rows by which a user of ours finds the room, where this is what they tell of.
    async fn settle_own(
        &mut self,
        event: &StoredEvent,
        position: store::Position,
        filling: &Filling,
        whole: Root,
    ) -> Result<(), Error> {
        let user = event.state_key().and_then(|key| <&UserId>::try_from(key).ok());
        let Some(user) = user.filter(|user| self.engine.is_local(user)) else { return Ok(()) };
        let key = (user.as_str(), self.room.serial);
        let mut reads = store::Reads::new();
        let (row, left) = (reads.get(&MEMBERSHIPS, &key), reads.get(&DEPARTURES, &key));
        let mut found = self.engine.store().read(reads).await?;
        let (row, left) = (found.take(row)?, found.take(left)?);
        if let Some(old) = row.filter(|row| row.value.event == Some(event.serial())) {
            let mut new = old.clone();
            new.value.current = self.lift(old.value.current, filling, whole).await?;
            self.batch.replace(&MEMBERSHIPS, &key, &old, &new);
            self.batch.touch([Topic::memberships(user.as_str())]);
        }
        let got_out = !matches!(event.membership(), Some(Membership::Join));
        if let Some(old) = left.filter(|left| got_out && left.position == position) {
            let mut new = old;
            new.value.current = self.lift(old.value.current, filling, whole).await?;
            self.batch.replace(&DEPARTURES, &key, &old, &new);
            // It is in the list of his rooms also where the row of the membership tells of something later.
            self.batch.touch([Topic::memberships(user.as_str())]);
        }
        Ok(())
    }

    /// Takes the current state on towards what the extremities resolve to, some entries. True: it is that now, and the
    /// room has all its members.
    async fn bring_members(&mut self, resolved: Root) -> Result<bool, Error> {
        let room = self.room;
        let differences =
            self.engine.snapshots().difference(room.serial, self.head.current, resolved).await?;
        if differences.len() > SLICE {
            let mut changes: Vec<Change> = differences.iter().map(|it| (it.key, it.after)).collect();
            in_tree_order(&mut changes);
            for part in changes.chunks(SLICE) {
                let keys: Vec<StateKeySerial> = part.iter().map(|(key, _)| *key).collect();
                let names = self.view().key_names(&keys).await?;
                let waits = |name| projections::waits_for_join(self.engine.authorities(), name);
                let slice: Vec<Change> =
                    part.iter().zip(&names).filter(|(_, name)| !waits(name)).map(|(it, _)| *it).collect();
                if !slice.is_empty() {
                    self.bring_slice_of_members(&slice).await?;
                    return Ok(false);
                }
            }
        }
        let changes = self.view().changes_between(self.head.current, resolved).await?;
        let slot = self.batch.mark([Topic::room(room.room_id.as_str()), lacking_moved()]);
        let mut step = Step {
            others: &self.engine.0.projections,
            room,
            authorities: self.engine.authorities(),
            batch: &mut self.batch,
            slot: Some(slot),
            came_in: false,
            current: resolved,
            changes: &changes,
        };
        projections::complete(&mut step, &mut self.summary);
        self.head.current = resolved;
        self.projected = resolved;
        self.head.members = Members::Whole;
        self.batch.delete_prefix(&TOLD_SERVERS, &room.serial);
        self.batch.put_stamped(&LACKING, &room.serial, slot, &LackingRow { filling: None });
        Ok(true)
    }

    async fn bring_slice_of_members(&mut self, slice: &[Change]) -> Result<(), Error> {
        let next = self.apply(self.head.current, slice).await?;
        let changes = self.view().changes_between(self.head.current, next).await?;
        projections::bring(&mut Step {
            others: &self.engine.0.projections,
            room: self.room,
            authorities: self.engine.authorities(),
            batch: &mut self.batch,
            slot: None,
            came_in: false,
            current: next,
            changes: &changes,
        });
        self.head.current = next;
        self.projected = next;
        Ok(())
    }
}
