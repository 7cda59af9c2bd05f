//! Directories that were made, kept while somebody asks for them.
//!
//! One of 12,000 people takes some megabytes and half a second. It is true for a day and a state of the organisation: who takes
//! one from here says which, so one of another day or from before a change is never given. What nobody asked for in some
//! minutes goes, and so does the one in whose place another comes.

use std::{collections::BTreeMap, sync::Arc};

use base::{
    Instant,
    cache::{Held, Holder},
};
use intake::Date;
use parking_lot::Mutex;
use ruma::{OwnedServerName, ServerName};

use crate::directory::Made;

/// After so many looks without being asked for one goes: five minutes.
const RESTS: u8 = 20;

/// What a directory follows from: how far the organisation has come, and the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Print {
    pub(crate) organisation: u64,
    pub(crate) day: Date,
}

/// What profiles followed last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Looked {
    /// Nothing where the organisation names nobody.
    pub(crate) print: Option<Print>,
    pub(crate) at: Instant,
}

struct Kept {
    print: Print,
    made: Arc<Made>,
    bytes: u64,
    rested: u8,
}

/// The directories of all authorities, one each at most.
#[derive(Default)]
pub(crate) struct Shelf(Mutex<BTreeMap<OwnedServerName, Kept>>);

impl Shelf {
    /// The one of an authority, if it is of this state and day.
    pub(crate) fn find(&self, authority: &ServerName, print: Print) -> Option<Arc<Made>> {
        let mut all = self.0.lock();
        let kept = all.get_mut(authority).filter(|kept| kept.print == print)?;
        kept.rested = 0;
        Some(kept.made.clone())
    }

    pub(crate) fn put(&self, authority: &ServerName, print: Print, made: Arc<Made>) {
        let bytes = u64::try_from(made.bytes()).unwrap_or(u64::MAX);
        let kept = Kept { print, made, bytes, rested: 0 };
        let old = self.0.lock().insert(authority.to_owned(), kept);
        // Not under the lock: dropping thousands of people takes a while.
        drop(old);
    }
}

impl Holder for Shelf {
    fn held(&self) -> Held {
        let all = self.0.lock();
        let bytes = all.values().map(|kept| kept.bytes).sum();
        Held { bytes, entries: u64::try_from(all.len()).unwrap_or(u64::MAX), most: bytes }
    }

    fn age(&self) -> u64 {
        let mut gone = Vec::new();
        self.0.lock().retain(|_, kept| {
            kept.rested += 1;
            if kept.rested >= RESTS {
                gone.push((kept.bytes, kept.made.clone()));
            }
            kept.rested < RESTS
        });
        gone.iter().map(|(bytes, _)| bytes).sum()
    }
}
