//! Marks: how far the log had come at the end of each hour.
//!
//! How old an event is its sender says, and he may lie; when it came here is kept of no event. But events stand in the one
//! order of commits, so it is enough to know up to where that had come at some moment: what stands up to there came before it.
//! A row an hour, for as many days as some class reads back ([`crate::Rights::reads_back`]).
//!
//! A mark is written once and never changed. A clock that was wrong may have written one for an hour that was still to come:
//! it says less than is so, and counts as what the mark before it says.

use std::collections::BTreeMap;

use base::Timestamp;
use store::{Batch, CommitError, Order, Position, Range, Store, Table, TableCheck, Tuning};

use crate::error::Error;

/// Up to where the log had come in an hour; key: the hour, since 1970.
pub(crate) static MARKS: Table<u64, Position> = Table::new(398, "classes.marks", Tuning::Small);

const HOUR_MS: u64 = 60 * 60 * 1_000;

/// The checks of all tables of this crate, for `verify` of the store.
#[must_use]
pub fn checks() -> Vec<TableCheck> {
    vec![MARKS.check()]
}

/// What is known of when things came.
#[derive(Debug, Default)]
pub(crate) struct Marks(BTreeMap<u64, Position>);

impl Marks {
    /// Adds a mark, and has none say less than one before it.
    fn add(&mut self, hour: u64, position: Position) {
        let before = self.0.range(..hour).next_back().map_or(Position::START, |(_, position)| *position);
        let mut least = position.max(before);
        self.0.insert(hour, least);
        for (_, later) in self.0.range_mut(hour + 1..) {
            least = least.max(*later);
            *later = least;
        }
    }

    /// The place up to which all had come by a moment, as far as that is known.
    pub(crate) fn by(&self, at_ms: u64) -> Position {
        // The mark of an hour was written somewhere within it.
        let known = self.0.range(..at_ms / HOUR_MS).next_back();
        known.map_or(Position::START, |(_, position)| *position)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Reads all marks that a store has.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(crate) async fn read(store: &Store) -> Result<Self, Error> {
        let mut marks = Self::default();
        for (hour, position) in store.scan(&MARKS, Range::all(), Order::Ascending, usize::MAX).await? {
            marks.add(hour, position);
        }
        Ok(marks)
    }

    /// Whether there is a mark of the hour that it is.
    pub(crate) fn has(&self, now: Timestamp) -> bool {
        self.0.contains_key(&(now.millis() / HOUR_MS))
    }

    /// Takes over a mark, and forgets those that nobody reads back to.
    pub(crate) fn take(&mut self, hour: u64, position: Position, keep_from: u64) {
        self.add(hour, position);
        self.0 = self.0.split_off(&keep_from);
    }
}

/// Writes the mark of the hour that it is, if no process has, and takes away those that are older than `days` and of no use:
/// the hour and its mark, and the first hour that is kept.
///
/// # Errors
/// [`Error::Store`].
pub(crate) async fn mark(store: &Store, now: Timestamp, days: u64) -> Result<(u64, Position, u64), Error> {
    let hour = now.millis() / HOUR_MS;
    // Two days more: an hour is over before its mark counts, and a clock may be put right.
    let keep_from = hour.saturating_sub((days + 2) * 24);
    let position = store.head();
    let mut batch = Batch::new();
    batch.insert(&MARKS, &hour, &position);
    let old = store.scan(&MARKS, Range::all().before(&keep_from), Order::Ascending, SWEPT).await?;
    for (old, _) in old {
        batch.delete(&MARKS, &old);
    }
    match store.commit(batch).await {
        Ok(_) => Ok((hour, position, keep_from)),
        // Another process was first.
        Err(CommitError::Conflict { .. }) => {
            let position = store.get(&MARKS, &hour).await?.unwrap_or(Position::START);
            Ok((hour, position, keep_from))
        }
        Err(error) => Err(error.into_error().into()),
    }
}

/// Marks that go at once.
const SWEPT: usize = 1_000;

#[cfg(test)]
mod tests {
    use store::Value;

    use super::*;

    /// What is on disk must stay readable: a change here needs a new schema number.
    #[test]
    fn rows_have_the_bytes_that_are_on_disk() {
        assert_eq!(&Position(4_711).encode()[..], b"\0\0\0\0\0\0\x12\x67");
    }

    #[test]
    fn what_had_come_by_a_moment_is_told_by_hours_that_were_over() {
        let mut marks = Marks::default();
        assert_eq!(marks.by(u64::MAX), Position::START);
        marks.add(10, Position(100));
        marks.add(12, Position(130));
        for (at, position) in [(0, 0), (10, 0), (11, 100), (12, 100), (13, 130), (99, 130)] {
            assert_eq!(marks.by(at * HOUR_MS), Position(position), "{at}");
            assert_eq!(marks.by(at * HOUR_MS + HOUR_MS - 1), Position(position), "{at}");
        }
        // Written by a clock that was ahead: it says no less than the marks before it, also those that come later.
        marks.add(50, Position(90));
        assert_eq!(marks.by(51 * HOUR_MS), Position(130));
        marks.add(49, Position(400));
        assert_eq!(marks.by(51 * HOUR_MS), Position(400));
        marks.take(60, Position(500), 49);
        assert_eq!(marks.len(), 3);
    }
}
