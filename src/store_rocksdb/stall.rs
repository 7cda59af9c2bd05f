//! Writes that RocksDB does not take for a while, since flushes or compactions are behind.
//!
//! It would make the writer wait itself, at the head of the queue of all that write. What it does to recover
//! from a full disk has to pass that queue, and the wait ends only by that: both would wait for ever. So it is
//! asked to refuse instead ([`rocksdb::WriteOptions::set_no_slowdown`]), and the wait is here, outside.

use std::time::Duration;

use rocksdb::{DB, ErrorKind, properties};

/// How long is waited for one write in all.
const LONGEST: Duration = Duration::from_secs(30);

/// How often is looked whether writes that were stopped are taken again.
const LOOK: Duration = Duration::from_millis(5);

/// The shortest and the longest pause where writes are only slowed down.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(250));

/// The wait of one write.
#[derive(Default)]
pub(crate) struct Stall {
    waited: Duration,
}

impl Stall {
    /// Waits before a write of so many bytes is tried again that was refused with this. False: it is no stall, or
    /// one that may never end, by how long it is or since something failed in the background.
    ///
    /// Blocks: call it off the async threads.
    pub(crate) fn wait(&mut self, db: &DB, bytes: usize, refused: &rocksdb::Error) -> bool {
        let is_stall = refused.kind() == ErrorKind::Incomplete && refused.to_string().contains("Write stall");
        let number = |name| db.property_int_value(name).ok().flatten().unwrap_or(0);
        if !is_stall || self.waited >= LONGEST || number(properties::BACKGROUND_ERRORS) > 0 {
            return false;
        }
        let pause = match number(properties::ACTUAL_DELAYED_WRITE_RATE) {
            _ if number(properties::IS_WRITE_STOPPED) > 0 => LOOK,
            0 => PAUSES.0,
            // A refused try uses up the share of the write that it was for, so the next one needs another.
            rate => {
                let share = (bytes as u64).saturating_mul(2_000_000) / rate;
                Duration::from_micros(share).clamp(PAUSES.0, PAUSES.1)
            }
        };
        self.waited += pause;
        std::thread::sleep(pause);
        true
    }
}
