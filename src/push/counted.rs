//! What was counted for users in rooms, event by event, and what it comes to.

use std::{collections::HashSet, sync::Arc};

use base::{Cache, Caches};
use room::{Horizon, Order, RoomSerial, read::receipts::ReadUpTo};
use ruma::OwnedUserId;
use store::{Position, UpTo};

use crate::{
    rules::Rules,
    unreads::{Unread, Unreads},
};

/// How many events notify somebody who has not read them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// All.
    pub notifications: u32,
    /// Those that are to be shown in another way, mostly mentions.
    pub highlights: u32,
}

/// What a user has not read in a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// In no thread.
    pub main: Count,
    /// In threads that have something unread, by what they begin with.
    pub threads: Vec<(Arc<str>, Count)>,
    /// When he last read on.
    pub read_at: Position,
}

impl Counts {
    /// In the room, whatever thread it is in.
    pub fn all(&self) -> Count {
        self.threads.iter().fold(self.main, |all, (_, count)| Count {
            notifications: all.notifications + count.notifications,
            highlights: all.highlights + count.highlights,
        })
    }
}

/// A user's receipts in a room.
#[derive(Debug)]
pub(crate) struct Receipts {
    pub(crate) up_to: UpTo,
    pub(crate) read: ReadUpTo,
}

/// What somebody is called in a room, folded, if he is called anything.
pub(crate) type Name = Option<Arc<str>>;

/// What was counted for a user in a room.
#[derive(Clone, Debug)]
pub(crate) struct Counted {
    /// Up to here all is looked at.
    pub(crate) through: Position,
    pub(crate) rules: Arc<Rules>,
    pub(crate) ignored: Arc<HashSet<OwnedUserId>>,
    pub(crate) receipts: Arc<Receipts>,
    /// Since when he is in the room.
    pub(crate) entered: Position,
    /// What he is called there, once that was asked for.
    pub(crate) name: Option<Name>,
    pub(crate) unread: Unreads,
}

/// What was counted lately.
#[derive(Debug)]
pub(crate) struct CountsCache(Cache<Place, Arc<Counted>>);

/// Whose count it is, and of which room.
type Place = (OwnedUserId, RoomSerial);

impl CountsCache {
    /// A cache of about this many bytes.
    pub(crate) fn new(caches: &Caches, bytes: u64) -> Self {
        let owned = |(user, _): &Place, counted: &Arc<Counted>| {
            let threads = &counted.receipts.read.threads;
            let threads = threads.iter().map(|(thread, _)| thread.len() + size_of::<(String, Order)>());
            user.as_str().len()
                + size_of::<Counted>()
                + size_of::<Receipts>()
                + 32
                + counted.name.iter().flatten().map(|name| name.len() + 16).sum::<usize>()
                + threads.sum::<usize>()
                + counted.unread.owned()
        };
        Self(Cache::new(caches, "push_counts", bytes, owned).borrowing())
    }

    pub(crate) fn get(&self, place: &Place) -> Option<Arc<Counted>> {
        self.0.get(place)
    }

    pub(crate) fn insert(&self, place: Place, counted: Arc<Counted>) {
        self.0.insert(place, counted);
    }
}

impl Counted {
    /// Leaves out what is behind how far somebody reads; what is kept of the count for others stays as it is.
    pub(crate) fn leave_out(counted: &mut Arc<Self>, horizon: &Horizon) {
        let is_hidden = |unread: &Unread| horizon.hides(Some(unread.order), unread.sent_ms);
        if counted.unread.iter().any(is_hidden) {
            Arc::make_mut(counted).unread.retain(|unread| !is_hidden(unread));
        }
    }

    /// What it tells.
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts { read_at: self.receipts.read.newest, ..Counts::default() };
        for unread in self.unread.iter() {
            let count = match &unread.thread {
                None => &mut counts.main,
                Some(thread) => {
                    let place = counts.threads.iter().position(|(of, _)| of == thread);
                    let place = place.unwrap_or_else(|| {
                        counts.threads.push((thread.clone(), Count::default()));
                        counts.threads.len() - 1
                    });
                    &mut counts.threads[place].1
                }
            };
            count.notifications += 1;
            count.highlights += u32::from(unread.highlights);
        }
        counts
    }
}
