//! What the operator chooses.

use std::path::PathBuf;

use base::ByteSize;
use serde::{Deserialize, Serialize};

/// When a write counts as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// It is on stable storage; it survives a power failure.
    #[default]
    Fsync,
    /// The operating system has it; it survives the end of the process, not a power failure.
    Os,
}

/// Where and how data are kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The directory; made when it is not there.
    pub path: PathBuf,
    /// When a write counts as done.
    pub durability: Durability,
    /// What block cache and write buffers may use together, at least 8 MiB.
    pub memory: ByteSize,
    /// What stays free on the disk: with less, writes are refused before the disk refuses them, and
    /// what the database does by itself (compaction, the log at a start) still finds room.
    pub reserve: ByteSize,
}

impl Settings {
    /// Durable, with 64 MiB of memory and 64 MiB of reserve.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            durability: Durability::Fsync,
            memory: ByteSize::mib(64),
            reserve: ByteSize::mib(64),
        }
    }
}
