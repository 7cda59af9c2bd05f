//! A part of a room's auth graph in memory: events as numbers, and what each refers to.
//!
//! Numbers are short and stand side by side, so that all of a large room is a small thing to hold and to walk. What is
//! known of an event never changes, so nothing here grows stale while somebody walks.

use room::ids::EventSerial;
use rustc_hash::FxHashMap;

/// Events and what they refer to, as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    /// Serials are given by us, one after the other: nobody outside can choose such that fall together in a table
    /// without a secret.
    numbers: FxHashMap<EventSerial, u32>,
    serials: Vec<EventSerial>,
    /// By number: where in `targets` what the event refers to begins and ends; `None` where nobody has read it yet.
    spans: Vec<Option<(u32, u32)>>,
    targets: Vec<u32>,
}

impl Nodes {
    /// The number of an event, given now if it has none.
    pub(super) fn number(&mut self, event: EventSerial) -> u32 {
        let next = short(self.serials.len());
        let number = *self.numbers.entry(event).or_insert(next);
        if number == next {
            self.serials.push(event);
            self.spans.push(None);
        }
        number
    }

    /// The event of a number.
    pub(super) fn serial(&self, number: u32) -> Option<EventSerial> {
        self.serials.get(number as usize).copied()
    }

    pub(super) fn find(&self, event: EventSerial) -> Option<u32> {
        self.numbers.get(&event).copied()
    }

    /// Whether it is known what an event refers to.
    pub(super) fn knows(&self, event: EventSerial) -> bool {
        self.find(event).is_some_and(|number| self.spans[number as usize].is_some())
    }

    /// What an event refers to; `None`: nobody has read it yet.
    pub(super) fn auth(&self, number: u32) -> Option<&[u32]> {
        let (start, end) = self.spans.get(number as usize).copied().flatten()?;
        self.targets.get(start as usize..end as usize)
    }

    /// Notes what an event refers to.
    pub(super) fn add(&mut self, event: EventSerial, auth: &[EventSerial]) {
        let number = self.number(event);
        if self.spans[number as usize].is_some() {
            return;
        }
        let start = short(self.targets.len());
        for one in auth {
            let target = self.number(*one);
            self.targets.push(target);
        }
        self.spans[number as usize] = Some((start, short(self.targets.len())));
    }
}

/// Numbers are short, so that many fit into memory; long before they end, that would.
pub(super) fn short(number: usize) -> u32 {
    u32::try_from(number).expect("fewer auth events than 2^32 fit into memory")
}

/// A set of numbers.
#[derive(Debug, Default)]
pub(super) struct Marks(Vec<u64>);

impl Marks {
    /// Puts a number in; false: it was in.
    pub(super) fn set(&mut self, number: u32) -> bool {
        let (word, bit) = (number as usize / 64, 1 << (number % 64));
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        let was = self.0[word] & bit != 0;
        self.0[word] |= bit;
        !was
    }

    pub(super) fn has(&self, number: u32) -> bool {
        self.0.get(number as usize / 64).is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    /// The numbers, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        let words = self.0.iter().enumerate().filter(|(_, word)| **word != 0);
        words.flat_map(|(index, word)| {
            (0..64).filter(move |bit| word & (1 << bit) != 0).map(move |bit| short(index * 64 + bit))
        })
    }
}
