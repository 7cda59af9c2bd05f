//! How many uploads are under way at once: by one link, and from one address.

use std::{collections::HashMap, sync::Arc};

use base::Address;
use parking_lot::Mutex;

/// Uploads under way. What is not under way is not kept.
pub(super) struct Slots {
    per_link: u32,
    per_address: u32,
    taken: Mutex<HashMap<Who, u32>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Who {
    Link(String),
    Address(Address),
}

/// A place among them, until it is dropped.
pub(super) struct Slot {
    slots: Arc<Slots>,
    who: [Who; 2],
}

impl Slots {
    pub(super) fn new(per_link: u32, per_address: u32) -> Arc<Self> {
        Arc::new(Self { per_link, per_address, taken: Mutex::default() })
    }

    /// A place, if there is one.
    pub(super) fn take(self: &Arc<Self>, link: &str, address: Address) -> Option<Slot> {
        let who = [Who::Link(link.to_owned()), Who::Address(address)];
        let mut taken = self.taken.lock();
        let count = |who: &Who| taken.get(who).copied().unwrap_or(0);
        if count(&who[0]) >= self.per_link || count(&who[1]) >= self.per_address {
            return None;
        }
        for one in &who {
            *taken.entry(one.clone()).or_default() += 1;
        }
        Some(Slot { slots: self.clone(), who })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken.lock();
        for who in &self.who {
            if let Some(count) = taken.get_mut(who) {
                *count -= 1;
                if *count == 0 {
                    taken.remove(who);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn places_are_few_and_come_back() {
        let (slots, one) = (Slots::new(1, 2), Address::of("192.0.2.1".parse().unwrap()));
        let first = slots.take("a", one).unwrap();
        assert!(slots.take("a", one).is_none());
        let _second = slots.take("b", one).unwrap();
        assert!(slots.take("c", one).is_none());
        drop(first);
        assert!(slots.take("c", one).is_some());
        assert_eq!(slots.taken.lock().len(), 2);
    }
}
