//! Triage: what of an inbox can be placed at once, what has to wait, what is nothing.
//!
//! Nobody is asked here, so that it never takes longer than the processor and the disk.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use pdu::Pdu;
use room::{
    Error,
    ids::{InboxSerial, RoomSerial},
    read::room::RoomInfo,
    tables::{EVENT_IDS, Verdict},
};
use ruma::{EventId, OwnedEventId, OwnedServerName, ServerName};
use tracing::{info, warn};

use super::{
    door::reopen,
    outliers::judge_outlier,
    receive::{Arrival, Row, implied_create},
    verify::Proof,
    waiting::Awaits,
};
use crate::{
    Engine,
    pipeline::member_change,
    tables::{InboxRow, WaitingRow, Why},
    view::Fresh,
};

/// A bite of an inbox, sorted.
#[derive(Default)]
pub(super) struct Triage {
    /// To be placed, in this order.
    pub(super) ready: Vec<Arrival>,
    /// To be moved to the waiting ones.
    pub(super) aside: Vec<Aside>,
    /// Known, forged or refused: to be dropped.
    pub(super) gone: Vec<(InboxSerial, OwnedServerName)>,
}

/// An event that lacks something.
pub(super) struct Aside {
    pub(super) serial: InboxSerial,
    pub(super) origin: OwnedServerName,
    pub(super) row: WaitingRow,
    pub(super) awaits: Awaits,
}

/// What an event lacks; if more than one thing, the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    Auth(OwnedEventId),
    Previous(OwnedEventId),
}

impl Lack {
    pub(super) fn into_id(self) -> OwnedEventId {
        match self {
            Self::Auth(id) | Self::Previous(id) => id,
        }
    }
}

/// A row of the inbox that was read.
struct Slip {
    serial: InboxSerial,
    origin: OwnedServerName,
    row: InboxRow,
    pdu: Pdu,
}

impl Engine {
    /// Sorts rows of a room's inbox.
    pub(super) async fn triage(
        &self,
        room: &Arc<RoomInfo>,
        rows: Vec<((RoomSerial, InboxSerial), InboxRow)>,
    ) -> Result<Triage, Error> {
        let mut sorted = Triage::default();
        let mut slips = Vec::with_capacity(rows.len());
        for ((_, serial), row) in rows {
            let Ok(origin) = OwnedServerName::try_from(row.origin.as_str()) else { continue };
            match reopen(room, &row.pdu) {
                Some(pdu) => slips.push(Slip { serial, origin, row, pdu }),
                None => sorted.gone.push((serial, origin)),
            }
        }
        let ids = all_ids(slips.iter().map(|slip| &slip.pdu));
        let stored = self.stored(room, &ids).await?;
        let placed = |id: &EventId| stored.get(id).is_some_and(|placed| *placed);
        let own: Vec<OwnedEventId> = slips.iter().map(|slip| slip.pdu.event_id().to_owned()).collect();
        let past = self.past(room, &own).await?;
        let mut open = Vec::with_capacity(slips.len());
        for slip in slips {
            // By id, before any signature is looked at. What our join stands on comes with backfill.
            if placed(slip.pdu.event_id()) || past.contains(slip.pdu.event_id()) {
                sorted.gone.push((slip.serial, slip.origin));
            } else {
                open.push(slip);
            }
        }
        let elsewhere = self.elsewhere(room, &open, &stored).await?;

        let pdus = open.iter().map(|slip| slip.pdu.clone()).collect();
        let proofs = self.prove_with_held_keys(pdus).await?;
        let mut at_hand: HashSet<OwnedEventId> = HashSet::new();
        // Several of one id are all looked at: the id does not cover the signatures, so a bad copy
        // must not keep the good one out.
        for (slip, proof) in open.into_iter().zip(proofs) {
            let is_here = |id: &EventId| placed(id) || at_hand.contains(id);
            let is_known =
                |id: &EventId| stored.contains_key(id) || at_hand.contains(id) || elsewhere.contains(id);
            let lack = first_lack(&slip.pdu, is_here, is_known);
            match (proof, lack) {
                (Proof::Forged, _) => sorted.gone.push((slip.serial, slip.origin)),
                (Proof::Holds(event), None) => {
                    at_hand.insert(slip.pdu.event_id().to_owned());
                    let mut arrival = Arrival::new(event, slip.origin);
                    arrival.row = Some(Row::Inbox(slip.serial));
                    sorted.ready.push(arrival);
                }
                (Proof::Holds(_), Some(Lack::Previous(_)))
                    if slip.pdu.auth_events().iter().any(|id| elsewhere.contains(id))
                        || self.is_refuted(room, &slip.pdu).await? =>
                {
                    info!(room_id = %room.room_id, event_id = %slip.pdu.event_id(), "event rejected by its auth events");
                    self.0.metrics.received.with(&[("verdict", "rejected")]).inc();
                    sorted.gone.push((slip.serial, slip.origin));
                }
                (Proof::Holds(_) | Proof::NoKey(_), lack) => {
                    sorted.aside.push(self.set_aside(room, slip, lack).await?)
                }
            }
        }
        Ok(sorted)
    }

    async fn set_aside(&self, room: &RoomInfo, slip: Slip, lack: Option<Lack>) -> Result<Aside, Error> {
        let Slip { serial, origin, row, pdu } = slip;
        let (why, awaits) = if self.may_ask_for(room, &origin, &pdu).await? {
            match lack {
                None => (Why::NoKeys, Awaits::time()),
                Some(Lack::Auth(id)) => (Why::NoAuth, Awaits::event(id)),
                Some(Lack::Previous(id)) => (Why::NoPrevious, Awaits::event(id)),
            }
        } else {
            let server = self.absent_of(room, &origin, &pdu).await?;
            (Why::Stranger, Awaits::server(lack.map(Lack::into_id), server))
        };
        if why == Why::Stranger {
            info!(room_id = %room.room_id, event_id = %pdu.event_id(), %origin, "event of a server that is not in the room: parked");
        }
        let row = WaitingRow { origin: row.origin, pdu: row.pdu, tries: 0, why, since: self.now() };
        Ok(Aside { serial, origin, row, awaits })
    }

    /// What an event that has no place yet lacks, as far as the store tells.
    pub(super) async fn lack_of(&self, room: &RoomInfo, pdu: &Pdu) -> Result<Option<Lack>, Error> {
        let stored = self.stored(room, &all_ids([pdu])).await?;
        let absent: Vec<&str> =
            pdu.auth_events().iter().filter(|id| !stored.contains_key(*id)).map(EventId::as_str).collect();
        let mut elsewhere = HashSet::new();
        if !absent.is_empty() {
            let places = self.store().get_many(&EVENT_IDS, &absent).await?;
            elsewhere
                .extend(absent.iter().zip(places).filter(|(_, place)| place.is_some()).map(|(id, _)| *id));
        }
        Ok(first_lack(
            pdu,
            |id| stored.get(id).is_some_and(|placed| *placed),
            |id| stored.contains_key(id) || elsewhere.contains(id.as_str()),
        ))
    }

    /// Whether we ask other servers for what an event lacks; the rule is told in [`super`].
    pub(super) async fn may_ask_for(
        &self,
        room: &RoomInfo,
        origin: &ServerName,
        pdu: &Pdu,
    ) -> Result<bool, Error> {
        let sender = pdu.sender().server_name();
        if self.is_ours(sender) {
            return Ok(true);
        }
        let pairs = [(room.serial, origin.as_str()), (room.serial, sender.as_str())];
        let mut present = self.rooms().are_present(&pairs).await?.into_iter();
        let (origin, sender) = (present.next().unwrap_or(false), present.next().unwrap_or(false));
        Ok(origin && (sender || member_change(pdu).is_some()))
    }

    /// Which server would have to be in the room for us to ask for what an event lacks.
    pub(super) async fn absent_of(
        &self,
        room: &RoomInfo,
        origin: &ServerName,
        pdu: &Pdu,
    ) -> Result<OwnedServerName, Error> {
        let is_in = self.rooms().is_server_in_room(origin, room.serial).await?;
        Ok(if is_in { pdu.sender().server_name().to_owned() } else { origin.to_owned() })
    }

    /// Whether an event's auth events are all here and do not allow it. Then nothing that could be
    /// fetched would.
    pub(super) async fn is_refuted(&self, room: &Arc<RoomInfo>, pdu: &Pdu) -> Result<bool, Error> {
        let nothing = Fresh::default();
        let view = self.stored_view(room, &nothing);
        let judged = judge_outlier(&view, pdu, &HashSet::new()).await?;
        Ok(judged.is_some_and(|(verdict, _)| verdict == Verdict::Rejected))
    }

    /// Auth events that these name and that are here, but of other rooms.
    async fn elsewhere(
        &self,
        room: &RoomInfo,
        slips: &[Slip],
        stored: &HashMap<OwnedEventId, bool>,
    ) -> Result<HashSet<OwnedEventId>, Error> {
        let mut absent: Vec<&str> = slips
            .iter()
            .flat_map(|slip| slip.pdu.auth_events())
            .filter(|id| !stored.contains_key(*id))
            .map(EventId::as_str)
            .collect();
        absent.sort_unstable();
        absent.dedup();
        if absent.is_empty() {
            return Ok(HashSet::new());
        }
        let places = self.store().get_many(&EVENT_IDS, &absent).await?;
        let mut found = HashSet::new();
        for (id, place) in absent.into_iter().zip(places) {
            if place.is_some_and(|place| place.room != room.serial) {
                warn!(room_id = %room.room_id, auth_event = id, "an event names an auth event of another room");
                found.extend(OwnedEventId::try_from(id));
            }
        }
        Ok(found)
    }
}

/// Ids of these events, and of their previous and auth events.
fn all_ids<'a>(pdus: impl IntoIterator<Item = &'a Pdu>) -> Vec<OwnedEventId> {
    let mut ids: HashSet<OwnedEventId> = HashSet::new();
    for pdu in pdus {
        ids.insert(pdu.event_id().to_owned());
        ids.extend(pdu.prev_events().iter().chain(pdu.auth_events()).map(ToOwned::to_owned));
        ids.extend(implied_create(pdu.version(), pdu.room_id()));
    }
    ids.into_iter().collect()
}

fn first_lack(
    pdu: &Pdu,
    is_placed: impl Fn(&EventId) -> bool,
    is_known: impl Fn(&EventId) -> bool,
) -> Option<Lack> {
    if let Some(id) = pdu.auth_events().iter().find(|id| !is_known(id)) {
        return Some(Lack::Auth(id.to_owned()));
    }
    pdu.prev_events().iter().find(|id| !is_placed(id)).map(|id| Lack::Previous(id.to_owned()))
}
