//! Who waits for topics, and who of a crowd is woken.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::watch as signal;

/// A topic for which more than so many wait is that of a crowd.
pub(crate) const CROWD: usize = 64;

/// Who waits for topics of an id: of most, one alone.
pub(crate) enum Waiters {
    One(Waiter),
    /// By their numbers.
    Many(Box<Many>),
}

/// Several waiters. In a box of their own, so that a place in the table, of which most have one, is a third smaller.
#[derive(Default)]
pub(crate) struct Many {
    waiters: Vec<Waiter>,
    /// How many of a crowd wait for topics of each kind: each of it asks for that.
    counts: Option<Box<[usize; KINDS]>>,
}

impl Many {
    fn insert(&mut self, waiter: Waiter) {
        if let Some(counts) = &mut self.counts {
            waiter.kinds().each().for_each(|kind| counts[kind] += 1);
        }
        let at = self.waiters.partition_point(|other| other.number() < waiter.number());
        self.waiters.insert(at, waiter);
        if self.counts.is_none() && self.waiters.len() > CROWD {
            let mut counts = Box::new([0; KINDS]);
            self.waiters.iter().flat_map(|waiter| waiter.kinds().each()).for_each(|kind| counts[kind] += 1);
            self.counts = Some(counts);
        }
    }

    fn remove(&mut self, number: u64) {
        let Ok(at) = self.waiters.binary_search_by_key(&number, Waiter::number) else { return };
        let waiter = self.waiters.remove(at);
        match &mut self.counts {
            Some(counts) if self.waiters.len() > CROWD => {
                waiter.kinds().each().for_each(|kind| counts[kind] -= 1);
            }
            _ => self.counts = None,
        }
    }

    fn count(&self, kinds: Kinds) -> usize {
        match (&self.counts, kinds.only()) {
            (Some(counts), Some(kind)) => counts[kind],
            _ => self.waiters.iter().filter(|waiter| waiter.kinds().meets(kinds)).count(),
        }
    }
}

/// Somebody who waits for topics of an id. There is one for each id and waiter, so it is small.
pub(crate) struct Waiter {
    pub(crate) signalled: Arc<Signalled>,
    /// Which of the waiter's [`Signalled::kinds`].
    pub(crate) which: u16,
}

/// Who is woken.
pub(crate) struct Signalled {
    pub(crate) number: u64,
    /// What it waits for, of topics of an id: urgently, and patiently. For those of most rooms the same.
    pub(crate) kinds: Box<[(Kinds, Kinds)]>,
    pub(crate) wakes: signal::Sender<Wakes>,
    /// How many wait for whatever it is. Where all are patient, they sleep through what is not urgent: of a crowd of two
    /// thousand that all say that they have read something, four million would be woken to sleep on.
    pub(crate) impatient: AtomicUsize,
}

/// So many kinds of topics are told apart.
const KINDS: usize = u64::BITS as usize;

/// Kinds of topics, a bit for each.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Kinds(u64);

impl Kinds {
    pub(crate) const ALL: Self = Self(u64::MAX);

    /// One kind. Those that there is no bit for share the last: who waits for one of them is woken by all.
    pub(crate) fn of(kind: u8) -> Self {
        Self(1 << usize::from(kind).min(KINDS - 1))
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The place of the kind, where it is one.
    fn only(self) -> Option<usize> {
        (self.0.count_ones() == 1).then(|| self.0.trailing_zeros() as usize)
    }

    /// The places of the kinds.
    fn each(self) -> impl Iterator<Item = usize> {
        (0..KINDS).filter(move |kind| self.0 & (1 << kind) != 0)
    }

    pub(crate) fn count(self) -> usize {
        self.0.count_ones() as usize
    }
}

impl Waiters {
    pub(crate) fn all(&self) -> &[Waiter] {
        match self {
            Self::One(waiter) => std::slice::from_ref(waiter),
            Self::Many(many) => &many.waiters,
        }
    }

    /// How many wait for topics of some kinds.
    pub(crate) fn count(&self, kinds: Kinds) -> usize {
        match self {
            Self::One(waiter) => usize::from(waiter.kinds().meets(kinds)),
            Self::Many(many) => many.count(kinds),
        }
    }

    fn is_crowd(&self, kinds: Kinds) -> bool {
        self.all().len() > CROWD && self.count(kinds) > CROWD
    }

    pub(crate) fn wake(&self, kinds: Kinds) {
        let is_crowd = self.is_crowd(kinds);
        for waiter in self.all().iter().filter(|waiter| waiter.kinds().meets(kinds)) {
            let is_urgent = !is_crowd || waiter.urgent().meets(kinds);
            waiter.signalled.wakes.send_if_modified(|wakes| {
                wakes.all += 1;
                wakes.urgent += u64::from(is_urgent);
                is_urgent || waiter.signalled.impatient.load(Ordering::SeqCst) > 0
            });
        }
    }

    pub(crate) fn with(self, waiter: Waiter) -> Self {
        let mut many = match self {
            Self::One(other) => Box::new(Many { waiters: vec![other], counts: None }),
            Self::Many(many) => many,
        };
        many.insert(waiter);
        Self::Many(many)
    }

    /// `None`: nobody is left.
    pub(crate) fn without(self, number: u64) -> Option<Self> {
        match self {
            Self::One(waiter) => (waiter.number() != number).then_some(Self::One(waiter)),
            Self::Many(mut many) => {
                many.remove(number);
                match many.waiters.len() {
                    0 | 1 => many.waiters.pop().map(Self::One),
                    _ => Some(Self::Many(many)),
                }
            }
        }
    }
}

impl Waiter {
    pub(crate) fn number(&self) -> u64 {
        self.signalled.number
    }

    fn urgent(&self) -> Kinds {
        self.signalled.kinds[usize::from(self.which)].0
    }

    pub(crate) fn kinds(&self) -> Kinds {
        let (urgent, patient) = self.signalled.kinds[usize::from(self.which)];
        urgent.and(patient)
    }
}

/// How often a waiter was woken.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wakes {
    pub(crate) all: u64,
    /// Of those, by something for which nobody need be patient.
    pub(crate) urgent: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_topic_for_which_one_waits_two_words_are_kept() {
        assert_eq!(size_of::<Waiters>(), 16);
    }
}
