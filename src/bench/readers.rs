//! Readers that wait for news as clients do, and a record of what each has seen.
//!
//! Messages are numbered, and a message carries its number in its text. So it can be told of each reader and each
//! message when it came, that it came, and that it came once.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::{
    people::{Ask, Person},
    site::Site,
    statistics::Times,
    wire::Wire,
};

/// Most messages of one run.
pub(crate) const MOST_MESSAGES: usize = 16_384;

/// How long a reader waits for news in one request, as clients do.
const WAIT_MS: u64 = 30_000;

/// What stands before a message's number.
const MARK: &str = r#""body":"~"#;

/// Readers at work. They end with this.
#[derive(Debug)]
pub(crate) struct Readers {
    record: Arc<Record>,
    tasks: Vec<JoinHandle<Result<()>>>,
}

/// What was sent and seen.
#[derive(Debug)]
struct Record {
    clock: Instant,
    /// When each message was sent, in microseconds.
    sent: Vec<AtomicU64>,
    messages: AtomicUsize,
    readers: Vec<Mutex<Own>>,
    arrived: AtomicUsize,
    receipts: AtomicUsize,
    receipts_again: AtomicUsize,
    answers: AtomicUsize,
    /// Timelines that left something out.
    cut: AtomicUsize,
    delays: Mutex<Times>,
}

/// Somebody who waits for news.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) person: Arc<Person>,
    /// Up to where he knows everything.
    pub(crate) since: String,
    /// The id of a filter that he has left with the server.
    pub(crate) filter: Option<String>,
}

/// What one reader has seen.
#[derive(Debug, Default)]
struct Own {
    /// How often each message.
    messages: Vec<u8>,
    /// Whether a receipt of each person, since [`Readers::forget_receipts`].
    receipts: Vec<bool>,
}

/// Whether what should be seen was seen.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Pairs of reader and message that should have met.
    pub(crate) wanted: usize,
    /// Those of them that met.
    pub(crate) met: usize,
    /// Meetings too many.
    pub(crate) repeated: usize,
    /// Messages seen by readers for whom they were not.
    pub(crate) strange: usize,
    /// Timelines that were cut, since more had come than a timeline holds: readers who fell so far behind miss
    /// messages by rights.
    pub(crate) cut: usize,
}

impl Seen {
    /// Adds what was seen another time.
    pub(crate) fn add(&mut self, other: Self) {
        self.wanted += other.wanted;
        self.met += other.met;
        self.repeated += other.repeated;
        self.strange += other.strange;
        self.cut += other.cut;
    }

    pub(crate) fn percent(&self) -> f64 {
        self.met as f64 * 100.0 / self.wanted as f64
    }

    /// # Errors
    /// When something was missed, seen twice, or seen by the wrong reader: then no figure counts.
    pub(crate) fn must_be_right(&self, what: &str) -> Result<()> {
        if self.met != self.wanted || self.repeated > 0 || self.strange > 0 {
            bail!("{what}: what was read is wrong: {self:?}");
        }
        Ok(())
    }
}

impl Readers {
    /// Lets these wait for news, each on a connection of its own.
    pub(crate) fn start(site: &Site, readers: Vec<Reader>) -> Self {
        let record = Arc::new(Record::new(readers.len()));
        let read =
            |(number, reader)| tokio::spawn(read(record.clone(), number, reader, Wire::to(site.address)));
        let tasks = readers.into_iter().enumerate().map(read).collect();
        Self { record, tasks }
    }

    pub(crate) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// The text of a new message with its number; its delay counts from `begun`.
    pub(crate) fn text_of_new(&self, begun: Instant) -> (usize, String) {
        let number = self.record.messages.fetch_add(1, Ordering::Relaxed);
        let at = begun.saturating_duration_since(self.record.clock).as_micros();
        if let Some(sent) = self.record.sent.get(number) {
            sent.store(u64::try_from(at).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        (number, format!("~{number}~ 本日の会議は十時からです。"))
    }

    /// How many meetings of a reader and a message there have been.
    pub(crate) fn arrived(&self) -> usize {
        self.record.arrived.load(Ordering::Relaxed)
    }

    /// How many answers the readers have had.
    pub(crate) fn answers(&self) -> usize {
        self.record.answers.load(Ordering::Relaxed)
    }

    /// How many timelines left something out.
    pub(crate) fn cut(&self) -> usize {
        self.record.cut.load(Ordering::Relaxed)
    }

    /// How many pairs of a reader and a person whose receipt it has seen there are.
    pub(crate) fn receipts(&self) -> usize {
        self.record.receipts.load(Ordering::Relaxed)
    }

    /// How many receipts were told to readers who had seen one of the same person.
    pub(crate) fn receipts_again(&self) -> usize {
        self.record.receipts_again.load(Ordering::Relaxed)
    }

    /// Counts receipts anew.
    pub(crate) fn forget_receipts(&self) {
        for own in &self.record.readers {
            own.lock().receipts.clear();
        }
        self.record.receipts.store(0, Ordering::Relaxed);
        self.record.receipts_again.store(0, Ordering::Relaxed);
    }

    /// Waits until something holds; returns whether it did in time.
    ///
    /// # Errors
    /// When a reader could not go on.
    pub(crate) async fn wait_until(
        &mut self,
        limit: Duration,
        holds: impl Fn(&Self) -> bool,
    ) -> Result<bool> {
        let until = Instant::now() + limit;
        while !holds(self) {
            if Instant::now() > until {
                return Ok(false);
            }
            if let Some(ended) = self.tasks.iter().position(JoinHandle::is_finished) {
                self.tasks.swap_remove(ended).await??;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(true)
    }

    /// The delays since this was asked last.
    pub(crate) fn take_delays(&self) -> Times {
        std::mem::take(&mut *self.record.delays.lock())
    }

    /// Compares what was seen of these messages with what should have been.
    pub(crate) fn compare(&self, messages: Range<usize>, is_for: impl Fn(usize, usize) -> bool) -> Seen {
        let mut found = Seen::default();
        for (reader, own) in self.record.readers.iter().enumerate() {
            let own = own.lock();
            for message in messages.clone() {
                let times = usize::from(own.messages.get(message).copied().unwrap_or_default());
                found.repeated += times.saturating_sub(1);
                match (is_for(reader, message), times > 0) {
                    (true, met) => {
                        found.wanted += 1;
                        found.met += usize::from(met);
                    }
                    (false, met) => found.strange += usize::from(met),
                }
            }
        }
        found
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Record {
    fn new(readers: usize) -> Self {
        Self {
            clock: Instant::now(),
            sent: (0..MOST_MESSAGES).map(|_| AtomicU64::new(0)).collect(),
            messages: AtomicUsize::new(0),
            readers: (0..readers).map(|_| Mutex::default()).collect(),
            arrived: AtomicUsize::new(0),
            receipts: AtomicUsize::new(0),
            receipts_again: AtomicUsize::new(0),
            answers: AtomicUsize::new(0),
            cut: AtomicUsize::new(0),
            delays: Mutex::default(),
        }
    }

    /// Notes what is in an answer.
    fn note(&self, reader: usize, answer: &str) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.cut.fetch_add(answer.matches(r#""limited":true"#).count(), Ordering::Relaxed);
        let mut own = self.readers[reader].lock();
        for number in numbers(answer) {
            let Some(sent) = self.sent.get(number) else { continue };
            let times = entry(&mut own.messages, number);
            *times = times.saturating_add(1);
            if *times == 1 {
                let sent = Duration::from_micros(sent.load(Ordering::Relaxed));
                self.delays.lock().push(self.clock.elapsed().saturating_sub(sent));
                self.arrived.fetch_add(1, Ordering::Relaxed);
            }
        }
        for person in receipts(answer) {
            let counter = match std::mem::replace(entry(&mut own.receipts, person), true) {
                true => &self.receipts_again,
                false => &self.receipts,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// An entry of a list that grows as far as it is asked.
fn entry<T: Clone + Default>(list: &mut Vec<T>, index: usize) -> &mut T {
    if list.len() <= index {
        list.resize(index + 1, T::default());
    }
    &mut list[index]
}

async fn read(record: Arc<Record>, number: usize, reader: Reader, mut wire: Wire) -> Result<()> {
    let Reader { person, mut since, filter } = reader;
    loop {
        let ask = Ask { since: Some(&since), filter: filter.as_deref(), wait_ms: WAIT_MS };
        let answer = person.sync(&mut wire, &ask).await?;
        let answer = std::str::from_utf8(&answer)?;
        record.note(number, answer);
        since = token_in(answer)?.to_owned();
    }
}

/// The token for the next sync, cut out of an answer whose people say nothing that looks like one.
pub(crate) fn token_in(answer: &str) -> Result<&str> {
    let (_, rest) = answer.split_once(r#""next_batch":""#).context("no next_batch")?;
    Ok(rest.split_once('"').context("no end of next_batch")?.0)
}

/// The numbers of the people whose receipts are in an answer: those that their names end with.
fn receipts(answer: &str) -> impl Iterator<Item = usize> {
    let parts = match answer.contains(r#""m.receipt""#) {
        true => answer.split(r#"":{"ts":"#),
        false => "".split("-"),
    };
    parts.filter_map(|before| {
        let (_, user) = before.rsplit_once('@')?;
        let name = user.split_once(':')?.0;
        name.trim_start_matches(|letter: char| !letter.is_ascii_digit()).parse().ok()
    })
}

/// The numbers of the messages in an answer.
fn numbers(answer: &str) -> impl Iterator<Item = usize> {
    answer.split(MARK).skip(1).filter_map(|rest| rest.split_once('~')?.0.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_missed_repeated_or_seen_by_the_wrong_reader_is_found() {
        let record = Record::new(2);
        record.note(0, r#"{"content":{"body":"~0~ a"}},{"content":{"body":"~2~ b"}},{"body":"~1~"}"#);
        record.note(0, r#"{"content":{"body":"~2~ b"}}"#);
        record.note(1, r#"{"content":{"body":"~0~ a"}}"#);
        let readers = Readers { record: Arc::new(record), tasks: Vec::new() };
        // Message 0 is for both, 1 for the first, 2 for nobody, 3 for the second.
        let is_for = |reader, message| matches!((reader, message), (_, 0) | (0, 1) | (1, 3));
        let seen = readers.compare(0..4, is_for);
        assert_eq!(seen, Seen { wanted: 4, met: 3, repeated: 1, strange: 1, cut: 0 });
        assert_eq!(readers.arrived(), 4);
        assert!(seen.must_be_right("this").is_err());
        assert!(readers.compare(0..2, is_for).must_be_right("these").is_ok());
    }

    #[test]
    fn receipts_are_counted_once_for_each_person_and_tokens_are_cut_out() {
        let answer = concat!(
            r#"{"next_batch":"s1_2","rooms":{"join":{"!r":{"ephemeral":{"events":[{"type":"m.receipt","#,
            r#""content":{"$e":{"m.read":{"@a1:b":{"ts":1},"@a20:b":{"ts":2}}}}}]}}}}}"#,
        );
        assert_eq!(token_in(answer).ok(), Some("s1_2"));
        assert!(token_in("{}").is_err());
        assert_eq!(numbers(answer).count(), 0);
        let record = Record::new(2);
        record.note(0, answer);
        record.note(1, answer);
        record.note(1, answer);
        record.note(1, r#"{"sender":"@a3:b","unsigned":{"ts":4}}"#);
        let readers = Readers { record: Arc::new(record), tasks: Vec::new() };
        assert_eq!((readers.receipts(), readers.receipts_again()), (4, 2));
        readers.forget_receipts();
        assert_eq!((readers.receipts(), readers.receipts_again()), (0, 0));
    }
}
