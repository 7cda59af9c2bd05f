//! Telling what has changed: one task for each process.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
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
    unshown::Unshown,
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

/// Closed accounts that wait to be told of. Who is beyond falls silent by himself.
const MOST_CLOSED: usize = 10_000;

/// So many rows are asked for at once.
const ROWS: usize = 1_000;

/// What other servers said, until it is told.
#[derive(Debug, Default)]
pub(super) struct Received {
    updates: HashMap<OwnedUserId, PresenceUpdate>,
    of_server: HashMap<OwnedServerName, usize>,
    closed: BTreeSet<OwnedUserId>,
    pub(super) unshown: Unshown,
}

/// Where a user of another server is.
struct Placed {
    /// The rooms in which he is shown.
    shown: Vec<u64>,
    /// Those that he shares with ours, oldest first, whether anybody of ours is there or not.
    shared: Vec<u64>,
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
        if self.closed.len() < MOST_CLOSED {
            self.closed.insert(user.to_owned());
        }
    }

    /// Those of whom something may be told now. What the others are goes on waiting, so that what they say last is told.
    fn take_updates(&mut self, may_be_told: impl Fn(&UserId) -> bool) -> Vec<PresenceUpdate> {
        self.of_server.clear();
        let taken = self.updates.extract_if(|user, _| may_be_told(user)).map(|(_, update)| update).collect();
        for user in self.updates.keys() {
            *self.of_server.entry(user.server_name().to_owned()).or_default() += 1;
        }
        taken
    }

    /// What was said of those in these rooms is told now, unless they said something since.
    fn recall(&mut self, rooms: &[u64], now: Instant) {
        for update in self.unshown.recall(rooms, now) {
            if !self.updates.contains_key(&update.user) {
                self.push(update);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.updates.is_empty() && self.closed.is_empty()
    }
}

impl Inner {
    pub(super) async fn work(self: Arc<Self>) {
        let stop = self.tasks.shutdown_token();
        stop.run_until_cancelled(self.tell_all()).await;
    }

    async fn tell_all(&self) {
        let mut swept = self.clock.instant();
        loop {
            let is_idle = !self.ear.people.lock().has_changed()
                && self.received.lock().is_empty()
                && !self.ear.everybody.lock().has_new_rooms();
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
                self.received.lock().unshown.sweep(now);
                let rooms = &self.rooms;
                said = self.ear.everybody.lock().expire(|user| rooms.is_local(user), self.teller, now);
            }
            if swept == now
                && let Err(error) = self.settle(now).await
            {
                debug!(%error, "who is not there any more is found out later");
            }
            if let Err(error) = self.tell(said, now).await {
                debug!(%error, "nobody is told who is there");
            }
            self.clock.sleep(GATHER).await;
        }
    }

    /// Tells what has changed.
    async fn tell(&self, mut said: Vec<Said>, now: Instant) -> Result<(), room::Error> {
        let (users, stale) = self.ear.people.lock().take_changed(AT_ONCE, now);
        let mut with_status = Vec::new();
        let told = async {
            self.place(&stale, now).await?;
            let news = self.ear.people.lock().news(&users, now);
            let new_status = news.iter().filter(|news| news.is_new_status);
            with_status.extend(new_status.map(|news| news.user.clone()));
            said.extend(news.into_iter().map(|news| self.said(news)));
            let here: HashSet<u64> = said.iter().flat_map(|said| said.rooms.iter().copied()).collect();
            said.extend(self.received(&here, now).await?);
            let is_gone = |said: &&Said| said.is_gone;
            let gone: HashSet<OwnedUserId> =
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
        let small = self.small(&wanted).await?;
        let mut people = self.ear.people.lock();
        for (user, rooms, as_of) in placed {
            let rooms = rooms.into_iter().rev().filter(|room| small.contains(room)).take(MOST_ROOMS);
            people.place(user, rooms.map(|room| room.0).collect(), as_of, now);
        }
        Ok(())
    }

    /// What other servers said, of users who are in rooms with somebody of ours; `here` are those of ours that are about
    /// to be told of.
    async fn received(&self, here: &HashSet<u64>, now: Instant) -> Result<Vec<Said>, room::Error> {
        let (updates, closed) = {
            let mut received = self.received.lock();
            let mut everybody = self.ear.everybody.lock();
            received.recall(&everybody.take_new_rooms(), now);
            let updates = received.take_updates(|user| everybody.may_change(user, now));
            // Those who are gone stay noted until it is told.
            (updates, received.closed.iter().take(AT_ONCE).cloned().collect::<Vec<_>>())
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
        for updates in updates.chunks(AT_ONCE) {
            let placed = self.place_others(updates, here).await?;
            for (update, Placed { shown: rooms, shared }) in updates.iter().zip(placed) {
                // Who shares no room with anybody of ours who is there is nobody's business yet.
                if rooms.is_empty() {
                    self.received.lock().unshown.keep(update.clone(), shared, now);
                    continue;
                }
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
        }
        Ok(said)
    }

    /// The rooms in which these users of other servers are shown: those in which somebody of ours is shown or was, that
    /// have few members. A read for each user, and one for each room that he shares with ours; nothing grows with the
    /// number of rooms that we have.
    async fn place_others(
        &self,
        updates: &[PresenceUpdate],
        here: &HashSet<u64>,
    ) -> Result<Vec<Placed>, room::Error> {
        let users: Vec<&UserId> = updates.iter().map(|update| &*update.user).collect();
        let listed = self.rooms.rooms_of_people(&users).await?;
        let mut placed: Vec<Placed> = Vec::with_capacity(users.len());
        let mut wanted: Vec<(usize, RoomSerial)> = Vec::new();
        {
            let everybody = self.ear.everybody.lock();
            for (place, (user, listed)) in users.iter().zip(listed).enumerate() {
                // Whose row is behind is in the rooms where he was last, if he still is.
                let mut shared = everybody.rooms_of(user);
                shared.extend(listed.into_iter().map(|room| room.0));
                shared.sort_unstable();
                shared.dedup();
                let seen =
                    shared.iter().rev().filter(|room| here.contains(room) || everybody.is_shown_in(**room));
                // The newest, twice as many as are told of: of some he is no member any more, some are too large.
                wanted.extend(seen.take(2 * MOST_ROOMS).map(|room| (place, RoomSerial(*room))));
                placed.push(Placed { shown: Vec::new(), shared });
            }
        }
        let rooms: BTreeSet<RoomSerial> = wanted.iter().map(|(_, room)| *room).collect();
        let small = self.small(&rooms.into_iter().collect::<Vec<_>>()).await?;
        wanted.retain(|(_, room)| small.contains(room));
        for some in wanted.chunks(ROWS) {
            let pairs: Vec<(RoomSerial, &UserId)> =
                some.iter().filter_map(|(place, room)| Some((*room, *users.get(*place)?))).collect();
            let joined = self.rooms.are_joined(&pairs).await?;
            for ((place, room), _) in some.iter().zip(joined).filter(|(_, joined)| *joined) {
                if let Some(placed) = placed.get_mut(*place).filter(|placed| placed.shown.len() < MOST_ROOMS)
                {
                    placed.shown.push(room.0);
                }
            }
        }
        Ok(placed)
    }

    /// Those of these rooms that have few members.
    async fn small(&self, rooms: &[RoomSerial]) -> Result<HashSet<RoomSerial>, room::Error> {
        let mut small = HashSet::new();
        for rooms in rooms.chunks(ROWS) {
            let are_small = self.rooms.have_at_most(rooms, self.config.largest_room).await?;
            small
                .extend(rooms.iter().zip(are_small).filter(|(_, is_small)| *is_small).map(|(room, _)| *room));
        }
        Ok(small)
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

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;

    fn update(user: &UserId, state: State) -> PresenceUpdate {
        PresenceUpdate { user: user.to_owned(), state, status: None, active_ago: Duration::ZERO }
    }

    #[test]
    fn what_waits_is_counted_for_its_server_and_what_was_said_last_is_told() {
        let mut received = Received::default();
        let (eve, mallory) = (user_id!("@eve:b.test"), user_id!("@mallory:b.test"));
        assert!(received.push(update(eve, State::Online)) && received.push(update(mallory, State::Online)));
        assert_eq!(received.take_updates(|user| user == mallory), [update(mallory, State::Online)]);
        assert_eq!(received.of_server.values().copied().sum::<usize>(), 1);
        assert!(received.push(update(eve, State::Unavailable)));
        assert!(!received.is_empty());
        assert_eq!(received.take_updates(|_| true), [update(eve, State::Unavailable)]);
        assert!(received.is_empty());
    }

    #[test]
    fn closed_accounts_wait_once_and_not_without_end() {
        let mut received = Received::default();
        for number in 0..2 * MOST_CLOSED {
            let user = UserId::parse(format!("@u{number}:a.test")).expect("a user id");
            received.close(&user);
            received.close(&user);
        }
        assert_eq!(received.closed.len(), MOST_CLOSED);
    }
}
