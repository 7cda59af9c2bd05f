//! The events of an answer that lets us in: read, verified and stored part by part, so that neither a batch nor the
//! memory holds all of a large room.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use pdu::Pdu;
use room::{Error, read::room::RoomInfo};
use ruma::{OwnedEventId, events::TimelineEventType};
use serde_json::value::RawValue;

use super::{SLICE, permit::Permit};
use crate::{
    Engine,
    inbound::{
        errands::Arrived,
        outliers::{Opened, auth_first, next_part},
        receive::implied_create,
    },
    view::Fresh,
};

/// How many events are read at a time, and how many bytes of them.
const READ_AT_ONCE: usize = 2 * SLICE;
const BYTES_AT_ONCE: usize = 4 << 20;

/// What others stand on stays in memory for them, up to so many bytes.
const KEPT_BYTES: usize = 16 << 20;

/// Events on their way into the store.
#[derive(Default)]
struct Intake {
    /// Those that lack auth events of theirs so far.
    waiting: HashMap<OwnedEventId, Pdu>,
    /// How many came since it was last looked who lacks none.
    new: usize,
    /// Those that are stored, as far as this answer names them.
    stored: HashSet<OwnedEventId>,
    /// Those that are not allowed.
    refused: HashSet<OwnedEventId>,
    /// Events just stored that others stand on.
    kept: Fresh,
    arrived: Arrived,
}

impl Engine {
    /// Stores the events of an answer as outliers, as far as they can be verified and their auth events allow them.
    /// Answers which events of the room these are, in their order; `None` for one that is none.
    ///
    /// An event is stored once all its auth events are, as a rule with the part in which it comes: a state stands on few
    /// events, which come before it. What comes too early waits, in memory.
    ///
    /// # Errors
    /// [`Error::Contended`] when the permit does not hold any more; [`Error::Store`], [`Error::Commit`].
    #[crate::boxed]
    pub(crate) async fn bring_events(
        &self,
        room: &Arc<RoomInfo>,
        permit: &mut Permit,
        raw: Vec<Box<RawValue>>,
    ) -> Result<Vec<Option<OwnedEventId>>, Error> {
        let mut ids = Vec::with_capacity(raw.len());
        let mut intake = Intake::default();
        let mut raw = raw.into_iter();
        loop {
            let part = next_raw(&mut raw);
            let is_last = part.is_empty();
            let Opened { ids: some, mut pdus, .. } = self.open_answer(room, part, None).await?;
            ids.extend(some);
            pdus.retain(|id, _| !intake.stored.contains(id));
            let opened: Vec<OwnedEventId> = pdus.keys().cloned().collect();
            for id in self.stored(room, &opened).await?.into_keys() {
                pdus.remove(&id);
                intake.stored.insert(id);
            }
            intake.new += pdus.len();
            intake.waiting.extend(pdus);
            // Seldom, where much waits: whoever tells everything in the wrong order has it looked through a few times.
            if is_last || 2 * intake.new >= intake.waiting.len() {
                self.store_ready(room, permit, &mut intake, is_last).await?;
            }
            if is_last {
                self.take_up(room, &intake.arrived);
                return Ok(ids);
            }
        }
    }

    /// Stores those that lack nothing; in the end, all that are allowed.
    async fn store_ready(
        &self,
        room: &Arc<RoomInfo>,
        permit: &mut Permit,
        intake: &mut Intake,
        is_last: bool,
    ) -> Result<(), Error> {
        intake.new = 0;
        let named: HashSet<OwnedEventId> =
            intake.waiting.values().flat_map(lacks).filter(|id| !intake.has(id)).collect();
        let named: Vec<OwnedEventId> = named.into_iter().collect();
        intake.stored.extend(self.stored(room, &named).await?.into_keys());
        let order = auth_first(&intake.waiting);
        let order = if is_last { order } else { intake.ready(order) };
        let mut order = order.into_iter();
        while let Some(part) = next_part(&mut order, &mut intake.waiting) {
            self.keep_named(room, &part, intake).await?;
            let Intake { kept, refused, .. } = intake;
            let mut fresh = self.store_outliers(room, part, kept, refused, Some(permit)).await?;
            for event in fresh.events() {
                intake.stored.insert(event.event_id().to_owned());
                intake.arrived.add(event);
            }
            // Of a large state most is members, on whom nobody stands but what they did themselves.
            fresh.retain_events(|event| event.kind() != "m.room.member");
            intake.kept.merge(fresh);
            if intake.kept.memory_bytes() > KEPT_BYTES {
                intake.kept = Fresh::default();
            }
        }
        Ok(())
    }

    /// Loads what these events stand on in one go.
    async fn keep_named(&self, room: &RoomInfo, part: &[Pdu], intake: &mut Intake) -> Result<(), Error> {
        let named: HashSet<OwnedEventId> = part.iter().flat_map(lacks).collect();
        let is_away = |id: &OwnedEventId| intake.stored.contains(id) && !intake.kept.holds(id);
        let away: Vec<OwnedEventId> = named.into_iter().filter(is_away).collect();
        let nothing = Fresh::default();
        let found = self.stored_view(room, &nothing).events_by_id(&away).await?;
        found.into_iter().flatten().for_each(|event| intake.kept.add_event(event));
        Ok(())
    }
}

impl Intake {
    fn has(&self, id: &OwnedEventId) -> bool {
        self.stored.contains(id) || self.refused.contains(id) || self.waiting.contains_key(id)
    }

    /// Those of an order whose auth events are stored, refused, or come before them in it.
    fn ready(&self, order: Vec<OwnedEventId>) -> Vec<OwnedEventId> {
        let mut ready: Vec<OwnedEventId> = Vec::with_capacity(order.len());
        let mut before: HashSet<OwnedEventId> = HashSet::new();
        for id in order {
            let Some(event) = self.waiting.get(&id) else { continue };
            let is_here = |id: &OwnedEventId| {
                self.stored.contains(id) || self.refused.contains(id) || before.contains(id)
            };
            if lacks(event).all(|id| is_here(&id)) {
                before.insert(id.clone());
                ready.push(id);
            }
        }
        ready
    }
}

/// The events that must be here before an event can be judged.
fn lacks(event: &Pdu) -> impl Iterator<Item = OwnedEventId> {
    let is_create = event.is_state(&TimelineEventType::RoomCreate, "");
    let implied = implied_create(event.version(), event.room_id()).filter(|_| !is_create);
    event.auth_events().iter().map(ToOwned::to_owned).chain(implied)
}

/// The next events that are read together; none at the end.
fn next_raw(raw: &mut impl Iterator<Item = Box<RawValue>>) -> Vec<Box<RawValue>> {
    let (mut part, mut bytes) = (Vec::new(), 0);
    while part.len() < READ_AT_ONCE && bytes < BYTES_AT_ONCE {
        let Some(one) = raw.next() else { break };
        bytes += one.get().len();
        part.push(one);
    }
    part
}
