//! Segments: parts of a room's index, as they are made, joined and thinned out in memory.
//!
//! A document is an event, and has its number by its place among those of the segment. Documents that came together are a segment at
//! once; small ones are joined with what comes after, and of those that are alike large, four become one. So a document is
//! written anew a few times in its life, and a room of a million messages has a hundred segments or so.

use std::collections::HashSet;

use bytes::Bytes;
use room::ids::{EventSerial, Order};

use crate::{
    grams::Gram,
    page::{decode, encode, read, write},
    tables::Segment,
};

/// A segment with fewer postings takes in what comes next.
const OPEN: u32 = 1_024;

/// From this size on, four of which are joined where there is another such level above.
const LEVELS: u32 = 4;

/// So many of one level become one of the next.
pub(crate) const JOINED: usize = 4;

/// About so many bytes make a page; each posting takes about two.
const PAGE_BYTES: usize = 2_048;
const MOST_PAGES: usize = 512;

/// An event with the grams that it is found by.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) order: Order,
    pub(crate) event: EventSerial,
    pub(crate) grams: Vec<Gram>,
}

/// A segment in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    /// By their places, each once.
    documents: Vec<(Order, EventSerial)>,
    /// In order, each once.
    postings: Vec<(Gram, u32)>,
}

impl Part {
    /// Of documents in any order.
    pub(crate) fn of(mut documents: Vec<Document>) -> Self {
        documents.sort_by_key(|document| (document.order, document.event));
        documents.dedup_by_key(|document| (document.order, document.event));
        let mut part = Self::default();
        for (number, document) in (0_u32..).zip(documents) {
            part.documents.push((document.order, document.event));
            part.postings.extend(document.grams.into_iter().map(|gram| (gram, number)));
        }
        part.postings.sort_unstable();
        part.postings.dedup();
        part
    }

    /// Of what is stored.
    pub(crate) fn read(documents: &[u8], pages: &[Option<Bytes>]) -> Self {
        let mut part = Self { documents: read_documents(documents), postings: Vec::new() };
        for page in pages.iter().flatten() {
            decode(page, |gram, document| part.postings.push((gram, document)));
        }
        let count = part.documents.len();
        part.postings.retain(|(_, document)| usize::try_from(*document).is_ok_and(|number| number < count));
        part.postings.sort_unstable();
        part
    }

    /// All of several parts.
    pub(crate) fn join(parts: Vec<Self>) -> Self {
        let mut documents: Vec<(Order, EventSerial)> =
            parts.iter().flat_map(|part| part.documents.iter().copied()).collect();
        documents.sort_unstable();
        documents.dedup();
        let mut postings = Vec::with_capacity(parts.iter().map(|part| part.postings.len()).sum());
        for part in parts {
            let number = |place: &(Order, EventSerial)| {
                u32::try_from(documents.partition_point(|other| other < place)).unwrap_or(u32::MAX)
            };
            let numbers: Vec<u32> = part.documents.iter().map(number).collect();
            let renumbered = part
                .postings
                .into_iter()
                .filter_map(|(gram, document)| Some((gram, *numbers.get(usize::try_from(document).ok()?)?)));
            postings.extend(renumbered);
        }
        postings.sort_unstable();
        postings.dedup();
        Self { documents, postings }
    }

    /// Without some events. Tells whether any of them was there.
    pub(crate) fn remove(&mut self, events: &HashSet<EventSerial>) -> bool {
        let mut numbers = Vec::with_capacity(self.documents.len());
        let mut kept = Vec::with_capacity(self.documents.len());
        for (order, event) in &self.documents {
            let stays = !events.contains(event);
            numbers.push(stays.then(|| u32::try_from(kept.len()).unwrap_or(u32::MAX)));
            if stays {
                kept.push((*order, *event));
            }
        }
        if kept.len() == self.documents.len() {
            return false;
        }
        self.documents = kept;
        let postings = std::mem::take(&mut self.postings).into_iter().filter_map(|(gram, document)| {
            Some((gram, numbers.get(usize::try_from(document).ok()?).copied().flatten()?))
        });
        self.postings = postings.collect();
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// How many postings it has.
    pub(crate) fn size(&self) -> u32 {
        u32::try_from(self.postings.len()).unwrap_or(u32::MAX)
    }

    /// How the list of segments tells of it.
    pub(crate) fn segment(&self, number: u32, build: u32) -> Segment {
        let pages = (self.postings.len() * 2 / PAGE_BYTES).clamp(1, MOST_PAGES).next_power_of_two();
        Segment {
            number,
            build,
            postings: self.size(),
            pages: u32::try_from(pages).unwrap_or(1),
            first: self.documents.first().map_or(Order::FIRST, |(order, _)| *order),
            last: self.documents.last().map_or(Order::FIRST, |(order, _)| *order),
        }
    }

    /// The documents as they are stored.
    pub(crate) fn documents(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.documents.len() * 4);
        let (mut last_order, mut last_event) = (0, 0);
        for (Order(order), EventSerial(event)) in &self.documents {
            write(&mut out, order.wrapping_sub(last_order));
            write(&mut out, zigzag(event.wrapping_sub(last_event)));
            (last_order, last_event) = (*order, *event);
        }
        Bytes::from(out)
    }

    /// So many pages, as they are stored; one with nothing on it is none.
    pub(crate) fn pages(&self, count: u32) -> Vec<Option<Bytes>> {
        let mut shelves: Vec<Vec<(Gram, u32)>> = vec![Vec::new(); usize::try_from(count).unwrap_or(1).max(1)];
        for (gram, document) in &self.postings {
            let shelf = usize::try_from(page_of(*gram, count)).unwrap_or(0);
            if let Some(shelf) = shelves.get_mut(shelf) {
                shelf.push((*gram, *document));
            }
        }
        let page = |shelf: Vec<(Gram, u32)>| (!shelf.is_empty()).then(|| Bytes::from(encode(&shelf)));
        shelves.into_iter().map(page).collect()
    }
}

impl Segment {
    /// Whether what comes next is joined with it.
    pub(crate) fn is_open(&self) -> bool {
        self.level() == 0
    }

    /// How large it is, in steps of four.
    pub(crate) fn level(&self) -> u32 {
        let mut level = 0;
        let mut bound = OPEN;
        while level <= LEVELS && self.postings >= bound {
            level += 1;
            bound = bound.saturating_mul(4);
        }
        level
    }

    /// Whether it is as large as segments get.
    pub(crate) fn is_full(&self) -> bool {
        self.level() > LEVELS
    }
}

/// The page of so many on which a gram stands.
pub(crate) fn page_of(gram: Gram, pages: u32) -> u32 {
    gram.shelf() & pages.saturating_sub(1)
}

/// Reads a list of documents, as far as it can be read.
pub(crate) fn read_documents(mut input: &[u8]) -> Vec<(Order, EventSerial)> {
    let mut documents = Vec::with_capacity(input.len() / 4);
    let (mut order, mut event) = (0_u64, 0_u64);
    while let Some((order_step, event_step)) = read(&mut input).zip(read(&mut input)) {
        order = order.wrapping_add(order_step);
        event = event.wrapping_add(unzigzag(event_step));
        documents.push((Order(order), EventSerial(event)));
    }
    documents
}

/// A step in either direction as a small number.
const fn zigzag(step: u64) -> u64 {
    (step << 1) ^ if step >> 63 == 1 { u64::MAX } else { 0 }
}

const fn unzigzag(step: u64) -> u64 {
    (step >> 1) ^ if step & 1 == 1 { u64::MAX } else { 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn documents() -> impl Strategy<Value = Vec<Document>> {
        let document = (any::<u32>(), 0_u64..1_000, proptest::collection::vec(0_u64..1 << 44, 0..20));
        let document = document.prop_map(|(order, event, grams)| Document {
            order: Order(u64::from(order) << 31),
            event: EventSerial(event),
            grams: grams.into_iter().map(Gram).collect(),
        });
        proptest::collection::vec(document, 0..60)
    }

    fn stored(part: &Part) -> Part {
        let segment = part.segment(0, 0);
        Part::read(&part.documents(), &part.pages(segment.pages))
    }

    proptest! {
        #[test]
        fn a_part_is_read_as_it_was_stored(documents in documents()) {
            let part = Part::of(documents);
            prop_assert_eq!(stored(&part), part);
        }

        #[test]
        fn parts_that_are_joined_are_what_they_were_together(mut documents in documents(), at in 0_usize..60) {
            // A document has its grams once and for all.
            documents.sort_by_key(|document| (document.order, document.event));
            documents.dedup_by_key(|document| (document.order, document.event));
            let whole = Part::of(documents.clone());
            let rest = documents.split_off(at.min(documents.len()));
            let joined = Part::join(vec![Part::of(rest.clone()), Part::of(documents), Part::of(rest)]);
            prop_assert_eq!(joined, whole);
        }

        #[test]
        fn of_what_is_removed_nothing_stays(documents in documents(), gone in 0_u64..1_000) {
            let events: HashSet<EventSerial> = (0..gone).map(EventSerial).collect();
            let mut part = Part::of(documents.clone());
            let had = documents.iter().any(|document| events.contains(&document.event));
            prop_assert_eq!(part.remove(&events), had);
            let kept = documents.into_iter().filter(|document| !events.contains(&document.event));
            prop_assert_eq!(part, Part::of(kept.collect()));
        }

        #[test]
        fn steps_go_both_ways(step in any::<u64>()) {
            prop_assert_eq!(unzigzag(zigzag(step)), step);
        }
    }

    #[test]
    fn what_grows_gets_more_pages_and_a_higher_level() {
        let of = |documents: u64, grams: u64| {
            let document = |number: u64| Document {
                order: Order(number),
                event: EventSerial(number),
                grams: (0..grams).map(|gram| Gram((gram * 31 + number) << 21)).collect(),
            };
            Part::of((0..documents).map(document).collect()).segment(0, 0)
        };
        assert_eq!((of(10, 30).pages, of(10, 30).level()), (1, 0));
        assert_eq!((of(100, 30).pages, of(100, 30).level()), (2, 1));
        assert_eq!((of(10_000, 30).pages, of(10_000, 30).level()), (512, 5));
        assert!(of(10_000, 30).is_full());
    }
}
