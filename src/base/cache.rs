//! Caches that are charged by bytes, and the list of all that a process has.
//!
//! A [`Cache`] holds what its keys and values take, what they own elsewhere and what the cache itself needs for them
//! within a number of bytes. [`Caches`] knows all of them: it tells the metrics what each holds, and lets go what
//! nobody has asked for in a while ([`Caches::age`]), so that memory follows what is used and not what was used once,
//! and lends what some do not need to those that could use more ([`Caches::lend`], [`Cache::borrowing`]).

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt,
    hash::Hash,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
pub use quick_cache::Equivalent;
use quick_cache::{
    DefaultHashBuilder, OptionsBuilder, Weighter,
    sync::{Cache as Shards, DefaultLifecycle},
};

pub use crate::lend::Part;
use crate::{GaugeFamily, Metrics, lend};

/// What a cache's tables need for an entry beside key and value: two links, a place in a hash table, a kind.
const LINKS: usize = 32;

/// A cache has parts, each with a lock of its own, of at least so many bytes: what is larger than a part is never kept.
const PART_BYTES: u64 = 1 << 20;
const MOST_PARTS: u64 = 16;
/// The same for a cache of large values.
const LARGE_PART_BYTES: u64 = 32 << 20;

/// A cache without this part of what it may hold is full: its parts do not fill evenly.
const ALMOST: u64 = 8;

/// About what an ordinary entry takes.
const ORDINARY_BYTES: u64 = 512;

/// What was asked for nowhere between so many looks is let go at the last of them.
pub const RESTS: u8 = 3;

/// What keys and values own elsewhere, in bytes.
pub type Owned<K, V> = fn(&K, &V) -> usize;

/// A cache that holds about as many bytes as it was given. Cheap to clone; clones are the same cache.
pub struct Cache<K, V>(Arc<Entries<K, V>>);

struct Entries<K, V> {
    shards: Shards<K, Kept<V>, ByBytes>,
    owned: Owned<K, V>,
    /// What it was given, whatever is lent.
    share: u64,
    /// What it may hold now, with what it has borrowed or without what it has lent.
    most: AtomicU64,
    /// The largest entry that is kept.
    largest: AtomicU64,
    /// Whether a larger one came since it was last asked.
    refused: AtomicBool,
    /// See [`Cache::borrowing`].
    borrows: AtomicBool,
}

/// A value, with what it was charged when it was put in.
struct Kept<V> {
    value: V,
    bytes: u32,
    /// How often the cache was aged since it was asked for.
    rested: AtomicU8,
}

impl<V: Clone> Clone for Kept<V> {
    /// The cache copies what it answers, and nothing else: a copy is a use.
    fn clone(&self) -> Self {
        // Written seldom: readers of one entry share the line that it is in.
        if self.rested.load(Ordering::Relaxed) > 0 {
            self.rested.store(0, Ordering::Relaxed);
        }
        Self { value: self.value.clone(), bytes: self.bytes, rested: AtomicU8::new(0) }
    }
}

#[derive(Clone)]
struct ByBytes;

impl<K, V> Weighter<K, Kept<V>> for ByBytes {
    fn weight(&self, _: &K, kept: &Kept<V>) -> u64 {
        u64::from(kept.bytes)
    }
}

impl<K, V> Clone for Cache<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, V> fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

impl<K: Eq + Hash, V: Clone> Cache<K, V>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// A cache of this many bytes; `owned` says what a key and a value own elsewhere.
    pub fn new(caches: &Caches, name: &'static str, bytes: u64, owned: Owned<K, V>) -> Self {
        Self::in_parts(caches, name, bytes, (bytes / PART_BYTES).clamp(1, MOST_PARTS), owned)
    }

    /// The same for values of which a single one may take a good part of the cache.
    pub fn of_large(caches: &Caches, name: &'static str, bytes: u64, owned: Owned<K, V>) -> Self {
        Self::in_parts(caches, name, bytes, (bytes / LARGE_PART_BYTES).clamp(1, MOST_PARTS), owned)
    }

    fn in_parts(caches: &Caches, name: &'static str, bytes: u64, parts: u64, owned: Owned<K, V>) -> Self {
        let least = u64::try_from(Self::own_bytes()).unwrap_or(u64::MAX);
        // Only how many keys of what is not there any more are remembered follows from this guess: they take a place in
        // the tables as well, which is charged to nobody.
        let items = usize::try_from(bytes / ORDINARY_BYTES.max(least)).unwrap_or(usize::MAX).max(64);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(items)
            .weight_capacity(bytes)
            .shards(usize::try_from(parts).unwrap_or(1))
            .build();
        let shards = match options {
            Ok(options) => Shards::with_options(
                options,
                ByBytes,
                DefaultHashBuilder::default(),
                DefaultLifecycle::default(),
            ),
            // All that has no default is set above.
            Err(_) => Shards::with_weighter(items, bytes, ByBytes),
        };
        let largest = AtomicU64::new(shards.shard_capacity());
        let (refused, borrows) = (AtomicBool::new(false), AtomicBool::new(false));
        let most = AtomicU64::new(bytes);
        let entries = Arc::new(Entries { shards, owned, share: bytes, most, largest, refused, borrows });
        let held: Weak<dyn Holder> = Arc::downgrade(&entries) as _;
        caches.add(name, held);
        Self(entries)
    }

    /// The same cache, which may have what others do not need: for what is costly to make, and asked for again by
    /// those who come back.
    #[must_use]
    pub fn borrowing(self) -> Self {
        self.0.borrows.store(true, Ordering::Relaxed);
        self
    }

    /// What an entry takes in the cache's tables, of which a third is empty on the average.
    fn own_bytes() -> usize {
        (size_of::<K>() + size_of::<Kept<V>>() + LINKS) * 3 / 2
    }

    /// The value of a key.
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.0.shards.get(key).map(|kept| kept.value)
    }

    /// Puts a value in, charged as it is now. Who changes what it owns puts it in again.
    pub fn insert(&self, key: K, value: V) {
        let kept = self.kept(&key, value);
        self.0.shards.insert(key, kept);
    }

    /// The value of a key; where there is none, a new one, the same for all who ask at once.
    pub fn get_or_insert_with(&self, key: &K, make: impl FnOnce() -> V) -> V
    where
        K: Clone,
    {
        let make = || Ok::<_, std::convert::Infallible>(self.kept(key, make()));
        let made = self.0.shards.get_or_insert_with(key, make);
        match made {
            Ok(kept) => kept.value,
        }
    }

    /// Takes a value out.
    pub fn remove<Q>(&self, key: &Q)
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.0.shards.remove(key);
    }

    /// Takes all out.
    pub fn clear(&self) {
        self.0.shards.clear();
    }

    /// Bytes that are charged now.
    pub fn bytes(&self) -> u64 {
        self.0.shards.weight()
    }

    /// How many values are in it.
    pub fn len(&self) -> usize {
        self.0.shards.len()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn kept(&self, key: &K, value: V) -> Kept<V> {
        let bytes = (self.0.owned)(key, &value).saturating_add(Self::own_bytes());
        self.0.take_back(bytes as u64);
        if bytes as u64 > self.0.largest.load(Ordering::Relaxed) {
            self.0.refused.store(true, Ordering::Relaxed);
        }
        Kept { value, bytes: u32::try_from(bytes).unwrap_or(u32::MAX), rested: AtomicU8::new(0) }
    }
}

/// Somebody who holds memory for others' sake.
pub trait Holder: Send + Sync {
    /// What is held, in bytes and in entries.
    fn held(&self) -> Held;

    /// Lets go what was not asked for since the last [`RESTS`] times, and says how many bytes that were.
    fn age(&self) -> u64;

    /// What it has of the memory that may be lent; `None` if it neither lends nor borrows. Asking again, it has not
    /// refused anything since.
    fn part(&self) -> Option<Part> {
        None
    }

    /// May hold so many bytes from now on, and lets go what is more.
    fn grant(&self, _bytes: u64) {}
}

/// How much somebody holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// In bytes, as charged.
    pub bytes: u64,
    /// In entries.
    pub entries: u64,
    /// At most so many bytes.
    pub most: u64,
}

impl<K, V> Entries<K, V>
where
    K: Eq + Hash + Send + Sync,
    V: Clone + Send + Sync,
{
    /// Takes what it has lent when it needs it, and not with the next loan only: until then all that many ask for at
    /// once would be made anew each time. For that long more may be held than all were given together.
    fn take_back(&self, bytes: u64) {
        let most = self.most.load(Ordering::Relaxed);
        if most < self.share && self.shards.weight().saturating_add(bytes) > most - most / ALMOST {
            self.grant(self.share);
        }
    }
}

impl<K, V> Holder for Entries<K, V>
where
    K: Eq + Hash + Send + Sync,
    V: Clone + Send + Sync,
{
    fn part(&self) -> Option<Part> {
        Some(Part {
            share: self.share,
            bytes: self.shards.weight(),
            most: self.shards.capacity(),
            refused: self.refused.swap(false, Ordering::Relaxed),
            borrows: self.borrows.load(Ordering::Relaxed),
        })
    }

    fn grant(&self, bytes: u64) {
        self.shards.set_capacity(bytes);
        self.most.store(bytes, Ordering::Relaxed);
        self.largest.store(self.shards.shard_capacity(), Ordering::Relaxed);
    }

    fn held(&self) -> Held {
        Held { bytes: self.shards.weight(), entries: self.shards.len() as u64, most: self.shards.capacity() }
    }

    fn age(&self) -> u64 {
        if self.shards.is_empty() {
            return 0;
        }
        let before = self.shards.weight();
        let gone = RefCell::new(Vec::new());
        self.shards.retain(|_, kept| {
            let rested = kept.rested.load(Ordering::Relaxed) + 1;
            kept.rested.store(rested, Ordering::Relaxed);
            if rested >= RESTS {
                gone.borrow_mut().push(kept.value.clone());
            }
            rested < RESTS
        });
        // Only now: others want the cache meanwhile, and some values take long to drop.
        drop(gone);
        before.saturating_sub(self.shards.weight())
    }
}

/// All caches of a process, by name. Cheap to clone; clones are the same list.
#[derive(Clone, Default)]
pub struct Caches(Arc<Mutex<Named>>);

type Named = BTreeMap<&'static str, Vec<Weak<dyn Holder>>>;

impl Caches {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds somebody who holds memory under a name, for as long as it lives.
    pub fn add(&self, name: &'static str, holder: Weak<dyn Holder>) {
        let mut all = self.0.lock();
        let named = all.entry(name).or_default();
        named.retain(|other| other.strong_count() > 0);
        named.push(holder);
    }

    /// Lets go what nobody has asked for since the last [`RESTS`] times, and says how many bytes that were.
    ///
    /// It looks at every entry, so some seconds should be between two.
    pub fn age(&self) -> u64 {
        self.holders().iter().flat_map(|(_, holders)| holders).map(|holder| holder.age()).sum()
    }

    /// Lends what some do not need to those that are full, for as long as both is so. All together get what they were
    /// given, so who needs his own again has it after the next time.
    ///
    /// It asks each cache for some numbers only; a cache that gives something back lets entries go.
    pub fn lend(&self) {
        let holders = self.holders();
        let parts: Vec<(&Arc<dyn Holder>, Part)> = holders
            .iter()
            .flat_map(|(_, holders)| holders)
            .filter_map(|holder| Some((holder, holder.part()?)))
            .collect();
        let grants = lend::grants(&parts.iter().map(|(_, part)| *part).collect::<Vec<_>>());
        // A cache rounds what it is given up to its parts: that is no change, and costs no locks.
        let differs =
            |((_, part), to): &(&(&Arc<dyn Holder>, Part), u64)| part.most.abs_diff(*to) > MOST_PARTS;
        // Who gives back goes first, so that at no time more is held than is there.
        let mut changes: Vec<_> = parts.iter().zip(grants).filter(differs).collect();
        changes.sort_by_key(|((_, part), to)| *to > part.most);
        for ((holder, _), to) in changes {
            holder.grant(to);
        }
    }

    /// What is held under each name.
    pub fn held(&self) -> Vec<(&'static str, Held)> {
        let sum = |holders: Vec<Arc<dyn Holder>>| {
            holders.iter().map(|holder| holder.held()).fold(Held::default(), |sum, held| Held {
                bytes: sum.bytes + held.bytes,
                entries: sum.entries + held.entries,
                most: sum.most + held.most,
            })
        };
        self.holders().into_iter().map(|(name, holders)| (name, sum(holders))).collect()
    }

    fn holders(&self) -> Vec<(&'static str, Vec<Arc<dyn Holder>>)> {
        let all = self.0.lock();
        all.iter()
            .map(|(name, holders)| (*name, holders.iter().filter_map(Weak::upgrade).collect()))
            .collect()
    }
}

impl fmt::Debug for Caches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.held()).finish()
    }
}

/// The gauges of all caches.
pub(crate) struct CacheGauges {
    bytes: GaugeFamily,
    entries: GaugeFamily,
    most: GaugeFamily,
}

impl CacheGauges {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let gauges = |name, help| metrics.gauge_family(name, help);
        Self {
            bytes: gauges("yakuba_base_cache_bytes", "What each cache holds, in bytes as charged"),
            entries: gauges("yakuba_base_cache_entries", "Entries of each cache"),
            most: gauges("yakuba_base_cache_most_bytes", "What each cache may hold at most"),
        }
    }

    pub(crate) fn set(&self, caches: &Caches) {
        for (name, held) in caches.held() {
            let set = |gauges: &GaugeFamily, value: u64| {
                gauges.with(&[("cache", name)]).set(i64::try_from(value).unwrap_or(i64::MAX));
            };
            set(&self.bytes, held.bytes);
            set(&self.entries, held.entries);
            set(&self.most, held.most);
        }
    }
}
