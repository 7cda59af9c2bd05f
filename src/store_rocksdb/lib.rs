//! The embedded back end: RocksDB.
//!
//! The store's committer is the only writer. It checks the preconditions, stamps the positions
//! and writes one `WriteBatch` with one sync per group. All caches and write buffers are charged
//! to one memory budget.
//!
//! When a write fails, reading goes on, and the database is opened again behind the port once the
//! disk takes writes.
//!
//! Reading order: [`Settings`], [`RocksBackend`], `slot` and `space` for what a failed write leads to, then `columns` for how data are laid out and
//! `backup` for online backups.

mod backend;
mod backup;
mod columns;
mod rest;
mod settings;
mod slot;
mod space;
mod stall;
#[cfg(test)]
mod tests;

pub use backend::RocksBackend;
pub use backup::{BackupInfo, restore};
pub use settings::{Durability, Settings};
