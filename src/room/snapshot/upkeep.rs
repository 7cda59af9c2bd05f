//! Upkeep: deleting chunks that no snapshot in use reaches, and looking whether trees are whole.

use std::collections::HashSet;

use store::{Batch, CommitError, Order, Range};

use super::{
    Error, Snapshots,
    node::{BadChunk, ChunkHash, MAX_DEPTH, MAX_LEAF_ENTRIES, Node, path},
    shelf::CHUNKS,
    tree::{Broken, ChunkId},
};
use crate::ids::{RoomSerial, Root};

/// Chunks read, or looked at for deletion, at once.
const STEP: usize = 512;
/// So many broken chunks are reported; after that the rest does not matter.
const MAX_REPORTED: usize = 100;

/// What became of a room's chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Chunks that were kept.
    pub kept: u64,
    /// Chunks that were deleted.
    pub deleted: u64,
    /// Bytes that those had.
    pub deleted_bytes: u64,
}

impl std::ops::AddAssign for Reclaimed {
    fn add_assign(&mut self, other: Self) {
        self.kept += other.kept;
        self.deleted += other.deleted;
        self.deleted_bytes += other.deleted_bytes;
    }
}

/// The chunks that some snapshots are made of.
#[derive(Debug)]
pub struct Reached(HashSet<ChunkHash>);

/// A page of a room's chunks.
#[derive(Debug)]
pub struct Unreached {
    /// The last of them.
    pub last: ChunkHash,
    /// Those that are not reached; perhaps none.
    pub doomed: Vec<ChunkHash>,
    /// How many are and are not.
    pub counts: Reclaimed,
}

/// What [`Snapshots::verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Different chunks looked at.
    pub chunks: u64,
    /// What is wrong; at most 100.
    pub broken: Vec<Broken>,
}

impl Snapshots {
    /// The next chunks of a room, in the order of their hashes and behind one, among which some are reached by none of
    /// the snapshots from which `reached` was made. `None`: there are no more.
    ///
    /// Costs a read for each page of the room's chunks. What it says holds as long as nothing new refers to a chunk;
    /// whoever deletes what it names has to see to that.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn unreached(
        &self,
        room: RoomSerial,
        reached: &Reached,
        after: Option<ChunkHash>,
    ) -> Result<Option<Unreached>, Error> {
        let mut range = Range::prefix(&room);
        if let Some(ChunkHash(after)) = after {
            range = range.after(&(room, after));
        }
        let rows = self.shelf().store().scan(&CHUNKS, range, Order::Ascending, STEP).await?;
        let Some(((_, last), _)) = rows.last() else { return Ok(None) };
        let mut page = Unreached { last: ChunkHash(*last), doomed: Vec::new(), counts: Reclaimed::default() };
        for ((_, hash), bytes) in &rows {
            if reached.0.contains(&ChunkHash(*hash)) {
                page.counts.kept += 1;
            } else {
                page.doomed.push(ChunkHash(*hash));
                page.counts.deleted += 1;
                page.counts.deleted_bytes += bytes.len() as u64;
            }
        }
        Ok(Some(page))
    }

    /// Commits the deletion of chunks, in a batch with what has to hold for it.
    ///
    /// A snapshot that is made meanwhile may name them. So the batch demands that the room was not written since they
    /// were found to be unreached, and who writes it through this process is kept out.
    ///
    /// # Errors
    /// [`Error::Changed`] when what the batch demands does not hold; then nothing is deleted.
    pub async fn delete(
        &self,
        mut batch: Batch,
        room: RoomSerial,
        doomed: &[ChunkHash],
    ) -> Result<(), Error> {
        for ChunkHash(hash) in doomed {
            batch.delete(&CHUNKS, &(room, *hash));
        }
        self.shelf().forget(room, doomed);
        let committed = self.shelf().store().commit(batch).await;
        // Somebody may have looked at one until now.
        self.shelf().forget(room, doomed);
        committed.map(drop).map_err(|error| match error {
            CommitError::Conflict { .. } => Error::Changed,
            CommitError::Store(error) => Error::Store(error),
            CommitError::Unknown | CommitError::Busy => Error::Interrupted,
        })
    }

    /// Looks at every chunk of these snapshots, in the store itself: that it is there, has its hash,
    /// and holds what belongs to its place.
    ///
    /// # Errors
    /// When the store cannot be read. Broken chunks are no error but the result.
    pub async fn verify(&self, room: RoomSerial, roots: &[Root]) -> Result<Report, Error> {
        let mut report = Report::default();
        let mut seen = HashSet::new();
        let tops = roots.iter().filter_map(|root| ChunkHash::top(*root));
        let mut pending: Vec<_> = tops.map(|hash| Visit { hash, depth: 0, path: 0, count: None }).collect();
        while let Some(some) = take_step(&mut pending) {
            let visits: Vec<_> = some.into_iter().filter(|visit| seen.insert(*visit)).collect();
            let ids: Vec<_> = visits.iter().map(|visit| ChunkId { room, hash: visit.hash }).collect();
            for ((visit, id), node) in visits.iter().zip(&ids).zip(self.shelf().read(&ids).await?) {
                report.chunks += 1;
                let checked = node.and_then(|node| visit.check(&node).map(|()| node));
                match checked {
                    Ok(node) => pending.extend(visit.below(&node)),
                    Err(cause) => report.broken.push(id.broken(cause)),
                }
                if report.broken.len() >= MAX_REPORTED {
                    return Ok(report);
                }
            }
        }
        Ok(report)
    }

    /// The chunks that snapshots are made of. Leaves are known by their count and not read.
    ///
    /// # Errors
    /// When the store cannot be read, or one of them is missing or damaged.
    pub async fn reached(&self, room: RoomSerial, roots: &[Root]) -> Result<Reached, Error> {
        let mut pending: Vec<_> = roots.iter().filter_map(|root| ChunkHash::top(*root)).collect();
        let mut reached: HashSet<_> = pending.iter().copied().collect();
        pending = reached.iter().copied().collect();
        while let Some(some) = take_step(&mut pending) {
            let ids: Vec<_> = some.into_iter().map(|hash| ChunkId { room, hash }).collect();
            for (id, node) in ids.iter().zip(self.shelf().read(&ids).await?) {
                let node = node.map_err(|cause| id.broken(cause))?;
                for child in node.children() {
                    if reached.insert(child.hash) && child.count > MAX_LEAF_ENTRIES as u64 {
                        pending.push(child.hash);
                    }
                }
            }
        }
        Ok(Reached(reached))
    }
}

/// A chunk to verify and what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Visit {
    hash: ChunkHash,
    depth: u32,
    /// The bits that all places below begin with.
    path: u64,
    /// Entries by its parent's word.
    count: Option<u64>,
}

impl Visit {
    fn check(&self, node: &Node) -> Result<(), BadChunk> {
        if self.count.is_some_and(|count| count != node.count()) {
            return Err(BadChunk::Content);
        }
        match node {
            Node::Leaf(entries) if entries.len() > MAX_LEAF_ENTRIES => Err(BadChunk::Content),
            Node::Leaf(entries) if entries.iter().any(|entry| path(entry.0, self.depth) != self.path) => {
                Err(BadChunk::Place)
            }
            Node::Branch(_) if self.depth >= MAX_DEPTH => Err(BadChunk::Place),
            Node::Leaf(_) | Node::Branch(_) => Ok(()),
        }
    }

    fn below(&self, node: &Node) -> Vec<Self> {
        let Node::Branch(children) = node else { return Vec::new() };
        let depth = self.depth + 1;
        let bits = if depth == MAX_DEPTH { 1 } else { 3 };
        let children = children.iter().enumerate();
        let below = children.filter_map(|(slot, child)| {
            let child = (*child)?;
            let path = self.path << bits | slot as u64;
            Some(Self { hash: child.hash, depth, path, count: Some(child.count) })
        });
        below.collect()
    }
}

/// The next few of a list, from its end.
fn take_step<T>(pending: &mut Vec<T>) -> Option<Vec<T>> {
    let some = pending.split_off(pending.len().saturating_sub(STEP));
    (!some.is_empty()).then_some(some)
}
