//! The port: what a back end does, on bytes.
//!
//! Every call takes many items, so that a back end with a network below can answer in one round
//! trip. No handle of any kind crosses the border. The decisions of a commit (preconditions,
//! counters, positions) are made by [`crate::stage`], the same for every back end.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    error::{CommitError, Error},
    position::{Position, Topic},
    table::{Order, RawTable},
    verify::Report,
};

/// One row's place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RowKey {
    /// The table.
    pub table: RawTable,
    /// The encoded key.
    pub key: Bytes,
}

/// A range of rows of one table.
#[derive(Clone, Debug)]
pub struct RawRange {
    /// The table.
    pub table: RawTable,
    /// The first key that may be given.
    pub start: Bytes,
    /// The first key that may not be given; none for the table's end.
    pub end: Option<Bytes>,
}

/// A row: its encoded key and value.
pub type RawRow = (Bytes, Bytes);

/// A precondition, judged against the state before its batch.
#[derive(Clone, Debug)]
pub struct RawRequire {
    /// The table.
    pub table: RawTable,
    /// The encoded key.
    pub key: Bytes,
    /// What the row must be; none for absent.
    pub expected: Option<Bytes>,
}

/// An operation on rows.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields are what the variants say")]
pub enum RawOp {
    /// Write a row.
    Put { table: RawTable, key: Bytes, value: Bytes },
    /// Remove a row.
    Delete { table: RawTable, key: Bytes },
    /// Remove the rows from `start` up to before `end` (none: the table's end).
    DeleteRange { table: RawTable, start: Bytes, end: Option<Bytes> },
    /// Add to a counter (eight bytes, big-endian, signed).
    Add { table: RawTable, key: Bytes, delta: i64 },
    /// Write a row whose key is `prefix` and the slot's position plus `offset`, as big-endian `u64`.
    Append { table: RawTable, prefix: Bytes, slot: u32, offset: u64, value: Bytes },
    /// Write a row whose first eight bytes become the slot's position, big-endian.
    PutStamped { table: RawTable, key: Bytes, slot: u32, value: Bytes },
    /// Remove the entries of the log after one position and up to another; the last entry of all stays.
    TrimLog { after: Position, through: Position },
}

/// A position to be given: of a log entry or, with kind 0, of something ephemeral.
#[derive(Clone, Debug)]
pub struct RawSlot {
    /// What the payload is; 0 leaves no entry in the log.
    pub kind: u8,
    /// The entry's content; without an entry, what is [told](crate::Batch::tell) to every process, if anything.
    pub payload: Bytes,
    /// Who may care.
    pub topics: Vec<Topic>,
}

/// A batch as back ends see it.
#[derive(Clone, Debug, Default)]
pub struct RawBatch {
    /// What must hold before it.
    pub requires: Vec<RawRequire>,
    /// What it does, in order.
    pub ops: Vec<RawOp>,
    /// The positions it needs, in order; they will be consecutive.
    pub slots: Vec<RawSlot>,
}

impl RawBatch {
    /// About how many bytes it adds to a write.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let requires = self.requires.iter().map(|require| require.key.len() + 16);
        let ops = self.ops.iter().map(|op| match op {
            RawOp::Put { key, value, .. } | RawOp::PutStamped { key, value, .. } => {
                key.len() + value.len() + 16
            }
            RawOp::Append { prefix, value, .. } => prefix.len() + value.len() + 24,
            RawOp::Delete { key, .. } | RawOp::Add { key, .. } => key.len() + 24,
            RawOp::DeleteRange { start, .. } => 2 * start.len() + 16,
            RawOp::TrimLog { .. } => 32,
        });
        let slots = self.slots.iter().map(|slot| slot.payload.len() + 12 * slot.topics.len() + 16);
        requires.chain(ops).chain(slots).sum()
    }
}

/// What became of a batch that was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawCommitted {
    /// The position of its first slot; of the state before it, if it has none.
    pub first: Position,
    /// How many positions it got.
    pub count: u32,
}

/// An entry of the log of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its place.
    pub position: Position,
    /// What the payload is.
    pub kind: u8,
    /// Its content.
    pub payload: Bytes,
    /// Who may care.
    pub topics: Vec<Topic>,
}

/// A place where bytes are kept: memory, an embedded database, a database server.
///
/// Reads give what is committed now; there are no snapshots. So rows may be ahead of a head that a
/// reader has taken before, and they are never behind it. Over shared data each process hears of
/// the others' commits a moment later; its head and its log move together, without a gap.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Reads rows; the answer has one element per key, in order.
    async fn get(&self, keys: &[RowKey]) -> Result<Vec<Option<Bytes>>, Error>;

    /// Reads at most `limit` rows of each range, in the given order; one element per range.
    async fn scan(&self, ranges: &[RawRange], order: Order, limit: usize) -> Result<Vec<Vec<RawRow>>, Error>;

    /// Commits batches as if one after the other, with one atomic durable write for all.
    ///
    /// A batch sees the effects of those before it, also in its preconditions; one whose
    /// precondition fails has no effect and takes no position. When the call returns, what it
    /// reports as committed survives a crash. One call at a time: the committer's.
    ///
    /// After [`CommitError::Unknown`], or an error that [stops writes](Error::stops_writes), nothing
    /// more is committed until [`Backend::heal`] has said yes.
    async fn commit(&self, batches: Arc<Vec<RawBatch>>) -> Vec<Result<RawCommitted, CommitError>>;

    /// Reads at most `limit` log entries after a position, oldest first; see [`decode_page`](crate::decode_page).
    async fn changes(&self, after: Position, limit: usize) -> Result<Vec<Change>, Error>;

    /// The last position that was given: everything up to it is decided and visible, and nothing that
    /// a read has shown before the call is behind it.
    async fn head(&self) -> Result<Position, Error>;

    /// Whether other processes may commit to the same data.
    fn is_shared(&self) -> bool {
        false
    }

    /// For shared data: what was touched after a position, oldest first, also by ephemeral
    /// positions, with what was told at those; at most `limit` positions, and the last one that the answer covers.
    async fn touched(&self, after: Position, _limit: usize) -> Result<Touched, Error> {
        Ok(Touched::nothing(after))
    }

    /// For shared data: waits until another process may have committed something after a position.
    async fn moved_on(&self, _after: Position) -> Result<(), Error> {
        std::future::pending().await
    }

    /// Says whether it takes writes, after trying to heal what stands in their way.
    ///
    /// Asked from time to time, and again and again after a write failed until it answers; until
    /// then no batch is given to it, while reads go on. Whatever a group of unknown outcome has
    /// written after all is visible then, and is in the answer: what it touched, up to the head.
    async fn heal(&self) -> Result<Touched, Error> {
        Ok(Touched::nothing(Position::START))
    }

    /// Gives the space back that the deleted rows of a range took, as far as it does not come back by itself.
    ///
    /// May take long and cost much; nobody waits for it, and reads and commits go on meanwhile. What it leaves
    /// undone, because the process ends or it fails, costs space and nothing else.
    async fn give_back(&self, _range: &RawRange) -> Result<(), Error> {
        Ok(())
    }

    /// Reads everything there is into the report: all rows, all log entries in order.
    async fn verify(&self, report: Report) -> Result<Report, Error>;

    /// Writes out what can be written out and lets go of the data; later calls fail.
    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// What was touched in a stretch of the log; see [`Backend::touched`].
#[derive(Clone, Debug, Default)]
pub struct Touched {
    /// Positions with their topics, ascending.
    pub positions: Vec<(Position, Vec<Topic>)>,
    /// What was told at some of them, ascending: the payloads of slots that leave no entry.
    pub told: Vec<(Position, Bytes)>,
    /// All positions up to here are covered.
    pub through: Position,
    /// Whether something in between is not kept any more: any topic may have been touched.
    pub has_holes: bool,
}

impl Touched {
    /// Nothing was touched up to a position.
    #[must_use]
    pub const fn nothing(through: Position) -> Self {
        Self { positions: Vec::new(), told: Vec::new(), through, has_holes: false }
    }
}
