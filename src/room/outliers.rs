//! Outliers: events that are stored because others refer to them, without a place in the graph.
//!
//! Auth events and the state that other servers tell of come in here, in any number: verified, put in
//! an order in which each comes after its auth events, judged by those alone.

use std::{collections::HashMap, sync::Arc};

use pdu::{Pdu, Verified};
use ruma::{OwnedEventId, events::TimelineEventType};
use serde_json::value::RawValue;
use store::{Batch, Position, Stamped};
use tracing::{info, warn};

use crate::{
    Error, Rooms,
    fetch::walk_first,
    ids::{EventSerial, Root},
    pipeline::{LoadedState, find_in, name},
    read::{event::StoredEvent, room::RoomInfo},
    receive::implied_create,
    send::Attempts,
    tables::{EVENT_IDS, EVENT_META, EVENTS, EventMeta, EventPlace, Place, Verdict},
    view::{Fresh, View},
};

/// How many outliers go into one batch.
const OUTLIERS_PER_BATCH: usize = 500;

impl Rooms {
    /// Parses and verifies events of a room; what fails, or is of another room, is left out.
    pub(crate) async fn verify_raw(
        &self,
        room: &RoomInfo,
        raw: &[Box<RawValue>],
    ) -> Result<Vec<Verified>, Error> {
        let mut pdus = Vec::with_capacity(raw.len());
        for one in raw {
            match Pdu::parse_raw(room.version, one) {
                Ok(pdu) if pdu.room_id() == room.room_id => pdus.push(pdu),
                Ok(pdu) => {
                    warn!(room_id = %room.room_id, event_id = %pdu.event_id(), "event of another room")
                }
                Err(error) => warn!(room_id = %room.room_id, %error, "malformed event"),
            }
        }
        Ok(self.verify_all(pdus).await?.into_iter().flatten().collect())
    }

    /// Stores auth and state events of other servers, as far as they can be verified and their auth
    /// events allow them, without a place in the graph.
    pub(crate) async fn import_outliers(
        &self,
        room: &Arc<RoomInfo>,
        raw: &[Box<RawValue>],
    ) -> Result<(), Error> {
        let mut pdus = Vec::with_capacity(raw.len());
        for one in raw {
            match Pdu::parse_raw(room.version, one) {
                Ok(pdu) if pdu.room_id() == room.room_id => pdus.push(pdu),
                Ok(_) => {}
                Err(error) => warn!(room_id = %room.room_id, %error, "malformed event"),
            }
        }
        let ids: Vec<OwnedEventId> = pdus.iter().map(|pdu| pdu.event_id().to_owned()).collect();
        let stored = self.stored(room, &ids).await?;
        pdus.retain(|pdu| !stored.contains_key(pdu.event_id()));
        let verified = self.verify_all(pdus).await?;
        let events: HashMap<OwnedEventId, Verified> =
            verified.into_iter().flatten().map(|event| (event.pdu().event_id().to_owned(), event)).collect();
        let order = auth_first(&events);
        let events: Vec<Verified> = order.iter().filter_map(|id| events.get(id).cloned()).collect();
        let mut done = Fresh::default();
        for part in events.chunks(OUTLIERS_PER_BATCH) {
            let stored = self.store_outliers(room, part, &done).await?;
            done.merge(stored);
        }
        Ok(())
    }

    /// Stores verified events as outliers; `events` has auth events before those that they allow. What
    /// was stored just before is in `done`, which spares reading it back.
    async fn store_outliers(
        &self,
        room: &Arc<RoomInfo>,
        events: &[Verified],
        done: &Fresh,
    ) -> Result<Fresh, Error> {
        let mut attempts = Attempts::default();
        loop {
            let mut batch = Batch::new();
            let mut fresh = Fresh::default();
            let ids: Vec<OwnedEventId> =
                events.iter().map(|event| event.pdu().event_id().to_owned()).collect();
            let known = self.stored(room, &ids).await?;
            for event in events.iter().filter(|event| !known.contains_key(event.pdu().event_id())) {
                let view = View { rooms: self, room, layers: [done, &fresh] };
                if let Some((verdict, auth)) = judge_outlier(&view, event.pdu()).await? {
                    let stored = self.stage_outlier(&mut batch, room, event.pdu(), verdict, auth).await?;
                    fresh.add_event(stored);
                }
            }
            if batch.is_empty() || attempts.judge(self, self.store().commit(batch).await).await?.is_some() {
                return Ok(fresh);
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
        };
        let meta = Stamped { position: Position::START, value: meta };
        let place = EventPlace { room: room.serial, event: serial };
        batch.insert(&EVENT_IDS, pdu.event_id().as_str(), &place);
        batch.put(&EVENTS, &(room.serial, serial), pdu.json());
        batch.put(&EVENT_META, &(room.serial, serial), &meta);
        Ok(Arc::new(StoredEvent::new(room.serial, serial, pdu.clone(), meta)))
    }
}

/// Judges an event by its auth events alone. `None`: one of them is missing.
async fn judge_outlier(view: &View<'_>, pdu: &Pdu) -> Result<Option<(Verdict, Vec<EventSerial>)>, Error> {
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
        info!(room_id = %pdu.room_id(), event_id = %pdu.event_id(), error = %failure, "outlier rejected");
    }
    Ok(Some((if allowed.is_ok() { Verdict::Outlier } else { Verdict::Rejected }, serials)))
}

fn is_create(pdu: &Pdu) -> bool {
    pdu.is_state(&TimelineEventType::RoomCreate, "")
}

/// Events, each after those among them that are its auth events.
fn auth_first(events: &HashMap<OwnedEventId, Verified>) -> Vec<OwnedEventId> {
    let mut ids: Vec<OwnedEventId> = events.keys().cloned().collect();
    // From version 12 nobody names the create event, but all need it.
    let is_create = |id: &OwnedEventId| {
        events.get(id).is_some_and(|event| *event.pdu().kind() == TimelineEventType::RoomCreate)
    };
    ids.sort_unstable_by_key(|id| (!is_create(id), id.clone()));
    walk_first(&ids, events, |pdu| pdu.auth_events())
}
