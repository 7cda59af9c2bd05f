//! Links between servers, and what can be wrong with them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;

/// What is wrong with one direction of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Connections are refused.
    Cut,
    /// Requests disappear: no answer comes before the deadline, and the other side sees nothing.
    BlackHole,
    /// Requests arrive and are answered, but the answers are lost.
    AnswersLost,
    /// Each request takes so much longer.
    Delay(Duration),
    /// Each request takes up to so much longer, by chance, so that they overtake each other.
    Reorder(Duration),
}

/// The faults of all links, by the numbers of the servers at their ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Links(Arc<Mutex<HashMap<(usize, usize), Fault>>>);

impl Links {
    pub(crate) fn fault(&self, from: usize, to: usize) -> Fault {
        self.0.lock().get(&(from, to)).copied().unwrap_or_default()
    }

    pub(crate) fn between(&self, one: usize, other: usize) -> Link {
        Link { links: self.clone(), ways: vec![(one, other), (other, one)] }
    }

    pub(crate) fn way(&self, from: usize, to: usize) -> Link {
        Link { links: self.clone(), ways: vec![(from, to)] }
    }
}

/// A link between two servers, or one direction of it. A fault lasts until another is set.
///
/// Requests under way meet the fault of the moment at which they arrive.
#[derive(Clone, Debug)]
pub struct Link {
    links: Links,
    ways: Vec<(usize, usize)>,
}

impl Link {
    /// Sets what is wrong with it.
    pub fn set(&self, fault: Fault) {
        let mut faults = self.links.0.lock();
        for way in &self.ways {
            faults.insert(*way, fault);
        }
    }

    /// Refuses connections: [`Fault::Cut`].
    pub fn cut(&self) {
        self.set(Fault::Cut);
    }

    /// Makes it well again.
    pub fn heal(&self) {
        self.set(Fault::None);
    }
}
