//! Events that wait for something: what is known of them in memory, and their rows.
//!
//! A row in [`WAITING`] is the truth; the list here says when its next attempt is due and what it waits
//! for. It is made anew at start. An event waits for *one* thing at a time: if there is more, that shows when
//! it is looked at again.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use base::Instant;
use parking_lot::Mutex;
use room::{
    Error,
    ids::{InboxSerial, RoomSerial},
};
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, ServerName};
use store::{Batch, Order, Range};
use tokio::sync::Notify;
use tracing::error;

use crate::{
    Engine,
    tables::{WAITING, WaitingRow, Why},
};

/// The pauses before the second attempt and those after it. Who has no attempt left is parked.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(180), Duration::from_secs(900)];

/// A parked event is tried again after this long, a few times.
const LONG_PAUSE: Duration = Duration::from_secs(6 * 60 * 60);

/// All attempts that are made unasked for; what arrives later can still revive the event.
const MOST_TRIES: u8 = 9;

/// A stranger's event is looked at once more after this long, and dropped if its server is not in then.
const STRANGER_STAYS: Duration = Duration::from_secs(60 * 60);

/// How many parked events are kept of one server in one room; the oldest make room.
const MOST_PARKED: usize = 200;

/// A page of a table read at start.
pub(super) const PAGE: usize = 500;

/// What an event waits for, besides its next attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Awaits {
    /// This event, as previous or auth event.
    pub(super) event: Option<OwnedEventId>,
    /// That this server is in the room; until then nobody is asked.
    pub(super) server: Option<OwnedServerName>,
}

impl Awaits {
    pub(super) const fn time() -> Self {
        Self { event: None, server: None }
    }

    pub(super) const fn event(id: OwnedEventId) -> Self {
        Self { event: Some(id), server: None }
    }

    pub(super) const fn server(event: Option<OwnedEventId>, server: OwnedServerName) -> Self {
        Self { event, server: Some(server) }
    }
}

/// What is known of a waiting event.
#[derive(Clone, Debug)]
struct Entry {
    origin: OwnedServerName,
    awaits: Awaits,
    tries: u8,
    /// When it is tried next; never, unless what it waits for arrives.
    due: Option<Instant>,
}

impl Entry {
    /// Whether it is out of the ordinary attempts, and out of the counts.
    const fn is_parked(&self) -> bool {
        is_parked(self.tries)
    }
}

const fn is_parked(tries: u8) -> bool {
    tries as usize > PAUSES.len()
}

impl WaitingRow {
    /// Whether nothing is done for it any more of ourselves, or only after long pauses.
    pub(crate) fn is_parked(&self) -> bool {
        is_parked(self.tries) || self.why == Why::Stranger
    }
}

/// The next pause after so many tries.
fn pause_after(tries: u8) -> Option<Duration> {
    match tries {
        0 => Some(Duration::ZERO),
        tries if tries >= MOST_TRIES => None,
        tries => Some(PAUSES.get(usize::from(tries) - 1).copied().unwrap_or(LONG_PAUSE)),
    }
}

/// All waiting events, by room.
#[derive(Default)]
pub(crate) struct Waiting(Mutex<HashMap<RoomSerial, OfRoom>>);

#[derive(Default)]
struct OfRoom {
    entries: BTreeMap<InboxSerial, Entry>,
    by_event: HashMap<OwnedEventId, Vec<InboxSerial>>,
    by_server: HashMap<OwnedServerName, Vec<InboxSerial>>,
    /// Origins with an errand under way, and the bell that calls it early.
    errands: HashMap<OwnedServerName, Arc<Notify>>,
}

/// What an errand does next.
pub(super) enum Next {
    Try(InboxSerial),
    Sleep(Duration, Arc<Notify>),
    Nothing,
}

impl OfRoom {
    fn insert(&mut self, serial: InboxSerial, entry: Entry) {
        if let Some(id) = &entry.awaits.event {
            self.by_event.entry(id.clone()).or_default().push(serial);
        }
        if let Some(server) = &entry.awaits.server {
            self.by_server.entry(server.clone()).or_default().push(serial);
        }
        self.entries.insert(serial, entry);
    }

    fn remove(&mut self, serial: InboxSerial) -> Option<Entry> {
        let entry = self.entries.remove(&serial)?;
        self.unlist(&entry.awaits, serial);
        Some(entry)
    }

    fn unlist(&mut self, awaits: &Awaits, serial: InboxSerial) {
        if let Some(id) = &awaits.event {
            strike(&mut self.by_event, id, serial);
        }
        if let Some(server) = &awaits.server {
            strike(&mut self.by_server, server, serial);
        }
    }

    /// The oldest parked event of an origin, when it has more of them than it may.
    fn surplus(&self, origin: &ServerName) -> Option<InboxSerial> {
        let parked = |(_, entry): &(&InboxSerial, &Entry)| entry.is_parked() && entry.origin == origin;
        let mut of_origin = self.entries.iter().filter(parked);
        let oldest = *of_origin.next()?.0;
        (of_origin.count() >= MOST_PARKED).then_some(oldest)
    }
}

fn strike<K: std::hash::Hash + Eq>(lists: &mut HashMap<K, Vec<InboxSerial>>, key: &K, serial: InboxSerial) {
    if let Some(list) = lists.get_mut(key) {
        list.retain(|one| *one != serial);
        if list.is_empty() {
            lists.remove(key);
        }
    }
}

impl Waiting {
    /// Adds an event whose row was written just now, or found at start.
    pub(super) fn add(
        &self,
        room: RoomSerial,
        serial: InboxSerial,
        row: &(OwnedServerName, u8),
        awaits: Awaits,
        now: Instant,
    ) {
        let (origin, tries) = row;
        let pause = if awaits.server.is_some() { Some(STRANGER_STAYS) } else { pause_after(*tries) };
        let entry =
            Entry { origin: origin.clone(), awaits, tries: *tries, due: pause.map(|pause| now + pause) };
        self.0.lock().entry(room).or_default().insert(serial, entry);
    }

    /// Takes an event off the list. True: it was counted among those that wait in the inbox.
    pub(super) fn remove(&self, room: RoomSerial, serial: InboxSerial) -> bool {
        let mut rooms = self.0.lock();
        let Some(of_room) = rooms.get_mut(&room) else { return false };
        let entry = of_room.remove(serial);
        if of_room.entries.is_empty() && of_room.errands.is_empty() {
            rooms.remove(&room);
        }
        entry.is_some_and(|entry| !entry.is_parked())
    }

    /// The servers that somebody's events wait for to be in a room.
    pub(super) fn awaited_servers(&self, room: RoomSerial) -> Vec<OwnedServerName> {
        let rooms = self.0.lock();
        rooms.get(&room).into_iter().flat_map(|of_room| of_room.by_server.keys()).cloned().collect()
    }

    /// Makes the events of a room due that wait for nothing but their next attempt; gives whose they are.
    pub(super) fn revive_idle(&self, room: RoomSerial, now: Instant) -> Vec<OwnedServerName> {
        let mut rooms = self.0.lock();
        let Some(of_room) = rooms.get_mut(&room) else { return Vec::new() };
        let mut origins: Vec<OwnedServerName> = Vec::new();
        for entry in of_room.entries.values_mut().filter(|entry| entry.awaits == Awaits::time()) {
            entry.due = Some(now);
            if !origins.contains(&entry.origin) {
                origins.push(entry.origin.clone());
            }
        }
        for origin in &origins {
            if let Some(bell) = of_room.errands.get(origin) {
                bell.notify_one();
            }
        }
        origins
    }

    /// Makes the events due that wait for one of these events or servers, and answers whose they are.
    pub(super) fn revive(
        &self,
        room: RoomSerial,
        events: &[OwnedEventId],
        servers: &[OwnedServerName],
        now: Instant,
    ) -> Vec<OwnedServerName> {
        let mut rooms = self.0.lock();
        let Some(of_room) = rooms.get_mut(&room) else { return Vec::new() };
        let mut revived: Vec<InboxSerial> = Vec::new();
        for id in events {
            revived.extend(of_room.by_event.get(id).into_iter().flatten().copied());
        }
        for server in servers {
            revived.extend(of_room.by_server.get(server).into_iter().flatten().copied());
        }
        let mut origins: Vec<OwnedServerName> = Vec::new();
        for serial in revived {
            let Some(entry) = of_room.entries.get_mut(&serial) else { continue };
            entry.due = Some(now);
            if !origins.contains(&entry.origin) {
                origins.push(entry.origin.clone());
            }
            let awaits = std::mem::take(&mut entry.awaits);
            of_room.unlist(&awaits, serial);
        }
        for origin in &origins {
            if let Some(bell) = of_room.errands.get(origin) {
                bell.notify_one();
            }
        }
        origins
    }

    /// Whether the caller has to start an errand for events of this origin; its bell rings otherwise.
    pub(super) fn claim(&self, room: RoomSerial, origin: &ServerName) -> bool {
        let mut rooms = self.0.lock();
        let Some(of_room) = rooms.get_mut(&room) else { return false };
        if let Some(bell) = of_room.errands.get(origin) {
            bell.notify_one();
            return false;
        }
        let is_due = of_room.entries.values().any(|entry| entry.origin == origin && entry.due.is_some());
        if is_due {
            of_room.errands.insert(origin.to_owned(), Arc::default());
        }
        is_due
    }

    /// The next event of this origin to try. With [`Next::Nothing`] the errand is over.
    pub(super) fn next(&self, room: RoomSerial, origin: &ServerName, now: Instant) -> Next {
        let mut rooms = self.0.lock();
        let Some(of_room) = rooms.get_mut(&room) else { return Next::Nothing };
        let due = of_room.entries.iter().filter(|(_, entry)| entry.origin == origin);
        let due = due.filter_map(|(serial, entry)| Some((entry.due?, *serial)));
        // Of those that are due, the oldest: later ones often stand on it.
        let mut first: Option<(Instant, InboxSerial)> = None;
        for (at, serial) in due {
            if at <= now {
                return Next::Try(serial);
            }
            if first.is_none_or(|(earliest, _)| at < earliest) {
                first = Some((at, serial));
            }
        }
        match (first, of_room.errands.get(origin)) {
            (Some((at, _)), Some(bell)) => Next::Sleep(at.since(now), bell.clone()),
            _ => {
                of_room.errands.remove(origin);
                if of_room.entries.is_empty() {
                    rooms.remove(&room);
                }
                Next::Nothing
            }
        }
    }

    /// The errand was lost; the next one may be started.
    pub(super) fn abandon(&self, room: RoomSerial, origin: &ServerName) {
        if let Some(of_room) = self.0.lock().get_mut(&room) {
            of_room.errands.remove(origin);
        }
    }

    /// Whether an event that was to wait for its server comes up because its time is over.
    pub(super) fn is_over(&self, room: RoomSerial, serial: InboxSerial) -> bool {
        let rooms = self.0.lock();
        let entry = rooms.get(&room).and_then(|of_room| of_room.entries.get(&serial));
        entry.is_some_and(|entry| entry.awaits.server.is_some())
    }

    /// Whether the event of this row is counted among those that wait in the inbox.
    pub(super) fn is_counted(&self, room: RoomSerial, serial: InboxSerial) -> bool {
        let rooms = self.0.lock();
        let entry = rooms.get(&room).and_then(|of_room| of_room.entries.get(&serial));
        entry.is_some_and(|entry| !entry.is_parked())
    }

    /// Whose the events of a room are that are counted among those that wait in the inbox, and whether it is in the
    /// room.
    pub(super) fn counted(&self, room: RoomSerial) -> Vec<(OwnedServerName, bool)> {
        let rooms = self.0.lock();
        let entries = rooms.get(&room).into_iter().flat_map(|of_room| of_room.entries.values());
        let counted = entries.filter(|entry| !entry.is_parked());
        counted.map(|entry| (entry.origin.clone(), entry.awaits.server.is_none())).collect()
    }

    /// How many are parked: those that were tried in vain, which are out of the counts, and those of strangers, for
    /// whom nothing is tried and which are not.
    fn parked(&self) -> (usize, usize) {
        let rooms = self.0.lock();
        let (mut tried, mut of_strangers) = (0, 0);
        for entry in rooms.values().flat_map(|of_room| of_room.entries.values()) {
            tried += usize::from(entry.is_parked());
            of_strangers += usize::from(!entry.is_parked() && entry.awaits.server.is_some());
        }
        (tried, of_strangers)
    }
}

/// An event that came to no end, for the operator.
#[derive(Clone, Debug)]
pub struct Parked {
    /// Its room.
    pub room_id: OwnedRoomId,
    /// Its id.
    pub event_id: OwnedEventId,
    /// Who sent it.
    pub origin: OwnedServerName,
    /// Why it has no end.
    pub reason: Why,
    /// How often it was tried.
    pub tries: u8,
    /// Since when it waits, in ms since 1970.
    pub since: u64,
}

/// How many received events are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InboxTotals {
    /// In inboxes, or waiting with attempts left.
    pub waiting: usize,
    /// Parked.
    pub parked: usize,
}

impl Engine {
    /// How many events of other servers have no end yet.
    pub fn inbox_totals(&self) -> InboxTotals {
        let (tried, of_strangers) = self.0.workers.waiting.parked();
        // Those of strangers keep their places among what waits, which are few.
        let waiting = self.0.workers.counts.total().saturating_sub(of_strangers);
        InboxTotals { waiting, parked: tried + of_strangers }
    }

    /// Up to `most` parked events, room by room.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn parked(&self, most: usize) -> Result<Vec<Parked>, Error> {
        let mut parked = Vec::new();
        let mut range = Range::all();
        loop {
            let rows = self.store().scan(&WAITING, range, Order::Ascending, PAGE).await?;
            let Some((last, _)) = rows.last() else { return Ok(parked) };
            range = Range::all().after(last);
            for ((room, _), row) in rows {
                if !row.is_parked() {
                    continue;
                }
                let Some(room) = self.rooms().room_infos(&[room]).await?.pop().flatten() else { continue };
                let Ok(origin) = OwnedServerName::try_from(row.origin) else { continue };
                let Some(pdu) = super::door::reopen(&room, &row.pdu) else { continue };
                parked.push(Parked {
                    room_id: room.room_id.clone(),
                    event_id: pdu.event_id().to_owned(),
                    origin,
                    reason: row.why,
                    tries: row.tries,
                    since: row.since,
                });
                if parked.len() >= most {
                    return Ok(parked);
                }
            }
        }
    }

    /// What is awaited may have come between the look at the room and the entry in the list, which nobody
    /// would hear of then. Where that cannot be told, the event is taken up: its attempt finds out.
    pub(super) async fn look_again(&self, room: RoomSerial, awaits: Awaits) {
        let mut events: Vec<OwnedEventId> = awaits.event.into_iter().collect();
        let mut servers: Vec<OwnedServerName> = awaits.server.into_iter().collect();
        if let Err(cause) = self.keep_those_here(room, &mut events, &mut servers).await {
            error!(room = room.0, error = %cause, "whether what an event waits for has come could not be read");
        }
        if !events.is_empty() || !servers.is_empty() {
            self.0.workers.waiting.revive(room, &events, &servers, self.0.clock.instant());
        }
    }

    /// Of these events and servers, keeps those that are in the room.
    pub(super) async fn keep_those_here(
        &self,
        room: RoomSerial,
        events: &mut Vec<OwnedEventId>,
        servers: &mut Vec<OwnedServerName>,
    ) -> Result<(), Error> {
        if let Some(info) = self.rooms().room_infos(&[room]).await?.pop().flatten() {
            let stored = self.stored(&info, events).await?;
            events.retain(|id| stored.get(id).is_some_and(|placed| *placed));
        }
        let pairs: Vec<_> = servers.iter().map(|server| (room, server.as_str())).collect();
        let mut present = self.rooms().are_present(&pairs).await?.into_iter();
        servers.retain(|_| present.next().unwrap_or(false));
        Ok(())
    }

    /// Writes down that an attempt failed: the event waits for the next one, or is parked.
    pub(super) async fn put_off(
        &self,
        room: RoomSerial,
        serial: InboxSerial,
        mut row: WaitingRow,
        why: Why,
        awaits: Awaits,
    ) -> Result<(), Error> {
        let Ok(origin) = OwnedServerName::try_from(row.origin.as_str()) else { return Ok(()) };
        let was_parked = is_parked(row.tries);
        // For a stranger nothing was tried.
        let tried = u8::from(awaits.server.is_none());
        row.tries = row.tries.saturating_add(tried).min(MOST_TRIES);
        row.why = why;
        let mut batch = Batch::new();
        batch.put(&WAITING, &(room, serial), &row);
        let waiting = &self.0.workers.waiting;
        let given_up = if is_parked(row.tries) && !was_parked {
            let rooms = waiting.0.lock();
            rooms.get(&room).and_then(|of_room| of_room.surplus(&origin))
        } else {
            None
        };
        if let Some(given_up) = given_up {
            tracing::warn!(room = room.0, %origin, "a parked event was given up for a newer one");
            batch.delete(&WAITING, &(room, given_up));
        }
        self.store().commit(batch).await.map_err(Error::Commit)?;
        if let Some(given_up) = given_up {
            waiting.remove(room, given_up);
        }
        waiting.remove(room, serial);
        let looked_for = awaits.clone();
        waiting.add(room, serial, &(origin.clone(), row.tries), awaits, self.0.clock.instant());
        if is_parked(row.tries) && !was_parked {
            self.0.workers.counts.release(room, &origin);
        }
        self.look_again(room, looked_for).await;
        Ok(())
    }
}
