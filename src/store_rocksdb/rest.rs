//! What the database holds in memory, and gives back when nobody reads or writes.
//!
//! Cached blocks go; what is not in files yet stays: writing it out is work for a disk that may be full, and it is
//! at most a third.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use base::cache::RESTS;
use rocksdb::Cache;

/// So many reads and writes between two looks are nobody's: the server's own terms, cursors and looks at what is due
/// make some, and would keep all blocks in memory for ever.
const OWN_USES: u32 = 400;

/// The memory of the database, and for how long it was not needed.
pub(crate) struct Memory {
    /// Blocks, and the write buffers that are charged to them; the same for a database that is opened again.
    cache: Cache,
    most: usize,
    /// Reads and writes since the last look, counted up to [`OWN_USES`].
    uses: AtomicU32,
    rested: AtomicU8,
}

impl Memory {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            cache: Cache::new_lru_cache(most),
            most,
            uses: AtomicU32::new(OWN_USES),
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
        // Written no more once it is enough: all readers share it.
        if self.uses.load(Ordering::Relaxed) < OWN_USES {
            self.uses.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lets go all blocks once nobody but the server itself has read or written between the last [`RESTS`] times; says how
    /// many bytes that were.
    pub(crate) fn age(&self) -> u64 {
        if self.uses.swap(0, Ordering::Relaxed) >= OWN_USES {
            self.rested.store(0, Ordering::Relaxed);
            return 0;
        }
        let rested = self.rested.load(Ordering::Relaxed).saturating_add(1);
        self.rested.store(rested, Ordering::Relaxed);
        if !rested.is_multiple_of(RESTS) {
            return 0;
        }
        let before = self.bytes();
        let mut cache = self.cache.clone();
        cache.set_capacity(0);
        cache.set_capacity(self.most);
        before.saturating_sub(self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_does_of_itself_keeps_no_blocks_and_what_others_do_keeps_them() {
        let memory = Memory::new(1 << 20);
        let rested_after = |uses: u32| {
            (0..uses).for_each(|_| memory.used());
            memory.age();
            memory.rested.load(Ordering::Relaxed)
        };
        assert_eq!(rested_after(0), 0, "it was just opened");
        for rested in 1..=RESTS {
            assert_eq!(rested_after(OWN_USES - 1), rested);
        }
        assert_eq!(rested_after(OWN_USES), 0);
        assert_eq!(rested_after(10 * OWN_USES), 0);
        assert_eq!(rested_after(0), 1);
    }
}
