//! Outliers: events that are stored because others refer to them, without a place in the graph.
//!
//! Auth events and the state that other servers tell of come in here. Of an answer only that is kept
//! which was asked for, and what that refers to; it is verified, put in an order in which each comes after
//! its auth events, judged by those alone, and stored if they allow it. What they do not allow is not stored:
//! an answer must not cost disk that only its sender chose.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use pdu::{Pdu, Verified};
use room::{
    Error,
    attempts::Attempts,
    ids::{EventSerial, Root},
    read::{
        event::StoredEvent,
        room::{RoomInfo, bind},
    },
    tables::{EVENT_IDS, EVENT_META, EVENTS, EventMeta, EventPlace, Place, Verdict},
};
use ruma::{EventId, OwnedEventId, events::TimelineEventType};
use serde_json::value::RawValue;
use store::{Batch, Position, Stamped};
use tracing::{debug, info, warn};

use super::{errands::Arrived, fetch::walk_first, receive::implied_create};
use crate::{
    Engine,
    entering::{SLICE, permit::Permit},
    graph::note_auth,
    pipeline::{LoadedState, find_in, name},
    view::{Fresh, View},
};

/// How many outliers go into one batch, and are verified at a time, and how many bytes of them.
const OUTLIERS_PER_BATCH: usize = SLICE;
const BYTES_PER_BATCH: usize = 2 << 20;

/// More bytes than this are parsed away from the async threads.
const MUCH: usize = 128 << 10;

impl Engine {
    /// Stores auth and state events of other servers, as far as they were asked for, can be verified, and
    /// their auth events allow them, without a place in the graph. What was asked for brings along what it stands on by
    /// its auth events.
    ///
    /// Answers which of those asked for are refused: not allowed, or of another room.
    #[crate::boxed]
    pub(crate) async fn import_outliers(
        &self,
        room: &Arc<RoomInfo>,
        raw: Vec<Box<RawValue>>,
        asked: &[OwnedEventId],
    ) -> Result<HashSet<OwnedEventId>, Error> {
        let Opened { mut pdus, foreign: mut refused, .. } = self.open_answer(room, raw, Some(asked)).await?;
        let opened: Vec<OwnedEventId> = pdus.keys().cloned().collect();
        for id in self.stored(room, &opened).await?.into_keys() {
            pdus.remove(&id);
        }
        let order = auth_first(&pdus);
        let named: HashSet<OwnedEventId> = pdus.values().flat_map(|pdu| pdu.auth_events().to_vec()).collect();
        let mut done = Fresh::default();
        let mut arrived = Arrived::default();
        let mut order = order.into_iter();
        while let Some(part) = next_part(&mut order, &mut pdus) {
            let mut fresh = self.store_outliers(room, part, &done, &mut refused, None).await?;
            fresh.events().for_each(|event| arrived.add(event));
            // Of a large state most is named by nobody, and need not stay in memory.
            fresh.retain_events(|event| named.contains(event.event_id()) || event.kind() == "m.room.create");
            done.merge(fresh);
        }
        self.take_up(room, &arrived);
        Ok(refused)
    }

    /// Parses an answer and drops what is not wanted: what was not asked for, if it was asked for something.
    pub(crate) async fn open_answer(
        &self,
        room: &Arc<RoomInfo>,
        raw: Vec<Box<RawValue>>,
        asked: Option<&[OwnedEventId]>,
    ) -> Result<Opened, Error> {
        let size: usize = raw.iter().map(|one| one.get().len()).sum();
        let asked_ids: Option<HashSet<OwnedEventId>> = asked.map(|ids| ids.iter().cloned().collect());
        let info = room.clone();
        let work = move || open(&info, raw, asked_ids.as_ref());
        if size <= MUCH {
            return Ok(work());
        }
        self.0.tasks.spawn_blocking("parse answers", work).await.map_err(|_| Error::Interrupted)
    }

    /// Verifies events and stores them as outliers, in one batch; they have auth events before those that they allow.
    /// What was stored just before is in `done`, which spares reading it back. Without a permit the room has a head, or
    /// somebody has said something of it.
    pub(crate) async fn store_outliers(
        &self,
        room: &Arc<RoomInfo>,
        events: Vec<Pdu>,
        done: &Fresh,
        refused: &mut HashSet<OwnedEventId>,
        mut permit: Option<&mut Permit>,
    ) -> Result<Fresh, Error> {
        let events: Vec<Verified> = self.verify_all(events).await?.into_iter().flatten().collect();
        let mut attempts = Attempts::default();
        loop {
            let mut batch = Batch::new();
            let mut fresh = Fresh::default();
            let ids: Vec<OwnedEventId> =
                events.iter().map(|event| event.pdu().event_id().to_owned()).collect();
            let known = self.stored(room, &ids).await?;
            for event in events.iter().filter(|event| !known.contains_key(event.pdu().event_id())) {
                let view = View { engine: self, room, layers: [done, &fresh] };
                match judge_outlier(&view, event.pdu(), refused).await? {
                    None => {}
                    Some((Verdict::Rejected, _)) => {
                        refused.insert(event.pdu().event_id().to_owned());
                    }
                    Some((verdict, auth)) => {
                        let stored = self.stage_outlier(&mut batch, room, event.pdu(), verdict, auth).await?;
                        fresh.add_event(stored);
                    }
                }
            }
            if batch.is_empty() {
                return Ok(fresh);
            }
            match &permit {
                Some(permit) => permit.demand(&mut batch, room),
                // The room is neither purged meanwhile nor of another version.
                None => bind(&mut batch, room),
            }
            if attempts.judge(self.rooms(), self.store().commit(batch).await).await?.is_some() {
                return Ok(fresh);
            }
            if let Some(permit) = &mut permit {
                self.renew(room, permit).await?;
            }
        }
    }

    /// Adds an event without a place to a batch.
    pub(crate) async fn stage_outlier(
        &self,
        batch: &mut Batch,
        room: &RoomInfo,
        pdu: &Pdu,
        verdict: Verdict,
        auth: Vec<EventSerial>,
    ) -> Result<Arc<StoredEvent>, Error> {
        let serial = self.new_event_serial().await?;
        let meta = EventMeta {
            event_id: pdu.event_id().to_owned(),
            verdict,
            place: Place::None,
            depth: pdu.depth(),
            before: Root::EMPTY,
            after: Root::EMPTY,
            auth,
            txn: None,
            redacted_by: None,
            replaces: None,
            covers_previous: false,
            partial: false,
        };
        let meta = Stamped { position: Position::START, value: meta };
        let place = EventPlace { room: room.serial, event: serial };
        batch.insert(&EVENT_IDS, pdu.event_id().as_str(), &place);
        batch.put(&EVENTS, &(room.serial, serial), pdu.json());
        batch.put(&EVENT_META, &(room.serial, serial), &meta);
        let event = StoredEvent::new(room.serial, serial, pdu.clone(), meta);
        note_auth(batch, &event);
        Ok(Arc::new(event))
    }
}

/// A parsed answer.
pub(crate) struct Opened {
    /// Which events of the room it holds, in its order; `None` for what is none.
    pub(crate) ids: Vec<Option<OwnedEventId>>,
    /// Those that are wanted.
    pub(crate) pdus: HashMap<OwnedEventId, Pdu>,
    /// Those that were asked for and are of another room.
    foreign: HashSet<OwnedEventId>,
}

/// Parses events, and keeps those of the room that are wanted.
fn open(room: &RoomInfo, raw: Vec<Box<RawValue>>, asked: Option<&HashSet<OwnedEventId>>) -> Opened {
    let mut ids = Vec::with_capacity(raw.len());
    let mut pdus = HashMap::new();
    let mut foreign = HashSet::new();
    let mut malformed = 0_usize;
    // One by one, so that the raw form of each is gone when the next is parsed.
    for one in raw {
        let parsed = Pdu::parse_raw(room.version, &one);
        let own = parsed.as_ref().ok().filter(|pdu| pdu.room_id() == room.room_id);
        ids.push(own.map(|pdu| pdu.event_id().to_owned()));
        match parsed {
            Ok(pdu) if pdu.room_id() == room.room_id => {
                pdus.insert(pdu.event_id().to_owned(), pdu);
            }
            Ok(pdu) if asked.is_some_and(|asked| asked.contains(pdu.event_id())) => {
                // Its id is the hash of what it says, the room included.
                warn!(room_id = %room.room_id, event_id = %pdu.event_id(), "event of another room");
                foreign.insert(pdu.event_id().to_owned());
            }
            Ok(_) => {}
            Err(_) => malformed += 1,
        }
    }
    if malformed > 0 {
        warn!(room_id = %room.room_id, count = malformed, "malformed events in an answer");
    }
    if let Some(asked) = asked {
        let wanted = reachable(&pdus, asked);
        let before = pdus.len();
        pdus.retain(|id, _| wanted.contains(id));
        if pdus.len() < before {
            debug!(room_id = %room.room_id, count = before - pdus.len(), "events that nobody asked for were dropped");
        }
    }
    Opened { ids, pdus, foreign }
}

/// Those events that were asked for, and those that they stand on.
fn reachable(pdus: &HashMap<OwnedEventId, Pdu>, asked: &HashSet<OwnedEventId>) -> HashSet<OwnedEventId> {
    let mut wanted: HashSet<OwnedEventId> = HashSet::new();
    let mut next: Vec<&EventId> = asked.iter().map(AsRef::as_ref).collect();
    while let Some(id) = next.pop() {
        let Some((id, pdu)) = pdus.get_key_value(id) else { continue };
        if wanted.insert(id.clone()) {
            next.extend(pdu.auth_events());
            if let Some(create) = implied_create(pdu.version(), pdu.room_id()) {
                wanted.extend(pdus.contains_key(&create).then_some(create));
            }
        }
    }
    wanted
}

/// Judges an event by its auth events alone; one that stands on a refused one is refused. `None`: one of
/// them is missing.
pub(super) async fn judge_outlier(
    view: &View<'_>,
    pdu: &Pdu,
    refused: &HashSet<OwnedEventId>,
) -> Result<Option<(Verdict, Vec<EventSerial>)>, Error> {
    if pdu.auth_events().iter().any(|id| refused.contains(id)) {
        return Ok(Some((Verdict::Rejected, Vec::new())));
    }
    let mut ids = pdu.auth_events().to_vec();
    let implied = implied_create(pdu.version(), pdu.room_id()).filter(|_| !is_create(pdu));
    ids.extend(implied.clone());
    let mut serials = Vec::with_capacity(ids.len());
    let mut state: LoadedState = Vec::with_capacity(ids.len());
    let mut by_id: HashMap<OwnedEventId, Pdu> = HashMap::new();
    for (id, event) in ids.iter().zip(view.events_by_id(&ids).await?) {
        let Some(event) = event else { return Ok(None) };
        let marked = event.pdu().clone().with_rejected(event.meta().verdict == Verdict::Rejected);
        if let Some(key) = marked.state_key() {
            state.push((name(marked.kind(), key), marked.clone()));
        }
        if implied.as_ref() != Some(id) {
            serials.push(event.serial());
        }
        by_id.insert(id.clone(), marked);
    }
    let allowed = pdu::check_auth_independent(pdu, |id| by_id.get(id).cloned())
        .and_then(|()| pdu::check_auth(pdu, &|kind, key| find_in(&state, kind, key)));
    if let Err(failure) = &allowed {
        info!(room_id = %pdu.room_id(), event_id = %pdu.event_id(), error = %failure, "refused by its auth events");
    }
    Ok(Some((if allowed.is_ok() { Verdict::Outlier } else { Verdict::Rejected }, serials)))
}

fn is_create(pdu: &Pdu) -> bool {
    pdu.is_state(&TimelineEventType::RoomCreate, "")
}

/// The next events of an order that go into one batch; they are taken out of `events`.
pub(crate) fn next_part(
    order: &mut impl Iterator<Item = OwnedEventId>,
    events: &mut HashMap<OwnedEventId, Pdu>,
) -> Option<Vec<Pdu>> {
    let (mut part, mut bytes) = (Vec::new(), 0);
    while part.len() < OUTLIERS_PER_BATCH && bytes < BYTES_PER_BATCH {
        let Some(id) = order.next() else { break };
        let Some(event) = events.remove(&id) else { continue };
        bytes += event.json().len();
        part.push(event);
    }
    (!part.is_empty()).then_some(part)
}

/// Events, each after those among them that are its auth events.
pub(crate) fn auth_first(events: &HashMap<OwnedEventId, Pdu>) -> Vec<OwnedEventId> {
    let mut ids: Vec<OwnedEventId> = events.keys().cloned().collect();
    // From version 12 nobody names the create event, but all need it.
    let is_create =
        |id: &OwnedEventId| events.get(id).is_some_and(|pdu| *pdu.kind() == TimelineEventType::RoomCreate);
    ids.sort_unstable_by_key(|id| (!is_create(id), id.clone()));
    walk_first(&ids, events, |pdu| pdu.auth_events())
}
