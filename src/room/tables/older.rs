//! What rows were in older schemas, and what becomes of them.

use ruma::OwnedEventId;
use serde::Deserialize;

use super::{EventMeta, EventTxn, Extremity, Gap, Head, Members, Place, Verdict};
use crate::ids::{EventSerial, Root};

/// [`Head`] as it was when extremities above the limit were dropped.
#[derive(Deserialize)]
pub(super) struct HeadV1 {
    generation: u64,
    extremities: Vec<Extremity>,
    current: Root,
    history_floor: u64,
    since_depth: u64,
}

impl From<HeadV1> for Head {
    fn from(old: HeadV1) -> Self {
        let HeadV1 { generation, extremities, current, history_floor, since_depth } = old;
        HeadV2 { generation, extremities, current, history_floor, since_depth, beside: Root::EMPTY }.into()
    }
}

/// [`Head`] as it was when nothing was kept of what had been an extremity.
#[derive(Deserialize)]
pub(super) struct HeadV2 {
    generation: u64,
    extremities: Vec<Extremity>,
    current: Root,
    history_floor: u64,
    since_depth: u64,
    beside: Root,
}

impl From<HeadV2> for Head {
    fn from(old: HeadV2) -> Self {
        let HeadV2 { generation, extremities, current, history_floor, since_depth, beside } = old;
        HeadV3 { generation, extremities, current, history_floor, since_depth, beside, since: 0 }.into()
    }
}

/// [`Head`] as it was when extremities went at once or stayed.
#[derive(Deserialize)]
pub(super) struct HeadV3 {
    generation: u64,
    extremities: Vec<Extremity>,
    current: Root,
    history_floor: u64,
    since_depth: u64,
    beside: Root,
    since: u64,
}

impl From<HeadV3> for Head {
    fn from(old: HeadV3) -> Self {
        let HeadV3 { generation, extremities, current, history_floor, since_depth, beside, since } = old;
        let yielding = Vec::new();
        HeadV4 { generation, extremities, current, history_floor, since_depth, beside, since, yielding }
            .into()
    }
}

/// [`Head`] as it was when all members were known of each room.
#[derive(Deserialize)]
pub(super) struct HeadV4 {
    generation: u64,
    extremities: Vec<Extremity>,
    current: Root,
    history_floor: u64,
    since_depth: u64,
    beside: Root,
    since: u64,
    yielding: Vec<EventSerial>,
}

impl From<HeadV4> for Head {
    fn from(old: HeadV4) -> Self {
        let HeadV4 { generation, extremities, current, history_floor, since_depth, beside, since, yielding } =
            old;
        let members = Members::Whole;
        Self {
            generation,
            extremities,
            current,
            history_floor,
            since_depth,
            beside,
            since,
            yielding,
            members,
        }
    }
}

/// [`EventMeta`] as it was when all refused events were taken to cover what they name.
#[derive(Deserialize)]
pub(super) struct EventMetaV1 {
    event_id: OwnedEventId,
    verdict: Verdict,
    place: Place,
    depth: u64,
    before: Root,
    after: Root,
    auth: Vec<EventSerial>,
    txn: Option<EventTxn>,
    redacted_by: Option<EventSerial>,
    replaces: Option<EventSerial>,
}

impl From<EventMetaV1> for EventMeta {
    fn from(old: EventMetaV1) -> Self {
        let EventMetaV1 { event_id, verdict, place, depth, before, after, auth, txn, redacted_by, replaces } =
            old;
        // Nobody knows any more. It costs an extremity that stays until something names it.
        let covers_previous = false;
        EventMetaV2 {
            event_id,
            verdict,
            place,
            depth,
            before,
            after,
            auth,
            txn,
            redacted_by,
            replaces,
            covers_previous,
        }
        .into()
    }
}

/// [`EventMeta`] as it was when the states of all events had all members.
#[derive(Deserialize)]
pub(super) struct EventMetaV2 {
    event_id: OwnedEventId,
    verdict: Verdict,
    place: Place,
    depth: u64,
    before: Root,
    after: Root,
    auth: Vec<EventSerial>,
    txn: Option<EventTxn>,
    redacted_by: Option<EventSerial>,
    replaces: Option<EventSerial>,
    covers_previous: bool,
}

impl From<EventMetaV2> for EventMeta {
    fn from(old: EventMetaV2) -> Self {
        let EventMetaV2 {
            event_id,
            verdict,
            place,
            depth,
            before,
            after,
            auth,
            txn,
            redacted_by,
            replaces,
            covers_previous,
        } = old;
        Self {
            event_id,
            verdict,
            place,
            depth,
            before,
            after,
            auth,
            txn,
            redacted_by,
            replaces,
            covers_previous,
            partial: false,
        }
    }
}

/// [`Gap`] as it was when all were asked for alike.
#[derive(Deserialize)]
pub(super) struct GapV1 {
    child: EventSerial,
    depth: u64,
}

// Which of the older rows were of the past nobody knows: what is taken for news comes in late, but what is taken
// for the past is dropped when it is sent.

impl From<GapV1> for Gap {
    fn from(GapV1 { child, depth }: GapV1) -> Self {
        Self { child, depth, tries: 0, past: false, on_tip: Vec::new(), since: 0 }
    }
}

/// [`Gap`] as it was when the past was told by the depth.
#[derive(Deserialize)]
pub(super) struct GapV2 {
    child: EventSerial,
    depth: u64,
    tries: u32,
}

impl From<GapV2> for Gap {
    fn from(GapV2 { child, depth, tries }: GapV2) -> Self {
        Self { child, depth, tries, past: false, on_tip: Vec::new(), since: 0 }
    }
}

/// [`Gap`] as it was when nothing was kept of what had been an extremity.
#[derive(Deserialize)]
pub(super) struct GapV3 {
    child: EventSerial,
    depth: u64,
    tries: u32,
    past: bool,
}

impl From<GapV3> for Gap {
    fn from(GapV3 { child, depth, tries, past }: GapV3) -> Self {
        Self { child, depth, tries, past, on_tip: Vec::new(), since: 0 }
    }
}
