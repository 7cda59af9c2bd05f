//! Checking stored data: every row can be read as its table says, no log entry is missing.

use std::collections::BTreeMap;

use crate::{
    error::CodecError,
    key::{Key, decode_key},
    log::decode_entry,
    position::Position,
    table::{Table, TableId},
    value::Value,
};

/// How many problems a report names; the rest are counted.
const NAMED: usize = 100;

/// A log that is trimmed while it is read shows a hole for each part that is read, at most.
const HOLES: usize = 1_000;

/// How rows of one table are checked; see [`Table::check`].
#[derive(Clone, Copy, Debug)]
pub struct TableCheck {
    id: TableId,
    name: &'static str,
    row: fn(&[u8], &[u8]) -> Result<(), CodecError>,
}

impl TableCheck {
    /// The name of the table.
    #[must_use]
    pub const fn table(&self) -> &'static str {
        self.name
    }
}

impl<K: Key, V: Value> Table<K, V> {
    /// The check that every row's key and value can be read.
    #[must_use]
    pub fn check(&self) -> TableCheck {
        TableCheck { id: self.raw().id, name: self.name(), row: check_row::<K, V> }
    }
}

fn check_row<K: Key, V: Value>(key: &[u8], value: &[u8]) -> Result<(), CodecError> {
    decode_key::<K>(key)?;
    V::decode(&bytes::Bytes::copy_from_slice(value))?;
    Ok(())
}

/// The checks of this crate's own tables.
pub(crate) fn own_checks() -> Vec<TableCheck> {
    vec![
        crate::store::CURSORS.check(),
        crate::store::SEQUENCES.check(),
        crate::schema::META.check(),
        crate::consumer::LEASES.check(),
        crate::consumer::BEATS.check(),
        crate::consumer::MISSED.check(),
        crate::trim::MARKS.check(),
    ]
}

/// What was found; filled by a back end's `verify`.
#[derive(Debug, Default)]
pub struct Report {
    /// How many rows were read.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// How many log entries were read.
    pub entries: u64,
    /// Rows of tables that no check was given for.
    pub unchecked: u64,
    /// How many things are wrong.
    pub problem_count: u64,
    /// The first of them, in words.
    pub problems: Vec<String>,
    checks: BTreeMap<TableId, TableCheck>,
    last_entry: Position,
    holes: Vec<Hole>,
}

/// Entries of the log that are not there.
#[derive(Clone, Copy, Debug)]
struct Hole {
    /// The entry behind them.
    next: Position,
    /// The last of them, as that entry says.
    previous: Position,
    /// The entry before them.
    before: Position,
}

impl Report {
    /// A report of nothing, that will apply these checks and this crate's own.
    #[must_use]
    pub fn new(checks: &[TableCheck]) -> Self {
        let checks = checks.iter().copied().chain(own_checks()).map(|check| (check.id, check)).collect();
        Self { checks, ..Self::default() }
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problem_count == 0
    }

    /// The position of the last log entry seen.
    #[must_use]
    pub fn last_entry(&self) -> Position {
        self.last_entry
    }

    /// Takes note of a row.
    pub fn row(&mut self, table: TableId, key: &[u8], value: &[u8]) {
        self.rows += 1;
        self.bytes += key.len() as u64 + value.len() as u64;
        match self.checks.get(&table) {
            None => self.unchecked += 1,
            Some(check) => {
                if let Err(error) = (check.row)(key, value) {
                    let name = check.name;
                    self.problem(format!("{name}: row {key:02x?} cannot be read: {error}"));
                }
            }
        }
    }

    /// Takes note of the next log entry, in its stored form; entries come oldest first.
    pub fn entry(&mut self, position: Position, bytes: &[u8]) {
        self.entries += 1;
        match decode_entry(position, bytes) {
            Ok((previous, _)) if previous == self.last_entry => {}
            Ok((previous, _)) => {
                let hole = Hole { next: position, previous, before: self.last_entry };
                if self.holes.len() < HOLES { self.holes.push(hole) } else { self.hole(hole) }
            }
            Err(error) => self.problem(format!("log: entry {position} cannot be read: {error}")),
        }
        self.last_entry = position;
    }

    /// Says what holes in the log are wrong, once all of it was read: up to `trimmed` it may have some, and there is
    /// always an entry behind that.
    pub(crate) fn judge_holes(&mut self, trimmed: Position) {
        for hole in std::mem::take(&mut self.holes) {
            if hole.previous > trimmed {
                self.hole(hole);
            }
        }
        if self.last_entry <= trimmed && trimmed > Position::START {
            self.problem(format!("log: it is trimmed up to {trimmed}, and nothing is behind that"));
        }
    }

    fn hole(&mut self, Hole { next, previous, before }: Hole) {
        self.problem(format!("log: entry {next} follows {previous}, but {before} is before it"));
    }

    /// Takes note of something else that is wrong.
    pub fn problem(&mut self, problem: String) {
        self.problem_count += 1;
        if self.problems.len() < NAMED {
            self.problems.push(problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{RawSlot, encode_entry, table::Tuning};

    static ROWS: Table<u64, u64> = Table::new(190, "test.rows", Tuning::Point);

    fn entry(previous: u64) -> Bytes {
        encode_entry(Position(previous), &RawSlot { kind: 1, payload: Bytes::new(), topics: Vec::new() })
    }

    #[test]
    fn a_report_names_unreadable_rows_and_missing_entries() {
        let mut report = Report::new(&[ROWS.check()]);
        report.row(TableId(190), &[0; 8], &[0; 8]);
        report.entry(Position(3), &entry(0));
        report.entry(Position(9), &entry(3));
        assert!(report.is_clean());
        report.row(TableId(190), &[0; 8], &[0; 7]);
        report.entry(Position(12), &entry(10));
        report.entry(Position(13), &entry(12));
        report.judge_holes(Position(2));
        assert_eq!((report.problem_count, report.rows, report.entries), (2, 2, 4));
    }

    #[test]
    fn a_trimmed_log_is_whole_if_nothing_is_missing_behind_where_it_is_trimmed() {
        let judged = |entries: &[(u64, u64)], trimmed| {
            let mut report = Report::new(&[]);
            entries.iter().for_each(|(at, previous)| report.entry(Position(*at), &entry(*previous)));
            report.judge_holes(Position(trimmed));
            report.problem_count
        };
        assert_eq!(judged(&[(9, 7), (12, 9)], 7), 0);
        assert_eq!(judged(&[(3, 0), (9, 7), (12, 9)], 8), 0, "trimmed while it is read");
        assert_eq!(judged(&[(9, 7), (12, 9)], 6), 1);
        assert_eq!(judged(&[(9, 7), (12, 10)], 7), 1);
        assert_eq!(judged(&[(7, 3)], 7), 1, "nothing is left");
        assert_eq!(judged(&[], 7), 1);
        assert_eq!(judged(&[], 0), 0);
    }
}
