//! From the log of changes to the queues of peers.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use room::{
    Order as Place, RoomSerial, Root,
    log::{Entry, EventEntry, ReceiptEntry},
    read::{
        event::StoredEvent,
        receipts::ReceiptKind,
        servers::RoomServers,
        timeline::{Entry as TimelineEntry, Recent, RecentQuery},
        typing::TypingChange,
    },
    tables::Membership,
};
use ruma::{OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, ServerName, UserId};
use store::{Change, Moved, Position, Topic};
use tracing::{error, warn};

use super::{
    Inner, State,
    arrivals::Arrivals,
    lane::Lane,
    presence::{Presence, Rosters},
    transaction::Item,
    transaction::{OutgoingReceipt, ReceiptKey, presence_unit},
};

/// Log entries read at a time.
const STEP: usize = 500;

/// Rooms whose servers are read together.
const ROOMS_AT_ONCE: usize = 500;

/// Members that are looked up together.
const MEMBERS_AT_ONCE: usize = 1_000;

/// The log is read this often even when nothing is to be sent, so that the cursor moves on.
const AT_LEAST_EVERY: Duration = Duration::from_secs(10);

/// Why a step was not done; it is tried again.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Room(#[from] room::Error),
}

/// Something in the log that other servers have to hear of.
enum Outgoing {
    Event(EventEntry, Option<Arc<StoredEvent>>),
    Receipt(ReceiptEntry),
}

/// The task that reads the log.
pub(super) struct FanOut {
    sender: Arc<Inner>,
    rosters: Rosters,
    typing_seen: Position,
    /// The changes of that position that were dealt with.
    typing_done: Vec<TypingChange>,
    presence_seen: Position,
    arrivals: Arrivals,
}

impl FanOut {
    pub(super) fn new(sender: Arc<Inner>) -> Self {
        let typing_seen = sender.store.head();
        let rosters = Rosters::new(sender.rooms.clone(), &sender.caches, sender.config.memory);
        Self {
            sender,
            rosters,
            typing_seen,
            typing_done: Vec::new(),
            presence_seen: typing_seen,
            arrivals: Arrivals::default(),
        }
    }

    pub(super) async fn run(mut self) {
        let sender = self.sender.clone();
        let stop = sender.term.ended();
        while !stop.is_cancelled() {
            // Before reading: what is committed meanwhile must wake us.
            let mut watch = sender.store.watch(vec![Topic::destination("*"), Topic::destination("presence")]);
            if let Err(error) = self.read_on().await {
                if matches!(error, Error::Store(store::Error::Trimmed { .. })) {
                    // Trying again would not bring it back. The next term knows what to do.
                    warn!(reader = "federation", %error, "the log of changes is gone where it was to be read");
                    return sender.term.end();
                }
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
        self.presence().await?;
        self.introduce().await?;
        // However much there is to read: the term may end before it is read.
        while !self.sender.term.ended().is_cancelled() {
            let after = Position(self.sender.fanned.load(Ordering::Acquire));
            let head = self.sender.store.head();
            if self.sender.store.moved(Topic::destination("*"), after) == Moved::No {
                // All of it is ours alone: rooms without others, accounts.
                self.sender.fanned.fetch_max(head.0, Ordering::AcqRel);
                return Ok(());
            }
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
        for change in changes.iter().filter(|change| change.kind == to_device::OUTGOING) {
            for (from, to) in to_device::destinations_of(&change.payload) {
                self.sender.put_in_outbox(&from, &to);
            }
        }
        let entries: Vec<(Position, Entry)> = entries(changes).collect();
        let mut rows: HashMap<RoomSerial, usize> = HashMap::new();
        for (_, entry) in &entries {
            if let Entry::Event(entry) = entry {
                *rows.entry(entry.room).or_default() += 1;
                self.note_arrival(entry);
            }
        }
        let mut outgoing: Vec<(Position, Outgoing)> = entries.into_iter().filter_map(outgoing).collect();
        let rooms: BTreeMap<RoomSerial, OwnedRoomId> =
            outgoing.iter().map(|(_, what)| what.room()).map(|(room, id)| (room, id.clone())).collect();
        let (Some((first, _)), Some((last, _))) = (outgoing.first(), outgoing.last()) else { return Ok(()) };
        match self.rosters.take_in(rooms.keys().copied()).await {
            // Then they are looked at one by one.
            Ok(()) | Err(room::Error::Inconsistent(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let states = self.states(&rooms, &rows, *first, *last).await?;
        self.load(&mut outgoing).await?;
        for (position, what) in outgoing {
            let (room, _) = what.room();
            let states = states.get(&room).and_then(|recent| states_at(recent, position));
            let servers = self.rosters.between(room, states).await?;
            match what {
                Outgoing::Event(entry, Some(event)) => {
                    send_event(&self.sender, position, entry, event, &servers);
                }
                Outgoing::Event(..) => {}
                Outgoing::Receipt(entry) => send_receipt(&self.sender, position, entry, &servers).await?,
            }
        }
        Ok(())
    }

    /// The states that rooms went through in a stretch of the log, which has so many rows of their timelines.
    async fn states(
        &self,
        rooms: &BTreeMap<RoomSerial, OwnedRoomId>,
        rows: &HashMap<RoomSerial, usize>,
        first: Position,
        last: Position,
    ) -> Result<HashMap<RoomSerial, Recent>, Error> {
        let query = |(room, room_id): (&RoomSerial, _)| RecentQuery {
            room: *room,
            room_id,
            after: Position(first.0.saturating_sub(1)),
            through: last,
            limit: rows.get(room).copied().unwrap_or(0),
        };
        let queries: Vec<RecentQuery<'_>> = rooms.iter().map(|(room, id)| query((room, &**id))).collect();
        let found = self.sender.rooms.recent(&queries).await?;
        Ok(rooms.keys().copied().zip(found).collect())
    }

    /// Loads the events.
    async fn load(&self, outgoing: &mut [(Position, Outgoing)]) -> Result<(), Error> {
        let rows: Vec<_> = outgoing
            .iter()
            .filter_map(|(position, what)| {
                let Outgoing::Event(entry, _) = what else { return None };
                let place = Place::live(*position);
                let row =
                    TimelineEntry { order: place, event: entry.event, current: Root::EMPTY, gap: false };
                Some((entry.room, row))
            })
            .collect();
        let mut stored = self.events_of(&rows).await?.into_iter();
        for (_, what) in outgoing {
            if let Outgoing::Event(_, event) = what {
                *event = stored.next().flatten();
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
            let Some(room) = self.sender.rooms.room(&room_id).await? else { continue };
            // Typing is of this moment: who is there now hears of it, whoever was there before.
            let now = self.now(room.serial, &room_id).await?;
            let servers = self.rosters.between(room.serial, now.map(|root| (root, root))).await?;
            for server in others(&self.sender, &servers) {
                let destination = self.sender.with_destination(server, |state| {
                    let lane = state.lanes.entry(user_id.server_name().to_owned()).or_default();
                    lane.push_typing(room_id.clone(), user_id.clone(), typing, position);
                });
                self.sender.serve(&destination);
            }
        }
        Ok(())
    }

    /// Has servers hear who of ours came or went that share a room with them in which that is told.
    async fn presence(&mut self) -> Result<(), Error> {
        let changes = self.sender.presence.changes_since(self.presence_seen);
        let Some((last, _)) = changes.last() else { return Ok(()) };
        // What fails here is lost: it is told again in a while.
        self.presence_seen = *last;
        let changed: BTreeMap<_, _> = changes.into_iter().map(|(position, user)| (user, position)).collect();
        let rooms_of = |user: &OwnedUserId| self.sender.presence.rooms_of(user);
        let mut changed: Vec<_> =
            changed.into_iter().map(|(user, position)| (rooms_of(&user), user, position)).collect();
        self.keep_joined(&mut changed).await?;
        let rooms: BTreeSet<RoomSerial> =
            changed.iter().flat_map(|(rooms, ..)| rooms.iter().copied()).collect();
        let servers = self.servers_of(&rooms).await?;
        for (rooms, user, position) in changed {
            let Some(seen) = self.sender.presence.find(&user) else { continue };
            let unit = presence_unit(&seen);
            let servers: BTreeSet<&OwnedServerName> =
                rooms.iter().filter_map(|room| servers.get(room)).flat_map(RoomServers::iter).collect();
            for server in servers.into_iter().filter(|server| self.sender.client.may_contact(server)) {
                self.push_presence(server, &user, &unit, position);
            }
        }
        Ok(())
    }

    /// Notes it where somebody of another server joins a room.
    fn note_arrival(&mut self, entry: &EventEntry) {
        let Some((user, Membership::Join)) = &entry.member else { return };
        if self.sender.presence.is_on() && !self.sender.client.authorities().is_ours(user.server_name()) {
            self.arrivals.note(entry.room, user.server_name(), self.sender.clock.instant());
        }
    }

    /// Has servers that came into rooms hear who of ours is there.
    async fn introduce(&mut self) -> Result<(), Error> {
        let due = self.arrivals.take_due(self.sender.clock.instant());
        for some in due.chunks(ROOMS_AT_ONCE) {
            let mut came: BTreeMap<RoomSerial, Vec<&OwnedServerName>> = BTreeMap::new();
            for (room, server) in some.iter().filter(|(_, server)| self.sender.client.may_contact(server)) {
                came.entry(*room).or_default().push(server);
            }
            let is_ours = |user: &UserId| self.sender.client.authorities().is_ours(user.server_name());
            let mut present = Vec::new();
            for room in came.keys() {
                let users = self.sender.presence.present_in(*room).into_iter();
                let ours = users.filter(|(user, _)| is_ours(user));
                present.extend(ours.map(|(user, position)| (vec![*room], user, position)));
            }
            self.keep_joined(&mut present).await?;
            let rooms: BTreeSet<RoomSerial> = present.iter().flat_map(|(rooms, ..)| rooms).copied().collect();
            let servers = self.servers_of(&rooms).await?;
            for (rooms, user, position) in present {
                let Some(seen) = self.sender.presence.find(&user) else { continue };
                let unit = presence_unit(&seen);
                for room in rooms {
                    let Some(there) = servers.get(&room) else { continue };
                    let told = came.get(&room).into_iter().flatten().filter(|server| there.includes(server));
                    told.for_each(|server| self.push_presence(server, &user, &unit, position));
                }
            }
        }
        Ok(())
    }

    /// The servers of rooms, but for one that is being purged: that must not stop the log.
    async fn servers_of(
        &self,
        rooms: &BTreeSet<RoomSerial>,
    ) -> Result<HashMap<RoomSerial, RoomServers>, Error> {
        let rooms: Vec<RoomSerial> = rooms.iter().copied().collect();
        let mut servers = HashMap::with_capacity(rooms.len());
        for some in rooms.chunks(ROOMS_AT_ONCE) {
            match self.sender.rooms.servers_now(some).await {
                Ok(found) => servers.extend(found),
                Err(room::Error::Inconsistent(cause)) => warn!(cause, "who is there is not told to others"),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(servers)
    }

    /// Leaves of the rooms in which users are shown those that they are still in: these were looked up a while ago, and
    /// what somebody does now is no business of a room that he has left.
    async fn keep_joined(
        &self,
        changed: &mut [(Vec<RoomSerial>, OwnedUserId, Position)],
    ) -> Result<(), Error> {
        let shown: Vec<(RoomSerial, &UserId)> = changed
            .iter()
            .flat_map(|(rooms, user, _)| rooms.iter().map(move |room| (*room, &**user)))
            .collect();
        let mut joined = Vec::with_capacity(shown.len());
        for some in shown.chunks(MEMBERS_AT_ONCE) {
            joined.extend(self.sender.rooms.are_joined(some).await?);
        }
        let mut joined = joined.into_iter();
        for (rooms, ..) in changed {
            rooms.retain(|_| joined.next().unwrap_or(false));
        }
        Ok(())
    }

    fn push_presence(&self, server: &ServerName, user: &OwnedUserId, unit: &Arc<str>, position: Position) {
        let now = self.sender.clock.instant();
        let mut is_dead = false;
        let destination = self.sender.with_destination(server, |state| {
            // Whoever fails is not asked for this sooner than he would be for anything else, and nothing of it waits.
            is_dead = state.failing_since.is_some() && (state.not_before > now || !state.is_idle());
            if !is_dead {
                let lane = state.lanes.entry(user.server_name().to_owned()).or_default();
                lane.push_presence(user.clone(), unit.clone(), position);
            }
        });
        if !is_dead {
            self.sender.serve(&destination);
        }
    }

    /// The state of a room now.
    async fn now(&self, room: RoomSerial, room_id: &RoomId) -> Result<Option<Root>, Error> {
        let head = self.sender.store.head();
        let query = RecentQuery { room, room_id, after: head, through: head, limit: 1 };
        let recent = self.sender.rooms.recent(&[query]).await?.pop();
        Ok(recent.and_then(|recent| recent.before).map(|row| row.current))
    }
}

impl Outgoing {
    fn room(&self) -> (RoomSerial, &OwnedRoomId) {
        match self {
            Self::Event(entry, _) => (entry.room, &entry.room_id),
            Self::Receipt(entry) => (entry.room, &entry.room_id),
        }
    }
}

/// What rooms wrote into a stretch of the log.
fn entries(changes: &[Change]) -> impl Iterator<Item = (Position, Entry)> {
    changes.iter().filter_map(|change| {
        let position = change.position;
        let entry = Entry::decode(change.kind, &change.payload).unwrap_or_else(|error| {
            error!(%position, %error, "an entry of the log cannot be read");
            None
        });
        Some((position, entry?))
    })
}

/// What of that other servers have to hear of.
fn outgoing((position, entry): (Position, Entry)) -> Option<(Position, Outgoing)> {
    match entry {
        Entry::Event(entry) if entry.outgoing => Some((position, Outgoing::Event(entry, None))),
        Entry::Receipt(entry) if entry.outgoing => Some((position, Outgoing::Receipt(entry))),
        _ => None,
    }
}

/// The states of a room before and after what was committed at a position; none when nothing of it is known.
fn states_at(recent: &Recent, position: Position) -> Option<(Root, Root)> {
    let place = Place::live(position);
    let end = recent.entries.partition_point(|row| row.order <= place);
    let row = |index: Option<usize>| index.map_or(recent.before.as_ref(), |index| recent.entries.get(index));
    let last = row(end.checked_sub(1))?;
    if last.order < place {
        // No event: nothing changes there.
        return Some((last.current, last.current));
    }
    // With the first that we have of a room those came who are there after it.
    let before = row(end.checked_sub(2));
    Some((before.unwrap_or(last).current, last.current))
}

fn send_event(
    sender: &Arc<Inner>,
    position: Position,
    entry: EventEntry,
    event: Arc<StoredEvent>,
    servers: &Presence,
) {
    let EventEntry { room_id, member, .. } = entry;
    let Some(from) = speaker(sender, &event, servers) else { return };
    let item = Item { position, room_id, event };
    let author = item.event.sender().server_name();
    // Who joined through us knows it already, and got the room's state with the answer.
    for server in servers.iter().filter(|server| **server != author) {
        push_item(sender, &from, server, &item);
    }
    // Who was thrown out must hear of it although nobody of that server may be left in the room. One
    // who is invited hears of it by `/invite`.
    if let Some((user, Membership::Leave | Membership::Ban)) = member {
        let server = user.server_name();
        if server != author && !servers.includes(server) {
            push_item(sender, &from, server, &item);
        }
    }
}

/// The authority of ours that sends an event: its sender's; for one that came in through us, one
/// that takes part in the room.
fn speaker(sender: &Inner, event: &StoredEvent, servers: &Presence) -> Option<OwnedServerName> {
    let authorities = sender.client.authorities();
    let author = event.sender().server_name();
    if authorities.is_ours(author) {
        return Some(author.to_owned());
    }
    let present = servers.iter().find(|server| authorities.is_ours(server)).cloned();
    present.or_else(|| authorities.iter().next().map(|first| first.name().to_owned()))
}

fn push_item(sender: &Arc<Inner>, from: &ServerName, to: &ServerName, item: &Item) {
    if !sender.client.may_contact(to) {
        return;
    }
    let limit = sender.config.queue;
    sender.push_to(to, |state| state.lanes.entry(from.to_owned()).or_default().push(item.clone(), limit));
}

impl Inner {
    /// Gives a peer something to be sent, and has it served.
    pub(super) fn push_to(self: &Arc<Self>, to: &ServerName, push: impl Fn(&mut State)) {
        let now = self.clock.instant();
        let mut is_due = false;
        let destination = self.with_destination(to, |state| {
            push(state);
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
        self.serve(&destination);
    }
}

async fn send_receipt(
    sender: &Arc<Inner>,
    position: Position,
    entry: ReceiptEntry,
    servers: &Presence,
) -> Result<(), Error> {
    let others = others(sender, servers);
    if others.is_empty() {
        return Ok(());
    }
    let thread = Some(entry.thread.as_str()).filter(|thread| !thread.is_empty());
    let found = sender.rooms.receipt(entry.room, &entry.user_id, ReceiptKind::Public, thread).await?;
    let Some(found) = found else { return Ok(()) };
    let key: ReceiptKey = (entry.room_id, entry.user_id.clone(), found.thread);
    let receipt = OutgoingReceipt { event_id: found.event_id, ts: found.ts, position };
    for server in others {
        let destination = sender.with_destination(server, |state| {
            let lane = state.lanes.entry(entry.user_id.server_name().to_owned()).or_default();
            lane.push_receipt(key.clone(), receipt.clone());
        });
        sender.serve(&destination);
    }
    Ok(())
}

/// The servers that hear of ephemeral things of a room; none in a very large one.
fn others<'a>(sender: &Inner, servers: &'a Presence) -> Vec<&'a OwnedServerName> {
    if servers.len() > sender.config.largest_ephemeral_room {
        return Vec::new();
    }
    servers.iter().filter(|server| sender.client.may_contact(server)).collect()
}
