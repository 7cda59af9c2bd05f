//! Where chunks come from: those just made, those recently used, the store.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Arc, Weak},
};

use base::{
    Cache, Caches,
    cache::{Held, Holder},
};
use bytes::Bytes;
use parking_lot::Mutex;
use store::{Batch, Store, Table, Tuning};

use super::{
    Error,
    node::{BadChunk, ChunkHash, Made, Node, pardoned},
    tree::{ChunkId, Chunks},
};
use crate::ids::RoomSerial;

/// Chunks of state snapshots, by their hash. What one holds never changes; a byte before it says that it is condemned
/// ([`Snapshots::stage_condemned`](super::Snapshots::stage_condemned)), until somebody makes the same one anew.
pub static CHUNKS: Table<(RoomSerial, [u8; 16]), Bytes> = Table::new(50, "room.chunks", Tuning::Large);

/// Chunks in memory, over those in the store.
#[derive(Debug)]
pub(super) struct Shelf {
    store: Store,
    used: Cache<ChunkId, Arc<Node>>,
    made: Arc<Lately>,
}

/// The chunks made lately, for the list of what holds memory.
#[derive(Debug, Default)]
struct Lately(Mutex<JustMade>);

impl Holder for Lately {
    fn held(&self) -> Held {
        let made = self.0.lock();
        let bytes = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
        Held { bytes: bytes(made.bytes), entries: made.nodes.len() as u64, most: bytes(made.limit_bytes) }
    }

    fn age(&self) -> u64 {
        u64::try_from(self.0.lock().age()).unwrap_or(u64::MAX)
    }
}

/// Chunks made lately. They may be on their way to the store: who finds one neither here nor there waits until what
/// was submitted is written, so they are kept for a while, but no longer.
#[derive(Debug, Default)]
struct JustMade {
    /// Each with its number among all that were ever made: of one that was made again, the last.
    nodes: HashMap<ChunkId, (u64, Arc<Node>)>,
    order: VecDeque<InOrder>,
    /// How many chunks were ever made.
    count: u64,
    /// The batches in the making: how many chunks there were when each began, and how many began then.
    open: BTreeMap<u64, usize>,
    bytes: usize,
    limit_bytes: usize,
    /// How many had been made at the last two looks, the older first.
    aged: [u64; 2],
}

/// A chunk in the order of making.
#[derive(Debug)]
struct InOrder {
    number: u64,
    id: ChunkId,
    bytes: usize,
}

/// Keeps the chunks that are made from now on at hand until it is dropped.
///
/// Whoever builds on roots of a batch that is not submitted yet needs it: those chunks are nowhere else, however
/// many they are. After the batch is submitted, the store has them soon.
#[derive(Debug)]
pub struct Hold {
    made: Arc<Lately>,
    since: u64,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.made.0.lock().release(self.since);
    }
}

/// Never less for chunks just made: those of submitted batches are asked for again soon.
const MIN_MADE_BYTES: usize = 1 << 20;

/// What a chunk takes in the tables of those just made, of which a third is empty on the average.
const PLACE_BYTES: usize = (size_of::<(ChunkId, (u64, Arc<Node>))>() + size_of::<InOrder>()) * 3 / 2;

fn used(caches: &Caches, bytes: u64) -> Cache<ChunkId, Arc<Node>> {
    Cache::new(caches, "room_chunks", bytes, |_, node: &Arc<Node>| node.memory_bytes())
}

impl Shelf {
    pub(super) fn new(store: Store, caches: &Caches, cache_bytes: u64) -> Self {
        let made_bytes = usize::try_from(cache_bytes / 4).unwrap_or(usize::MAX).max(MIN_MADE_BYTES);
        let used_bytes = (cache_bytes - cache_bytes / 4).max(1 << 16);
        let made = Arc::new(Lately(Mutex::new(JustMade { limit_bytes: made_bytes, ..JustMade::default() })));
        let holder: Weak<dyn Holder> = Arc::downgrade(&made) as _;
        caches.add("room_chunks_made", holder);
        Self { store, used: used(caches, used_bytes), made }
    }

    /// Begins to hold what is made; see [`Hold`].
    pub(super) fn hold(&self) -> Hold {
        let since = self.made.0.lock().hold();
        Hold { made: self.made.clone(), since }
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    #[cfg(test)]
    pub(super) fn made_bytes(&self) -> usize {
        self.made.0.lock().bytes
    }

    /// Puts new chunks into the caller's batch, and keeps them at hand until it is written.
    pub(super) fn add(&self, room: RoomSerial, made: Vec<Made>, batch: &mut Batch) {
        let mut at_hand = self.made.0.lock();
        for Made { hash, bytes, node } in made {
            batch.put(&CHUNKS, &(room, hash.0), &bytes);
            at_hand.add(ChunkId { room, hash }, node);
        }
    }

    /// Forgets chunks that are being deleted.
    pub(super) fn forget(&self, room: RoomSerial, hashes: &[ChunkHash]) {
        let mut at_hand = self.made.0.lock();
        for hash in hashes {
            let id = ChunkId { room, hash: *hash };
            self.used.remove(&id);
            at_hand.nodes.remove(&id);
        }
    }

    fn at_hand(&self, id: &ChunkId) -> Option<Arc<Node>> {
        if let Some(node) = self.used.get(id) {
            return Some(node);
        }
        let (_, node) = self.made.0.lock().nodes.get(id).cloned()?;
        self.used.insert(*id, node.clone());
        Some(node)
    }

    /// Reads chunks from the store alone, also condemned ones; checks their hashes.
    pub(super) async fn read(&self, ids: &[ChunkId]) -> Result<Vec<Result<Node, BadChunk>>, Error> {
        let keys: Vec<_> = ids.iter().map(|id| (id.room, id.hash.0)).collect();
        let rows = self.store.get_many(&CHUNKS, &keys).await?;
        let nodes = rows.into_iter().zip(ids).map(|(bytes, id)| {
            let bytes = bytes.ok_or(BadChunk::Missing)?;
            let bytes = pardoned(&bytes).unwrap_or(bytes);
            if ChunkHash::of(&bytes) != id.hash {
                return Err(BadChunk::Hash);
            }
            Node::decode(&bytes)
        });
        Ok(nodes.collect())
    }

    /// Reads chunks that are not at hand, by their ids.
    async fn fetch(&self, mut missing: HashSet<ChunkId>) -> Result<HashMap<ChunkId, Arc<Node>>, Error> {
        let mut fetched = HashMap::with_capacity(missing.len());
        let mut waited = false;
        while !missing.is_empty() {
            let ids: Vec<_> = missing.into_iter().collect();
            missing = HashSet::new();
            for (id, node) in ids.iter().zip(self.read(&ids).await?) {
                match node {
                    Ok(node) => {
                        let node = Arc::new(node);
                        self.used.insert(*id, node.clone());
                        fetched.insert(*id, node);
                    }
                    Err(BadChunk::Missing) if !waited => {
                        missing.insert(*id);
                    }
                    Err(cause) => return Err(id.broken(cause).into()),
                }
            }
            if !missing.is_empty() {
                // Submitted but not written yet? Then it is written before this batch is.
                self.store.commit(Batch::new()).await.map_err(|_| Error::Interrupted)?;
                waited = true;
            }
        }
        Ok(fetched)
    }
}

impl Chunks for Shelf {
    type Error = Error;

    async fn get(&self, wanted: &[ChunkId]) -> Result<Vec<Arc<Node>>, Error> {
        let found: Vec<_> = wanted.iter().map(|id| self.at_hand(id)).collect();
        let missing: HashSet<_> =
            wanted.iter().zip(&found).filter(|(_, node)| node.is_none()).map(|(id, _)| *id).collect();
        if missing.is_empty() {
            return Ok(found.into_iter().flatten().collect());
        }
        let fetched = self.fetch(missing).await?;
        let nodes = wanted.iter().zip(found).map(|(id, node)| {
            node.or_else(|| fetched.get(id).cloned()).ok_or_else(|| id.broken(BadChunk::Missing).into())
        });
        nodes.collect()
    }
}

impl JustMade {
    fn add(&mut self, id: ChunkId, node: Arc<Node>) {
        let bytes = PLACE_BYTES + node.memory_bytes();
        // Made anew, it is nowhere else once more: the batch in which it was before may have been given up, or it may have
        // been deleted since.
        self.nodes.insert(id, (self.count, node));
        self.order.push_back(InOrder { number: self.count, id, bytes });
        self.count += 1;
        self.bytes += bytes;
        self.shrink();
    }

    fn hold(&mut self) -> u64 {
        *self.open.entry(self.count).or_default() += 1;
        self.count
    }

    fn release(&mut self, since: u64) {
        if let Some(holds) = self.open.get_mut(&since) {
            *holds -= 1;
            if *holds == 0 {
                self.open.remove(&since);
            }
        }
        self.shrink();
    }

    fn shrink(&mut self) {
        self.drop_oldest(|made, _| made.bytes > made.limit_bytes);
    }

    /// Lets those go that were there two looks ago, and says how many bytes that were.
    fn age(&mut self) -> usize {
        let [older, newer] = self.aged;
        self.aged = [newer, self.count];
        let before = self.bytes;
        self.drop_oldest(|_, oldest| oldest.number < older);
        if self.order.is_empty() {
            self.nodes.shrink_to_fit();
            self.order.shrink_to_fit();
        }
        before - self.bytes
    }

    /// Lets the oldest go for as long as they should, but none that somebody holds.
    fn drop_oldest(&mut self, goes: impl Fn(&Self, &InOrder) -> bool) {
        let held = self.open.first_key_value().map_or(self.count, |(since, _)| *since);
        while let Some(oldest) = self.order.front()
            && oldest.number < held
            && goes(self, oldest)
            && let Some(oldest) = self.order.pop_front()
        {
            if self.nodes.get(&oldest.id).is_some_and(|(number, _)| *number == oldest.number) {
                self.nodes.remove(&oldest.id);
            }
            self.bytes -= oldest.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{EventSerial, StateKeySerial};

    fn leaf(n: u64) -> (ChunkId, Arc<Node>) {
        let leaf = [(StateKeySerial(0), EventSerial(n))].into_iter().collect();
        (ChunkId { room: RoomSerial(n), hash: ChunkHash([7; 16]) }, Arc::new(Node::Leaf(leaf)))
    }

    #[test]
    fn chunks_just_made_are_charged_what_they_take_and_go_after_two_looks_unless_somebody_holds_them() {
        let (made, in_use) = meter::kept(|| {
            let made = Lately(Mutex::new(JustMade { limit_bytes: usize::MAX, ..JustMade::default() }));
            (0..5_000).map(leaf).for_each(|(id, node)| made.0.lock().add(id, node));
            made
        });
        meter::assert_charged("chunks just made", made.held().bytes, in_use);

        let since = made.0.lock().hold();
        let (id, node) = leaf(5_000);
        made.0.lock().add(id, node);
        assert_eq!((made.age(), made.age()), (0, 0));
        assert!(made.age() > 0);
        made.age();
        assert_eq!(made.held().entries, 1, "it is held");
        made.0.lock().release(since);
        made.age();
        assert_eq!(made.held(), Held { most: made.held().most, ..Held::default() });
    }

    #[test]
    fn chunks_are_charged_what_they_take() {
        // So many that no part of the cache is about to double its table: that happens by chance.
        for entries in [1, 8, 64] {
            let (cache, in_use) = meter::kept(|| {
                let cache: Cache<ChunkId, Arc<Node>> = used(&Caches::new(), 1 << 24);
                for n in 0..5_000_u64 {
                    let leaf = (0..entries).map(|key| (StateKeySerial(key), EventSerial(n)));
                    let id = ChunkId { room: RoomSerial(n), hash: ChunkHash([7; 16]) };
                    cache.insert(id, Arc::new(Node::Leaf(leaf.collect())));
                }
                cache
            });
            meter::assert_charged(&format!("leaves of {entries}"), cache.bytes(), in_use);
        }
    }
}
