//! What judges files for zones, and what it is at: so many at a time, and each once for all who ask.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use base::{CounterFamily, Metrics};
use parking_lot::Mutex;
use room::{FileReader, Zone};
use sanitise::Worker;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::{Error, Sha256, ZoneFiles, plan::Plan, tables::VerdictRow};

/// Files that are judged at a time or wait for it, and of those that one reader may have begun. They are judged one after the
/// other for each reader: of several processes some are left for those who want one file, whatever somebody else has
/// heaped up.
const MOST: usize = 64;
const OF_ONE: usize = 16;

/// Files that scanners are shown at a time, and those that an ICAP server gave in another's place and that are held in
/// memory until they are judged: of `server`'s 64 MiB each.
const SCANNED_AT_ONCE: usize = 4;

/// What judges files, and what it is at.
pub(crate) struct Sanitising {
    pub(crate) worker: Worker,
    plans: HashMap<String, Plan>,
    /// Where there is no zone: for those who are given nothing else wherever they are.
    nowhere: Plan,
    pub(crate) scanning: Semaphore,
    pub(crate) verdicts: CounterFamily,
    under_way: Arc<Mutex<UnderWay>>,
}

/// A file's content and the recipe by which it is judged.
pub(crate) type Key = (Sha256, u64);
pub(crate) type Ended = Option<Result<VerdictRow, Unjudged>>;

#[derive(Default)]
struct UnderWay {
    all: HashMap<Key, watch::Receiver<Ended>>,
    /// What each reader has begun; whoever has nothing is not in it.
    of_readers: HashMap<String, OfReader>,
}

struct OfReader {
    count: usize,
    turn: Arc<Semaphore>,
}

/// Takes a judgement off the list, however it ends.
struct Entry {
    key: Key,
    reader: String,
    under_way: Arc<Mutex<UnderWay>>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut under_way = self.under_way.lock();
        under_way.all.remove(&self.key);
        if let Some(of_reader) = under_way.of_readers.get_mut(&self.reader) {
            of_reader.count -= 1;
            if of_reader.count == 0 {
                under_way.of_readers.remove(&self.reader);
            }
        }
    }
}

impl Sanitising {
    pub(crate) fn new(zones: &BTreeMap<String, ZoneFiles>, worker: Worker, metrics: &Metrics) -> Self {
        Self {
            worker,
            plans: zones.iter().map(|(name, files)| (name.clone(), Plan::of(files))).collect(),
            nowhere: Plan::of(&ZoneFiles::default()),
            scanning: Semaphore::new(SCANNED_AT_ONCE),
            under_way: Arc::default(),
            verdicts: metrics
                .counter_family("yakuba_media_verdicts", "Files that zones' rules were applied to"),
        }
    }

    /// How files are judged for a zone; none for one without settings.
    pub(crate) fn plan(&self, zone: Option<&Zone>) -> Option<&Plan> {
        zone.map_or(Some(&self.nowhere), |zone| self.plans.get(zone.name()))
    }

    /// The judgement that is under way, or the right to begin one.
    pub(crate) fn find_or_begin(&self, key: Key, reader: FileReader<'_>) -> Result<Begun, Error> {
        let reader = match reader {
            FileReader::User(user) => user.as_str().to_owned(),
            FileReader::Server(server) => server.as_str().to_owned(),
            FileReader::Anybody => String::new(),
        };
        let mut under_way = self.under_way.lock();
        if let Some(ended) = under_way.all.get(&key) {
            return Ok(Begun::UnderWay(ended.clone()));
        }
        let begun = under_way.of_readers.get(&reader).map_or(0, |of_reader| of_reader.count);
        if under_way.all.len() >= MOST || begun >= OF_ONE {
            return Err(Error::Limited { limit: "sanitising", retry_after: Duration::from_secs(5) });
        }
        let (told, ended) = watch::channel(None);
        under_way.all.insert(key, ended.clone());
        let new = || OfReader { count: 0, turn: Arc::new(Semaphore::new(1)) };
        let of_reader = under_way.of_readers.entry(reader.clone()).or_insert_with(new);
        of_reader.count += 1;
        let turn = of_reader.turn.clone();
        let entry = Entry { key, reader, under_way: self.under_way.clone() };
        Ok(Begun::New(Judging { told, turn, entry }, ended))
    }
}

/// A judgement.
pub(crate) enum Begun {
    /// Somebody began it.
    UnderWay(watch::Receiver<Ended>),
    /// It is to be begun.
    New(Judging, watch::Receiver<Ended>),
}

/// The right to judge a file, which nobody else has meanwhile.
pub(crate) struct Judging {
    told: watch::Sender<Ended>,
    turn: Arc<Semaphore>,
    entry: Entry,
}

impl Judging {
    /// Waits until nothing else is judged for whoever asked first.
    pub(crate) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // Nobody closes it.
        self.turn.clone().acquire_owned().await.ok()
    }

    /// Tells all who wait how it ended.
    pub(crate) fn end(self, outcome: Result<VerdictRow, Unjudged>) {
        self.told.send_replace(Some(outcome));
        // Last: who looks after this finds what is kept.
        drop(self.entry);
    }
}

/// Why there is no verdict. Nothing of it is kept: the next who asks begins anew.
#[derive(Clone, Debug)]
pub(crate) enum Unjudged {
    /// A scanner did not say; the text is for the log.
    NotScanned(String),
    /// Enough files wait.
    Busy,
    /// The file was removed meanwhile.
    Gone,
    /// It could not be read, or what was made of it could not be kept.
    Failed(String),
}

impl From<Unjudged> for Error {
    fn from(unjudged: Unjudged) -> Self {
        match unjudged {
            Unjudged::NotScanned(why) => Self::NotScanned(why),
            Unjudged::Busy => Self::Limited { limit: "sanitising", retry_after: Duration::from_secs(5) },
            Unjudged::Gone => Self::NotFound,
            Unjudged::Failed(why) => Self::Unjudged(why),
        }
    }
}

impl From<Error> for Unjudged {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound => Self::Gone,
            error => Self::Failed(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use futures_util::FutureExt;
    use ruma::user_id;

    use super::*;

    #[tokio::test]
    async fn what_one_reader_wants_is_judged_one_after_the_other_and_nobody_elses_waits_for_it() {
        let worker = Worker::new("unused", Vec::new(), sanitise::Bounds::default());
        let sanitising = Sanitising::new(&BTreeMap::new(), worker, &Metrics::new());
        let begin =
            |file: u8, reader| match sanitising.find_or_begin(([file; 32], 1), FileReader::User(reader)) {
                Ok(Begun::New(judging, _)) => judging,
                _ => panic!("{file} is not begun"),
            };
        let (mallory, taro) = (user_id!("@mallory:a.test"), user_id!("@taro:a.test"));
        let heap: Vec<Judging> = (0..16).map(|file| begin(file, mallory)).collect();
        let first = heap[0].turn().now_or_never().unwrap();
        assert!(heap[1].turn().now_or_never().is_none());
        assert!(begin(100, taro).turn().now_or_never().is_some());
        drop(first);
        assert!(heap[1].turn().now_or_never().is_some());
        assert!(sanitising.find_or_begin(([50; 32], 1), FileReader::User(mallory)).is_err());
        drop(heap);
        assert!(sanitising.under_way.lock().of_readers.is_empty());
    }
}
