//! Upkeep: deleting chunks that no snapshot in use reaches, and looking whether trees are whole.
//!
//! A chunk goes in two looks. In the first, those that no snapshot in use reaches are *condemned*: a byte is written before
//! them. In the second, which begins when that is written, those go that are condemned still and still not reached.
//! Nobody waits meanwhile, and it counts for nothing how much is written to the room: whoever makes a chunk writes it
//! without that byte, and whoever takes one over takes it from a snapshot in use.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use store::{Batch, Order, Range};

use super::{
    Error, Snapshots,
    node::{BadChunk, ChunkHash, MAX_DEPTH, MAX_LEAF_ENTRIES, Node, condemned, pardoned, path},
    reached::Reached,
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

/// A page of a room's chunks, of which a batch deals with some.
#[derive(Clone, Debug)]
pub struct Page {
    /// The last of them.
    pub last: ChunkHash,
    /// Those that the batch condemns, or deletes; perhaps none.
    pub doomed: Vec<ChunkHash>,
    /// How many are condemned once it is written.
    pub condemned: u64,
    /// What has become of them then.
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
    /// Condemns, in a batch, those of a room's next chunks that no snapshot reaches; in the order of their hashes, behind
    /// one. `None`: there are no more.
    ///
    /// A condemned chunk is read like any other. Whoever makes the same chunk anew writes it as it was, and so it is not
    /// condemned any more. So, if snapshots are looked at again that are named *after* the batch is written, one that is
    /// condemned still and not reached is needed by nobody: who came to name it since must have made it.
    ///
    /// The batch demands the chunks as they are read, so that none comes back that somebody else deletes meanwhile.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn stage_condemned(
        &self,
        batch: &mut Batch,
        room: RoomSerial,
        reached: &Reached,
        after: Option<ChunkHash>,
    ) -> Result<Option<Page>, Error> {
        let Some((mut page, rows)) = self.page(room, after).await? else { return Ok(None) };
        for (hash, bytes) in &rows {
            page.counts.kept += 1;
            if reached.contains(*hash) {
                continue;
            }
            page.condemned += 1;
            if pardoned(bytes).is_none() {
                batch.replace(&CHUNKS, &(room, hash.0), bytes, &condemned(bytes));
                page.doomed.push(*hash);
            }
        }
        Ok(Some(page))
    }

    /// Deletes, in a batch, those of a room's next chunks that are condemned and that no snapshot reaches; that is no more
    /// true of one that is reached. In the order of their hashes, behind one. `None`: there are no more.
    ///
    /// `reached` has to be made of all that is named after the chunks were condemned. The batch demands that they still
    /// are. Who deletes them has this process forget them before and after ([`Snapshots::forget`]).
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn stage_deleted(
        &self,
        batch: &mut Batch,
        room: RoomSerial,
        reached: &Reached,
        after: Option<ChunkHash>,
    ) -> Result<Option<Page>, Error> {
        let Some((mut page, rows)) = self.page(room, after).await? else { return Ok(None) };
        for (hash, bytes) in &rows {
            let key = (room, hash.0);
            match pardoned(bytes) {
                Some(own) if reached.contains(*hash) => {
                    batch.replace(&CHUNKS, &key, bytes, &own);
                    page.counts.kept += 1;
                }
                Some(own) => {
                    batch.require(&CHUNKS, &key, Some(bytes));
                    batch.delete(&CHUNKS, &key);
                    page.doomed.push(*hash);
                    page.counts.deleted += 1;
                    page.counts.deleted_bytes += own.len() as u64;
                }
                None => page.counts.kept += 1,
            }
        }
        Ok(Some(page))
    }

    /// Has this process keep nothing of chunks that are deleted. Others may have them in memory for a while, where nobody
    /// asks for them.
    pub fn forget(&self, room: RoomSerial, doomed: &[ChunkHash]) {
        self.shelf().forget(room, doomed);
    }

    /// A room's next chunks behind one, as they are stored, and a page on which nothing is said of them yet. `None`: there are
    /// no more.
    async fn page(
        &self,
        room: RoomSerial,
        after: Option<ChunkHash>,
    ) -> Result<Option<(Page, Vec<(ChunkHash, Bytes)>)>, Error> {
        let mut range = Range::prefix(&room);
        if let Some(ChunkHash(after)) = after {
            range = range.after(&(room, after));
        }
        let rows = self.shelf().store().scan(&CHUNKS, range, Order::Ascending, STEP).await?;
        let rows: Vec<_> = rows.into_iter().map(|((_, hash), bytes)| (ChunkHash(hash), bytes)).collect();
        let Some((last, _)) = rows.last() else { return Ok(None) };
        let page = Page { last: *last, doomed: Vec::new(), condemned: 0, counts: Reclaimed::default() };
        Ok(Some((page, rows)))
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

    /// Adds the chunks of further snapshots of a room to those that are reached. Leaves are known by their count and not
    /// read.
    ///
    /// Of each snapshot that is looked at, in which it differs from the one named before it: that is little where they
    /// come in the order in which they were made. After an error nothing may be made of `reached`.
    ///
    /// # Errors
    /// When the store cannot be read, or a chunk is missing or damaged.
    pub async fn reach(&self, room: RoomSerial, roots: &[Root], reached: &mut Reached) -> Result<(), Error> {
        // A branch that is in a snapshot, and the one that is in its place in the snapshot before.
        let mut pending: Vec<(ChunkHash, Option<ChunkHash>)> = Vec::new();
        for top in roots.iter().filter_map(|root| ChunkHash::top(*root)) {
            if reached.begin(top) {
                pending.push((top, reached.last));
            }
            reached.last = Some(top);
        }
        while let Some(some) = take_step(&mut pending) {
            let named: HashSet<ChunkHash> =
                some.iter().flat_map(|(is, was)| std::iter::once(*is).chain(*was)).collect();
            let ids: Vec<_> = named.into_iter().map(|hash| ChunkId { room, hash }).collect();
            let mut nodes: HashMap<ChunkHash, Node> = HashMap::with_capacity(ids.len());
            for (id, node) in ids.iter().zip(self.shelf().read(&ids).await?) {
                nodes.insert(id.hash, node.map_err(|cause| id.broken(cause))?);
            }
            for (is, was) in some {
                let below = |hash: ChunkHash| match nodes.get(&hash) {
                    Some(Node::Branch(children)) => children.as_slice(),
                    Some(Node::Leaf(_)) | None => &[],
                };
                let before = was.map_or(&[][..], below);
                for (slot, child) in below(is).iter().enumerate() {
                    let Some(child) = child else { continue };
                    let was = before.get(slot).copied().flatten();
                    if was.is_some_and(|was| was.hash == child.hash) {
                        continue;
                    }
                    reached.add(child.hash);
                    if child.count > MAX_LEAF_ENTRIES as u64 {
                        let was = was.filter(|was| was.count > MAX_LEAF_ENTRIES as u64);
                        pending.push((child.hash, was.map(|was| was.hash)));
                    }
                }
            }
        }
        Ok(())
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
