//! Lanes: each gateway is told by a task of its own, so that one which is slow, gone or refuses keeps no other waiting.
//!
//! Of a pusher one request is under way at a time, so it is told in order; of a user few, and of a gateway some. What fails for a
//! pusher may be what is behind the gateway for it alone, or an address that its user chose so: it waits by itself, and stands
//! behind those that have not failed. Only where several users' fail one after the other, and nobody's is taken, is it the gateway:
//! then one at a time is tried, after a growing wait; sooner, if there is one who has not failed yet.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use base::Backoff;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use parking_lot::Mutex;
use store::{Batch, Order, Range, Term};
use tokio::sync::Notify;
use tracing::warn;

use super::{Delivery, gateway::Outcome};
use crate::{
    Error,
    mailed::MAILED,
    pushers,
    waiting::{self, Item, Key, WAITING, WaitingRow},
};

/// Requests to one gateway at once.
const AT_ONCE: usize = 16;

/// Requests for one user at once to one gateway, and for pushers that have failed.
const OF_ONE: usize = 2;
const DOUBTFUL_AT_ONCE: usize = 4;

/// Users for whom a gateway has to fail, with nobody's being taken in between, to count as gone.
const GONE: usize = 3;

/// Waits after failures of a gateway, and of what it refuses or fails for one pusher.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(10 * 60);

/// Rows that are read at once.
const PAGE: usize = 500;

/// What is being told in a term.
pub(super) struct Round {
    pub(super) delivery: Delivery,
    term: Term,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: HashMap<Key, Waiting>,
    lanes: HashMap<Arc<str>, Lane>,
}

struct Waiting {
    row: WaitingRow,
    /// The number is about to be told: what changes it from now on asks for another.
    is_counting: bool,
}

#[derive(Default)]
struct Lane {
    /// Whose last request was taken, or who had none.
    ready: VecDeque<Key>,
    /// Who failed last time and has waited for it.
    doubtful: VecDeque<Key>,
    /// Those that are ready, are being told, or wait for their turn after a failure.
    known: HashSet<Key>,
    wake: Arc<Notify>,
}

/// What a lane waits for.
enum Event {
    /// What became of a pusher's request; whether it is one that had failed.
    Told(Key, bool, Outcome),
    /// A pusher has waited after its failure.
    Rested(Key),
    /// It is time for what was not to be told yet.
    Due(Key),
    /// The lane has waited as long as it must, and as long as it should; in which of its rests.
    MayTry(u64),
    Waited(u64),
}

/// What keeps a lane from telling.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    None,
    /// Who has not failed yet may be tried.
    Few,
    All,
}

/// What a lane knows of its gateway and of who is told by it.
struct Health {
    /// Of those that failed last time.
    own: HashMap<Key, Backoff>,
    /// The users for whom it failed since anybody's was taken: up to [`GONE`].
    failed: HashSet<String>,
    lane: Backoff,
    rest: Rest,
    rests: u64,
    /// Requests under way, by user; those for pushers that have failed.
    of_user: HashMap<String, usize>,
    doubtful: usize,
    all: usize,
}

impl Health {
    fn new() -> Self {
        Self {
            own: HashMap::new(),
            failed: HashSet::new(),
            lane: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
            rest: Rest::None,
            rests: 0,
            of_user: HashMap::new(),
            doubtful: 0,
            all: 0,
        }
    }

    fn is_gone(&self) -> bool {
        self.failed.len() >= GONE
    }

    fn began(&mut self, key: &Key, is_doubtful: bool) {
        self.all += 1;
        self.doubtful += usize::from(is_doubtful);
        *self.of_user.entry(key.0.clone()).or_default() += 1;
    }

    fn ended(&mut self, key: &Key, is_doubtful: bool) {
        self.all -= 1;
        self.doubtful -= usize::from(is_doubtful);
        if let Some(count) = self.of_user.get_mut(&key.0) {
            *count -= 1;
            if *count == 0 {
                self.of_user.remove(&key.0);
            }
        }
    }

    /// The gateway failed for a pusher of this user.
    fn failed_for(&mut self, user: &str) {
        if !self.is_gone() {
            self.failed.insert(user.to_owned());
        }
    }

    /// The gateway answered somebody as it should.
    fn is_there(&mut self) {
        self.failed.clear();
        self.lane.reset();
        self.rest = Rest::None;
    }

    /// The next that may be told now, and whether it is one that had failed.
    fn next(&self, lane: &mut Lane) -> Option<(Key, bool)> {
        let most = if self.is_gone() { 1 } else { AT_ONCE };
        if self.all >= most || self.rest == Rest::All {
            return None;
        }
        let is_free = |key: &Key| self.of_user.get(&key.0).is_none_or(|count| *count < OF_ONE);
        let take = |queue: &mut VecDeque<Key>| {
            let place = queue.iter().position(is_free)?;
            queue.remove(place)
        };
        if let Some(key) = take(&mut lane.ready) {
            return Some((key, false));
        }
        if self.rest == Rest::Few || self.doubtful >= DOUBTFUL_AT_ONCE {
            return None;
        }
        take(&mut lane.doubtful).map(|key| (key, true))
    }
}

impl Round {
    pub(super) fn new(delivery: &Delivery, term: &Term) -> Arc<Self> {
        delivery.0.waiting.set(0);
        Arc::new(Self { delivery: delivery.clone(), term: term.clone(), state: Mutex::default() })
    }

    pub(super) fn term(&self) -> &Term {
        &self.term
    }

    /// Takes up what another term left waiting.
    pub(super) async fn take_up(self: &Arc<Self>) -> Result<(), Error> {
        let store = self.delivery.0.push.store();
        let mut range = Range::all();
        loop {
            let rows = store.scan(&WAITING, range, Order::Ascending, PAGE).await?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            range = Range::all().after(last);
            let is_last = rows.len() < PAGE;
            for (key, row) in rows {
                let Some(found) = pushers::find(&self.delivery.0.push, &key).await? else { continue };
                let Some(gateway) = self.delivery.lane_of(&found.pusher) else { continue };
                self.state.lock().waiting.insert(key.clone(), Waiting { row, is_counting: false });
                self.make_ready(&gateway, key);
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Writes down what pushers have to be told, with what else is in the batch, and has it sent.
    pub(super) async fn put(
        self: &Arc<Self>,
        mut batch: Batch,
        due: Vec<(Key, Arc<str>, Option<Item>)>,
    ) -> Result<(), Error> {
        self.delivery.0.push.store().ready().await;
        let mut ready: Vec<(Key, Arc<str>)> = Vec::new();
        let submitted = {
            // Batches are committed as they are submitted, so the rows follow what is in memory.
            let mut state = self.state.lock();
            for (key, gateway, item) in due {
                let waiting = state
                    .waiting
                    .entry(key.clone())
                    .or_insert_with(|| Waiting { row: WaitingRow::default(), is_counting: false });
                match item {
                    Some(item) => waiting.row.add(item),
                    None => waiting.row.counts = true,
                }
                waiting.is_counting = false;
                ready.push((key, gateway));
            }
            for (key, _) in &ready {
                if let Some(waiting) = state.waiting.get(key) {
                    batch.put(&WAITING, key, &waiting.row);
                }
            }
            self.note_size(&state);
            self.term.submit(self.term.fenced(batch))
        };
        submitted.await.map_err(account::Error::from)?;
        for (key, gateway) in ready {
            self.make_ready(&gateway, key);
        }
        Ok(())
    }

    /// Whether a pusher has still to be told something.
    pub(super) fn is_waiting(&self, key: &Key) -> bool {
        self.state.lock().waiting.contains_key(key)
    }

    /// What a pusher has still to be told, as of now.
    pub(super) fn take(&self, key: &Key) -> Option<WaitingRow> {
        let mut state = self.state.lock();
        let waiting = state.waiting.get_mut(key)?;
        waiting.is_counting = true;
        Some(waiting.row.clone())
    }

    /// Notes what needs not be told any more, and with `counted` that the number is right.
    pub(super) async fn settle(
        &self,
        key: &Key,
        gone: &[Item],
        counted: bool,
        mut batch: Batch,
    ) -> Result<(), Error> {
        self.delivery.0.push.store().ready().await;
        let submitted = {
            let mut state = self.state.lock();
            let Some(waiting) = state.waiting.get_mut(key) else { return Ok(()) };
            waiting.row.settle(gone);
            if counted && waiting.is_counting {
                waiting.row.counts = false;
            }
            if waiting.row.is_empty() {
                state.waiting.remove(key);
                batch.delete(&WAITING, key);
            } else {
                batch.put(&WAITING, key, &waiting.row);
            }
            self.note_size(&state);
            self.term.submit(self.term.fenced(batch))
        };
        submitted.await.map_err(account::Error::from)?;
        Ok(())
    }

    /// Forgets a pusher that is gone.
    pub(super) async fn forget(&self, key: &Key) -> Result<(), Error> {
        self.delivery.0.push.store().ready().await;
        let submitted = {
            let mut state = self.state.lock();
            state.waiting.remove(key);
            self.note_size(&state);
            let mut batch = Batch::new();
            batch.delete(&MAILED, key);
            waiting::delete(&mut batch, key);
            self.term.submit(self.term.fenced(batch))
        };
        submitted.await.map_err(account::Error::from)?;
        Ok(())
    }

    fn note_size(&self, state: &State) {
        self.delivery.0.waiting.set(i64::try_from(state.waiting.len()).unwrap_or(i64::MAX));
    }

    /// Has a pusher told, in the lane of its gateway.
    fn make_ready(self: &Arc<Self>, gateway: &Arc<str>, key: Key) {
        let mut state = self.state.lock();
        let is_new = !state.lanes.contains_key(gateway);
        let lane = state.lanes.entry(gateway.clone()).or_default();
        if lane.known.insert(key.clone()) {
            lane.ready.push_back(key);
            lane.wake.notify_one();
        }
        if is_new {
            let (round, gateway) = (self.clone(), gateway.clone());
            self.delivery.0.tasks.spawn_restarting("push gateway", move || {
                let (round, gateway) = (round.clone(), gateway.clone());
                async move {
                    let ended = round.term.ended().clone();
                    ended.run_until_cancelled(round.serve(&gateway)).await;
                }
            });
        }
    }

    /// Tells the pushers of a gateway, until there is none that waits.
    async fn serve(self: &Arc<Self>, gateway: &Arc<str>) {
        let clock = &self.delivery.0.clock;
        let wake = {
            let mut state = self.state.lock();
            let Some(lane) = state.lanes.get_mut(gateway) else { return };
            // Also after a panic, which leaves those that were under way.
            lane.ready = lane.known.iter().cloned().collect();
            lane.doubtful.clear();
            lane.wake.clone()
        };
        let mut health = Health::new();
        let mut under_way: FuturesUnordered<BoxFuture<'_, Event>> = FuturesUnordered::new();
        loop {
            while let Some((key, is_doubtful)) = self.next(gateway, &health) {
                health.began(&key, is_doubtful);
                let round = self.clone();
                let told = async move {
                    let outcome = round.tell(&key).await;
                    Event::Told(key, is_doubtful, outcome)
                };
                under_way.push(told.boxed());
            }
            if under_way.is_empty() && self.close(gateway) {
                return;
            }
            let event = tokio::select! {
                Some(event) = under_way.next() => event,
                () = wake.notified() => continue,
            };
            match event {
                Event::Told(key, is_doubtful, outcome) => {
                    health.ended(&key, is_doubtful);
                    let least = match outcome {
                        Outcome::Idle => {
                            health.own.remove(&key);
                            self.leave(gateway, &key);
                            continue;
                        }
                        Outcome::Done => {
                            health.is_there();
                            health.own.remove(&key);
                            self.leave(gateway, &key);
                            continue;
                        }
                        Outcome::Later(wait) => {
                            health.own.remove(&key);
                            under_way.push(clock.sleep(wait).map(|()| Event::Due(key)).boxed());
                            continue;
                        }
                        // The gateway is there; it is this one that it does not take.
                        Outcome::Refused => {
                            health.is_there();
                            None
                        }
                        Outcome::Failed(least) => {
                            let least = least.map(|least| least.min(LONGEST_WAIT));
                            self.note_failure(gateway, &mut health, &key, least, &mut under_way);
                            least
                        }
                    };
                    let own = health.own.entry(key.clone());
                    let own = own.or_insert_with(|| Backoff::new(FIRST_WAIT, LONGEST_WAIT));
                    let wait = own.next(&self.delivery.0.random).max(least.unwrap_or_default());
                    under_way.push(clock.sleep(wait).map(|()| Event::Rested(key)).boxed());
                }
                Event::Rested(key) => self.again(gateway, key),
                Event::Due(key) => self.leave(gateway, &key),
                Event::MayTry(number) if number == health.rests && health.rest == Rest::All => {
                    health.rest = Rest::Few;
                }
                Event::Waited(number) if number == health.rests => health.rest = Rest::None,
                // Of a rest that ended before.
                Event::MayTry(_) | Event::Waited(_) => {}
            }
        }
    }

    /// Has the lane rest, if it is the gateway that fails.
    fn note_failure<'a>(
        &'a self,
        gateway: &str,
        health: &mut Health,
        key: &Key,
        least: Option<Duration>,
        under_way: &mut FuturesUnordered<BoxFuture<'a, Event>>,
    ) {
        health.failed_for(&key.0);
        // What was begun before the lane rests changes nothing.
        if !health.is_gone() || health.rest == Rest::All {
            return;
        }
        let clock = &self.delivery.0.clock;
        let least = least.unwrap_or_default().max(FIRST_WAIT);
        let is_new = health.rest == Rest::None;
        health.rest = Rest::All;
        if is_new {
            health.rests += 1;
        }
        let number = health.rests;
        under_way.push(clock.sleep(least).map(move |()| Event::MayTry(number)).boxed());
        if !is_new {
            return;
        }
        let wait = health.lane.next(&self.delivery.0.random).max(least);
        under_way.push(clock.sleep(wait).map(move |()| Event::Waited(number)).boxed());
        let retry_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        warn!(destination = gateway, retry_in_ms, "a push gateway fails, backing off");
    }

    fn next(&self, gateway: &str, health: &Health) -> Option<(Key, bool)> {
        health.next(self.state.lock().lanes.get_mut(gateway)?)
    }

    /// A pusher was told something; what it has still to be told comes behind the others.
    fn leave(&self, gateway: &str, key: &Key) {
        let mut state = self.state.lock();
        let has_more = state.waiting.contains_key(key);
        if let Some(lane) = state.lanes.get_mut(gateway) {
            if has_more {
                lane.ready.push_back(key.clone());
            } else {
                lane.known.remove(key);
            }
        }
    }

    fn again(&self, gateway: &str, key: Key) {
        if let Some(lane) = self.state.lock().lanes.get_mut(gateway) {
            lane.doubtful.push_back(key);
        }
    }

    /// Takes the lane away, if it is empty.
    fn close(&self, gateway: &str) -> bool {
        let mut state = self.state.lock();
        let is_empty =
            state.lanes.get(gateway).is_none_or(|lane| lane.ready.is_empty() && lane.doubtful.is_empty());
        if is_empty {
            state.lanes.remove(gateway);
        }
        is_empty
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(user: &str, number: usize) -> Key {
        (user.to_owned(), "device".to_owned(), "app".to_owned(), number.to_string())
    }

    /// A lane in which these are ready, and these have failed before.
    fn lane(ready: &[Key], doubtful: &[Key]) -> Lane {
        Lane {
            ready: ready.iter().cloned().collect(),
            doubtful: doubtful.iter().cloned().collect(),
            ..Lane::default()
        }
    }

    #[test]
    fn a_gateway_is_gone_when_it_fails_for_three_users_and_nobodys_is_taken_in_between() {
        let mut health = Health::new();
        // As many as one or two users like, as each of them may mean it to be.
        for _ in 0..50 {
            health.failed_for("mallory");
            health.failed_for("eve");
        }
        assert!(!health.is_gone());
        health.is_there();
        health.failed_for("taro");
        health.failed_for("jiro");
        assert!(!health.is_gone(), "what failed before somebody's was taken says nothing any more");
        health.failed_for("hanako");
        assert!(health.is_gone());
        health.is_there();
        assert!(!health.is_gone());
    }

    #[test]
    fn of_a_gateway_that_is_gone_one_at_a_time_is_tried_and_while_it_rests_nobody_who_has_failed() {
        let keys: Vec<Key> = (0..40).map(|number| key(&format!("user{number}"), 0)).collect();
        let begun = |health: &mut Health, lane: &mut Lane| {
            let mut count = 0;
            while let Some((key, is_doubtful)) = health.next(lane) {
                health.began(&key, is_doubtful);
                count += 1;
            }
            count
        };
        assert_eq!(begun(&mut Health::new(), &mut lane(&keys, &[])), AT_ONCE);
        assert_eq!(begun(&mut Health::new(), &mut lane(&[], &keys)), DOUBTFUL_AT_ONCE);
        let gone = || {
            let mut health = Health::new();
            for user in ["a", "b", "c"] {
                health.failed_for(user);
            }
            health
        };
        assert_eq!(begun(&mut gone(), &mut lane(&keys, &[])), 1);
        for (rest, of_ready, of_doubtful) in [(Rest::None, 1, 1), (Rest::Few, 1, 0), (Rest::All, 0, 0)] {
            let resting = || Health { rest, ..gone() };
            assert_eq!(begun(&mut resting(), &mut lane(&keys, &[])), of_ready);
            assert_eq!(begun(&mut resting(), &mut lane(&[], &keys)), of_doubtful);
        }
    }

    #[test]
    fn of_one_user_two_are_told_at_once_and_the_next_users_turn_does_not_wait_for_his() {
        let mut keys: Vec<Key> = (0..10).map(|number| key("mallory", number)).collect();
        keys.push(key("taro", 0));
        let (mut health, mut lane) = (Health::new(), lane(&keys, &[]));
        let mut begun = Vec::new();
        while let Some((key, is_doubtful)) = health.next(&mut lane) {
            health.began(&key, is_doubtful);
            begun.push(key);
        }
        assert_eq!(begun, [key("mallory", 0), key("mallory", 1), key("taro", 0)]);
        health.ended(&begun[0], false);
        assert_eq!(health.next(&mut lane), Some((key("mallory", 2), false)));
    }
}
