//! What the database holds in memory, and gives back when nobody reads or writes.
//!
//! Cached blocks go; what is not in files yet stays: writing it out is work for a disk that may be full, and it is
//! at most a third.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use base::cache::RESTS;
use rocksdb::Cache;

/// The memory of the database, and for how long it was not needed.
pub(crate) struct Memory {
    /// Blocks, and the write buffers that are charged to them; the same for a database that is opened again.
    cache: Cache,
    most: usize,
    is_used: AtomicBool,
    rested: AtomicU8,
}

impl Memory {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            cache: Cache::new_lru_cache(most),
            most,
            is_used: AtomicBool::new(true),
            rested: AtomicU8::new(0),
        }
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    pub(crate) fn most(&self) -> u64 {
        self.most as u64
    }

    /// Bytes of blocks and write buffers.
    pub(crate) fn bytes(&self) -> u64 {
        self.cache.get_usage() as u64
    }

    /// Notes that somebody reads or writes.
    pub(crate) fn used(&self) {
        if !self.is_used.load(Ordering::Relaxed) {
            self.is_used.store(true, Ordering::Relaxed);
        }
    }

    /// Lets go all blocks once nobody has read or written since the last [`RESTS`] times; says how many bytes that were.
    pub(crate) fn age(&self) -> u64 {
        if self.is_used.swap(false, Ordering::Relaxed) {
            self.rested.store(0, Ordering::Relaxed);
            return 0;
        }
        let rested = self.rested.load(Ordering::Relaxed).saturating_add(1);
        self.rested.store(rested, Ordering::Relaxed);
        if rested != RESTS {
            return 0;
        }
        let before = self.bytes();
        let mut cache = self.cache.clone();
        cache.set_capacity(0);
        cache.set_capacity(self.most);
        before.saturating_sub(self.bytes())
    }
}
