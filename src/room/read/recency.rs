//! Recency: where the newest event of a room stands, and where the newest that clients show a room as recent by.
//!
//! Lists that the server keeps are ordered by the first: whatever happens in a room moves it up into the window that a client
//! looks at. Clients order what they show by the second, the bump stamp: by what people said, not by who came and went. In
//! both only news count. What comes behind what we have (fetched later, waited for by others that came before it, from
//! before we came) does not.
//!
//! One small row for each event, of one of two tables by its type, written without a read in the event's batch; so that who is
//! in many rooms has them put in order by two plural reads.
//!
//! Types: <https://github.com/matrix-org/matrix-spec-proposals/pull/4186>

use serde::Deserialize;
use store::{
    Batch, CommitError, Order as ScanOrder, Position, Range, Reads, Slot, Stamped, Store, Table, Tuning,
};

use crate::{
    Error, Rooms,
    ids::RoomSerial,
    read::{event::StoredEvent, membership::UserRoom},
    tables::{EVENTS, Membership, ROOM_IDS, TIMELINE, TimelineRow},
};

/// The newest event of a room that moves it up, or by which we came in, as its position; key: room. The stamp is all
/// there is to it.
pub static RECENCY: Table<RoomSerial, Stamped<()>> = Table::new(79, "room.recency", Tuning::Small);

/// The newest event of a room of another type, as its position; key: room. Rooms in which none came since this is noted have
/// no row.
pub static ACTIVITY: Table<RoomSerial, Stamped<()>> = Table::new(279, "room.activity", Tuning::Small);

/// Where a room stands among a user's rooms; greater is more recent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latest {
    /// Its newest event. The server's lists are ordered by it.
    pub active: Position,
    /// Its newest event of those that people look for. Clients order rooms by it.
    pub bump: Position,
}

/// Whether clients show a room as recent for an event of a type.
fn moves_up(kind: &str) -> bool {
    matches!(
        kind,
        "m.room.create"
            | "m.room.message"
            | "m.room.encrypted"
            | "m.sticker"
            | "m.call.invite"
            | "m.poll.start"
            | "org.matrix.msc3381.poll.start"
            | "m.beacon_info"
            | "org.matrix.msc3672.beacon_info"
    )
}

/// Notes in the batch of an event that came to the tip where its room stands by it. `came_in`: by it we come into the
/// room, of which nothing that was noted before is news to anybody.
pub fn note(batch: &mut Batch, event: &StoredEvent, slot: Slot, came_in: bool) {
    let table = if came_in || moves_up(event.kind()) { &RECENCY } else { &ACTIVITY };
    batch.put_stamped(table, &event.room(), slot, &());
}

impl Rooms {
    /// Where each of a user's rooms stands among them. One read for all of them.
    ///
    /// In a room that he is in, that is said by its newest events. What goes on where he is not is not his to
    /// know: for a room that he left, is invited to or knocks at, and for one without such an event, it is the position
    /// at which he became what he is there.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn recency(&self, rooms: &[&UserRoom]) -> Result<Vec<Latest>, Error> {
        let joined = rooms.iter().filter(|room| room.membership == Membership::Join);
        let keys: Vec<RoomSerial> = joined.map(|room| room.room).collect();
        let mut reads = Reads::new();
        let wanted: Vec<_> =
            keys.iter().map(|key| (reads.get(&RECENCY, key), reads.get(&ACTIVITY, key))).collect();
        let mut found = self.store().read(reads).await?;
        let mut rows = Vec::with_capacity(wanted.len());
        for (bump, other) in wanted {
            rows.push((found.take(bump)?, found.take(other)?));
        }
        let mut rows = rows.into_iter();
        let mut of = |room: &&UserRoom| {
            let row = if room.membership == Membership::Join { rows.next() } else { None };
            let (bump, other) = row.unwrap_or_default();
            let bump = bump.map_or(room.position, |row| row.position);
            Latest { active: other.map_or(bump, |row| row.position.max(bump)), bump }
        };
        Ok(rooms.iter().map(&mut of).collect())
    }
}

/// Rooms that are looked at in one round of [`note_recency`], and events of each.
const ROOMS: usize = 50;
const EVENTS_OF_EACH: usize = 30;

/// Notes the recency of rooms in data that were written before that was done: a step of the data's schema.
///
/// Of a room whose last thirty events do not move it up, the earliest of those is taken for one that does.
///
/// # Errors
/// When the store cannot be read or written.
pub async fn note_recency(store: &Store) -> Result<(), store::Error> {
    let mut range = Range::all();
    loop {
        let rows = store.scan(&ROOM_IDS, range, ScanOrder::Ascending, ROOMS).await?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        range = Range::all().after(last);
        let rooms: Vec<RoomSerial> = rows.iter().map(|(room, _)| *room).collect();
        for ((room, row), position) in rows.iter().zip(newest_that_move_up(store, &rooms).await?) {
            let Some(position) = position else { continue };
            let mut batch = Batch::new();
            // Another process may be done with this already, and serve: what it has noted is newer, and what it has
            // purged is gone.
            batch.require(&ROOM_IDS, room, Some(row));
            batch.insert(&RECENCY, room, &Stamped { position, value: () });
            match store.commit(batch).await {
                Ok(_) | Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(error.into_error()),
            }
        }
    }
}

async fn newest_that_move_up(
    store: &Store,
    rooms: &[RoomSerial],
) -> Result<Vec<Option<Position>>, store::Error> {
    #[derive(Deserialize)]
    struct Kind {
        #[serde(rename = "type")]
        kind: String,
    }
    let ranges = rooms.iter().map(Range::prefix).collect();
    let rows = store.scan_many(&TIMELINE, ranges, ScanOrder::Descending, EVENTS_OF_EACH).await?;
    let keys: Vec<_> =
        rows.iter().flatten().map(|((room, _), TimelineRow { event, .. })| (*room, *event)).collect();
    let mut jsons = store.get_many(&EVENTS, &keys).await?.into_iter();
    let mut found = Vec::with_capacity(rooms.len());
    for rows in rows {
        let mut newest = None;
        for ((_, order), _) in rows {
            let json = jsons.next().flatten();
            let Some(position) = order.position() else { continue };
            let kind = json.and_then(|json| serde_json::from_slice::<Kind>(&json).ok());
            let does = kind.is_some_and(|Kind { kind }| moves_up(&kind));
            newest = match newest {
                Some((known, true)) => Some((known, true)),
                _ => Some((position, does)),
            };
        }
        found.push(newest.map(|(position, _)| position));
    }
    Ok(found)
}
