//! Events by the time that they claim: jumping to a date.
//!
//! One row without content for each event of a timeline, written without a read in the event's batch. Times are what
//! senders say (`origin_server_ts`): they need not rise along the timeline, since clocks differ, and bridges bring in
//! what was said elsewhere long ago. So looking for a date in the timeline by halves would miss what is out of order.
//! Among events of the same time the timeline decides.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event>

use std::sync::Arc;

use pdu::Pdu;
use ruma::{MilliSecondsSinceUnixEpoch, RoomId, ServerName};
use serde::Deserialize;
use store::{Batch, CommitError, Order as ScanOrder, Range, Slot, Store, Table, Tuning};

use crate::{
    Error, Order, RoomSerial, Rooms,
    read::{
        event::StoredEvent,
        timeline::{Direction, Entry, entry},
        view::Viewer,
    },
    tables::{EVENTS, TIMELINE},
};

/// The events of timelines; key: room, the time that the event claims in ms since 1970, its place in the timeline. One
/// that has left the timeline may have a row still.
pub static TIMES: Table<(RoomSerial, u64, Order), ()> = Table::new(84, "room.times", Tuning::Append);

/// Rows that are read at a time, and in all for one question: where somebody may see little of what is there, he is
/// told that nothing was found.
const PAGE: usize = 50;
const MOST: usize = 2_000;

/// Notes in its batch when an event at the end of the timeline says that it was made.
pub fn note(batch: &mut Batch, room: RoomSerial, pdu: &Pdu, slot: Slot) {
    batch.append(&TIMES, &(room, millis(pdu)), slot, &());
}

/// The same of an event from before those that we have.
pub fn note_history(batch: &mut Batch, room: RoomSerial, pdu: &Pdu, order: Order) {
    batch.put(&TIMES, &(room, millis(pdu), order), &());
}

fn millis(pdu: &Pdu) -> u64 {
    pdu.origin_server_ts().get().into()
}

/// Who asks for an event by time.
#[derive(Clone, Copy)]
enum Asker<'a> {
    User(&'a Viewer<'a>, Order),
    Server(&'a ServerName),
}

impl Rooms {
    /// The event of the timeline closest to a time, from there on or up to there, that the viewer may see.
    ///
    /// # Errors
    /// As [`Rooms::standpoint`].
    pub async fn event_at_time(
        &self,
        viewer: &Viewer<'_>,
        room_id: &RoomId,
        time: MilliSecondsSinceUnixEpoch,
        direction: Direction,
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        let room = self.get_room(room_id).await?;
        let standpoint = self.standpoint(viewer.user, &room).await?;
        self.find_by_time(Asker::User(viewer, standpoint.until), room.serial, time, direction).await
    }

    /// The same for a server in the room.
    ///
    /// # Errors
    /// As [`Rooms::room_for_server`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1timestamp_to_eventroomid>
    pub async fn event_at_time_for_server(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        time: MilliSecondsSinceUnixEpoch,
        direction: Direction,
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        let room = self.room_for_server(server, room_id).await?;
        self.find_by_time(Asker::Server(server), room.serial, time, direction).await
    }

    /// The time that the first event of a room's timeline claims; none where there is none.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub async fn first_time(&self, room: RoomSerial) -> Result<Option<MilliSecondsSinceUnixEpoch>, Error> {
        let rows = self.store().scan(&TIMELINE, Range::prefix(&room), ScanOrder::Ascending, 1).await?;
        let first: Vec<_> = rows.into_iter().map(|row| (room, entry(row))).collect();
        let event = self.events_of(&first).await?.pop();
        Ok(event.map(|event| event.pdu().origin_server_ts()))
    }

    async fn find_by_time(
        &self,
        asker: Asker<'_>,
        room: RoomSerial,
        time: MilliSecondsSinceUnixEpoch,
        direction: Direction,
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        let mut time: u64 = time.get().into();
        if let Asker::User(viewer, _) = asker
            && let Some(horizon) = self.horizon(viewer.user)
            && time < horizon.sent_ms
        {
            // All of these are behind his horizon: they are not looked through, nor do they use up the rows of a question.
            match direction {
                Direction::Forward => time = horizon.sent_ms,
                Direction::Backward => return Ok(None),
            }
        }
        let whole = Range::prefix(&room);
        // Up to the last place of a time, from its first one on.
        let (mut range, order) = match direction {
            Direction::Forward => (whole.from(&(room, time, Order::FIRST)), ScanOrder::Ascending),
            Direction::Backward => (whole.through(&(room, time, Order::LAST)), ScanOrder::Descending),
        };
        let mut looked_at = 0;
        while looked_at < MOST {
            let rows = self.store().scan(&TIMES, range.clone(), order, PAGE).await?;
            looked_at += PAGE;
            let Some((last, ())) = rows.last() else { return Ok(None) };
            range = match direction {
                Direction::Forward => range.after(last),
                Direction::Backward => range.before(last),
            };
            let is_last = rows.len() < PAGE;
            let places: Vec<(RoomSerial, Order)> =
                rows.into_iter().map(|((room, _, order), ())| (room, order)).collect();
            if let Some(found) = self.first_visible(asker, &places).await? {
                return Ok(Some(found));
            }
            if is_last {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// The first of some places of a timeline that one may see.
    async fn first_visible(
        &self,
        asker: Asker<'_>,
        places: &[(RoomSerial, Order)],
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        let rows = self.store().get_many(&TIMELINE, places).await?;
        let entries =
            places.iter().zip(rows).filter_map(|(place, row)| Some((place.0, entry((*place, row?)))));
        let entries: Vec<(RoomSerial, Entry)> = match asker {
            Asker::User(_, until) => entries.filter(|(_, entry)| entry.order <= until).collect(),
            Asker::Server(_) => entries.collect(),
        };
        let events = self.events_of(&entries).await?;
        let visible: Vec<bool> = match asker {
            Asker::User(viewer, _) => {
                let sights = self.sights(viewer.user, &events).await?;
                let seen = sights.iter().zip(&events);
                seen.map(|(sight, event)| sight.visible && !viewer.is_spared(event)).collect()
            }
            Asker::Server(server) => self.visible_to_server(server, &events).await?,
        };
        Ok(events.into_iter().zip(visible).find(|(_, visible)| *visible).map(|(event, _)| event))
    }
}

/// Rows that are looked at in one round of [`index_times`].
const ROUND: usize = 1_000;

/// Notes the times of events that were stored before they were noted: a step of the data's schema.
///
/// # Errors
/// When the store cannot be read or written.
pub async fn index_times(store: &Store) -> Result<(), store::Error> {
    #[derive(Deserialize)]
    struct Claim {
        origin_server_ts: u64,
    }
    let mut range = Range::all();
    loop {
        let rows = store.scan(&TIMELINE, range, ScanOrder::Ascending, ROUND).await?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        range = Range::all().after(last);
        let keys: Vec<_> = rows.iter().map(|((room, _), row)| (*room, row.event)).collect();
        let jsons = store.get_many(&EVENTS, &keys).await?;
        let mut batch = Batch::new();
        for (((room, order), _), json) in rows.into_iter().zip(jsons) {
            let claim = json.and_then(|json| serde_json::from_slice::<Claim>(&json).ok());
            // What cannot be read is told by `verify`.
            if let Some(Claim { origin_server_ts }) = claim {
                batch.put(&TIMES, &(room, origin_server_ts, order), &());
            }
        }
        store.commit(batch).await.map_err(CommitError::into_error)?;
    }
}
