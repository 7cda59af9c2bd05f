//! From the log of changes to the queues of peers.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use room::{
    Order as Place, RoomSerial, Root,
    log::{Entry, EventEntry, ReceiptEntry},
    read::{
        event::StoredEvent, receipts::ReceiptKind, timeline::Entry as TimelineEntry, typing::TypingChange,
    },
    tables::Membership,
};
use ruma::{OwnedRoomId, OwnedServerName, ServerName};
use store::{Change, Position, Topic};
use tracing::{error, warn};

use super::{
    Inner,
    lane::{Item, Lane},
    presence::{self, Presence},
    transaction::{OutgoingReceipt, ReceiptKey},
};
use crate::resolver::make_room;

/// Log entries read at a time.
const STEP: usize = 500;

/// The log is read this often even when nothing is to be sent, so that the cursor moves on.
const AT_LEAST_EVERY: Duration = Duration::from_secs(10);

/// Rooms whose servers are held in memory.
const MOST_ROOMS: usize = 10_000;

/// Why a step was not done; it is tried again.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Room(#[from] room::Error),
}

/// The changes of membership in a stretch of the log.
type Memberships = HashMap<RoomSerial, Vec<presence::Change>>;

/// The servers of a room, as they were when last read.
struct Servers {
    servers: Vec<OwnedServerName>,
    /// A membership has changed since.
    is_old: bool,
}

/// The task that reads the log.
pub(super) struct FanOut {
    sender: Arc<Inner>,
    servers: HashMap<RoomSerial, Servers>,
    typing_seen: Position,
    /// The changes of that position that were dealt with.
    typing_done: Vec<TypingChange>,
}

impl FanOut {
    pub(super) fn new(sender: Arc<Inner>) -> Self {
        let typing_seen = sender.store.head();
        Self { sender, servers: HashMap::new(), typing_seen, typing_done: Vec::new() }
    }

    pub(super) async fn run(mut self) {
        let sender = self.sender.clone();
        let stop = sender.term.ended();
        while !stop.is_cancelled() {
            // Before reading: what is committed meanwhile must wake us.
            let mut watch = sender.store.watch(vec![Topic::destination("*")]);
            if let Err(error) = self.read_on().await {
                warn!(reader = "federation", %error, "the log of changes could not be read, trying again");
                let pause = sender.clock.sleep(Duration::from_secs(1));
                stop.run_until_cancelled(pause).await;
                continue;
            }
            tokio::select! {
                () = watch.changed() => {}
                () = sender.clock.sleep(AT_LEAST_EVERY) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    async fn read_on(&mut self) -> Result<(), Error> {
        self.typing().await?;
        // However much there is to read: the term may end before it is read.
        while !self.sender.term.ended().is_cancelled() {
            let after = Position(self.sender.fanned.load(Ordering::Acquire));
            let head = self.sender.store.head();
            let changes = self.sender.term.changes(after, STEP).await?;
            let Some(last) = changes.last().map(|change| change.position) else {
                // What lies between holds no entries, or they would have been given.
                self.sender.fanned.fetch_max(head.0, Ordering::AcqRel);
                return Ok(());
            };
            self.fan_out(&changes).await?;
            self.sender.fanned.fetch_max(last.0, Ordering::AcqRel);
        }
        Ok(())
    }

    async fn fan_out(&mut self, changes: &[Change]) -> Result<(), Error> {
        let mut events: Vec<(Position, EventEntry)> = Vec::new();
        let mut receipts: Vec<(Position, ReceiptEntry)> = Vec::new();
        let mut memberships: Memberships = HashMap::new();
        for change in changes {
            let position = change.position;
            match Entry::decode(change.kind, &change.payload) {
                Ok(Some(Entry::Event(entry))) => {
                    if let Some((user, membership)) = &entry.member {
                        let server = user.server_name().to_owned();
                        let change = presence::Change { position, server, membership: *membership };
                        memberships.entry(entry.room).or_default().push(change);
                    }
                    if entry.outgoing {
                        events.push((position, entry));
                    }
                }
                Ok(Some(Entry::Receipt(entry))) if entry.outgoing => receipts.push((position, entry)),
                Ok(_) => {}
                Err(error) => error!(%position, %error, "an entry of the log cannot be read"),
            }
        }
        for room in memberships.keys() {
            if let Some(known) = self.servers.get_mut(room) {
                known.is_old = true;
            }
        }
        let of_events = events.iter().map(|(_, entry)| entry.room);
        let rooms: HashSet<RoomSerial> =
            of_events.chain(receipts.iter().map(|(_, entry)| entry.room)).collect();
        if rooms.is_empty() {
            return Ok(());
        }
        let servers = self.servers_around(&rooms, &memberships).await?;
        let rows: Vec<_> = events
            .iter()
            .map(|(position, entry)| {
                let place = Place::live(*position);
                (
                    entry.room,
                    TimelineEntry { order: place, event: entry.event, current: Root::EMPTY, gap: false },
                )
            })
            .collect();
        let stored = self.events_of(&rows).await?;
        for ((position, entry), event) in events.into_iter().zip(stored) {
            if let (Some(event), Some(servers)) = (event, servers.get(&entry.room)) {
                self.send_event(position, entry, event, servers);
            }
        }
        for (position, entry) in receipts {
            if let Some(servers) = servers.get(&entry.room) {
                self.send_receipt(position, entry, servers).await?;
            }
        }
        Ok(())
    }

    /// The events of these rows. One that is gone (its room was purged) costs that event, not the log.
    async fn events_of(
        &self,
        rows: &[(RoomSerial, TimelineEntry)],
    ) -> Result<Vec<Option<Arc<StoredEvent>>>, Error> {
        match self.sender.rooms.events_of(rows).await {
            Ok(events) => return Ok(events.into_iter().map(Some).collect()),
            Err(room::Error::Inconsistent(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let mut events = Vec::with_capacity(rows.len());
        for row in rows {
            match self.sender.rooms.events_of(std::slice::from_ref(row)).await {
                Ok(mut found) => events.push(found.pop()),
                Err(room::Error::Inconsistent(cause)) => {
                    warn!(cause, "an event to be sent is gone");
                    events.push(None);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(events)
    }

    /// Who is in each room over a stretch of the log in which these memberships changed.
    async fn servers_around(
        &mut self,
        rooms: &HashSet<RoomSerial>,
        memberships: &Memberships,
    ) -> Result<HashMap<RoomSerial, Presence>, Error> {
        let mut around = HashMap::new();
        let mut wanted = Vec::new();
        for room in rooms {
            match self.servers.get(room) {
                Some(known) if !known.is_old => {
                    around.insert(*room, Presence::new(None, &known.servers, &[]));
                }
                _ => wanted.push(*room),
            }
        }
        let found = self.sender.rooms.servers_in_rooms(&wanted).await?;
        make_room(&mut self.servers, MOST_ROOMS, |_| false);
        for (room, now) in wanted.into_iter().zip(found) {
            let before = self.servers.get(&room).map(|known| known.servers.as_slice());
            let changes = memberships.get(&room).map(Vec::as_slice).unwrap_or_default();
            around.insert(room, Presence::new(before, &now, changes));
            self.servers.insert(room, Servers { servers: now, is_old: false });
        }
        Ok(around)
    }

    fn send_event(&self, position: Position, entry: EventEntry, event: Arc<StoredEvent>, servers: &Presence) {
        let EventEntry { room_id, member, .. } = entry;
        let Some(from) = self.speaker(&event, position, servers) else { return };
        let item = Item { position, room_id, event };
        let author = item.event.sender().server_name().to_owned();
        // Who joined through us knows it already, and got the room's state with the answer.
        for server in servers.at(position).filter(|server| **server != author) {
            self.push_item(&from, server, &item);
        }
        // Who was thrown out must hear of it although nobody of that server may be left in the room. One
        // who is invited hears of it by `/invite`.
        if let Some((user, Membership::Leave | Membership::Ban)) = member {
            let server = user.server_name();
            if server != author && !servers.includes(server, position) {
                self.push_item(&from, server, &item);
            }
        }
    }

    /// The authority of ours that sends an event: its sender's; for one that came in through us, one
    /// that takes part in the room.
    fn speaker(
        &self,
        event: &StoredEvent,
        position: Position,
        servers: &Presence,
    ) -> Option<OwnedServerName> {
        let authorities = self.sender.client.authorities();
        let author = event.sender().server_name();
        if authorities.is_ours(author) {
            return Some(author.to_owned());
        }
        let present = servers.at(position).find(|server| authorities.is_ours(server)).cloned();
        present.or_else(|| authorities.iter().next().map(|first| first.name().to_owned()))
    }

    fn push_item(&self, from: &ServerName, to: &ServerName, item: &Item) {
        if !self.sender.client.may_contact(to) {
            return;
        }
        let limit = self.sender.config.queue;
        let now = self.sender.clock.instant();
        let mut is_due = false;
        let destination = self.sender.with_destination(to, |state| {
            state.lanes.entry(from.to_owned()).or_default().push(item.clone(), limit);
            // Whoever would only be told, at some time soon, that we are here again: now there is more to tell.
            let is_first = state.last_attempt.is_none() && state.failing_since.is_none();
            if is_first && !state.lanes.values().any(Lane::is_behind) && state.not_before > now {
                state.not_before = now;
                is_due = true;
            }
        });
        if is_due {
            destination.wake.notify_one();
        }
        self.sender.serve(&destination);
    }

    async fn send_receipt(
        &self,
        position: Position,
        entry: ReceiptEntry,
        servers: &Presence,
    ) -> Result<(), Error> {
        let others = self.others(servers, position);
        if others.is_empty() {
            return Ok(());
        }
        let thread = Some(entry.thread.as_str()).filter(|thread| !thread.is_empty());
        let found =
            self.sender.rooms.receipt(entry.room, &entry.user_id, ReceiptKind::Public, thread).await?;
        let Some(found) = found else { return Ok(()) };
        let key: ReceiptKey = (entry.room_id, entry.user_id.clone(), found.thread);
        let receipt = OutgoingReceipt { event_id: found.event_id, ts: found.ts, position };
        for server in others {
            let destination = self.sender.with_destination(server, |state| {
                let lane = state.lanes.entry(entry.user_id.server_name().to_owned()).or_default();
                lane.push_receipt(key.clone(), receipt.clone());
            });
            self.sender.serve(&destination);
        }
        Ok(())
    }

    /// The servers that hear of ephemeral things of a room; none in a very large one.
    fn others<'a>(&self, servers: &'a Presence, position: Position) -> Vec<&'a OwnedServerName> {
        if servers.at(position).count() > self.sender.config.largest_ephemeral_room {
            return Vec::new();
        }
        servers.at(position).filter(|server| self.sender.client.may_contact(server)).collect()
    }

    async fn typing(&mut self) -> Result<(), Error> {
        // Two changes may have one position, so those of the last one are asked for again.
        let since = Position(self.typing_seen.0.saturating_sub(1));
        let mut changes = self.sender.rooms.typing_changes_since(since);
        changes.retain(|change| !self.typing_done.contains(change));
        for change in changes {
            if change.position > self.typing_seen {
                self.typing_seen = change.position;
                self.typing_done.clear();
            }
            self.typing_done.push(change.clone());
            let TypingChange { room_id, user_id, typing, position } = change;
            let servers = self.servers_of(&room_id).await?;
            for server in self.others(&servers, position) {
                let destination = self.sender.with_destination(server, |state| {
                    let lane = state.lanes.entry(user_id.server_name().to_owned()).or_default();
                    lane.push_typing(room_id.clone(), user_id.clone(), typing, position);
                });
                self.sender.serve(&destination);
            }
        }
        Ok(())
    }

    async fn servers_of(&self, room_id: &OwnedRoomId) -> Result<Presence, Error> {
        let Some(room) = self.sender.rooms.room(room_id).await? else { return Ok(Presence::default()) };
        // Typing is of this moment: who is there now hears of it, whoever was there before.
        let now = self.sender.rooms.servers_in_room(room.serial).await?;
        Ok(Presence::new(None, &now, &[]))
    }
}
