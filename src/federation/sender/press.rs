//! Transactions that differ in nothing but where they go are made once.
//!
//! One event goes to all servers of its room. Whoever's queue says the same gets the same transaction, with the same bytes
//! in memory, for as long as anybody is sent it.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
};

use base::Timestamp;
use parking_lot::Mutex;

use super::transaction::{Content, Transaction, build};

/// Transactions that may be asked for again. Where more are under way at a time some are made twice.
const MOST: usize = 16;

/// Makes transactions, and gives out those that it has just made.
#[derive(Debug, Default)]
pub(crate) struct Press(Mutex<VecDeque<Weak<Transaction>>>);

impl Press {
    /// The transaction of this content: one that somebody is being sent, or a new one.
    pub(crate) fn print(&self, content: &Content<'_>, now: Timestamp) -> Arc<Transaction> {
        if !content.units.is_empty() {
            // Of messages to devices everybody gets others.
            return Arc::new(build(content, now));
        }
        // Made under the lock: who asks for the same at the same time gets the same.
        let mut made = self.0.lock();
        made.retain(|transaction| transaction.strong_count() > 0);
        let again = made.iter().filter_map(Weak::upgrade).find(|transaction| transaction.is_of(content));
        if let Some(again) = again {
            return again;
        }
        let new = Arc::new(build(content, now));
        if made.len() >= MOST {
            made.pop_front();
        }
        made.push_back(Arc::downgrade(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use ruma::server_name;
    use store::Position;

    use super::*;

    fn content<'a>(origin: &'a str, edus: &'a [(Position, String)]) -> Content<'a> {
        let origin = <&ruma::ServerName>::try_from(origin).unwrap_or(server_name!("wrong.test"));
        Content { origin, room: None, pdus: &[], edus, units: &[] }
    }

    #[test]
    fn the_same_is_made_once_while_anybody_has_it() {
        let press = Press::default();
        let (one, two) = ([(Position(1), "{}".to_owned())], [(Position(2), "{}".to_owned())]);
        let first = press.print(&content("a.test", &one), Timestamp(1));
        assert!(Arc::ptr_eq(&first, &press.print(&content("a.test", &one), Timestamp(2))));
        for other in [content("b.test", &one), content("a.test", &two)] {
            assert!(!Arc::ptr_eq(&first, &press.print(&other, Timestamp(2))));
        }
        let forgotten = Arc::downgrade(&first);
        drop(first);
        assert!(forgotten.upgrade().is_none(), "nobody is sent it and it is kept");
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        let press = Press::default();
        let edus: Vec<_> = (0..100).map(|number| [(Position(number), "{}".to_owned())]).collect();
        let made: Vec<_> =
            edus.iter().map(|edus| press.print(&content("a.test", edus), Timestamp(1))).collect();
        assert_eq!((made.len(), press.0.lock().len()), (100, MOST));
    }
}
