//! The group committer: one task per store that turns all waiting batches into one durable write.
//!
//! Batches queue in the order of [`Queue::push`], which never waits. While a group is being
//! written, the next one gathers; so the more writers there are, the more a sync is shared.
//!
//! When the back end takes no writes (no room, no connection), the committer refuses batches at
//! once and asks the back end to heal, again and again; then it goes on where it stopped.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use base::{Backoff, Random};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, oneshot},
    time::MissedTickBehavior,
};
use tracing::{info, warn};

use crate::{
    backend::{Backend, RawBatch, RawCommitted, Touched},
    batch::{EPHEMERAL, Slot},
    condition::{Condition, Sign},
    error::{CommitError, Error},
    metrics::StoreMetrics,
    position::{Position, Topic},
    store::Options,
    watch::Hub,
};

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    first: Position,
    count: u32,
    head: Position,
}

impl Committed {
    /// The position that a log entry of the batch got.
    #[must_use]
    pub fn position(&self, slot: Slot) -> Position {
        debug_assert!(slot.0 < self.count, "the slot is of another batch");
        self.first.plus(u64::from(slot.0))
    }

    /// The last position of the batch; without log entries, that of the state it was applied to.
    #[must_use]
    pub fn last(&self) -> Position {
        self.first.plus(u64::from(self.count.saturating_sub(1)))
    }

    /// How many positions it got.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The head after the group in which it was committed.
    #[must_use]
    pub fn head(&self) -> Position {
        self.head
    }
}

type Outcome = Result<Committed, CommitError>;

/// The answer to a submitted batch, once it is durable. Dropping it does not withdraw the batch.
#[derive(Debug)]
#[must_use = "a batch that failed must be noticed"]
pub struct Receipt(oneshot::Receiver<Outcome>);

impl Receipt {
    fn refused(error: CommitError) -> Self {
        let (sender, receiver) = oneshot::channel();
        // The receiver is alive: it is returned below.
        sender.send(Err(error)).ok();
        Self(receiver)
    }
}

impl Future for Receipt {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        // The committer dropped the question unanswered: it may have written before.
        Pin::new(&mut self.0).poll(cx).map(|answer| answer.unwrap_or(Err(CommitError::Unknown)))
    }
}

/// What is done with a batch once it is written, before anybody is woken by it.
pub(crate) type Landed = Box<dyn FnOnce(&Committed) + Send>;

struct Waiting {
    batch: RawBatch,
    size_bytes: usize,
    landed: Option<Landed>,
    answer: oneshot::Sender<Outcome>,
}

/// What is left to do about a batch that was handed to the back end.
struct Open {
    landed: Option<Landed>,
    answer: oneshot::Sender<Outcome>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    size_bytes: usize,
    closed: bool,
}

/// The batches that wait for the committer.
pub(crate) struct Queue {
    state: Mutex<State>,
    arrived: Notify,
    taken: Notify,
    options: Options,
    sign: Sign,
    metrics: StoreMetrics,
}

impl Queue {
    pub(crate) fn new(options: Options, metrics: StoreMetrics) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            arrived: Notify::new(),
            taken: Notify::new(),
            options,
            sign: Sign::new(metrics.clone()),
            metrics,
        })
    }

    /// Takes its place behind the batches pushed before.
    pub(crate) fn push(&self, batch: RawBatch, landed: Option<Landed>) -> Receipt {
        let size_bytes = batch.size_bytes();
        let (answer, receipt) = oneshot::channel();
        {
            let mut state = self.state.lock();
            if state.closed {
                return Receipt::refused(Error::Closed.into());
            }
            // Those who wait for `ready` first stop at the bound; four times it is a hard end.
            let bound = &self.options;
            if state.waiting.len() >= 4 * bound.queue_batches || state.size_bytes >= 4 * bound.queue_bytes {
                return Receipt::refused(CommitError::Busy);
            }
            state.size_bytes += size_bytes;
            state.waiting.push_back(Waiting { batch, size_bytes, landed, answer });
            self.metrics.waiting.set(i64::try_from(state.waiting.len()).unwrap_or(i64::MAX));
        }
        self.arrived.notify_one();
        Receipt(receipt)
    }

    /// Waits until the queue is below its bound.
    pub(crate) async fn ready(&self) {
        loop {
            let mut taken = std::pin::pin!(self.taken.notified());
            taken.as_mut().enable();
            {
                let state = self.state.lock();
                let full = state.waiting.len() >= self.options.queue_batches
                    || state.size_bytes >= self.options.queue_bytes;
                if !full || state.closed {
                    return;
                }
            }
            taken.await;
        }
    }

    /// Takes no more; what waits is still written.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.arrived.notify_one();
        self.taken.notify_waiters();
    }

    /// Whether its batches are written or refused.
    pub(crate) fn condition(&self) -> Condition {
        self.sign.get()
    }

    /// Answers a group with the reason for which nothing can be written.
    fn refuse(&self, group: Vec<Waiting>, reason: &Error) {
        self.metrics.note_refused(group.len());
        for Waiting { answer, .. } in group {
            // Whoever submitted may have lost interest.
            answer.send(Err(reason.clone().into())).ok();
        }
    }

    async fn next_group(&self) -> Option<Vec<Waiting>> {
        loop {
            {
                let mut state = self.state.lock();
                if !state.waiting.is_empty() {
                    let group = self.take_group(&mut state);
                    self.metrics.waiting.set(i64::try_from(state.waiting.len()).unwrap_or(i64::MAX));
                    return Some(group);
                }
                if state.closed {
                    return None;
                }
            }
            self.arrived.notified().await;
        }
    }

    fn take_group(&self, state: &mut State) -> Vec<Waiting> {
        let mut group = Vec::with_capacity(state.waiting.len().min(self.options.group_batches));
        let mut size_bytes = 0;
        while let Some(next) = state.waiting.front()
            && group.len() < self.options.group_batches
            && (group.is_empty() || size_bytes + next.size_bytes <= self.options.group_bytes)
        {
            size_bytes += next.size_bytes;
            group.extend(state.waiting.pop_front());
        }
        state.size_bytes -= size_bytes;
        self.taken.notify_waiters();
        group
    }
}

/// How often the back end is asked whether it takes writes while it does.
const LOOK: Duration = Duration::from_secs(5);

/// The first and the longest pause before it is asked again while it does not.
const HEAL_FIRST: Duration = Duration::from_millis(200);
const HEAL_LATER: Duration = Duration::from_secs(10);

/// Writes groups until the queue is closed and empty.
pub(crate) async fn run(queue: Arc<Queue>, backend: Arc<dyn Backend>, hub: Arc<Hub>) {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // A committer that is started again takes up what the last one knew.
    let mut trouble = queue.sign.trouble();
    loop {
        if let Some(reason) = trouble.take() {
            if !refuse_until_healed(&queue, backend.as_ref(), &hub, reason).await {
                return;
            }
            look.reset();
        }
        trouble = tokio::select! {
            group = queue.next_group() => match group {
                Some(group) => write(&queue, backend.as_ref(), &hub, group).await,
                None => return,
            },
            _ = look.tick() => heal(backend.as_ref(), &hub).await.err(),
        };
    }
}

/// Writes a group and answers; gives the reason if nothing more can be written.
async fn write(queue: &Queue, backend: &dyn Backend, hub: &Hub, group: Vec<Waiting>) -> Option<Error> {
    let (batches, mut open): (Vec<_>, Vec<_>) = group
        .into_iter()
        .map(|Waiting { batch, landed, answer, .. }| (batch, Open { landed, answer }))
        .unzip();
    let batches = Arc::new(batches);

    let started = Instant::now();
    let mut results = backend.commit(batches.clone()).await;
    queue.metrics.note_group(&results, started.elapsed());
    let trouble = results.iter().find_map(|result| match result {
        Err(CommitError::Unknown) => {
            Some(Error::unavailable("commit", "it is not known what the last write did"))
        }
        Err(CommitError::Store(error)) if error.stops_writes() => Some(error.clone()),
        Ok(_) | Err(_) => None,
    });
    if let Some(reason) = &trouble {
        // Before the answers: who is refused finds the store in the condition that he was refused by.
        queue.sign.note(Err(reason.clone()));
    }

    let mut touched = Vec::new();
    if !backend.is_shared() {
        // Nobody else writes: what these batches bring is all that comes next.
        land(&mut open, &results, last_given(&results).unwrap_or_else(|| hub.head()));
        touched = reveal(hub, &batches, &results);
    } else if let Err(error) = show(backend, hub, &results).await {
        warn!(error = ?error, "a group was written, but the log cannot be read up to it");
        let written = results.iter_mut().filter(|result| result.is_ok());
        written.for_each(|result| *result = Err(CommitError::Unknown));
    }
    let head = hub.head();
    land(&mut open, &results, head);
    for (Open { answer, .. }, result) in open.into_iter().zip(results) {
        let outcome = result.map(|RawCommitted { first, count }| Committed { first, count, head });
        // Whoever submitted may have lost interest.
        answer.send(outcome).ok();
    }
    // After the answers: whoever wrote to thousands who wait is not answered behind them all.
    if !touched.is_empty() {
        hub.wake_all(touched.into_iter());
    }
    trouble
}

/// Does what is to be done once with each batch that was written, in their order.
fn land(open: &mut [Open], results: &[Result<RawCommitted, CommitError>], head: Position) {
    for (open, result) in open.iter_mut().zip(results) {
        if let (Ok(RawCommitted { first, count }), Some(landed)) = (result, open.landed.take()) {
            landed(&Committed { first: *first, count: *count, head });
        }
    }
}

/// Asks the back end whether it takes writes, and shows what it found written on the way.
async fn heal(backend: &dyn Backend, hub: &Hub) -> Result<(), Error> {
    let touched = backend.heal().await?;
    if touched.through > hub.head() {
        show_touched(hub, &touched);
    }
    Ok(())
}

/// Refuses every batch until the back end takes writes again. False: the queue is closed and empty.
async fn refuse_until_healed(queue: &Queue, backend: &dyn Backend, hub: &Hub, mut reason: Error) -> bool {
    let random = Random::os();
    let mut backoff = Backoff::new(HEAL_FIRST, HEAL_LATER);
    let mut pause = Duration::ZERO;
    queue.sign.note(Err(reason.clone()));
    loop {
        // Batches are refused meanwhile, however long it takes.
        let waited = tokio::time::sleep(pause);
        let mut healing = std::pin::pin!(async {
            waited.await;
            heal(backend, hub).await
        });
        let healed = loop {
            tokio::select! {
                healed = &mut healing => break healed,
                group = queue.next_group() => match group {
                    Some(group) => queue.refuse(group, &reason),
                    None => return false,
                },
            }
        };
        queue.sign.note(healed.clone());
        match healed {
            Ok(()) => return true,
            Err(error) => reason = error,
        }
        pause = backoff.next(&random);
    }
}

/// Makes a group visible that this process alone can have written; gives what it touched, so that those who wait for it
/// are woken.
fn reveal<'a>(
    hub: &Hub,
    batches: &'a [RawBatch],
    results: &[Result<RawCommitted, CommitError>],
) -> Vec<(Position, &'a [Topic])> {
    let Some(head) = last_given(results) else { return Vec::new() };
    let committed =
        batches.iter().zip(results).filter_map(|(batch, result)| Some((batch, result.as_ref().ok()?)));
    let slots = committed.flat_map(|(batch, done)| (done.first.0..).map(Position).zip(&batch.slots));
    let told = slots.clone().filter(|(_, slot)| slot.kind == EPHEMERAL && !slot.payload.is_empty());
    let told = told.map(|(position, slot)| (position, slot.payload.as_ref()));
    let touched: Vec<_> = slots.map(|(position, slot)| (position, slot.topics.as_slice())).collect();
    hub.reveal(touched.iter().copied(), told, head);
    touched
}

/// The last position that a group got; none when it got none.
fn last_given(results: &[Result<RawCommitted, CommitError>]) -> Option<Position> {
    let committed = results.iter().filter_map(|result| result.as_ref().ok());
    committed.filter(|done| done.count > 0).map(|done| done.first.plus(u64::from(done.count) - 1)).max()
}

/// How often the log is read again when it cannot be read up to a group of our own.
const ATTEMPTS: usize = 3;

/// Makes a group visible that was written to shared data, with all that others wrote before it:
/// nobody is told that a batch is committed before this store's head covers it.
async fn show(
    backend: &dyn Backend,
    hub: &Hub,
    results: &[Result<RawCommitted, CommitError>],
) -> Result<(), Error> {
    let Some(last) = last_given(results) else { return Ok(()) };
    let mut outcome = Ok(());
    for _ in 0..ATTEMPTS {
        outcome = catch_up(backend, hub, last).await;
        if hub.head() >= last {
            return Ok(());
        }
    }
    outcome.and(Err(Error::Refused("the log of shared data ends before what was just written".to_owned())))
}

/// How many positions are read from shared data at once.
const CATCH_UP: usize = 1_000;

/// Makes visible what this and other processes have written to shared data before the call, up to a position.
/// What others write behind it while this reads is not waited for: that may have no end.
///
/// # Errors
/// When the log cannot be read; what was read until then is visible.
pub(crate) async fn catch_up(backend: &dyn Backend, hub: &Hub, target: Position) -> Result<(), Error> {
    loop {
        let before = hub.head();
        if before >= target {
            return Ok(());
        }
        let touched = backend.touched(before, CATCH_UP).await?;
        if touched.through <= before {
            return Ok(());
        }
        show_touched(hub, &touched);
    }
}

fn show_touched(hub: &Hub, touched: &Touched) {
    if touched.has_holes {
        warn!(position = %touched.through, "the log of shared data was trimmed before it was followed");
        return hub.advance_blindly(touched.through);
    }
    let positions = touched.positions.iter();
    let positions = positions.map(|(at, topics): &(Position, Vec<Topic>)| (*at, topics.as_slice()));
    let told = touched.told.iter().map(|(at, told)| (*at, told.as_ref()));
    hub.advance(positions, told, touched.through);
}

/// Follows shared data for as long as the store is open, whatever the back end says.
pub(crate) async fn follow(backend: Arc<dyn Backend>, hub: Arc<Hub>, closed: Arc<Notify>) {
    let mut closed = std::pin::pin!(closed.notified());
    let random = Random::os();
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
    loop {
        let step = async {
            backend.moved_on(hub.head()).await?;
            catch_up(backend.as_ref(), &hub, Position(u64::MAX)).await
        };
        let followed = tokio::select! {
            () = &mut closed => return,
            followed = step => followed,
        };
        let Err(error) = followed else {
            if backoff.failures() > 0 {
                info!("the log of shared data is followed again");
            }
            backoff.reset();
            continue;
        };
        if backoff.failures() == 0 {
            warn!(error = ?error, "the log of shared data cannot be followed; will try again");
        }
        tokio::select! {
            () = &mut closed => return,
            () = tokio::time::sleep(backoff.next(&random)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    use async_trait::async_trait;
    use base::{Metrics, Tasks};
    use bytes::Bytes;

    use super::*;
    use crate::{Batch, MemoryBackend, Moved, Store, Table, Tuning, interposed::Interposed};

    static NUMBERS: Table<u64, Bytes> = Table::new(189, "committer.numbers", Tuning::Small);

    /// Shared data to which others write one more entry each time that the log is read.
    struct Lively {
        memory: MemoryBackend,
        to_come: AtomicU64,
        /// What they have written behind our own so far.
        behind: AtomicU64,
    }

    #[async_trait]
    impl Interposed for Lively {
        fn behind(&self) -> &dyn Backend {
            &self.memory
        }

        async fn head(&self) -> Result<Position, Error> {
            Ok(self.memory.head().await?.plus(self.behind.load(SeqCst)))
        }

        fn is_shared(&self) -> bool {
            true
        }

        async fn touched(&self, after: Position, _limit: usize) -> Result<Touched, Error> {
            // Not without end, so that the test has one.
            let more = self.to_come.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
            Ok(Touched::nothing(after.plus(u64::from(more))))
        }
    }

    #[tokio::test]
    async fn neither_a_commit_nor_who_reaches_for_a_position_waits_for_what_others_write_behind_it() {
        let metrics = Metrics::new();
        let backend =
            Arc::new(Lively { memory: MemoryBackend::new(), to_come: 1_000.into(), behind: 0.into() });
        let tasks = Tasks::new(&metrics);
        let store = Store::open(backend.clone(), Options::default(), &tasks, &metrics).await.unwrap();

        let position = store.publish([Topic::room("!a")]).await.unwrap();
        assert_eq!(store.head(), position);

        backend.behind.store(1_000, SeqCst);
        let theirs = position.plus(10);
        assert_eq!(store.reach(theirs).await.unwrap(), theirs);
    }

    /// Notes that somebody was woken.
    struct Bell(&'static str, Arc<Mutex<Vec<&'static str>>>);

    impl std::task::Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.1.lock().push(self.0);
        }
    }

    #[tokio::test]
    async fn whoever_commits_is_answered_before_those_who_wait_for_it_are_woken() {
        let metrics = Metrics::new();
        let tasks = Tasks::new(&metrics);
        let backend = Arc::new(MemoryBackend::new());
        let store = Store::open(backend, Options::default(), &tasks, &metrics).await.unwrap();
        let woken = Arc::new(Mutex::new(Vec::new()));
        let bell = |name| std::task::Waker::from(Arc::new(Bell(name, woken.clone())));
        let (reader, writer) = (bell("reader"), bell("writer"));

        let mut watch = store.watch(vec![Topic::room("!a")]);
        let mut wait = std::pin::pin!(watch.changed());
        assert!(wait.as_mut().poll(&mut std::task::Context::from_waker(&reader)).is_pending());
        let mut batch = Batch::new();
        batch.touch([Topic::room("!a")]);
        let mut commit = std::pin::pin!(store.commit(batch));
        assert!(commit.as_mut().poll(&mut std::task::Context::from_waker(&writer)).is_pending());
        while woken.lock().len() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(*woken.lock(), ["writer", "reader"]);
    }

    #[tokio::test]
    async fn what_is_to_be_done_with_a_batch_is_done_before_anybody_sees_it_and_not_when_it_is_refused() {
        let metrics = Metrics::new();
        let tasks = Tasks::new(&metrics);
        let store =
            Store::open(Arc::new(MemoryBackend::new()), Options::default(), &tasks, &metrics).await.unwrap();
        let (landed, before) = (Arc::new(Mutex::new(Vec::new())), store.head());
        let submit = |number: u64| {
            let mut batch = Batch::new();
            batch.insert(&NUMBERS, &number, &Bytes::new());
            batch.touch([Topic::room("!a")]);
            let (landed, seen) = (landed.clone(), store.clone());
            store.submit_with(batch, move |committed| {
                let moved = seen.moved(Topic::room("!a"), before);
                landed.lock().push((number, committed.last(), seen.head() < committed.last(), moved));
            })
        };
        // All in one group.
        let receipts = [submit(1), submit(2), submit(1), submit(3)];
        let mut outcomes = Vec::new();
        for receipt in receipts {
            outcomes.push(receipt.await.ok().map(|committed| committed.last()));
        }
        assert!(outcomes[2].is_none());
        let expected = [(1, outcomes[0]), (2, outcomes[1]), (3, outcomes[3])];
        let expected = expected.map(|(number, position)| (number, position.unwrap(), true, Moved::No));
        assert_eq!(*landed.lock(), expected);
    }
}
