//! Lanes: each gateway is told by a task of its own, so that one which is slow, gone or refuses keeps no other waiting.
//!
//! Of a pusher one request is under way at a time, so it is told in order. Of a gateway some are; one alone after it
//! has failed, and none until its wait is over.

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

use super::{Delivery, gateway::Outcome, index::gateway_of};
use crate::{
    Error, pushers,
    waiting::{self, Item, Key, WAITING, WaitingRow},
};

/// Requests to one gateway at once.
const AT_ONCE: usize = 16;

/// Waits after failures of a gateway, and of what it refuses for one pusher.
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
    ready: VecDeque<Key>,
    /// Those that are ready, are being told, or wait for their turn after a refusal.
    known: HashSet<Key>,
    wake: Arc<Notify>,
}

/// What a lane waits for.
enum Event {
    Told(Key, Outcome),
    Rested(Key),
    Lane,
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
                let Some((pusher, _)) = pushers::find(store, &key).await? else { continue };
                let Some(gateway) = gateway_of(&pusher) else { continue };
                let gateway: Arc<str> = gateway.to_ascii_lowercase().into();
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
            waiting.row.items.retain(|item| !gone.contains(item));
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
            lane.wake.clone()
        };
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let mut refused: HashMap<Key, Backoff> = HashMap::new();
        let mut under_way: FuturesUnordered<BoxFuture<'_, Event>> = FuturesUnordered::new();
        let (mut count, mut is_resting) = (0, false);
        loop {
            let most = if backoff.failures() > 0 { 1 } else { AT_ONCE };
            while count < most && !is_resting {
                let Some(key) = self.next(gateway) else { break };
                let round = self.clone();
                let told = async move {
                    let outcome = round.tell(&key).await;
                    Event::Told(key, outcome)
                };
                under_way.push(told.boxed());
                count += 1;
            }
            if under_way.is_empty() && self.close(gateway) {
                return;
            }
            let event = tokio::select! {
                Some(event) = under_way.next() => event,
                () = wake.notified() => continue,
            };
            match event {
                Event::Told(key, outcome) => {
                    count -= 1;
                    match outcome {
                        Outcome::Done => {
                            backoff.reset();
                            refused.remove(&key);
                            self.leave(gateway, &key);
                        }
                        Outcome::Refused => {
                            // The gateway is there; it is this one that it does not take.
                            backoff.reset();
                            let wait = refused
                                .entry(key.clone())
                                .or_insert_with(|| Backoff::new(FIRST_WAIT, LONGEST_WAIT))
                                .next(&self.delivery.0.random);
                            under_way.push(clock.sleep(wait).map(|()| Event::Rested(key)).boxed());
                        }
                        Outcome::Failed(at_least) => {
                            self.again(gateway, key);
                            if !is_resting {
                                is_resting = true;
                                let wait = backoff.next(&self.delivery.0.random);
                                let wait = at_least.map_or(wait, |least| wait.max(least.min(LONGEST_WAIT)));
                                under_way.push(clock.sleep(wait).map(|()| Event::Lane).boxed());
                                let retry_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                                warn!(
                                    destination = &**gateway,
                                    retry_in_ms, "a push gateway fails, backing off"
                                );
                            }
                        }
                    }
                }
                Event::Rested(key) => self.again(gateway, key),
                Event::Lane => is_resting = false,
            }
        }
    }

    fn next(&self, gateway: &str) -> Option<Key> {
        self.state.lock().lanes.get_mut(gateway)?.ready.pop_front()
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
            lane.ready.push_front(key);
        }
    }

    /// Takes the lane away, if it is empty.
    fn close(&self, gateway: &str) -> bool {
        let mut state = self.state.lock();
        let is_empty = state.lanes.get(gateway).is_none_or(|lane| lane.ready.is_empty());
        if is_empty {
            state.lanes.remove(gateway);
        }
        is_empty
    }
}
