//! Changing a map: a new root and the chunks that the old tree lacks.
//!
//! First the chunks that the changes touch are read, level by level ([`load`]); then the new tree is
//! built from below, without waiting for anything ([`Builder`]). A branch left with few entries
//! becomes a leaf again, so what it needs for that is read too.

use std::sync::Arc;

use super::{
    node::{BadChunk, Child, ChunkHash, Entry, FANOUT, MAX_DEPTH, MAX_LEAF_ENTRIES, Made, Node, path, slot},
    tree::{Broken, ChunkId, Chunks, check_depth, split},
};
use crate::ids::{EventSerial, RoomSerial, Root, StateKeySerial};

/// A wish: the event for a key from now on; none to remove it.
pub type Change = (StateKeySerial, Option<EventSerial>);

/// Sorts changes so that those that touch the same chunks follow each other.
pub fn in_tree_order(changes: &mut [Change]) {
    changes.sort_unstable_by_key(|(key, _)| path(*key, MAX_DEPTH));
}

/// Applies changes to a map: the new root, and the chunks made for it.
#[cfg(test)]
pub(super) async fn apply<C: Chunks>(
    chunks: &C,
    room: RoomSerial,
    root: Root,
    changes: &[Change],
) -> Result<(Root, Vec<Made>), C::Error> {
    let changes = settled(changes);
    if changes.is_empty() {
        return Ok((root, Vec::new()));
    }
    let loaded = load(chunks, room, root, &changes).await?;
    Ok(build(&loaded, &changes)?)
}

/// Sorted by key, one change each: the last.
pub(super) fn settled(changes: &[Change]) -> Vec<Change> {
    let mut settled = changes.to_vec();
    settled.reverse();
    // Stable, so that the last wish for a key comes first.
    settled.sort_by_key(|change| change.0);
    settled.dedup_by_key(|change| change.0);
    settled
}

/// The part of a tree that changes touch.
#[derive(Debug)]
pub(super) struct Loaded {
    room: RoomSerial,
    /// The top is first; empty for the empty map.
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    child: Child,
    node: Arc<Node>,
    /// Its children in `parts`, as far as they were read.
    below: [Option<usize>; FANOUT],
}

/// A chunk to read, and where it belongs.
struct Visit {
    parent: Option<(usize, usize)>,
    hash: ChunkHash,
    changes: Vec<Change>,
    /// All of the subtree is needed: it may become one leaf.
    whole: bool,
}

/// Reads what is needed to apply `changes`.
pub(super) async fn load<C: Chunks>(
    chunks: &C,
    room: RoomSerial,
    root: Root,
    changes: &[Change],
) -> Result<Loaded, C::Error> {
    let mut parts: Vec<Part> = Vec::new();
    let top = ChunkHash::top(root).map(|hash| Visit {
        parent: None,
        hash,
        changes: changes.to_vec(),
        whole: false,
    });
    let mut visits: Vec<Visit> = top.into_iter().collect();
    let mut depth = 0;
    while !visits.is_empty() {
        let ids: Vec<_> = visits.iter().map(|visit| ChunkId { room, hash: visit.hash }).collect();
        let nodes = chunks.get(&ids).await?;
        let mut next = Vec::new();
        for ((visit, id), node) in visits.into_iter().zip(ids).zip(nodes) {
            let index = parts.len();
            if let Some((parent, slot)) = visit.parent {
                parts[parent].below[slot] = Some(index);
            }
            if let Node::Branch(children) = &*node {
                check_depth(id, depth)?;
                next.extend(visits_below(&visit, children.as_slice(), index, depth));
            }
            let child = Child { hash: visit.hash, count: node.count() };
            parts.push(Part { child, node, below: [None; FANOUT] });
        }
        visits = next;
        depth += 1;
    }
    Ok(Loaded { room, parts })
}

/// The children of a branch that must be read.
fn visits_below(visit: &Visit, children: &[Option<Child>], parent: usize, depth: u32) -> Vec<Visit> {
    let mut changes: [Vec<Change>; FANOUT] = Default::default();
    for change in &visit.changes {
        changes[slot(change.0, depth)].push(*change);
    }
    let total: u64 = children.iter().flatten().map(|child| child.count).sum();
    let removals = visit.changes.iter().filter(|change| change.1.is_none()).count();
    let whole = visit.whole || total <= (MAX_LEAF_ENTRIES + removals) as u64;
    let visits = children.iter().zip(changes).enumerate().filter_map(|(slot, (child, changes))| {
        let child = child.filter(|_| whole || !changes.is_empty())?;
        Some(Visit { parent: Some((parent, slot)), hash: child.hash, changes, whole })
    });
    visits.collect()
}

/// Builds the changed tree. `changes` are those that were given to [`load`].
pub(super) fn build(loaded: &Loaded, changes: &[Change]) -> Result<(Root, Vec<Made>), Broken> {
    let mut builder = Builder { loaded, made: Vec::new() };
    let top = (!loaded.parts.is_empty()).then_some(0);
    let changed = builder.change(top, changes, 0)?;
    let root = builder.finish(changed).map_or(Root::EMPTY, |child| Root(child.hash.0));
    Ok((root, builder.made))
}

struct Builder<'a> {
    loaded: &'a Loaded,
    made: Vec<Made>,
}

/// A subtree after the change, not yet a chunk if its parent may still take it in.
enum Changed {
    /// As it was; perhaps not read.
    Same(Child),
    /// Few enough entries for a leaf; where they are a chunk already, its name.
    Few(Vec<Entry>, Option<Child>),
    /// A branch that was made.
    Many(Child),
}

impl Changed {
    fn count(&self) -> u64 {
        match self {
            Self::Same(child) | Self::Many(child) => child.count,
            Self::Few(entries, _) => entries.len() as u64,
        }
    }
}

impl Builder<'_> {
    /// A subtree with its changes done.
    fn change(&mut self, part: Option<usize>, changes: &[Change], depth: u32) -> Result<Changed, Broken> {
        let loaded = self.loaded;
        let Some(part) = part.map(|index| &loaded.parts[index]) else {
            let added = changes.iter().filter_map(|(key, event)| event.map(|event| (*key, event)));
            return Ok(self.settle(added.collect(), None, depth));
        };
        match &*part.node {
            Node::Leaf(entries) => {
                let merged = merge(entries, changes);
                let known = (merged == *entries).then_some(part.child);
                Ok(self.settle(merged, known, depth))
            }
            Node::Branch(children) => self.change_branch(part, children, changes, depth),
        }
    }

    fn change_branch(
        &mut self,
        part: &Part,
        children: &[Option<Child>; FANOUT],
        changes: &[Change],
        depth: u32,
    ) -> Result<Changed, Broken> {
        let mut by_slot: [Vec<Change>; FANOUT] = Default::default();
        for change in changes {
            by_slot[slot(change.0, depth)].push(*change);
        }
        let mut parts = Vec::with_capacity(FANOUT);
        for (slot, child) in children.iter().enumerate() {
            parts.push(match (part.below[slot], child) {
                (None, Some(child)) => Changed::Same(*child),
                (below, _) => self.change(below, &by_slot[slot], depth + 1)?,
            });
        }
        if parts.iter().map(Changed::count).sum::<u64>() > MAX_LEAF_ENTRIES as u64 {
            return Ok(self.branch(parts, Some(part.child)));
        }
        let mut entries = Vec::with_capacity(MAX_LEAF_ENTRIES);
        for part in parts {
            match part {
                Changed::Few(few, _) => entries.extend(few),
                // `load` reads the whole subtree when this can happen, unless counts are wrong.
                Changed::Same(child) | Changed::Many(child) => {
                    let id = ChunkId { room: self.loaded.room, hash: child.hash };
                    return Err(id.broken(BadChunk::Content));
                }
            }
        }
        entries.sort_unstable();
        Ok(Changed::Few(entries, None))
    }

    /// Entries as a subtree: as they are if a leaf can hold them, else divided.
    fn settle(&mut self, entries: Vec<Entry>, known: Option<Child>, depth: u32) -> Changed {
        if entries.len() <= MAX_LEAF_ENTRIES || depth >= MAX_DEPTH {
            return Changed::Few(entries, known);
        }
        let parts = split(entries, depth);
        let parts = parts.into_iter().map(|part| self.settle(part, None, depth + 1)).collect();
        self.branch(parts, None)
    }

    fn branch(&mut self, parts: Vec<Changed>, before: Option<Child>) -> Changed {
        let mut children = Box::new([None; FANOUT]);
        for (child, part) in children.iter_mut().zip(parts) {
            *child = self.finish(part);
        }
        let count = children.iter().flatten().map(|child| child.count).sum();
        let hash = self.make(Node::Branch(children), before);
        Changed::Many(Child { hash, count })
    }

    /// The chunk of a subtree that stays a chunk of its own.
    fn finish(&mut self, changed: Changed) -> Option<Child> {
        match changed {
            Changed::Same(child) | Changed::Many(child) | Changed::Few(_, Some(child)) => Some(child),
            Changed::Few(entries, None) if entries.is_empty() => None,
            Changed::Few(entries, None) => {
                let count = entries.len() as u64;
                let hash = self.make(Node::Leaf(entries), None);
                Some(Child { hash, count })
            }
        }
    }

    fn make(&mut self, node: Node, before: Option<Child>) -> ChunkHash {
        let made = Made::new(node);
        let hash = made.hash;
        if before.is_none_or(|before| before.hash != hash) {
            self.made.push(made);
        }
        hash
    }
}

/// Sorted entries with sorted changes done.
fn merge(entries: &[Entry], changes: &[Change]) -> Vec<Entry> {
    let mut merged = Vec::with_capacity(entries.len() + changes.len());
    let mut rest = entries;
    for (key, event) in changes {
        let (smaller, not_smaller) = rest.split_at(rest.partition_point(|entry| entry.0 < *key));
        merged.extend_from_slice(smaller);
        rest = without(not_smaller, *key);
        merged.extend(event.map(|event| (*key, event)));
    }
    merged.extend_from_slice(rest);
    merged
}

/// Entries without a key that is less than all others or absent.
fn without(entries: &[Entry], key: StateKeySerial) -> &[Entry] {
    match entries.split_first() {
        Some((first, rest)) if first.0 == key => rest,
        _ => entries,
    }
}
