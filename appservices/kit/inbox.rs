//! What the homeserver told and is not done yet.
//!
//! A transaction is written down whole before it is answered, once: one that comes again is known. Its events wait in
//! the order in which they came, and each goes in the same commit as what the bot keeps because of it.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use http::StatusCode;
use ruma::OwnedRoomId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::{sync::Notify, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::{
    bot::Bot,
    event::{Event, next_ms},
    homeserver::Failure,
    store::{Batch, Error, Rows, Store, Table},
};

/// What is to be done; key: its number in twenty digits, value: the event.
const INBOX: Table<Event> = Table::new("inbox");
/// Transactions that were taken; key: the id, value: a hash of the ids of its events, and its number.
const SEEN: Table<Seen> = Table::new("seen");
/// The same in the order in which they came; key: the number in twenty digits, value: the id.
const SEEN_ORDER: Table<String> = Table::new("seen order");
/// The numbers that are next; key: empty.
const COUNTERS: Table<Counters> = Table::new("counters");

/// Events that wait at most; what comes then is answered 503, so that the homeserver keeps it.
const MOST_WAITING: usize = 100_000;

/// Transactions that are remembered. A homeserver repeats the last one only.
const MOST_SEEN: u64 = 10_000;

/// Events in memory.
const HELD: usize = 1_000;

/// Rooms that are served at a time.
const LANES: usize = 16;

/// Time for an event. Whatever hangs is begun anew then.
const DEADLINE: Duration = Duration::from_secs(600);

/// Pauses after failures that may pass.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// An event over which the homeserver breaks (500) so often is given up; all other failures are waited for.
const MOST_FAULTS: u32 = 30;

/// Time to finish what was begun when the program is to end.
const LAST_MOMENTS: Duration = Duration::from_secs(10);

#[derive(Debug, Serialize, Deserialize)]
struct Seen {
    events: String,
    number: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Counters {
    event: u64,
    transaction: u64,
    /// When the last event was received.
    #[serde(default)]
    received_ms: u64,
}

/// Why a transaction was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Untaken {
    #[error("too many events wait")]
    Full,
    #[error(transparent)]
    Store(#[from] Error),
}

/// What is not done yet.
pub(crate) struct Inbox {
    store: Store,
    more: Notify,
    waiting: AtomicUsize,
}

fn place(number: u64) -> String {
    format!("{number:020}")
}

impl Inbox {
    /// Finds what was not done before the program ended.
    pub(crate) async fn open(store: &Store) -> Result<Arc<Self>, Error> {
        let count = |rows: &Rows<'_>| Ok::<_, Error>((Batch::new(), rows.count(&INBOX, "", MOST_WAITING)?));
        let waiting = store.change(count).await?;
        Ok(Arc::new(Self { store: store.clone(), more: Notify::new(), waiting: waiting.into() }))
    }

    /// How many events wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether something can be written.
    pub(crate) async fn is_writable(&self) -> Result<(), Error> {
        self.store.check().await
    }

    /// Takes a transaction: its events are on the disk when this returns, or were before.
    ///
    /// One with the same id and other events is another one: a homeserver that lost its data counts anew.
    pub(crate) async fn take(&self, id: &str, mut events: Vec<Event>) -> Result<(), Untaken> {
        if self.waiting() + events.len() > MOST_WAITING {
            return Err(Untaken::Full);
        }
        let (id, digest) = (id.to_owned(), digest(&events));
        let taken = self.store.change(move |rows| {
            let seen = rows.get(&SEEN, &id)?;
            if seen.as_ref().is_some_and(|seen| seen.events == digest) {
                debug!(txn_id = id, "a transaction that was taken before");
                return Ok((Batch::new(), 0));
            }
            let Counters { event, transaction, mut received_ms } =
                rows.get(&COUNTERS, "")?.unwrap_or_default();
            let mut batch = Batch::new();
            let mut next = event;
            for event in &mut events {
                received_ms = next_ms(received_ms, event.received_ms);
                event.received_ms = received_ms;
                batch.put(&INBOX, &place(next), event);
                next += 1;
            }
            if let Some(seen) = seen {
                batch.delete(&SEEN_ORDER, &place(seen.number));
            }
            if let Some(old) = transaction.checked_sub(MOST_SEEN)
                && let Some(id) = rows.get(&SEEN_ORDER, &place(old))?
            {
                batch.delete(&SEEN, &id).delete(&SEEN_ORDER, &place(old));
            }
            batch.put(&SEEN, &id, &Seen { events: digest, number: transaction });
            batch.put(&SEEN_ORDER, &place(transaction), &id);
            batch.put(&COUNTERS, "", &Counters { event: next, transaction: transaction + 1, received_ms });
            Ok::<_, Error>((batch, events.len()))
        });
        self.waiting.fetch_add(taken.await?, Ordering::Relaxed);
        self.more.notify_one();
        Ok(())
    }

    /// Has a bot do what waits, until the program is to end.
    pub(crate) async fn work<B: Bot>(self: Arc<Self>, bot: Arc<B>, stop: CancellationToken) {
        let mut desk = Desk::default();
        let mut under_way = JoinSet::new();
        loop {
            // Before the look: what comes meanwhile must wake us.
            let more = self.more.notified();
            if let Err(error) = self.fill(&mut desk).await {
                error!(%error, "what waits cannot be read");
                if stop.run_until_cancelled(tokio::time::sleep(LONGEST_PAUSE)).await.is_none() {
                    break;
                }
                continue;
            }
            while under_way.len() < LANES
                && let Some((key, event)) = desk.next()
            {
                under_way.spawn(self.clone().do_one(bot.clone(), key, event));
            }
            tokio::select! {
                () = stop.cancelled() => break,
                Some(done) = under_way.join_next() => match done {
                    Ok(room) => desk.done(&room),
                    Err(error) => error!(%error, "an event was left in the middle; it is done after a restart"),
                },
                () = more, if desk.held < HELD => {}
            }
        }
        let finish = async { while under_way.join_next().await.is_some() {} };
        if timeout(LAST_MOMENTS, finish).await.is_err() {
            warn!(count = under_way.len(), "events are left for the next start");
        }
        under_way.shutdown().await;
    }

    async fn fill(&self, desk: &mut Desk) -> Result<(), Error> {
        while desk.held < HELD {
            let more = self.store.scan(&INBOX, "", desk.last.as_deref(), HELD - desk.held).await?;
            let Some((last, _)) = more.last() else { break };
            desk.last = Some(last.clone());
            more.into_iter().for_each(|(key, event)| desk.add(key, event));
        }
        Ok(())
    }

    /// Does one event, however long it takes; its room.
    async fn do_one<B: Bot>(self: Arc<Self>, bot: Arc<B>, key: String, event: Event) -> OwnedRoomId {
        let Event { event_id, room_id, .. } = &event;
        let (mut pause, mut faults) = (FIRST_PAUSE, 0);
        loop {
            if !B::HEARS_PROGRAMS && is_word(&event) && event.is_of_program() {
                debug!(%event_id, %room_id, "what a program says is left alone");
                self.finish(&key, Batch::new()).await;
                break;
            }
            let outcome = timeout(DEADLINE, AssertUnwindSafe(bot.handle(&event)).catch_unwind()).await;
            let (cause, after) = match outcome {
                Ok(Ok(Ok(batch))) => {
                    self.finish(&key, batch).await;
                    bot.noted();
                    break;
                }
                Ok(Ok(Err(failure))) if failure.may_pass() => {
                    faults += u32::from(failure.status() == Some(StatusCode::INTERNAL_SERVER_ERROR));
                    if faults >= MOST_FAULTS {
                        error!(%event_id, %room_id, error = %failure, "an event is given up");
                        self.finish(&key, Batch::new()).await;
                        break;
                    }
                    let after = match &failure {
                        Failure::Passing { after, .. } => *after,
                        _ => None,
                    };
                    (failure.to_string(), after)
                }
                Ok(Ok(Err(failure))) => {
                    warn!(%event_id, %room_id, error = %failure, "an event could not be served");
                    self.finish(&key, Batch::new()).await;
                    break;
                }
                Ok(Err(_)) => {
                    error!(%event_id, %room_id, "the bot broke over an event, which is given up");
                    self.finish(&key, Batch::new()).await;
                    break;
                }
                Err(_) => ("it took too long".to_owned(), None),
            };
            warn!(%event_id, %room_id, error = cause, "an event is tried again");
            tokio::time::sleep(after.unwrap_or(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        event.room_id
    }

    /// Writes what came of an event and that it is done, as soon as the disk takes it.
    async fn finish(&self, key: &str, batch: Batch) {
        let done = || {
            let mut done = batch.clone();
            done.delete(&INBOX, key);
            done
        };
        while let Err(error) = self.store.commit(done()).await {
            error!(%error, "what was done cannot be written down");
            tokio::time::sleep(LONGEST_PAUSE / 12).await;
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether an event is something that is said, or a sign; not a fact of the room, nor something that is taken back.
fn is_word(event: &Event) -> bool {
    event.state_key.is_none() && event.kind != "m.room.redaction"
}

fn digest(events: &[Event]) -> String {
    let mut hash = Sha256::new();
    for event in events {
        hash.update(event.event_id.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is in memory of what waits: events of each room in their order, one of each under way.
#[derive(Default)]
struct Desk {
    /// The last that was read.
    last: Option<String>,
    held: usize,
    rooms: HashMap<OwnedRoomId, VecDeque<(String, Event)>>,
    /// Rooms with events of which none is under way, in the order in which they got there.
    ready: VecDeque<OwnedRoomId>,
    busy: HashSet<OwnedRoomId>,
}

impl Desk {
    fn add(&mut self, key: String, event: Event) {
        let room = event.room_id.clone();
        let queue = self.rooms.entry(room.clone()).or_default();
        queue.push_back((key, event));
        self.held += 1;
        if queue.len() == 1 && !self.busy.contains(&room) {
            self.ready.push_back(room);
        }
    }

    fn next(&mut self) -> Option<(String, Event)> {
        let room = self.ready.pop_front()?;
        let queue = self.rooms.get_mut(&room)?;
        let next = queue.pop_front()?;
        if queue.is_empty() {
            self.rooms.remove(&room);
        }
        self.busy.insert(room);
        Some(next)
    }

    fn done(&mut self, room: &OwnedRoomId) {
        self.held = self.held.saturating_sub(1);
        self.busy.remove(room);
        if self.rooms.contains_key(room) {
            self.ready.push_back(room.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        bot::{Host, Namespaces},
        config::Config,
    };

    fn event(room: &str, id: &str) -> Event {
        let value = json!({
            "event_id": format!("${id}"), "room_id": format!("!{room}:kanazawa.test"),
            "sender": "@hanako:kanazawa.test", "type": "m.room.message", "content": {},
        });
        Event::from_transaction(&value.to_string(), &[]).expect("an event")
    }

    #[tokio::test]
    async fn a_transaction_that_comes_again_is_taken_once_also_after_a_restart() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store");
        let store = Store::open(&path).expect("a store");
        let inbox = Inbox::open(&store).await.expect("an inbox");
        inbox.take("1", vec![event("a", "1"), event("b", "2")]).await.expect("taken");
        inbox.take("1", vec![event("a", "1"), event("b", "2")]).await.expect("taken before");
        assert_eq!(inbox.waiting(), 2);
        drop((inbox, store));

        let store = Store::open(&path).expect("a store");
        let inbox = Inbox::open(&store).await.expect("an inbox");
        inbox.take("1", vec![event("a", "1"), event("b", "2")]).await.expect("taken before");
        assert_eq!(inbox.waiting(), 2);
        // Of a homeserver that counts anew.
        inbox.take("1", vec![event("a", "3")]).await.expect("taken");
        assert_eq!(inbox.waiting(), 3);
        let keys: Vec<_> =
            store.scan(&INBOX, "", None, 10).await.expect("read").into_iter().map(|row| row.0).collect();
        assert_eq!(keys, [place(0), place(1), place(2)]);
    }

    #[tokio::test]
    async fn each_event_is_later_than_the_one_before_also_of_one_transaction_and_after_a_restart() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store");
        let ids: Vec<String> = (0..60).map(|number| number.to_string()).collect();
        for (number, ids) in ids.chunks(20).enumerate() {
            let inbox = Inbox::open(&Store::open(&path).expect("a store")).await.expect("an inbox");
            let events = ids.iter().map(|id| event("a", id)).collect();
            inbox.take(&number.to_string(), events).await.expect("taken");
        }
        let store = Store::open(&path).expect("a store");
        let rows = store.scan(&INBOX, "", None, 100).await.expect("read");
        let mut events: Vec<Event> = rows.into_iter().map(|(_, event)| event).collect();
        // As who keeps something by it finds it again.
        events.sort_by_key(|event| (event.received_ms, std::cmp::Reverse(event.event_id.clone())));
        let found: Vec<&str> = events.iter().map(|event| &event.event_id.as_str()[1..]).collect();
        assert_eq!(found, ids);
    }

    /// A bot that cannot say the first event of a room before another room has heard of its own.
    #[derive(Default)]
    struct Teller {
        told: parking_lot::Mutex<Vec<String>>,
        tries: AtomicUsize,
        more: Notify,
    }

    impl Bot for Teller {
        type Settings = ();

        const ID: &'static str = "teller";
        const ABOUT: &'static str = "a test";
        const SENDER: &'static str = "teller";

        fn claims(_: &Config<()>) -> Namespaces {
            Namespaces::default()
        }

        async fn start(_: Host<()>) -> anyhow::Result<Arc<Self>> {
            anyhow::bail!("it is not started")
        }

        async fn handle(&self, event: &Event) -> Result<Batch, Failure> {
            self.tries.fetch_add(1, Ordering::Relaxed);
            let mut told = self.told.lock();
            if event.event_id == "$first" && !told.iter().any(|id| id == "$elsewhere") {
                let after = Some(Duration::ZERO);
                return Err(Failure::Passing { cause: "not yet".to_owned(), after, status: None });
            }
            told.push(event.event_id.to_string());
            Ok(Batch::new())
        }

        fn noted(&self) {
            self.more.notify_one();
        }
    }

    /// AS11
    #[tokio::test]
    async fn an_event_that_is_tried_again_holds_up_those_behind_it_in_its_room_and_no_others() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(&directory.path().join("store")).expect("a store");
        let inbox = Inbox::open(&store).await.expect("an inbox");
        let (bot, stop) = (Arc::new(Teller::default()), CancellationToken::new());
        let work = tokio::spawn(inbox.clone().work(bot.clone(), stop.clone()));
        inbox.take("1", vec![event("a", "first"), event("a", "second")]).await.expect("taken");
        while bot.tries.load(Ordering::Relaxed) < 2 {
            tokio::task::yield_now().await;
        }
        inbox.take("2", vec![event("a", "third"), event("b", "elsewhere")]).await.expect("taken");
        while inbox.waiting() > 0 {
            bot.more.notified().await;
        }
        stop.cancel();
        work.await.expect("it ends");
        assert_eq!(*bot.told.lock(), ["$elsewhere", "$first", "$second", "$third"]);
    }

    #[test]
    fn events_of_a_room_come_one_after_the_other_and_other_rooms_beside_them() {
        let mut desk = Desk::default();
        for (room, id) in [("a", "1"), ("a", "2"), ("b", "3")] {
            desk.add(id.to_owned(), event(room, id));
        }
        let (first, other) = (desk.next().expect("one"), desk.next().expect("another"));
        assert_eq!((&*first.0, &*other.0), ("1", "3"));
        assert!(desk.next().is_none());
        desk.done(&first.1.room_id);
        assert_eq!(desk.next().expect("the next").0, "2");
    }
}
