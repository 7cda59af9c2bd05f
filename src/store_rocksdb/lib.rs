//! The embedded back end: RocksDB.
//!
//! The store's committer is the only writer. It checks the preconditions, stamps the positions
//! and writes one `WriteBatch` with one sync per group. All caches and write buffers are charged
//! to one memory budget.
//!
//! Reading order: [`Settings`], [`RocksBackend`], then `columns` for how data are laid out and
//! `backup` for online backups.

mod backend;
mod backup;
mod columns;
mod settings;
#[cfg(test)]
mod tests;

pub use backend::RocksBackend;
pub use backup::{BackupInfo, restore};
pub use settings::{Durability, Settings};
