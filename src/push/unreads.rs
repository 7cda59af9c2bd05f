//! [`Unreads`]: a list of events that notify, of which the next message makes another.

use std::sync::Arc;

use room::{EventSerial, Order, read::receipts::ReadUpTo};

/// So many are copied for the next one, at most.
const NEWER: usize = 32;

/// An event that notifies.
#[derive(Clone, Debug)]
pub(crate) struct Unread {
    pub(crate) order: Order,
    pub(crate) event: EventSerial,
    pub(crate) thread: Option<Arc<str>>,
    /// In its thread only by what it refers to: it is found on the way through the main timeline.
    pub(crate) beside: bool,
    pub(crate) highlights: bool,
    /// When it says that it was sent, in ms since 1970.
    pub(crate) sent_ms: u64,
}

impl Unread {
    /// Whether the receipts have read it.
    pub(crate) fn is_read(&self, read: &ReadUpTo) -> bool {
        let up_to = read.of(self.thread.as_deref());
        self.order <= up_to || (self.beside && self.order <= read.main)
    }
}

/// Events that notify somebody, oldest first. Whoever reads nothing has hundreds of them, so a list with one more shares
/// what is older with the list it was made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unreads {
    /// The first ones of these are dropped already.
    older: Arc<[Unread]>,
    dropped: usize,
    newer: Vec<Unread>,
}

impl Unreads {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Unread> {
        self.older[self.dropped..].iter().chain(&self.newer)
    }

    pub(crate) fn len(&self) -> usize {
        self.older.len() - self.dropped + self.newer.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a newer one.
    pub(crate) fn push(&mut self, unread: Unread) {
        if self.newer.len() >= NEWER {
            self.older = self.iter().cloned().collect();
            self.dropped = 0;
            self.newer.clear();
        }
        self.newer.push(unread);
    }

    /// Leaves so many of the newest.
    pub(crate) fn keep_newest(&mut self, count: usize) {
        let too_many = self.len().saturating_sub(count);
        let of_older = too_many.min(self.older.len() - self.dropped);
        self.dropped += of_older;
        self.newer.drain(..too_many - of_older);
    }

    /// Leaves those of which this is so; asked once of each, oldest first.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Unread) -> bool) {
        let kept: Vec<bool> = self.iter().map(&mut keep).collect();
        if kept.iter().all(|kept| *kept) {
            return;
        }
        let left = self.iter().zip(kept).filter(|(_, kept)| *kept).map(|(unread, _)| unread.clone());
        *self = Self { older: left.collect(), ..Self::default() };
    }

    /// What it takes, in bytes, beside itself; what it shares with another list counts in both.
    pub(crate) fn owned(&self) -> usize {
        let named = self.older.iter().chain(&self.newer).filter_map(|unread| unread.thread.as_ref());
        (self.older.len() + self.newer.capacity()) * size_of::<Unread>()
            + 32
            + named.map(|thread| thread.len() + 16).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unread(order: u64) -> Unread {
        Unread {
            order: Order(order),
            event: EventSerial(order),
            thread: None,
            beside: false,
            highlights: false,
            sent_ms: 0,
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(usize),
        KeepNewest(usize),
        RetainAbove(u64),
    }

    proptest! {
        #[test]
        fn it_is_what_a_plain_list_would_be(steps in prop::collection::vec(prop_oneof![
            (0_usize..80).prop_map(Step::Push),
            (0_usize..200).prop_map(Step::KeepNewest),
            (0_u64..800).prop_map(Step::RetainAbove),
        ], 0..20)) {
            let (mut list, mut plain, mut next) = (Unreads::default(), Vec::new(), 0);
            for step in steps {
                let before = (list.clone(), plain.clone());
                match step {
                    Step::Push(count) => for _ in 0..count {
                        list.push(unread(next));
                        plain.push(next);
                        next += 1;
                    },
                    Step::KeepNewest(count) => {
                        list.keep_newest(count);
                        plain.drain(..plain.len().saturating_sub(count));
                    }
                    Step::RetainAbove(above) => {
                        list.retain(|unread| unread.order.0 > above || unread.order.0 % 3 == 0);
                        plain.retain(|order| *order > above || order % 3 == 0);
                    }
                }
                for (list, plain) in [(&list, &plain), (&before.0, &before.1)] {
                    let found: Vec<u64> = list.iter().map(|unread| unread.order.0).collect();
                    prop_assert_eq!(&found, plain);
                    prop_assert_eq!(list.len(), plain.len());
                }
            }
        }
    }
}
