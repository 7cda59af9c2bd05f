//! What clients were told, connection by connection.
//!
//! A place ([`Place`], `pos`) names a connection and a step of it. With the last step that the client has shown to know,
//! and with each answer since, there is kept what the client was told of which room ([`Told`]): so an answer that was lost
//! is made again from where the client is, with whatever it asks for now. Showing a later step lets the earlier ones go.
//!
//! It is a memory of this process: bounded in bytes, and for each device in connections. What is not there any more, after
//! a new start, at another process, or because others were here since, is answered by [`Error::UnknownPos`], upon which
//! the client begins anew. A connection by which no rooms are asked for needs none of it: its place says all. So the connection
//! that a client has for keys and messages to its device outlives everything.

mod memory;
mod recency;
mod request;
mod required;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base::{Clock, Counter, Instant, Metrics, cache::Held, cache::Holder};
use parking_lot::Mutex;
use room::{EventSerial, RoomSerial, read::token::POS_PREFIX};
use ruma::{DeviceId, UserId};
use store::{Position, Topic};
use tracing::warn;

pub use self::request::{Body as SlidingBody, SlidingRequest};
use self::{
    memory::{Memory, Owner},
    request::MOST_WISHES,
};
pub(crate) use self::{
    recency::Recency,
    request::{Filters, Scoped},
    required::Required,
};
use crate::Error;

/// The devices of one user have this part of the memory at most. Whoever is in thousands of rooms needs a tenth of a megabyte
/// for each of his, in the smallest memory there is.
const PART_OF_ONE: usize = 2;

/// How often it is said that there is not enough memory.
const SAID_EVERY: Duration = Duration::from_secs(60 * 60);

/// So many connections of a device are remembered, those that were used last.
const MOST_CONNECTIONS: usize = 8;

/// So many answers are remembered that the client has not shown to have.
const MOST_ANSWERS: usize = 4;

/// So many member events are remembered of a connection; then they are told once more.
const MOST_MEMBERS: usize = 2_048;

/// What a client knows the user as in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum As {
    /// He is in.
    Member,
    /// He is invited, or knocks.
    Guest,
    /// He is out.
    Gone,
}

/// What a client was told of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) room: RoomSerial,
    /// Up to where it knows the room; [`Told::ALL`] is as far as the connection has come.
    pub(crate) until: Position,
    /// So many events, the newest up to there, it has without a hole.
    pub(crate) events: u16,
    /// Which state it has: a place in [`State::wishes`].
    pub(crate) wish: u8,
    pub(crate) user_is: As,
    pub(crate) is_dm: bool,
    /// Whether it has all that the extensions tell of the room.
    pub(crate) heard: Heard,
}

/// For which extensions a client has what there was of a room when it was first told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) data: bool,
    pub(crate) receipts: bool,
    pub(crate) typing: bool,
}

impl Told {
    pub(crate) const ALL: Position = Position(u64::MAX);

    /// Up to where the client knows the room, being at `since`.
    pub(crate) fn until(&self, since: Position) -> Position {
        self.until.min(since)
    }
}

/// What a client was told by a connection up to a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    /// By room.
    rooms: Vec<Told>,
    wishes: Vec<Arc<Required>>,
    /// Member events that it was told because they mattered, in order.
    members: Vec<EventSerial>,
    /// What it asked for then.
    pub(crate) asked: u64,
    /// Whether it was told all that it asked for.
    pub(crate) settled: bool,
    /// How many rooms the lists have that it asked for, in their order.
    pub(crate) counts: Vec<usize>,
}

impl State {
    pub(crate) fn rooms(&self) -> &[Told] {
        &self.rooms
    }

    pub(crate) fn find(&self, room: RoomSerial) -> Option<&Told> {
        self.rooms.binary_search_by_key(&room, |told| told.room).ok().map(|index| &self.rooms[index])
    }

    pub(crate) fn wish(&self, told: &Told) -> Option<&Arc<Required>> {
        self.wishes.get(usize::from(told.wish))
    }

    pub(crate) fn has_member(&self, member: EventSerial) -> bool {
        self.members.binary_search(&member).is_ok()
    }

    /// Sets what was told of rooms.
    pub(crate) fn set(&mut self, mut changed: Vec<Told>) {
        changed.sort_by_key(|told| told.room);
        changed.dedup_by_key(|told| told.room);
        let mut new = Vec::new();
        for told in changed {
            match self.rooms.binary_search_by_key(&told.room, |old| old.room) {
                Ok(index) => self.rooms[index] = told,
                Err(_) => new.push(told),
            }
        }
        if !new.is_empty() {
            self.rooms.extend(new);
            self.rooms.sort_by_key(|told| told.room);
        }
    }

    /// Forgets rooms: they are told anew.
    pub(crate) fn forget(&mut self, rooms: &[RoomSerial]) {
        if !rooms.is_empty() {
            self.rooms.retain(|told| !rooms.contains(&told.room));
        }
    }

    /// The number of a wish, which it keeps; `None` if there were too many different ones, so that it is time to begin anew.
    pub(crate) fn wish_for(&mut self, required: &Arc<Required>) -> Option<u8> {
        if let Some(index) = self.wishes.iter().position(|wish| wish == required) {
            return u8::try_from(index).ok();
        }
        if self.wishes.len() >= MOST_WISHES {
            return None;
        }
        self.wishes.push(required.clone());
        u8::try_from(self.wishes.len() - 1).ok()
    }

    /// Notes member events that were told because they mattered.
    pub(crate) fn note_members(&mut self, members: &[EventSerial]) {
        if members.is_empty() {
            return;
        }
        if self.members.len() + members.len() > MOST_MEMBERS {
            self.members.clear();
        }
        self.members.extend(members.iter().take(MOST_MEMBERS));
        self.members.sort_unstable();
        self.members.dedup();
    }

    fn memory_bytes(&self) -> usize {
        let wishes = self.wishes.iter().map(|wish| size_of::<Arc<Required>>() + wish.memory_bytes());
        size_of::<Self>()
            + 16
            + self.rooms.capacity() * size_of::<Told>()
            + self.members.capacity() * size_of::<EventSerial>()
            + self.counts.capacity() * size_of::<usize>()
            + wishes.sum::<usize>()
    }
}

/// Where a client is on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    position: Position,
    /// The connection; 0 if nothing is remembered of it.
    number: u64,
    step: u32,
    /// Of user, device and name: a place is nobody else's.
    mark: u32,
}

impl Place {
    /// Up to where whoever has it was told.
    pub(crate) fn position(&self) -> Position {
        self.position
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{POS_PREFIX}{}_{}_{}_{:x}", self.position.0, self.number, self.step, self.mark)
    }
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parse = || {
            let mut parts = text.strip_prefix(POS_PREFIX)?.split('_');
            let mut number = || {
                let part = parts.next().filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
                part?.parse::<u64>().ok()
            };
            let (position, connection, step) = (number()?, number()?, number()?);
            let mark = u32::from_str_radix(parts.next()?, 16).ok()?;
            let is_end = parts.next().is_none();
            is_end.then_some(Self {
                position: Position(position),
                number: connection,
                step: u32::try_from(step).ok()?,
                mark,
            })
        };
        parse().ok_or(Error::UnknownPos)
    }
}

fn mark(request: &SlidingRequest) -> u32 {
    let of_device = Topic::device(request.user.as_str(), request.device.as_str()).id;
    let of_name = Topic::device(request.connection(), "").id;
    u32::try_from((of_device ^ of_name.rotate_left(7)) >> 32).unwrap_or(0)
}

/// Where a request begins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Begun {
    /// Up to where the client knows what it was told; `None` is nothing.
    pub(crate) since: Option<Position>,
    /// What it was told.
    pub(crate) state: Arc<State>,
    /// The order of the user's rooms then, if it was needed.
    pub(crate) recency: Option<Arc<Recency>>,
    number: u64,
    step: u32,
}

/// An answer, or the last one that the client has shown to have.
#[derive(Debug)]
struct Answered {
    step: u32,
    position: Position,
    state: Arc<State>,
    recency: Option<Arc<Recency>>,
}

#[derive(Debug)]
struct Connection {
    name: String,
    number: u64,
    /// The step that the client has shown to know.
    known: u32,
    last: u32,
    answers: Vec<Answered>,
}

impl Connection {
    fn memory_bytes(&self) -> usize {
        let mut bytes = size_of::<Self>() + self.name.len();
        for (index, answered) in self.answers.iter().enumerate() {
            let is_shared = index > 0 && Arc::ptr_eq(&answered.state, &self.answers[index - 1].state);
            bytes += size_of::<Answered>() + if is_shared { 0 } else { answered.state.memory_bytes() };
            bytes += answered.recency.as_ref().map_or(0, |recency| recency.memory_bytes());
        }
        bytes
    }
}

/// The connections of all devices.
///
/// Whoever has much does not put out who has less: see [`Memory::shrink_to`]. Not a [`base::Cache`]: what nobody asked for in a minute would go, and a telephone sleeps for longer.
#[derive(Debug)]
pub(crate) struct Connections {
    memory: Mutex<Memory>,
    most: usize,
    last_number: AtomicU64,
    clock: Clock,
    put_out: Counter,
    said: Mutex<Said>,
}

/// When it was said last that there is not enough memory, and how many were put out since.
#[derive(Debug, Default)]
struct Said {
    at: Option<Instant>,
    since: u64,
}

impl Holder for Connections {
    fn held(&self) -> Held {
        let memory = self.memory.lock();
        Held { bytes: memory.bytes() as u64, entries: memory.devices() as u64, most: self.most as u64 }
    }

    fn age(&self) -> u64 {
        0
    }
}

impl Connections {
    /// A memory of about this many bytes.
    pub(crate) fn new(metrics: &Metrics, bytes: u64, clock: &Clock) -> Arc<Self> {
        let most = usize::try_from(bytes).unwrap_or(usize::MAX);
        // A place from before this process began is none of this one's connections.
        let last_number = AtomicU64::new(clock.now().0 << 20);
        let put_out = metrics.counter(
            "yakuba_sync_connections_put_out",
            "Devices whose connections of sliding sync were forgotten for want of memory",
        );
        let (clock, said) = (clock.clone(), Mutex::default());
        let connections =
            Arc::new(Self { memory: Mutex::default(), most, last_number, clock, put_out, said });
        let held: Weak<dyn Holder> = Arc::downgrade(&connections) as _;
        metrics.caches().add("sync_connections", held);
        connections
    }

    /// Where a request begins. What the client was told before that goes.
    ///
    /// # Errors
    /// [`Error::UnknownPos`].
    pub(crate) fn begin(&self, request: &SlidingRequest) -> Result<Begun, Error> {
        let Some(pos) = request.pos.as_deref().filter(|pos| !pos.is_empty()) else {
            return Ok(Begun::default());
        };
        let place: Place = pos.parse()?;
        if place.mark != mark(request) {
            return Err(Error::UnknownPos);
        }
        if place.number == 0 {
            return Ok(Begun { since: Some(place.position), ..Begun::default() });
        }
        let now = self.clock.instant();
        let begun = self.memory.lock().with(owner(&request.user, &request.device), now, |connections| {
            let index = connections.iter().position(|connection| {
                connection.name == request.connection() && connection.number == place.number
            })?;
            let mut connection = connections.remove(index);
            let is_it =
                |answered: &Answered| answered.step == place.step && answered.position == place.position;
            let begun = connection.answers.iter().find(|answered| is_it(answered)).map(|answered| Begun {
                since: Some(answered.position),
                state: answered.state.clone(),
                recency: answered.recency.clone(),
                number: place.number,
                step: place.step,
            });
            if begun.is_some() && connection.known != place.step {
                connection.known = place.step;
                connection.answers.retain(is_it);
            }
            connections.push(connection);
            begun
        });
        begun.ok_or(Error::UnknownPos)
    }

    /// Notes an answer that was made from there up to a position, and gives the place with which the client goes on.
    pub(crate) fn finish(&self, request: &SlidingRequest, begun: &Begun, ended: Ended) -> String {
        let Ended { position, state, recency } = ended;
        let needs_none = begun.number == 0 && state.rooms.is_empty() && !request.has_rooms();
        let place = |number, step| Place { position, number, step, mark: mark(request) }.to_string();
        let now = self.clock.instant();
        let mut memory = self.memory.lock();
        let (number, step) = memory.with(owner(&request.user, &request.device), now, |connections| {
            let is_it = |connection: &Connection| connection.name == request.connection();
            if begun.number == 0 {
                // It begins, and nothing goes on from an older one.
                connections.retain(|connection| !is_it(connection));
                if needs_none {
                    return (0, 0);
                }
                if connections.len() >= MOST_CONNECTIONS {
                    connections.remove(0);
                }
                let number = self.last_number.fetch_add(1, Ordering::Relaxed) + 1;
                let answers = vec![Answered { step: 1, position, state, recency }];
                connections.push(Connection {
                    name: request.connection().to_owned(),
                    number,
                    known: 0,
                    last: 1,
                    answers,
                });
                return (number, 1);
            }
            let goes_on = |connection: &&mut Connection| {
                is_it(connection) && connection.number == begun.number && connection.known == begun.step
            };
            let Some(connection) = connections.iter_mut().find(goes_on) else {
                // The client has gone on without this answer.
                return (begun.number, 0);
            };
            connection.last = connection.last.saturating_add(1);
            if connection.answers.len() > MOST_ANSWERS {
                let oldest = connection.answers.iter().position(|answered| answered.step != connection.known);
                oldest.map(|index| connection.answers.remove(index));
            }
            connection.answers.push(Answered { step: connection.last, position, state, recency });
            (begun.number, connection.last)
        });
        let put_out = memory.shrink_user(&request.user, self.most / PART_OF_ONE)
            + memory.shrink_to(self.most, &request.user, now);
        drop(memory);
        if put_out > 0 {
            self.note_put_out(put_out, now);
        }
        place(number, step)
    }

    /// Counts devices that were put out, and says so now and then.
    fn note_put_out(&self, count: u64, now: Instant) {
        self.put_out.inc_by(count);
        let mut said = self.said.lock();
        said.since += count;
        if said.at.is_none_or(|at| now.since(at) >= SAID_EVERY) {
            warn!(
                count = said.since,
                size_bytes = self.most,
                "clients of sliding sync begin anew, as there is not enough memory for what they were told"
            );
            *said = Said { at: Some(now), since: 0 };
        }
    }
}

/// What a client is told when it has an answer.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Up to where.
    pub(crate) position: Position,
    pub(crate) state: Arc<State>,
    pub(crate) recency: Option<Arc<Recency>>,
}

fn owner(user: &UserId, device: &DeviceId) -> Owner {
    (user.to_owned(), device.to_owned())
}
