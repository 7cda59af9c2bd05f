//! Placing an event: what becomes of the room when it is there.
//!
//! The event has passed, or failed, its checks before. Here it gets its rows, the state after it, its
//! place in the timeline and in the log; the room's extremities and current state move on; and the
//! projections follow.

use std::{collections::HashSet, sync::Arc};

use pdu::Pdu;
use room::{
    Error,
    ids::{EventSerial, Order, Root},
    log::{Entry, EventEntry, HistoryEntry, history_came},
    read::{event::StoredEvent, lacking::UNSETTLED, recency, times},
    tables::{
        EVENT_IDS, EVENT_META, EVENTS, EventMeta, EventPlace, EventTxn, Extremity, GAPS, Gap, Members, Place,
        StateKeyName, TIMELINE, TimelineRow, Verdict,
    },
};
use ruma::{OwnedEventId, events::TimelineEventType};
use store::{Position, Slot, Stamped, Topic};

use crate::{
    change::StateChange,
    graph::note_auth,
    pipeline::{MAX_EXTREMITIES, Stage, member_change, name},
    projections::{self, Step},
    tables::AWAITED,
};

/// So many events are looked at for the extremities that an event takes the place of.
const MAX_LOOKED_BEHIND: usize = 100;

/// Of so many soft-failed events among those it is found out whether what was told of them is true.
const MAX_PROVEN: usize = 4;

/// What is behind an event.
struct Behind {
    ids: HashSet<OwnedEventId>,
    /// Soft-failed events among those, what was told of which is not known to be true: something is missing.
    unproven: Vec<Arc<StoredEvent>>,
}

/// What [`Stage::place`] has to know of an event.
pub(crate) struct Placement {
    pub(crate) pdu: Pdu,
    /// Its serial, when it is stored already without its place.
    pub(crate) known_as: Option<EventSerial>,
    pub(crate) verdict: Verdict,
    pub(crate) before: Root,
    pub(crate) auth: Vec<EventSerial>,
    pub(crate) txn: Option<EventTxn>,
    /// Whether we have to send it to the other servers.
    pub(crate) outgoing: bool,
    /// Previous events that we lack.
    pub(crate) missing: Vec<OwnedEventId>,
    /// What it stands on is from before we came: by it we come into the room, or it is of that time itself.
    pub(crate) past: bool,
    /// Part of the graph only: neither shown to clients (yet) nor sent of itself.
    pub(crate) hidden: bool,
    /// A redaction that came before it; `pdu` is redacted already.
    pub(crate) redacted_by: Option<EventSerial>,
    /// Where it goes.
    pub(crate) goes: Goes,
    /// What is kept of it where others that name it came before.
    pub(crate) awaited: Option<Gap>,
}

/// Where an accepted event goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goes {
    /// To the tip: it becomes a forward extremity.
    Tip,
    /// Behind the tip, which it does not move: what we have stands on it.
    Late,
    /// To this place before all that we have.
    History(u64),
}

impl Placement {
    /// An event of ours on the tip.
    pub(crate) fn ours(pdu: Pdu, before: Root, auth: Vec<EventSerial>) -> Self {
        Self {
            pdu,
            known_as: None,
            verdict: Verdict::Accepted,
            before,
            auth,
            txn: None,
            outgoing: true,
            missing: Vec::new(),
            past: false,
            hidden: false,
            redacted_by: None,
            goes: Goes::Tip,
            awaited: None,
        }
    }

    /// The same event as a redaction leaves it.
    pub(crate) fn emptied_by(mut self, redaction: EventSerial) -> Result<Self, Error> {
        self.pdu = pdu::redact(&self.pdu)?;
        self.redacted_by = Some(redaction);
        Ok(self)
    }
}

impl Stage<'_> {
    /// Puts an event into the batch, with all that follows from it.
    ///
    /// The event must have passed, or failed, its checks: `verdict` says which. An accepted one
    /// becomes part of the timeline and, on the tip, moves the room's state on.
    #[crate::boxed]
    pub(crate) async fn place(&mut self, placement: Placement) -> Result<Arc<StoredEvent>, Error> {
        let Placement {
            pdu,
            known_as,
            verdict,
            before,
            auth,
            txn,
            outgoing,
            missing,
            past,
            hidden,
            redacted_by,
            goes,
            awaited,
        } = placement;
        let room = self.room.serial;
        let serial = match known_as {
            Some(serial) => serial,
            None => self.new_serial(pdu.event_id()).await?,
        };
        let counts = matches!(verdict, Verdict::Accepted | Verdict::SoftFailed);
        let state_name = pdu.state_key().filter(|_| counts).map(|key| name(pdu.kind(), key));
        let (after, replaces) = match &state_name {
            Some(state_name) => self.state_after(before, state_name, serial).await?,
            None => (before, None),
        };
        let place = match (verdict, goes) {
            _ if hidden => Place::None,
            (Verdict::Accepted, Goes::History(place)) => Place::History(place),
            (Verdict::Accepted, _) => Place::Live,
            _ => Place::None,
        };
        let moves_tip = verdict == Verdict::Accepted && goes == Goes::Tip;
        let partial = self.is_partial(Some(serial), &pdu).await?;
        if partial {
            self.batch.put(&UNSETTLED, &(room, serial), &());
        }
        let meta = EventMeta {
            event_id: pdu.event_id().to_owned(),
            verdict,
            place,
            depth: pdu.depth(),
            before,
            after,
            auth,
            txn,
            redacted_by,
            replaces,
            covers_previous: !moves_tip && missing.is_empty(),
            partial,
        };
        let unstamped = Stamped { position: Position::START, value: meta };
        let event = Arc::new(StoredEvent::new(room, serial, pdu, unstamped.clone()));
        self.fresh.add_event(event.clone());

        let concerns_others = self.concerns_others(&event);
        let slot = (place == Place::Live).then(|| self.log(&event, outgoing && concerns_others));
        if known_as.is_none() {
            let place = EventPlace { room, event: serial };
            self.batch.insert(&EVENT_IDS, event.event_id().as_str(), &place);
        } else {
            self.changed.push(serial);
        }
        self.batch.put(&EVENTS, &(room, serial), event.pdu().json());
        match slot {
            Some(slot) => self.batch.put_stamped(&EVENT_META, &(room, serial), slot, &unstamped.value),
            None => self.batch.put(&EVENT_META, &(room, serial), &unstamped),
        }
        note_auth(&mut self.batch, &event);
        if redacted_by.is_some() {
            self.batch.delete(&AWAITED, &(room, event.event_id().as_str()));
        }
        self.placed.push((event.clone(), slot));

        let successors = self.behind_successors(awaited.as_ref()).await?;
        if let Some(behind) = successors.as_ref().filter(|_| !moves_tip) {
            self.give_way_unseen(behind).await?;
        }
        if verdict == Verdict::SoftFailed {
            self.note_gaps(&event, false, past, &missing).await?;
        }
        if verdict == Verdict::Accepted {
            if awaited.is_some() {
                self.batch.delete(&GAPS, &(room, event.event_id().as_str()));
                self.fresh.set_gap(event.event_id().to_owned(), None);
            }
            let is_on_tip = moves_tip && self.move_tip(&event, after, successors).await?;
            self.note_gaps(&event, is_on_tip, past, &missing).await?;
            // What others waited for came too late to be news.
            if let Some(slot) = slot.filter(|_| moves_tip && awaited.is_none()) {
                recency::note(&mut self.batch, &event, slot, self.forget_state);
            }
            let is_cut_off = !missing.is_empty() && missing.len() == event.pdu().prev_events().len();
            self.show(&event, slot, is_cut_off).await?;
            if *event.pdu().kind() == TimelineEventType::RoomRedaction {
                self.apply_redaction(&event).await?;
            }
        }
        Ok(event)
    }

    /// The state after a state event, and the event whose place it takes.
    async fn state_after(
        &mut self,
        before: Root,
        state_name: &StateKeyName,
        serial: EventSerial,
    ) -> Result<(Root, Option<EventSerial>), Error> {
        let key = self.intern(state_name).await?;
        let room = self.room.serial;
        let changes = [(key, Some(serial))];
        let after = self.engine.snapshots().apply(room, before, &changes, &mut self.batch).await?;
        let replaced = if before == self.head.current {
            self.current_one(state_name.clone()).await?
        } else {
            let old = self.view().state(before, std::slice::from_ref(state_name)).await?;
            old.into_iter().flatten().next()
        };
        Ok((after, replaced.map(|event| event.serial())))
    }

    /// Keeps the list of events that our part of the graph names but lacks.
    async fn note_gaps(
        &mut self,
        event: &StoredEvent,
        is_on_tip: bool,
        past: bool,
        missing: &[OwnedEventId],
    ) -> Result<(), Error> {
        let since = self.head.since;
        let known = self.view().gaps(missing).await?;
        for (id, known) in missing.iter().zip(known) {
            let (child, depth) = (event.serial(), event.pdu().depth());
            // Who names it once more gives it no other turn, nor makes news of what is from before we came.
            let mut gap = known.unwrap_or(Gap { child, depth, tries: 0, past, on_tip: Vec::new(), since });
            gap.past |= past;
            if gap.since != since {
                gap.on_tip.clear();
                gap.since = since;
            }
            if is_on_tip {
                if gap.on_tip.len() >= MAX_EXTREMITIES {
                    // Who makes many that name it keeps no other out, as long as they stand on each other.
                    let tips = &self.head.extremities;
                    gap.on_tip.retain(|known| tips.iter().any(|tip| tip.serial == *known));
                }
                if gap.on_tip.len() < MAX_EXTREMITIES {
                    gap.on_tip.push(child);
                }
            }
            self.batch.put(&GAPS, &(self.room.serial, id.as_str()), &gap);
            self.fresh.set_gap(id.clone(), Some(gap));
        }
        Ok(())
    }

    /// The previous events of an event, and those behind such of them as cover theirs
    /// ([`EventMeta::covers_previous`]): what a soft-failed event stands on is covered by what stands on that.
    ///
    /// Not behind an event whose state is somebody's word, unless that has turned out to be true: it must be resolved
    /// with what we know, not take its place. And not for ever: anybody can send long chains of what is refused. What
    /// is not found stays an extremity, until something names it.
    async fn behind(&mut self, event: &StoredEvent) -> Result<Behind, Error> {
        let mut found = Behind {
            ids: event.pdu().prev_events().iter().map(ToOwned::to_owned).collect(),
            unproven: Vec::new(),
        };
        let mut next: Vec<OwnedEventId> = found.ids.iter().cloned().collect();
        for extremity in &self.head.extremities {
            next.retain(|id| *id != extremity.event_id);
        }
        let (mut left, mut proofs) = (MAX_LOOKED_BEHIND, MAX_PROVEN);
        while !next.is_empty() && left > 0 {
            next.truncate(left);
            left -= next.len();
            let events = self.view().events_by_id(&next).await?;
            next.clear();
            for event in events.into_iter().flatten() {
                let mut covers = event.meta().covers_previous;
                if !covers && event.meta().verdict == Verdict::SoftFailed && proofs > 0 {
                    proofs -= 1;
                    covers = self.stands_on_all_it_names(&event).await?;
                    if !covers {
                        found.unproven.push(event.clone());
                    }
                }
                if covers {
                    let named = event.pdu().prev_events().iter().map(ToOwned::to_owned);
                    next.extend(named.filter(|id| found.ids.insert(id.clone())));
                }
            }
        }
        Ok(found)
    }

    /// Notes, with what it lacks, that an extremity stands on a soft-failed event: when that comes, what the event stands
    /// on is behind the extremity.
    async fn note_unproven(&mut self, unproven: &[Arc<StoredEvent>]) -> Result<(), Error> {
        for event in unproven {
            let named = event.pdu().prev_events().to_vec();
            let presence = self.view().presence(&named).await?;
            let absent = named.iter().zip(presence).filter(|(_, placed)| *placed != Some(true));
            let missing: Vec<OwnedEventId> = absent.map(|(id, _)| id.clone()).collect();
            self.note_gaps(event, true, false, &missing).await?;
        }
        Ok(())
    }

    /// Makes an event a forward extremity, in place of those behind it. Answers whether it is one, or an extremity
    /// stands on it.
    ///
    /// The list has room for as many as an event of ours can name. What is in it stays until something
    /// stands on it by a state that holds what it says, so nothing that others send can put the state that we
    /// have out of what is resolved. One that finds no room is not named by us, but its state counts beside those
    /// of the list, for as long as it changes what they resolve to.
    ///
    /// An event that others waited for came too late to be the tip, but they stand on a state that somebody told,
    /// who need not have known this one. So it is an extremity all the same, unless it has `successors`.
    async fn move_tip(
        &mut self,
        event: &Arc<StoredEvent>,
        after: Root,
        successors: Option<HashSet<OwnedEventId>>,
    ) -> Result<bool, Error> {
        let Behind { ids: behind, unproven } = self.behind(event).await?;
        let yielding = std::mem::take(&mut self.head.yielding);
        self.head.extremities.retain(|extremity| {
            !behind.contains(&extremity.event_id) && !yielding.contains(&extremity.serial)
        });
        if let Some(behind) = successors
            && self.give_way(&behind)
        {
            self.resolve_current().await?;
            self.note_unproven(&unproven).await?;
            return Ok(true);
        }
        let is_listed = self.head.extremities.len() < MAX_EXTREMITIES;
        if is_listed {
            self.head.extremities.push(Extremity {
                serial: event.serial(),
                event_id: event.event_id().to_owned(),
                depth: event.pdu().depth(),
                after,
            });
        } else {
            let beside: Vec<Root> =
                [self.head.beside, after].into_iter().filter(|root| *root != Root::EMPTY).collect();
            self.head.beside = self.resolve(&beside).await?;
        }
        self.resolve_current().await?;
        if is_listed {
            self.note_unproven(&unproven).await?;
        }
        Ok(is_listed)
    }

    /// What is behind those events that waited for the one that comes now and whose states turn out to be true by
    /// it: they take the place of all that, as they would have if all had come in order. `None`: there are none.
    ///
    /// An extremity stands on each of them, or it is one itself ([`Gap::on_tip`]): an event gives its place only to
    /// one that has it among the inputs of its own state. So what is behind it stays among the inputs of ours.
    async fn behind_successors(
        &mut self,
        awaited: Option<&Gap>,
    ) -> Result<Option<HashSet<OwnedEventId>>, Error> {
        let Some(gap) = awaited.filter(|gap| gap.since == self.head.since) else { return Ok(None) };
        let mut found: Option<HashSet<OwnedEventId>> = None;
        for child in self.view().events(&gap.on_tip).await?.into_iter().flatten() {
            if self.stands_on_all_it_names(&child).await? {
                found.get_or_insert_default().extend(self.behind(&child).await?.ids);
            }
        }
        Ok(found)
    }

    /// Takes what is behind successors off the extremities. False, and nothing is taken, where none would be left,
    /// which no graph without circles leads to.
    fn give_way(&mut self, behind: &HashSet<OwnedEventId>) -> bool {
        let stays = |extremity: &Extremity| !behind.contains(&extremity.event_id);
        let is_right = self.head.extremities.iter().any(stays);
        if is_right {
            self.head.extremities.retain(stays);
        }
        is_right
    }

    /// [`Stage::give_way`] where the event that the successors waited for does not move the tip itself. Where the
    /// current state would change by it, only with the next event that does ([`Head::yielding`]): this one may be
    /// refused, and then nothing is shown that would tell.
    async fn give_way_unseen(&mut self, behind: &HashSet<OwnedEventId>) -> Result<(), Error> {
        let head = self.head.clone();
        if self.give_way(behind) && self.head.extremities.len() < head.extremities.len() {
            self.resolve_current().await?;
        }
        if self.head.current != head.current {
            self.head = head;
            let given_up =
                self.head.extremities.iter().filter(|extremity| behind.contains(&extremity.event_id));
            let given_up = given_up.map(|extremity| extremity.serial);
            self.head.yielding.extend(given_up);
            self.head.yielding.sort_unstable();
            self.head.yielding.dedup();
        }
        Ok(())
    }

    /// Whether all that an event names is here, and its state before is what that resolves to: what was told of
    /// it when something was missing was true.
    async fn stands_on_all_it_names(&mut self, event: &StoredEvent) -> Result<bool, Error> {
        let named = event.pdu().prev_events().to_vec();
        let mut roots = Vec::with_capacity(named.len());
        for previous in self.view().events_by_id(&named).await? {
            match previous {
                Some(previous) if previous.meta().is_placed() => roots.push(previous.meta().after),
                _ => return Ok(false),
            }
        }
        Ok(!roots.is_empty() && self.resolve(&roots).await? == event.meta().before)
    }

    /// Resolves the states after all extremities.
    async fn resolve_current(&mut self) -> Result<(), Error> {
        let mut roots: Vec<Root> = self.head.extremities.iter().map(|extremity| extremity.after).collect();
        let listed = self.resolve(&roots).await?;
        let mut resolved = listed;
        if self.head.beside != Root::EMPTY {
            roots.push(self.head.beside);
            resolved = self.resolve(&roots).await?;
            if resolved == listed {
                // What was beside has come into the state of those that are listed.
                self.head.beside = Root::EMPTY;
            }
        }
        match self.head.members {
            Members::Whole => self.head.current = resolved,
            Members::Lacking(lacking) => self.go_on_with(lacking, resolved).await?,
        }
        Ok(())
    }

    /// Puts an accepted event into the timeline, and projects what changed of the current state.
    #[crate::boxed]
    pub(crate) async fn show(
        &mut self,
        event: &Arc<StoredEvent>,
        slot: Option<Slot>,
        gap: bool,
    ) -> Result<(), Error> {
        let room = self.room.serial;
        let changes = self.take_changes(event).await?;
        let current = self.resolved_state();
        if !self.forget_state {
            let (engine, batch) = (self.engine, &mut self.batch);
            engine.0.delayed_rooms.end_overtaken(engine.store(), room, &changes, batch).await?;
        }
        match (event.meta().place, slot) {
            (_, Some(slot)) => {
                let row = TimelineRow { event: event.serial(), current, gap };
                self.batch.append(&TIMELINE, &room, slot, &row);
                self.shown.push((slot, row));
                times::note(&mut self.batch, room, event.pdu(), slot);
            }
            (Place::History(place), None) => {
                let row = TimelineRow { event: event.serial(), current: event.meta().after, gap };
                let order = Order::history(place);
                self.batch.put(&TIMELINE, &(room, order), &row);
                times::note_history(&mut self.batch, room, event.pdu(), order);
            }
            _ => {}
        }
        let mut step = Step {
            others: &self.engine.0.projections,
            room: self.room,
            authorities: self.engine.authorities(),
            batch: &mut self.batch,
            slot,
            came_in: self.forget_state,
            current,
            changes: &changes,
        };
        projections::run(&mut step, event, &mut self.summary);
        Ok(())
    }

    /// What differs between the current state as the projections know it and as it is now.
    async fn take_changes(&mut self, event: &Arc<StoredEvent>) -> Result<Vec<StateChange>, Error> {
        let (projected, current) = (self.projected, self.head.current);
        self.projected = current;
        if projected == current {
            return Ok(Vec::new());
        }
        let own = event.state_key().map(|key| name(event.kind(), key));
        let changes = match own {
            Some(name) if event.meta().before == projected && event.meta().after == current => {
                let old = self.current_before(&name).await?;
                vec![StateChange { name, old, new: Some(event.clone()) }]
            }
            _ => self.view().changes_between(projected, current).await?,
        };
        for change in &changes {
            self.state.insert(change.name.clone(), change.new.clone());
        }
        Ok(changes)
    }

    /// The event that an event on the tip took the place of: [`Stage::state_after`] has loaded it.
    async fn current_before(&mut self, name: &StateKeyName) -> Result<Option<Arc<StoredEvent>>, Error> {
        Ok(self.current(std::slice::from_ref(name)).await?.pop().flatten())
    }

    /// The state that results from several.
    #[crate::boxed]
    pub(crate) async fn resolve(&mut self, roots: &[Root]) -> Result<Root, Error> {
        let mut distinct: Vec<Root> = Vec::new();
        for root in roots {
            if !distinct.contains(root) {
                distinct.push(*root);
            }
        }
        if let [only] = distinct.as_slice() {
            return Ok(*only);
        }
        let resolution = crate::state::resolve(&self.view(), &distinct).await?;
        let (names, events): (Vec<StateKeyName>, Vec<Option<EventSerial>>) =
            resolution.changes.iter().cloned().unzip();
        let keys = self.intern_all(&names).await?;
        let changes: Vec<_> = keys.into_iter().zip(events).collect();
        let snapshots = self.engine.snapshots();
        Ok(snapshots.apply(self.room.serial, resolution.base, &changes, &mut self.batch).await?)
    }

    /// Whether other servers than ours have to hear of an event on the tip. State always goes the way by which it is
    /// found out who was there before it and after it, but for the first events of a room, where nobody else can be.
    fn concerns_others(&self, event: &StoredEvent) -> bool {
        if self.live.head.is_none() && !self.forget_state {
            return false;
        }
        let has_one_tip = self.head.extremities.len() == 1 && self.head.beside == Root::EMPTY;
        event.state_key().is_some() || !has_one_tip || self.live.concerns_others(self.head.current)
    }

    pub(crate) fn log(&mut self, event: &StoredEvent, outgoing: bool) -> Slot {
        let member = member_change(event.pdu());
        let mut topics = vec![Topic::room(self.room.room_id.as_str())];
        if outgoing {
            topics.push(Topic::destination("*"));
        }
        let entry = Entry::Event(EventEntry {
            room: self.room.serial,
            room_id: self.room.room_id.clone(),
            event: event.serial(),
            outgoing,
            member,
        });
        let (kind, payload) = entry.encode();
        self.batch.log(kind, payload, topics)
    }

    /// Notes that events took places in the history, after one and up to another.
    pub(crate) fn log_history(&mut self, after: u64, through: u64) {
        let (room, room_id) = (self.room.serial, self.room.room_id.clone());
        let (kind, payload) = Entry::History(HistoryEntry { room, room_id, after, through }).encode();
        self.batch.log(kind, payload, [history_came()]);
    }
}
