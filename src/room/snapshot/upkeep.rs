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

/// What [`Snapshots::reclaim`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Chunks that were kept.
    pub kept: u64,
    /// Chunks that were deleted.
    pub deleted: u64,
    /// Bytes that those had.
    pub deleted_bytes: u64,
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
    /// Deletes the chunks of a room that none of the `live` snapshots reaches, in bounded batches.
    ///
    /// A snapshot that is made meanwhile may name chunks about to be deleted. So `guard` adds to each
    /// batch a precondition that fails if the room was written since `live` was gathered (its head is
    /// as it was); whoever writes the room through this process should be kept out as well.
    ///
    /// # Errors
    /// [`Error::Changed`] when a guard failed: gather the live snapshots anew and call again. What was
    /// deleted by then was unreachable all the same.
    pub async fn reclaim(
        &self,
        room: RoomSerial,
        live: &[Root],
        guard: impl Fn(&mut Batch) + Send + Sync,
    ) -> Result<Reclaimed, Error> {
        let reached = self.reach(room, live).await?;
        let store = self.shelf().store();
        let mut done = Reclaimed::default();
        let mut range = Range::prefix(&room);
        loop {
            let rows = store.scan(&CHUNKS, range.clone(), Order::Ascending, STEP).await?;
            let Some((last, _)) = rows.last() else { return Ok(done) };
            range = range.after(last);
            let mut batch = Batch::new();
            let mut doomed = Vec::new();
            for ((_, hash), bytes) in &rows {
                if reached.contains(&ChunkHash(*hash)) {
                    done.kept += 1;
                } else {
                    batch.delete(&CHUNKS, &(room, *hash));
                    doomed.push(ChunkHash(*hash));
                    done.deleted += 1;
                    done.deleted_bytes += bytes.len() as u64;
                }
            }
            if doomed.is_empty() {
                continue;
            }
            guard(&mut batch);
            self.shelf().forget(room, &doomed);
            store.commit(batch).await.map_err(|error| match error {
                CommitError::Conflict { .. } => Error::Changed,
                CommitError::Store(error) => Error::Store(error),
                CommitError::Unknown | CommitError::Busy => Error::Interrupted,
            })?;
        }
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
    async fn reach(&self, room: RoomSerial, roots: &[Root]) -> Result<HashSet<ChunkHash>, Error> {
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
        Ok(reached)
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
