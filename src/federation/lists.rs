//! Telling other servers whose devices and keys changed.
//!
//! Who has to hear of a change is found by reading: the changes behind a cursor, and the servers in the rooms in which each is
//! told. A peer has one place: up to where it was told. That stands in memory while it answers, and in a row once it does not,
//! so that the cursor goes on without it; then it is told what changed since, if it still shares a room with whose it is. Only the
//! last change of each user is there to be told, so what waits for a peer that is away does not grow.
//!
//! Besides, the servers in a room that somebody of ours comes into are told of his devices: those that shared no room with him
//! were told nothing until now. That has a moment's time, so that somebody who comes into many rooms is told of once; and a peer
//! that is away is not told later, for it learns of his coming only then, and asks for his devices.
//!
//! One process at a time does this. What was told in the moment before it died may be told once more: it says the same.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use base::{Backoff, Clock, Instant, Metrics, Random, Tasks};
use bytes::Bytes;
use encryption::{Encryption, lists_moved};
use futures_util::{StreamExt, stream::FuturesUnordered};
use http::Method;
use room::{RoomSerial, Rooms};
use ruma::{OwnedServerName, ServerName};
use serde_json::{Value, json};
use store::{Batch, Consumer, Moved, Order, Position, Range, Store, Term};
use tracing::{debug, warn};

use crate::{
    client::{Body, Client, Outgoing, is_success},
    path::Path,
    tables::{LISTS_OWED, LISTS_TOLD},
    transport::{Budget, Cause},
};

/// Who does this, among processes over the same data.
const NAME: &str = "device lists";

/// Changes that are looked at together.
const PAGE: usize = 200;

/// Units in one transaction.
const MOST_UNITS: usize = 40;

/// Peers that are told at a time, of those that took it last time and of those that did not: who hangs holds up no other.
const AT_ONCE: usize = 20;
const FAILING_AT_ONCE: usize = 8;

/// Back-off of a peer that does not take it.
const FIRST_RETRY: Duration = Duration::from_secs(5);
const LONGEST_RETRY: Duration = Duration::from_secs(10 * 60);

/// So long it is waited whether somebody comes into more rooms.
const GATHERING: Duration = Duration::from_secs(3);

/// It is looked this often what is due, and written how far it has come: while somebody is owed something, and else.
const WHILE_OWED: Duration = Duration::from_secs(1);
const AT_LEAST_EVERY: Duration = Duration::from_secs(60);

/// Bounds of a transaction.
const BUDGET: Budget = Budget { deadline: Duration::from_secs(30), response: base::ByteSize::mib(1) };

/// What it takes to tell others.
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) rooms: Rooms,
    pub(crate) encryption: Encryption,
    pub(crate) client: Client,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) tasks: Tasks,
    pub(crate) metrics: Metrics,
}

/// A peer that has to be told something.
struct Peer {
    /// It has been told everything up to here.
    after: Position,
    /// The last change that it has to be told of is not later than this.
    until: Position,
    /// What its row says, if it has one.
    noted: Option<Position>,
    backoff: Backoff,
    not_before: Instant,
    is_served: bool,
}

/// How many peers are being told, as in [`AT_ONCE`].
#[derive(Default)]
struct Served {
    healthy: usize,
    failing: usize,
}

impl Served {
    /// The number of those that are like this one.
    fn like(&mut self, peer: &Peer) -> (&mut usize, usize) {
        match peer.backoff.failures() {
            0 => (&mut self.healthy, AT_ONCE),
            _ => (&mut self.failing, FAILING_AT_ONCE),
        }
    }
}

impl Peer {
    fn new(after: Position, until: Position, now: Instant) -> Self {
        let backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
        Self { after, until, noted: None, backoff, not_before: now, is_served: false }
    }

    fn is_owed(&self) -> bool {
        self.after < self.until
    }
}

/// How telling a peer ended.
struct Told {
    to: OwnedServerName,
    /// Up to where it was told now.
    through: Option<Position>,
}

/// Starts to tell others, as soon as no other process does.
pub(crate) fn start(parts: Parts) {
    let parts = Arc::new(parts);
    let consumer = Consumer::without_log(&parts.store, NAME, &parts.clock, &parts.metrics);
    let tasks = parts.tasks.clone();
    tasks.spawn_restarting("device lists of others", move || {
        let (parts, consumer) = (parts.clone(), consumer.clone());
        async move {
            let stop = parts.tasks.shutdown_token();
            consumer.run(stop, |term| work(parts.clone(), term)).await;
        }
    });
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Room(#[from] room::Error),
    #[error(transparent)]
    Encryption(#[from] encryption::Error),
    #[error(transparent)]
    Commit(#[from] store::CommitError),
}

async fn work(parts: Arc<Parts>, term: Term) -> Result<(), Error> {
    let ended = term.ended().clone();
    ended.run_until_cancelled(tell(&parts, &term)).await.unwrap_or(Ok(()))
}

async fn tell(parts: &Parts, term: &Term) -> Result<(), Error> {
    let (store, clock) = (&parts.store, &parts.clock);
    let mut read = store.get(&LISTS_TOLD, &()).await?.unwrap_or(Position::START);
    let mut written = read;
    let mut peers: BTreeMap<OwnedServerName, Peer> = BTreeMap::new();
    for (to, after) in store.scan(&LISTS_OWED, Range::all(), Order::Ascending, usize::MAX).await? {
        if let Ok(to) = ServerName::parse(to) {
            // Whatever came up to the cursor may be what it lacks.
            let until = read.max(after.plus(1));
            peers.insert(to, Peer { noted: Some(after), ..Peer::new(after, until, clock.instant()) });
        }
    }
    let mut telling = FuturesUnordered::new();
    loop {
        // Before the read: what changes meanwhile must wake us.
        let mut watch = store.watch(vec![lists_moved()]);
        read = fan_out(parts, &mut peers, read).await?;
        written = note(parts, term, &mut peers, read, written).await?;
        let now = clock.instant();
        let mut served = Served::default();
        for peer in peers.values().filter(|peer| peer.is_served) {
            *served.like(peer).0 += 1;
        }
        for (to, peer) in &mut peers {
            let (served, most) = served.like(peer);
            if *served < most && !peer.is_served && peer.is_owed() && peer.not_before <= now {
                *served += 1;
                peer.is_served = true;
                let (to, after) = (to.clone(), peer.after);
                telling.push(async move {
                    let through = match tell_one(parts, &to, after).await {
                        Ok(through) => through,
                        Err(error) => {
                            warn!(destination = %to, %error, "what changed cannot be read");
                            None
                        }
                    };
                    Told { to, through }
                });
            }
        }
        let pause = if peers.is_empty() { AT_LEAST_EVERY } else { WHILE_OWED };
        tokio::select! {
            Some(Told { to, through }) = telling.next() => {
                let Some(peer) = peers.get_mut(&to) else { continue };
                peer.is_served = false;
                match through {
                    Some(through) => {
                        peer.after = peer.after.max(through);
                        peer.backoff.reset();
                    }
                    None => peer.not_before = clock.instant() + peer.backoff.next(&parts.random),
                }
            }
            () = watch.changed() => {}
            () = clock.sleep(pause) => {}
        }
        // Whoever was told all is in need of nothing, once no row says otherwise.
        peers.retain(|_, peer| peer.is_served || peer.is_owed() || peer.noted.is_some());
    }
}

/// Finds who has to be told of what changed after a position; and up to where that is known.
async fn fan_out(
    parts: &Parts,
    peers: &mut BTreeMap<OwnedServerName, Peer>,
    mut read: Position,
) -> Result<Position, Error> {
    if parts.store.moved(lists_moved(), read) == Moved::No {
        return Ok(read);
    }
    loop {
        let head = parts.store.head();
        let (updates, updated) = parts.encryption.list_updates(read, PAGE).await?;
        let (arrivals, arrived) = parts.encryption.arrivals(read, PAGE).await?;
        let through = updated.min(arrived);
        let rooms = updates.iter().flat_map(|update| &update.rooms);
        let servers = servers_of(parts, rooms.chain(arrivals.iter().map(|arrival| &arrival.room))).await?;
        let now = parts.clock.instant();
        let in_rooms = |rooms: &[RoomSerial]| -> HashSet<&OwnedServerName> {
            rooms.iter().filter_map(|room| servers.get(room)).flatten().collect()
        };
        for update in &updates {
            for server in in_rooms(&update.rooms) {
                owe(peers, server, update.position, now, now);
            }
        }
        for arrival in &arrivals {
            for server in in_rooms(&[arrival.room]) {
                owe(peers, server, arrival.position, now, now + GATHERING);
            }
        }
        read = through;
        if read >= head {
            return Ok(read);
        }
    }
}

/// Notes that a peer has to be told what is at a position, not before a moment if it has to be told nothing else.
fn owe(
    peers: &mut BTreeMap<OwnedServerName, Peer>,
    server: &OwnedServerName,
    position: Position,
    now: Instant,
    not_before: Instant,
) {
    let before = Position(position.0.saturating_sub(1));
    let peer = peers.entry(server.clone()).or_insert_with(|| Peer::new(before, before, now));
    if !peer.is_owed() && !peer.is_served {
        // It was told all before this.
        peer.after = peer.after.max(before);
    }
    // Whoever does not answer has a pause of its own.
    if peer.backoff.failures() == 0 {
        peer.not_before = if peer.is_owed() { peer.not_before.min(not_before) } else { not_before };
    }
    peer.until = peer.until.max(position);
}

/// The other servers in the rooms in which changes are told, with whom we talk.
async fn servers_of(
    parts: &Parts,
    rooms: impl Iterator<Item = &RoomSerial>,
) -> Result<HashMap<RoomSerial, Vec<OwnedServerName>>, Error> {
    let rooms: HashSet<RoomSerial> = rooms.copied().collect();
    let rooms: Vec<RoomSerial> = rooms.into_iter().collect();
    let mut found = HashMap::with_capacity(rooms.len());
    for some in rooms.chunks(PAGE) {
        let servers = match parts.rooms.servers_now(some).await {
            Ok(servers) => servers,
            // Of a room that is being purged: nobody is there.
            Err(room::Error::Inconsistent(cause)) => {
                warn!(cause, "who is in rooms is not known, so nobody is told there whose devices changed");
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        for (room, servers) in servers {
            let others = servers.iter().filter(|server| parts.client.may_contact(server));
            found.insert(room, others.cloned().collect());
        }
    }
    Ok(found)
}

/// Writes what has changed of who is owed what, and up to where nobody is owed anything besides.
async fn note(
    parts: &Parts,
    term: &Term,
    peers: &mut BTreeMap<OwnedServerName, Peer>,
    read: Position,
    written: Position,
) -> Result<Position, Error> {
    let mut batch = Batch::new();
    let mut low_water = read;
    for (to, peer) in peers.iter_mut() {
        match (peer.is_owed(), peer.noted) {
            (true, Some(noted)) if noted != peer.after => {
                batch.put(&LISTS_OWED, to.as_str(), &peer.after);
                peer.noted = Some(peer.after);
            }
            // Of one that has not failed the cursor tells.
            (true, None) if peer.backoff.failures() > 0 => {
                batch.put(&LISTS_OWED, to.as_str(), &peer.after);
                peer.noted = Some(peer.after);
            }
            (true, None) => low_water = low_water.min(peer.after),
            (true, Some(_)) => {}
            (false, Some(_)) => {
                batch.delete(&LISTS_OWED, to.as_str());
                peer.noted = None;
            }
            (false, None) => {}
        }
    }
    if low_water != written {
        batch.put(&LISTS_TOLD, &(), &low_water);
        parts.encryption.put_arrivals_told(&mut batch, low_water).await?;
    }
    if !batch.is_empty() {
        term.commit(batch).await?;
    }
    Ok(low_water)
}

/// Tells a peer what changed after a position, and says up to where; nothing if it does not take it.
async fn tell_one(parts: &Parts, to: &ServerName, after: Position) -> Result<Option<Position>, Error> {
    let (mut updates, updated) = parts.encryption.list_updates(after, PAGE).await?;
    let (mut arrivals, arrived) = parts.encryption.arrivals(after, PAGE).await?;
    let through = updated.min(arrived);
    let rooms = updates.iter().flat_map(|update| &update.rooms);
    let servers = servers_of(parts, rooms.chain(arrivals.iter().map(|arrival| &arrival.room))).await?;
    let is_there = |room: &RoomSerial| {
        servers.get(room).is_some_and(|servers| servers.iter().any(|server| server == to))
    };
    updates.retain(|update| update.position <= through && update.rooms.iter().any(is_there));
    arrivals.retain(|arrival| arrival.position <= through && is_there(&arrival.room));
    let mut by_authority: BTreeMap<OwnedServerName, Vec<Value>> = BTreeMap::new();
    let mut told = parts.encryption.units_of_arrivals(&arrivals).await?;
    told.extend(parts.encryption.units_of(&updates).await?);
    for (user, (kind, content)) in told {
        let units = by_authority.entry(user.server_name().to_owned()).or_default();
        units.push(json!({ "edu_type": kind, "content": content }));
    }
    for (from, units) in &by_authority {
        for (number, units) in units.chunks(MOST_UNITS).enumerate() {
            let now = parts.clock.now().millis();
            let body = json!({ "origin": from, "origin_server_ts": now, "pdus": [], "edus": units });
            // Tried again it may say more, and is another transaction then.
            let id = format!("devices-{after}-{through}-{number}-{now}");
            let outgoing = Outgoing {
                from,
                to,
                method: Method::PUT,
                path: Path::federation("v1").segment("send").segment(id),
                body: Body::Json(Bytes::from(body.to_string())),
                budget: BUDGET,
                cause: Cause::Ours,
            };
            match parts.client.send(outgoing).await {
                Ok(answer) if is_success(&answer) => {}
                Ok(answer) => {
                    debug!(destination = %to, status = %answer.status(), "changes of devices are not taken");
                    return Ok(None);
                }
                Err(error) => {
                    debug!(destination = %to, %error, "changes of devices are not delivered");
                    return Ok(None);
                }
            }
        }
    }
    Ok(Some(through))
}
