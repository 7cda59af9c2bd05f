//! The store: typed tables, batches with preconditions, one order of commits, a log of changes.
//!
//! Above the port ([`Backend`]) are types, below it bytes. Everything that is written goes through
//! one committer per store, which turns waiting batches into one durable write; a write is
//! acknowledged once it is on stable storage. What a reader may have to hear of goes into the log
//! in the same batch as the data.
//!
//! Reading order: [`Table`], [`Batch`], [`Store`], [`Consumer`]; then `committer`, `watch` and `stage` for how it
//! works, and [`Backend`] for what a back end must do.

mod backend;
mod batch;
mod committer;
mod condition;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod consumer;
mod error;
mod interposed;
mod key;
mod log;
mod memory;
mod metrics;
mod moves;
mod position;
mod reads;
mod schema;
mod sequence;
pub mod stage;
mod store;
mod swath;
mod table;
mod tell;
mod trim;
mod up_to;
mod value;
mod verify;
mod waiters;
mod watch;

pub use backend::{
    Backend, Change, RawBatch, RawCommitted, RawOp, RawRange, RawRequire, RawRow, RawSlot, RowKey, Touched,
};
pub use batch::{Batch, EPHEMERAL, Slot};
pub use committer::{Committed, Receipt};
pub use condition::Condition;
pub use consumer::{Consumer, Entries, Fenced, Missed, Submitted, Term};
pub use error::{CodecError, CommitError, Error, Precondition};
pub use interposed::Interposed;
pub use key::{AppendKey, AsKey, Key, PositionKey, PrefixOf, decode_key, encode_key};
pub use log::{LOG, decode_entry, decode_page, encode_entry};
pub use memory::{MemoryBackend, MemoryDisk};
pub use moves::Moved;
pub use position::{Position, Topic};
pub use reads::{Found, ManyTickets, Reads, Ticket};
pub use schema::Migration;
pub use sequence::Sequence;
pub use store::{Options, Store};
pub use swath::Swath;
pub use table::{Order, Range, RawTable, Table, TableId, Tuning};
pub use tell::{Ear, MOST_TOLD};
pub use trim::{Keep, LogStatus, ReaderStatus};
pub use up_to::{Remembered, UpTo};
pub use value::{Counter, Stamped, Value, decode_row, encode_row};
pub use verify::{Report, TableCheck};
pub use watch::Watch;

/// What the macros of this crate refer to.
pub mod reexport {
    pub use bytes::Bytes;
    pub use serde;
}
