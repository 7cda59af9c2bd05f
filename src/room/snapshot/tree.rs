//! Reading the tree: look-up, walk and difference, over any source of chunks.
//!
//! All three go down level by level and ask the source for all chunks of a level at once, so a tree
//! of 30,000 entries costs four round trips at most, however many keys are asked for.

use std::{cmp::Ordering, future::Future, mem, sync::Arc};

use super::node::{BadChunk, ChunkHash, Entry, FANOUT, MAX_DEPTH, Node, slot};
use crate::ids::{EventSerial, RoomSerial, Root, StateKeySerial};

/// Where a chunk is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ChunkId {
    pub(super) room: RoomSerial,
    pub(super) hash: ChunkHash,
}

/// A chunk that cannot be what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("chunk {:02x?} of room {}: {cause}", .hash.0, .room.0)]
pub struct Broken {
    /// The room.
    pub room: RoomSerial,
    /// The chunk.
    pub hash: ChunkHash,
    /// What is wrong.
    pub cause: BadChunk,
}

impl ChunkId {
    pub(super) fn broken(self, cause: BadChunk) -> Broken {
        Broken { room: self.room, hash: self.hash, cause }
    }
}

/// Where chunks come from.
pub(super) trait Chunks {
    /// Why one did not come.
    type Error: From<Broken> + Send;

    /// The chunks named, in order; one that is missing is an error.
    fn get(&self, wanted: &[ChunkId]) -> impl Future<Output = Result<Vec<Arc<Node>>, Self::Error>> + Send;
}

/// What is asked of one map.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The room.
    pub room: RoomSerial,
    /// Its state.
    pub root: Root,
    /// The keys wanted.
    pub keys: &'a [StateKeySerial],
}

/// Looks up keys in several maps; an answer per query, with an element per key, in order.
pub(super) async fn look_up<C: Chunks>(
    chunks: &C,
    queries: &[Query<'_>],
) -> Result<Vec<Vec<Option<EventSerial>>>, C::Error> {
    struct Visit {
        query: usize,
        /// Which of the query's keys lie below.
        keys: Vec<usize>,
    }

    let mut answers: Vec<_> = queries.iter().map(|query| vec![None; query.keys.len()]).collect();
    let (mut ids, mut visits) = (Vec::new(), Vec::new());
    for (index, query) in queries.iter().enumerate() {
        if let Some(hash) = ChunkHash::top(query.root).filter(|_| !query.keys.is_empty()) {
            ids.push(ChunkId { room: query.room, hash });
            visits.push(Visit { query: index, keys: (0..query.keys.len()).collect() });
        }
    }

    let mut depth = 0;
    while !ids.is_empty() {
        let nodes = chunks.get(&ids).await?;
        let (mut next_ids, mut next_visits) = (Vec::new(), Vec::new());
        for ((id, visit), node) in ids.iter().zip(visits).zip(nodes) {
            let wanted = queries[visit.query].keys;
            match &*node {
                Node::Leaf(entries) => {
                    for index in visit.keys {
                        answers[visit.query][index] = find(entries, wanted[index]);
                    }
                }
                Node::Branch(children) => {
                    check_depth(*id, depth)?;
                    let mut below: [Vec<usize>; FANOUT] = Default::default();
                    for index in visit.keys {
                        below[slot(wanted[index], depth)].push(index);
                    }
                    for (child, keys) in children.iter().zip(below) {
                        if let Some(child) = child.filter(|_| !keys.is_empty()) {
                            next_ids.push(ChunkId { room: id.room, hash: child.hash });
                            next_visits.push(Visit { query: visit.query, keys });
                        }
                    }
                }
            }
        }
        (ids, visits) = (next_ids, next_visits);
        depth += 1;
    }
    Ok(answers)
}

/// The number of a map's entries.
pub(super) async fn len<C: Chunks>(chunks: &C, room: RoomSerial, root: Root) -> Result<u64, C::Error> {
    let top: Vec<_> = ChunkHash::top(root).map(|hash| ChunkId { room, hash }).into_iter().collect();
    Ok(chunks.get(&top).await?.iter().map(|node| node.count()).sum())
}

/// The event for a key in a leaf's entries.
pub(super) fn find(entries: &[Entry], key: StateKeySerial) -> Option<EventSerial> {
    entries.binary_search_by_key(&key, |entry| entry.0).ok().map(|index| entries[index].1)
}

/// A branch lies above the depth at which the bits of a place end.
pub(super) fn check_depth(id: ChunkId, depth: u32) -> Result<(), Broken> {
    if depth < MAX_DEPTH { Ok(()) } else { Err(id.broken(BadChunk::Place)) }
}

/// A walk over all entries of some maps, in no particular order, in batches.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    /// Chunks to visit; the last one first.
    pending: Vec<Pending>,
}

/// A chunk to visit.
#[derive(Clone, Copy, Debug)]
struct Pending {
    /// Which of the maps it is of.
    map: usize,
    id: ChunkId,
    depth: u32,
}

/// Chunks read at once in a walk: some 4,000 entries, or 25 KiB stored.
const WALK_BATCH: usize = 64;

impl Walk {
    pub(super) fn new(maps: impl IntoIterator<Item = (RoomSerial, Root)>) -> Self {
        let top = |(map, (room, root))| {
            let id = ChunkId { room, hash: ChunkHash::top(root)? };
            Some(Pending { map, id, depth: 0 })
        };
        Self { pending: maps.into_iter().enumerate().filter_map(top).collect() }
    }

    /// The next entries, of one map or several, each with its number among the maps; none at the end.
    pub(super) async fn next<C: Chunks>(
        &mut self,
        chunks: &C,
    ) -> Result<Option<Vec<(usize, Vec<Entry>)>>, C::Error> {
        let mut found = Vec::new();
        while found.is_empty() {
            let batch = self.pending.split_off(self.pending.len().saturating_sub(WALK_BATCH));
            if batch.is_empty() {
                return Ok(None);
            }
            let ids: Vec<_> = batch.iter().map(|pending| pending.id).collect();
            for (node, Pending { map, id, depth }) in chunks.get(&ids).await?.into_iter().zip(batch) {
                match &*node {
                    Node::Leaf(entries) => found.push((map, entries.clone())),
                    Node::Branch(_) => {
                        check_depth(id, depth)?;
                        let below =
                            |hash| Pending { map, id: ChunkId { room: id.room, hash }, depth: depth + 1 };
                        self.pending.extend(node.children().map(|child| below(child.hash)));
                    }
                }
            }
        }
        Ok(Some(found))
    }
}

/// All entries of several maps, sorted by key; an element per map, in order.
pub(super) async fn all<C: Chunks>(
    chunks: &C,
    maps: &[(RoomSerial, Root)],
) -> Result<Vec<Vec<Entry>>, C::Error> {
    let mut all = vec![Vec::new(); maps.len()];
    let mut walk = Walk::new(maps.iter().copied());
    while let Some(found) = walk.next(chunks).await? {
        for (map, entries) in found {
            all[map].extend(entries);
        }
    }
    all.iter_mut().for_each(|entries: &mut Vec<Entry>| entries.sort_unstable());
    Ok(all)
}

/// How two maps differ in a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Difference {
    /// The key.
    pub key: StateKeySerial,
    /// Its event in the first map.
    pub before: Option<EventSerial>,
    /// Its event in the second map.
    pub after: Option<EventSerial>,
}

/// A part of a map in a comparison.
enum Side {
    Chunk(ChunkHash),
    /// Loaded already; may be empty.
    Entries(Vec<Entry>),
}

impl Side {
    fn of(child: Option<ChunkHash>) -> Self {
        child.map_or(Self::Entries(Vec::new()), Self::Chunk)
    }

    fn same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Chunk(left), Self::Chunk(right)) => left == right,
            (Self::Entries(left), Self::Entries(right)) => left.is_empty() && right.is_empty(),
            _ => false,
        }
    }
}

/// A side whose chunk is there.
enum Loaded {
    Entries(Vec<Entry>),
    Branch(ChunkId, Arc<Node>),
}

impl Loaded {
    fn of(side: Side, fetched: Option<(ChunkId, Arc<Node>)>) -> Self {
        match (side, fetched) {
            (Side::Entries(entries), _) => Self::Entries(entries),
            (Side::Chunk(_), Some((id, node))) => match &*node {
                Node::Leaf(entries) => Self::Entries(entries.clone()),
                Node::Branch(_) => Self::Branch(id, node),
            },
            (Side::Chunk(_), None) => Self::Entries(Vec::new()),
        }
    }

    /// Its parts by the next three bits.
    fn split(self, depth: u32) -> Result<[Side; FANOUT], Broken> {
        match self {
            Self::Branch(id, node) => {
                check_depth(id, depth)?;
                let Node::Branch(children) = &*node else { return Err(id.broken(BadChunk::Place)) };
                Ok(std::array::from_fn(|slot| Side::of(children[slot].map(|child| child.hash))))
            }
            Self::Entries(entries) => Ok(split(entries, depth).map(Side::Entries)),
        }
    }
}

/// Entries by slot; each part stays sorted.
pub(super) fn split(entries: Vec<Entry>, depth: u32) -> [Vec<Entry>; FANOUT] {
    let mut parts: [Vec<Entry>; FANOUT] = Default::default();
    for entry in entries {
        parts[slot(entry.0, depth)].push(entry);
    }
    parts
}

/// Two maps of a room to be compared, or parts of them.
struct Pair {
    /// Which of the comparisons it belongs to.
    comparison: usize,
    room: RoomSerial,
    before: Side,
    after: Side,
}

/// Compares maps, each with another one of its room; an answer per comparison, sorted by key.
///
/// Subtrees that both have are not looked at, so the cost follows the differences.
pub(super) async fn differences<C: Chunks>(
    chunks: &C,
    comparisons: &[(RoomSerial, Root, Root)],
) -> Result<Vec<Vec<Difference>>, C::Error> {
    let mut found = vec![Vec::new(); comparisons.len()];
    let whole = |(comparison, (room, before, after)): (usize, &(RoomSerial, Root, Root))| {
        let (before, after) = (Side::of(ChunkHash::top(*before)), Side::of(ChunkHash::top(*after)));
        Pair { comparison, room: *room, before, after }
    };
    let mut pairs: Vec<Pair> = comparisons.iter().enumerate().map(whole).collect();
    let mut depth = 0;
    loop {
        pairs.retain(|pair| !pair.before.same_as(&pair.after));
        if pairs.is_empty() {
            break;
        }
        let mut fetched = fetch_sides(chunks, &pairs).await?.into_iter();
        let mut fetch = |side: &Side| matches!(side, Side::Chunk(_)).then(|| fetched.next()).flatten();
        for Pair { comparison, room, before, after } in mem::take(&mut pairs) {
            let (before_node, after_node) = (fetch(&before), fetch(&after));
            match (Loaded::of(before, before_node), Loaded::of(after, after_node)) {
                (Loaded::Entries(before), Loaded::Entries(after)) => {
                    compare(&before, &after, &mut found[comparison]);
                }
                (before, after) => {
                    let parts = before.split(depth)?.into_iter().zip(after.split(depth)?);
                    pairs.extend(parts.map(|(before, after)| Pair { comparison, room, before, after }));
                }
            }
        }
        depth += 1;
    }
    for found in &mut found {
        found.sort_unstable_by_key(|difference| difference.key);
    }
    Ok(found)
}

/// Reads the chunks of all pairs, those before first.
async fn fetch_sides<C: Chunks>(chunks: &C, pairs: &[Pair]) -> Result<Vec<(ChunkId, Arc<Node>)>, C::Error> {
    let sides = pairs.iter().flat_map(|pair| [(pair.room, &pair.before), (pair.room, &pair.after)]);
    let ids: Vec<_> = sides
        .filter_map(|(room, side)| match side {
            Side::Chunk(hash) => Some(ChunkId { room, hash: *hash }),
            Side::Entries(_) => None,
        })
        .collect();
    let nodes = chunks.get(&ids).await?;
    Ok(ids.into_iter().zip(nodes).collect())
}

/// Merges two sorted lists into what differs.
fn compare(left: &[Entry], right: &[Entry], found: &mut Vec<Difference>) {
    let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (Some(a), Some(b)) => a.0.cmp(&b.0),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return,
        };
        let before = if order.is_le() { left.next() } else { None };
        let after = if order.is_ge() { right.next() } else { None };
        let Some((key, _)) = before.or(after) else { return };
        let (before, after) = (before.map(|entry| entry.1), after.map(|entry| entry.1));
        if before != after {
            found.push(Difference { key: *key, before, after });
        }
    }
}
