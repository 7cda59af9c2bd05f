//! Telling what has changed: one task for each process.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use base::Instant;
use room::{RoomSerial, tables::Membership};
use ruma::{OwnedServerName, OwnedUserId, UserId};
use store::{Batch, MOST_TOLD, Topic, Value};
use tracing::debug;

use super::{
    EAR, Inner, MOST_ROOMS, PresenceUpdate, State, Telling,
    known::{OTHER_SERVERS, Said, millis},
    people::News,
};

/// What comes within this time is told together.
const GATHER: Duration = Duration::from_secs(1);

/// So often all are looked through for those who went away.
const SWEEP: Duration = Duration::from_secs(10);

/// So many are told of at once; the others a second later.
const AT_ONCE: usize = 1_000;

/// Updates of other servers that wait; of one server, and of all.
const MOST_OF_ONE: usize = 500;
const MOST_RECEIVED: usize = 10_000;

/// For so long it is remembered in which rooms a server is.
const SERVERS_ROOMS_LAST: Duration = Duration::from_secs(30);

/// So many servers' rooms are remembered.
const MOST_SERVERS: usize = 4_096;

/// So many rows are asked for at once.
const ROWS: usize = 1_000;

/// What other servers said, until it is told.
#[derive(Debug, Default)]
pub(super) struct Received {
    updates: HashMap<OwnedUserId, PresenceUpdate>,
    of_server: HashMap<OwnedServerName, usize>,
    closed: Vec<OwnedUserId>,
}

impl Received {
    /// Whether there was room for it.
    pub(super) fn push(&mut self, update: PresenceUpdate) -> bool {
        if let Some(known) = self.updates.get_mut(&update.user) {
            *known = update;
            return true;
        }
        let count = self.of_server.entry(update.user.server_name().to_owned()).or_default();
        if *count >= MOST_OF_ONE || self.updates.len() >= MOST_RECEIVED {
            return false;
        }
        *count += 1;
        self.updates.insert(update.user.clone(), update);
        true
    }

    /// Somebody's account was closed.
    pub(super) fn close(&mut self, user: &UserId) {
        self.closed.push(user.to_owned());
    }

    fn is_empty(&self) -> bool {
        self.updates.is_empty() && self.closed.is_empty()
    }
}

/// In which rooms servers are, as far as somebody of ours is shown there.
#[derive(Default)]
struct ServersRooms(HashMap<OwnedServerName, (Instant, usize, Vec<RoomSerial>)>);

impl Inner {
    pub(super) async fn work(self: Arc<Self>) {
        let stop = self.tasks.shutdown_token();
        stop.run_until_cancelled(self.tell_all()).await;
    }

    async fn tell_all(&self) {
        let mut swept = self.clock.instant();
        let mut servers = ServersRooms::default();
        loop {
            let is_idle = !self.ear.people.lock().has_changed() && self.received.lock().is_empty();
            if is_idle {
                // Also when nobody of ours is there: others may have fallen silent.
                tokio::select! {
                    () = self.work.notified() => {}
                    () = self.clock.sleep(SWEEP) => {}
                }
            }
            let now = self.clock.instant();
            let mut said = Vec::new();
            if now.since(swept) >= SWEEP {
                swept = now;
                self.ear.people.lock().sweep(self.store.is_shared(), now);
                let rooms = &self.rooms;
                said = self.ear.everybody.lock().expire(|user| rooms.is_local(user), self.teller, now);
            }
            if let Err(error) = self.tell(said, &mut servers, now).await {
                debug!(%error, "nobody is told who is there");
            }
            self.clock.sleep(GATHER).await;
        }
    }

    /// Tells what has changed.
    async fn tell(
        &self,
        mut said: Vec<Said>,
        servers: &mut ServersRooms,
        now: Instant,
    ) -> Result<(), room::Error> {
        let (users, stale) = self.ear.people.lock().take_changed(AT_ONCE, now);
        let mut with_status = Vec::new();
        let told = async {
            self.place(&stale, now).await?;
            let news = self.ear.people.lock().news(&users, now);
            let new_status = news.iter().filter(|news| news.is_new_status);
            with_status.extend(new_status.map(|news| news.user.clone()));
            said.extend(news.into_iter().map(|news| self.said(news)));
            let here: Vec<u64> = said.iter().flat_map(|said| said.rooms.iter().copied()).collect();
            said.extend(self.received(here, servers, now).await?);
            let is_gone = |said: &&Said| said.is_gone;
            let gone: Vec<OwnedUserId> =
                said.iter().filter(is_gone).filter_map(|said| UserId::parse(&said.user).ok()).collect();
            if !said.is_empty() {
                self.store.commit(batch(said)).await.map_err(room::Error::Commit)?;
            }
            Ok(gone)
        };
        let told = told.await;
        match &told {
            Ok(gone) => self.received.lock().closed.retain(|user| !gone.contains(user)),
            Err(_) => self.ear.people.lock().not_told(users, with_status),
        }
        told.map(drop)
    }

    fn said(&self, news: News) -> Said {
        Said {
            user: news.user.to_string(),
            teller: self.teller,
            state: news.state,
            status: news.status,
            is_new_status: news.is_new_status,
            active_ago: millis(news.active_ago),
            rooms: news.rooms,
            is_news: news.is_news,
            is_outgoing: news.is_outgoing,
            is_gone: false,
        }
    }

    /// Finds the rooms in which these are shown: the newest of those with few members.
    async fn place(&self, users: &[OwnedUserId], now: Instant) -> Result<(), room::Error> {
        let mut placed = Vec::with_capacity(users.len());
        let mut wanted: Vec<RoomSerial> = Vec::new();
        for user in users {
            let rooms = match self.rooms.memberships(user).await {
                Ok(rooms) => rooms,
                Err(error) if error.is_passing() => return Err(error),
                // He is told of nowhere, and nobody else waits for him.
                Err(error) => {
                    debug!(user_id = %user, %error, "the rooms of a user cannot be read");
                    placed.push((user, Vec::new(), store::Position::START));
                    continue;
                }
            };
            let mut joined: Vec<RoomSerial> = rooms.with(Membership::Join).map(|row| row.room).collect();
            // Twice as many as are told of, for some are too large.
            let newest = joined.split_off(joined.len().saturating_sub(2 * MOST_ROOMS));
            wanted.extend(&newest);
            placed.push((user, newest, rooms.newest));
        }
        wanted.sort_unstable();
        wanted.dedup();
        let mut small = HashSet::new();
        for rooms in wanted.chunks(ROWS) {
            let counts = self.rooms.member_counts(rooms).await?;
            let is_small = |joined: u64| joined <= self.config.largest_room;
            let found = rooms.iter().zip(counts).filter(|(_, count)| is_small(count.joined));
            small.extend(found.map(|(room, _)| *room));
        }
        let mut people = self.ear.people.lock();
        for (user, rooms, as_of) in placed {
            let rooms = rooms.into_iter().rev().filter(|room| small.contains(room)).take(MOST_ROOMS);
            people.place(user, rooms.map(|room| room.0).collect(), as_of, now);
        }
        Ok(())
    }

    /// What other servers said, of users who are in rooms with somebody of ours; `here` are those of ours that are about
    /// to be told of.
    async fn received(
        &self,
        here: Vec<u64>,
        servers: &mut ServersRooms,
        now: Instant,
    ) -> Result<Vec<Said>, room::Error> {
        let (updates, closed) = {
            let mut received = self.received.lock();
            received.of_server.clear();
            let updates: Vec<PresenceUpdate> = received.updates.drain().map(|(_, update)| update).collect();
            // Those who are gone stay noted until it is told.
            (updates, received.closed.clone())
        };
        let gone = closed.into_iter().map(|user| Said {
            user: user.to_string(),
            teller: self.teller,
            state: State::Offline,
            status: None,
            is_new_status: false,
            active_ago: 0,
            rooms: Vec::new(),
            is_news: false,
            is_outgoing: false,
            is_gone: true,
        });
        let mut said: Vec<Said> = gone.collect();
        if updates.is_empty() {
            return Ok(said);
        }
        let mut ours = self.ear.everybody.lock().rooms();
        ours.extend(here);
        ours.sort_unstable();
        ours.dedup();
        let ours: Vec<RoomSerial> = ours.into_iter().map(RoomSerial).collect();
        let mut wanted: Vec<(RoomSerial, &UserId)> = Vec::new();
        for update in &updates {
            let rooms = self.rooms_with(servers, update.user.server_name(), &ours, now).await?;
            wanted.extend(rooms.iter().map(|room| (*room, &*update.user)));
        }
        let mut rooms: HashMap<&UserId, Vec<u64>> = HashMap::new();
        for some in wanted.chunks(ROWS) {
            let joined = self.rooms.are_joined(some).await?;
            for ((room, user), _) in some.iter().zip(joined).filter(|(_, joined)| *joined) {
                let rooms = rooms.entry(*user).or_default();
                if rooms.len() < MOST_ROOMS {
                    rooms.push(room.0);
                }
            }
        }
        for update in &updates {
            // Who shares no room with anybody of ours who is there is nobody's business.
            let Some(rooms) = rooms.remove(&*update.user) else { continue };
            said.push(Said {
                user: update.user.to_string(),
                teller: OTHER_SERVERS,
                state: update.state,
                status: update.status.clone(),
                is_new_status: true,
                active_ago: millis(update.active_ago),
                rooms,
                is_news: true,
                is_outgoing: false,
                is_gone: false,
            });
        }
        Ok(said)
    }

    /// The rooms, of ours, in which a server is.
    async fn rooms_with<'a>(
        &self,
        servers: &'a mut ServersRooms,
        server: &ruma::ServerName,
        ours: &[RoomSerial],
        now: Instant,
    ) -> Result<&'a [RoomSerial], room::Error> {
        let is_fresh = servers
            .0
            .get(server)
            .is_some_and(|(at, count, _)| now.since(*at) < SERVERS_ROOMS_LAST && *count == ours.len());
        if !is_fresh {
            if servers.0.len() >= MOST_SERVERS {
                servers.0.clear();
            }
            let mut found = Vec::new();
            for rooms in ours.chunks(ROWS) {
                found.extend(self.rooms.rooms_with_server(server, rooms).await?);
            }
            servers.0.insert(server.to_owned(), (now, ours.len(), found));
        }
        Ok(servers.0.get(server).map(|(.., rooms)| rooms.as_slice()).unwrap_or_default())
    }
}

/// Tells all of it, with the topics of those who have to hear of it.
fn batch(said: Vec<Said>) -> Batch {
    let mut batch = Batch::new();
    let mut part: Vec<Said> = Vec::new();
    let mut bytes = 64;
    let mut flush = |part: &mut Vec<Said>| {
        if part.is_empty() {
            return;
        }
        let mut topics: Vec<Topic> = Vec::new();
        for said in part.iter() {
            if said.is_news {
                topics.extend(said.rooms.iter().map(|room| Topic::presence(*room)));
            }
            if said.is_outgoing {
                topics.push(Topic::destination("presence"));
            }
        }
        topics.sort_unstable();
        topics.dedup();
        batch.tell(EAR, &Telling { said: std::mem::take(part) }.encode(), topics);
    };
    for said in said {
        let size = said.user.len() + said.status.as_ref().map_or(0, String::len) + 10 * said.rooms.len() + 48;
        if bytes + size > MOST_TOLD {
            flush(&mut part);
            bytes = 64;
        }
        bytes += size;
        part.push(said);
    }
    flush(&mut part);
    batch
}
