//! Candidates: where the index says that what is looked for may be.
//!
//! The segments of all rooms are read from the one that reaches furthest towards now; of what was found, that is ready which is newer
//! than anything in the segments that are left. So who wants the newest reads little, however much there is.

use std::{
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashSet},
    sync::Arc,
};

use room::ids::{EventSerial, RoomSerial};
use store::Store;

use crate::{
    Error, Search,
    grams::Gram,
    page::find,
    query::Probe,
    segment::{page_of, read_documents},
    tables::{DOCUMENTS, PAGES, ROOM_INDEX, RoomIndex, Segment},
    token::Key,
};

/// Segments that are read together, at first and at most, and about as many postings as they may have.
const FIRST_WAVE: usize = 64;
const MOST_IN_WAVE: usize = 2_048;
const MOST_POSTINGS: u64 = 16_000_000;

/// Segments of a wave that one task reads, as all cores do.
const IN_PART: usize = 128;

/// Pages that are read for one search; what is in others is found by going on from where it ended.
const MOST_PAGES: usize = 30_000;

/// Where a document is: its place among all, and its room.
pub(crate) type Candidate = (Key, RoomSerial);

/// Candidates, newest first.
pub(crate) struct Candidates<'a> {
    search: &'a Search,
    reader: Reader,
    before: Option<Key>,
    /// Those that are not read, the one that reaches furthest last.
    segments: Vec<(RoomSerial, Segment)>,
    found: BinaryHeap<Candidate>,
    /// The last that was given.
    given: Option<Key>,
    wave: usize,
    pages: usize,
    /// What was read and not yet looked at whether it was there until then.
    unsure: Vec<(RoomSerial, u32)>,
}

impl<'a> Candidates<'a> {
    /// Of these rooms, before a place.
    pub(crate) async fn of(
        search: &'a Search,
        rooms: &[RoomSerial],
        probes: Vec<Probe>,
        before: Option<Key>,
    ) -> Result<Self, Error> {
        let keys: Vec<(RoomSerial, ())> = rooms.iter().map(|room| (*room, ())).collect();
        let indexes = search.store().get_many(&ROOM_INDEX, &keys).await?;
        let mut candidates = Self {
            search,
            reader: Reader { store: search.store().clone(), probes: probes.into() },
            before,
            segments: Vec::new(),
            found: BinaryHeap::new(),
            given: None,
            wave: FIRST_WAVE,
            pages: 0,
            unsure: Vec::new(),
        };
        candidates.list(rooms.iter().copied().zip(indexes.into_iter().map(Option::unwrap_or_default)));
        Ok(candidates)
    }

    /// Adds the segments of rooms to those that are to be read.
    fn list(&mut self, indexes: impl Iterator<Item = (RoomSerial, RoomIndex)>) {
        let before = self.before;
        let reaches = |segment: &Segment| before.is_none_or(|(order, _)| segment.first <= order);
        for (room, index) in indexes {
            self.segments.extend(index.segments.into_iter().filter(reaches).map(|segment| (room, segment)));
        }
        self.segments.sort_unstable_by_key(|(room, segment)| (segment.last, *room, segment.number));
    }

    /// Adds what was found elsewhere.
    pub(crate) fn add(&mut self, candidates: impl IntoIterator<Item = Candidate>) {
        let before = self.before;
        self.found
            .extend(candidates.into_iter().filter(|(key, _)| before.is_none_or(|before| *key < before)));
    }

    /// The next ones, each once; none when there are no more. [`Candidates::is_cut`] tells whether there are none at all.
    pub(crate) async fn next(&mut self, most: usize) -> Result<Vec<Candidate>, Error> {
        loop {
            let horizon = self.segments.last().map(|(_, segment)| segment.last);
            let is_enough = || {
                let is_ready = |(key, _): &&Candidate| horizon.is_none_or(|horizon| key.0 > horizon);
                self.found.iter().filter(is_ready).take(most).count() >= most
            };
            if horizon.is_some() && !self.is_cut() && !is_enough() {
                self.read_wave().await?;
                continue;
            }
            // Before anything is given, for what was overtaken would be older than what is.
            if self.renew().await? {
                continue;
            }
            let mut next: Vec<Candidate> = Vec::new();
            while next.len() < most {
                let is_ready = |(key, _): &Candidate| horizon.is_none_or(|horizon| key.0 > horizon);
                let Some(candidate) = self.found.peek().copied().filter(is_ready) else { break };
                self.found.pop();
                // What is in two segments comes twice.
                if self.given.is_none_or(|given| candidate.0 < given) {
                    self.given = Some(candidate.0);
                    next.push(candidate);
                }
            }
            // Of those that were enough some may have come twice.
            if !next.is_empty() || horizon.is_none() || self.is_cut() {
                return Ok(next);
            }
        }
    }

    /// Whether reading ended at its bound.
    pub(crate) fn is_cut(&self) -> bool {
        self.pages >= MOST_PAGES && !self.segments.is_empty()
    }

    /// What is not read reaches up to here.
    pub(crate) fn horizon(&self) -> Option<Key> {
        self.segments.last().map(|(_, segment)| (segment.last, EventSerial(u64::MAX)))
    }

    /// Reads some more segments.
    async fn read_wave(&mut self) -> Result<(), Error> {
        let mut wave = Vec::new();
        let mut postings = 0;
        while wave.len() < self.wave && postings < MOST_POSTINGS {
            let Some(segment) = self.segments.pop() else { break };
            postings += u64::from(segment.1.postings);
            wave.push(segment);
        }
        self.wave = (self.wave * 2).min(MOST_IN_WAVE);

        let parts: Vec<_> = wave
            .chunks(IN_PART)
            .map(|part| {
                let (reader, part) = (self.reader.clone(), part.to_vec());
                self.search.tasks().spawn("search index", async move { reader.read(&part).await })
            })
            .collect();
        for part in parts {
            let (found, pages) = part.await.map_err(|_failed| Error::Room(room::Error::Interrupted))??;
            self.pages += pages;
            self.add(found);
        }
        self.unsure.extend(wave.iter().map(|(room, segment)| (*room, segment.number)));
        Ok(())
    }

    /// Looks whether what was read was there until then. Segments that were joined meanwhile went with their pages:
    /// those of such rooms are read anew. Tells whether there are any.
    async fn renew(&mut self) -> Result<bool, Error> {
        let unsure = std::mem::take(&mut self.unsure);
        let rooms: Vec<RoomSerial> =
            unsure.iter().map(|(room, _)| *room).collect::<BTreeSet<_>>().into_iter().collect();
        let keys: Vec<(RoomSerial, ())> = rooms.iter().map(|room| (*room, ())).collect();
        let indexes = self.search.store().get_many(&ROOM_INDEX, &keys).await?;
        let indexes: BTreeMap<RoomSerial, RoomIndex> =
            rooms.into_iter().zip(indexes.into_iter().map(Option::unwrap_or_default)).collect();
        let there: HashSet<(RoomSerial, u32)> = indexes
            .iter()
            .flat_map(|(room, index)| index.segments.iter().map(|segment| (*room, segment.number)))
            .collect();
        let gone: BTreeSet<RoomSerial> =
            unsure.iter().filter(|segment| !there.contains(segment)).map(|(room, _)| *room).collect();
        if gone.is_empty() {
            return Ok(false);
        }
        self.segments.retain(|(room, _)| !gone.contains(room));
        self.list(indexes.into_iter().filter(|(room, _)| gone.contains(room)));
        Ok(true)
    }
}

/// Reads segments, in a task of its own.
#[derive(Clone)]
struct Reader {
    store: Store,
    probes: Arc<[Probe]>,
}

impl Reader {
    /// What is found in these segments, and how many pages were read for it.
    async fn read(&self, wave: &[(RoomSerial, Segment)]) -> Result<(Vec<Candidate>, usize), Error> {
        let mut pages = 0;
        // Where the rarest is not, the others are not looked up.
        let (rarest, others) = self.probes.split_at(self.probes.len().min(1));
        let mut hits: Vec<(RoomSerial, Segment, Vec<u32>)> = Vec::new();
        for ((room, segment), found) in wave.iter().zip(self.look_up(wave, rarest, &mut pages).await?) {
            if !found.is_empty() {
                hits.push((*room, *segment, found));
            }
        }
        if !others.is_empty() && !hits.is_empty() {
            let left: Vec<_> = hits.iter().map(|(room, segment, _)| (*room, *segment)).collect();
            let found = self.look_up(&left, others, &mut pages).await?;
            hits.iter_mut().zip(found).for_each(|((.., common), found)| *common = both(common, &found));
            hits.retain(|(.., common)| !common.is_empty());
        }

        let keys: Vec<(RoomSerial, u32)> =
            hits.iter().map(|(room, segment, _)| (*room, segment.number)).collect();
        let documents = self.store.get_many(&DOCUMENTS, &keys).await?;
        let mut candidates = Vec::new();
        for ((room, _, numbers), documents) in hits.into_iter().zip(documents) {
            let documents = read_documents(&documents.unwrap_or_default());
            let found = numbers.into_iter().filter_map(|number| documents.get(usize::try_from(number).ok()?));
            candidates.extend(found.map(|document| (*document, room)));
        }
        Ok((candidates, pages))
    }

    /// For each of these segments, the numbers of the documents in which all of these are, in order.
    async fn look_up(
        &self,
        wave: &[(RoomSerial, Segment)],
        probes: &[Probe],
        read: &mut usize,
    ) -> Result<Vec<Vec<u32>>, Error> {
        // Each page once, whatever is looked up on it.
        let mut keys: Vec<(RoomSerial, u32, u32)> = Vec::new();
        for (room, segment) in wave {
            for (gram, _) in probes.iter().flat_map(|probe| &probe.ranges) {
                keys.push((*room, segment.number, page_of(*gram, segment.pages)));
            }
        }
        keys.sort_unstable();
        keys.dedup();
        *read += keys.len();
        let pages = self.store.get_many(&PAGES, &keys).await?;
        let page = |room: RoomSerial, segment: &Segment, gram: Gram| {
            let key = (room, segment.number, page_of(gram, segment.pages));
            pages.get(keys.binary_search(&key).ok()?)?.as_ref()
        };

        let mut all = Vec::with_capacity(wave.len());
        for (room, segment) in wave {
            let mut common: Option<Vec<u32>> = None;
            for probe in probes {
                let mut found = Vec::new();
                for range in &probe.ranges {
                    if let Some(page) = page(*room, segment, range.0) {
                        find(page, *range, &mut found);
                    }
                }
                found.sort_unstable();
                found.dedup();
                common = Some(match common {
                    None => found,
                    Some(before) => both(&before, &found),
                });
                if common.as_ref().is_some_and(Vec::is_empty) {
                    break;
                }
            }
            all.push(common.unwrap_or_default());
        }
        Ok(all)
    }
}

/// What is in both of two lists in order.
fn both(one: &[u32], other: &[u32]) -> Vec<u32> {
    let (mut rest, mut common) = (other, Vec::new());
    for number in one {
        let skip = rest.partition_point(|it| it < number);
        rest = rest.get(skip..).unwrap_or_default();
        if rest.first() == Some(number) {
            common.push(*number);
        }
    }
    common
}
