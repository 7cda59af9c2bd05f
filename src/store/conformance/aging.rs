//! What happens to a log that grows old.

use std::time::Duration;

use super::{Opened, Place};
use crate::{Batch, Consumer, Error, Keep, Missed, Position, Store, Term, Topic};
use base::{CancellationToken, Clock, ManualClock, Metrics, Tasks};
use bytes::Bytes;

/// How long something may take before the test fails.
const SOON: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(60 * 60);

async fn log(store: &Store) -> Position {
    let mut batch = Batch::new();
    batch.log(1, Bytes::from_static(b"entry"), [Topic::room("!a")]);
    store.commit(batch).await.expect("committed").last()
}

async fn read(store: &Store, after: Position) -> Result<Vec<Position>, (Position, Position)> {
    match store.changes(after, 1_000).await {
        Ok(entries) => Ok(entries.into_iter().map(|entry| entry.position).collect()),
        Err(Error::Trimmed { after, through }) => Err((after, through)),
        Err(error) => panic!("{error}"),
    }
}

/// Of a trimmed log what is left is read as before. Who would read what is gone is told so, wherever he stands, and
/// nobody else. The last entry stays, so positions go on behind it, and nothing is missed in a check.
pub async fn a_trimmed_log_tells_who_reads_what_is_gone(place: &dyn Place) {
    let mut opened = Opened::at(place).await;
    opened.store.trim_log_now(Position(u64::MAX)).await.expect("nothing is there to go");
    let mut entries = Vec::new();
    for number in 0..12 {
        entries.push(log(&opened.store).await);
        if number % 3 == 0 {
            opened.store.publish([Topic::room("!a")]).await.expect("published");
        }
    }
    let head = opened.store.head();
    for cut in [4_usize, 7, 11] {
        let store = &opened.store;
        store.trim_log_now(entries[cut - 1]).await.expect("trimmed");
        let last_gone = entries[cut - 1];
        for position in (0..=head.0).map(Position) {
            let expected = match position < last_gone {
                true => Err((position, last_gone)),
                false => Ok(entries.iter().copied().filter(|entry| *entry > position).collect()),
            };
            assert_eq!(read(store, position).await, expected, "after {position}, trimmed up to {last_gone}");
        }
        let status = store.log_status().await.expect("a status");
        assert_eq!(status.trimmed, last_gone);
        let report = store.verify(&[]).await.expect("checked");
        assert!(report.is_clean(), "{:?}", report.problems);
        assert_eq!(report.entries, 12 - cut as u64);
        opened.store.give_log_back().await.expect("given back");
        opened.crash(place).await;
        opened = Opened::at(place).await;
        assert_eq!(opened.store.trimmed().await.expect("read"), last_gone);
    }
    // All but the last is gone: also by somebody who would take that.
    opened.store.trim_log_now(Position(u64::MAX)).await.expect("trimmed");
    let mut forced = Batch::new();
    forced.trim_log(Position::START, Position(u64::MAX));
    opened.store.commit(forced).await.expect("committed");
    opened.crash(place).await;
    let opened = Opened::at(place).await;
    assert_eq!(read(&opened.store, entries[10]).await, Ok(vec![entries[11]]));
    let next = log(&opened.store).await;
    assert!(next > head, "no position is given twice");
    assert_eq!(read(&opened.store, entries[10]).await, Ok(vec![entries[11], next]));
    assert!(opened.store.verify(&[]).await.expect("checked").is_clean());
    opened.close().await;
}

/// The log is trimmed as it grows old, behind the slowest of its readers; one that does not move is waited for so long and
/// no longer, and told when it comes back. A crash in between changes nothing.
pub async fn the_log_waits_for_its_readers_but_not_for_ever(place: &dyn Place) {
    let mut opened = Opened::at(place).await;
    let keep = Keep { log: 2 * HOUR, at_most: 12 * HOUR };
    let mut first = Vec::new();
    for _ in 0..10 {
        first.push(log(&opened.store).await);
    }
    set_cursor(&opened.store, "slow", first[3]).await;
    set_cursor(&opened.store, "quick", first[9]).await;

    let mut trimming = Trimming::begin(&opened, keep);
    trimming.until(&opened.store, first[3]).await;
    // Nothing moves for as long as the slow one is waited for, nor does a crash move it.
    trimming.ticks(&opened.store, 12).await;
    assert_eq!(opened.store.trimmed().await.expect("read"), first[3]);
    trimming.end().await;
    opened.crash(place).await;
    opened = Opened::at(place).await;
    trimming = Trimming::begin(&opened, keep);
    trimming.ticks(&opened.store, 3).await;
    let status = opened.store.log_status().await.expect("a status");
    assert_eq!(status.trimmed, first[3]);
    assert!(status.readers.iter().all(|reader| !reader.is_passed_over), "{status:?}");
    assert_eq!(opened.store.slowest_cursor().await.expect("read"), Some(first[3]));

    let mut second = Vec::new();
    for _ in 0..10 {
        second.push(log(&opened.store).await);
    }
    set_cursor(&opened.store, "quick", second[9]).await;
    trimming.until(&opened.store, second[8]).await;
    let status = opened.store.log_status().await.expect("a status");
    let slow = status.readers.iter().find(|reader| reader.name == "slow").expect("it is known");
    assert!(slow.is_passed_over && slow.cursor == first[3]);
    assert_eq!(opened.store.slowest_cursor().await.expect("read"), Some(second[9]));
    assert!(opened.store.verify(&[]).await.expect("checked").is_clean());

    // The slow one is told, until it has made up for it; a new one has missed nothing.
    let missed = Some(Missed { after: first[3], through: second[8] });
    let store = &opened.store;
    let seen = |term: &Term| (term.cursor(), term.missed());
    assert_eq!(in_term(store, "slow", async |term| seen(&term)).await, (second[8], missed));
    assert_eq!(
        store.log_status().await.expect("a status").readers.iter().find(|one| one.is_passed_over),
        None
    );
    assert_eq!(in_term(store, "slow", async |term| seen(&term)).await, (second[8], missed));
    let made_up = async |term: Term| {
        let mut batch = Batch::new();
        term.made_up(&mut batch);
        term.set_cursor(&mut batch, second[9]);
        term.commit(batch).await.expect("committed");
    };
    in_term(store, "slow", made_up).await;
    assert_eq!(in_term(store, "slow", async |term| seen(&term)).await, (second[9], None));
    assert_eq!(in_term(store, "new", async |term| seen(&term)).await, (second[8], None));
    // And from then on the log waits for the new one.
    let third = log(store).await;
    log(store).await;
    set_cursor(store, "slow", third).await;
    set_cursor(store, "quick", third).await;
    trimming.ticks(store, 24).await;
    assert_eq!(store.trimmed().await.expect("read"), second[8]);
    trimming.end().await;
    opened.close().await;
}

/// A reader that comes while a slice is cut holds it up, and has all of the log that it begins with.
pub async fn a_reader_that_comes_in_between_is_not_cut_off(place: &dyn Place) {
    let opened = Opened::at(place).await;
    let store = &opened.store;
    let mut entries = Vec::new();
    for _ in 0..10 {
        entries.push(log(store).await);
    }
    let trimmer = crate::trim::tests_trimmer(store, Keep { log: Duration::ZERO, at_most: 12 * HOUR });
    let consumer = Consumer::without_log(store, "log trimming", &Clock::system(), &Metrics::new());
    let (cut, begun) = in_term_of(&consumer, async |term: Term| {
        for _ in 0..6 {
            trimmer.tick(&term).await.expect("older");
        }
        let plan = trimmer.plan().await.expect("planned");
        assert!(plan.target >= entries[9], "all of it may go");
        let begun = in_term(store, "new", async |term: Term| term.cursor()).await;
        (trimmer.slice(&term, &plan).await.expect("refused in order"), begun)
    })
    .await;
    assert_eq!((cut, begun), (0, Position::START));
    assert_eq!(read(store, begun).await, Ok(entries));
    opened.close().await;
}

/// Whoever was passed over is forgotten, if this program has no such reader and nobody shows that he has it; then a new one
/// of its name begins as such.
pub async fn a_reader_that_nobody_has_any_more_is_forgotten(place: &dyn Place) {
    let opened = Opened::at(place).await;
    let store = &opened.store;
    let mut entries = Vec::new();
    for _ in 0..10 {
        entries.push(log(store).await);
    }
    for name in ["gone", "ours", "elsewhere"] {
        set_cursor(store, name, entries[2]).await;
    }
    set_cursor(store, "quick", entries[9]).await;
    // It has not made up for what it missed before.
    let mut before = Batch::new();
    before.put(&crate::consumer::MISSED, "gone", &Missed { after: Position::START, through: entries[1] });
    store.commit(before).await.expect("committed");
    let ours = Consumer::new(store, "ours", &Clock::system(), &Metrics::new());
    store.trim_log_now(entries[5]).await.expect("trimmed");
    let names = async || {
        let readers = store.log_status().await.expect("a status").readers;
        readers.into_iter().map(|reader| reader.name).collect::<Vec<_>>()
    };
    let beat = async |count: u64| {
        let mut batch = Batch::new();
        batch.put(&crate::consumer::BEATS, "elsewhere", &count);
        store.commit(batch).await.expect("committed");
    };
    let trimmer = crate::trim::tests_trimmer(store, Keep::default());
    let trimming = Consumer::without_log(store, "log trimming", &Clock::system(), &Metrics::new());
    in_term_of(&trimming, async |term: Term| {
        beat(1).await;
        trimmer.forget(&term).await.expect("looked at");
        assert_eq!(names().await, ["elsewhere", "gone", "ours", "quick"], "not at first sight");
        beat(2).await;
        trimmer.forget(&term).await.expect("looked at");
        assert_eq!(names().await, ["elsewhere", "ours", "quick"]);
        trimmer.forget(&term).await.expect("looked at");
        assert_eq!(names().await, ["ours", "quick"], "nobody counts up any more");
    })
    .await;
    let missed = in_term_of(&ours, async |term: Term| term.missed()).await;
    assert_eq!(missed, Some(Missed { after: entries[2], through: entries[5] }));
    for _ in 0..2 {
        let seen = in_term(store, "gone", async |term| (term.cursor(), term.missed())).await;
        assert_eq!(seen, (entries[5], None));
    }
    // Who trims looks after that by himself.
    set_cursor(store, "elsewhere", entries[2]).await;
    let trimming = Trimming::begin(&opened, Keep::default());
    trimming.ticks(store, 3).await;
    assert_eq!(names().await, ["gone", "ours", "quick"]);
    trimming.end().await;
    opened.close().await;
}

async fn set_cursor(store: &Store, name: &str, position: Position) {
    let mut batch = Batch::new();
    batch.set_cursor(name, position);
    store.commit(batch).await.expect("committed");
}

/// Does something in a term of a consumer.
async fn in_term<T>(store: &Store, name: &'static str, work: impl AsyncFn(Term) -> T) -> T {
    in_term_of(&Consumer::new(store, name, &Clock::system(), &Metrics::new()), work).await
}

async fn in_term_of<T>(consumer: &Consumer, work: impl AsyncFn(Term) -> T) -> T {
    let (stop, done) = (CancellationToken::new(), parking_lot::Mutex::new(None));
    let run = consumer.run(stop.clone(), async |term: Term| {
        let result = work(term).await;
        *done.lock() = Some(result);
        stop.cancel();
        Ok::<(), Error>(())
    });
    tokio::time::timeout(SOON, run).await.expect("a term");
    done.into_inner().expect("it was done")
}

/// A log that is trimmed, with a clock that is moved by hand.
struct Trimming {
    hand: ManualClock,
    tasks: Tasks,
}

impl Trimming {
    fn begin(opened: &Opened, keep: Keep) -> Self {
        let (clock, hand) = Clock::manual(0);
        let metrics = Metrics::new();
        let tasks = Tasks::new(&metrics);
        opened.store.start_trimming(keep, &clock, &tasks, &metrics);
        Self { hand, tasks }
    }

    /// Lets time go by until the log is trimmed up to a position, and no further.
    async fn until(&self, store: &Store, position: Position) {
        let waited = async {
            loop {
                let trimmed = store.trimmed().await.expect("read");
                assert!(trimmed <= position, "trimmed up to {trimmed} instead of {position}");
                if trimmed == position {
                    return;
                }
                self.go_on().await;
            }
        };
        tokio::time::timeout(SOON, waited).await.expect("trimmed in time");
    }

    /// Lets the log grow older by some ticks.
    async fn ticks(&self, store: &Store, count: u64) {
        let age = async || store.get(&crate::schema::META, "log.age").await.expect("read").unwrap_or(0);
        let end = age().await + count;
        let waited = async {
            while age().await < end {
                self.go_on().await;
            }
        };
        tokio::time::timeout(SOON, waited).await.expect("older in time");
    }

    async fn go_on(&self) {
        if self.hand.sleepers() > 0 {
            self.hand.advance(Duration::from_secs(60));
        }
        tokio::task::yield_now().await;
    }

    async fn end(self) {
        assert_eq!(self.tasks.stop(SOON).await, 0, "it ends in order");
    }
}
