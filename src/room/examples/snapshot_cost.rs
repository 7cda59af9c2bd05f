//! What state snapshots cost: bytes written per change, and time to compare two.
//!
//! `cargo run --release -p room --example snapshot_cost`
//!
//! A room gets its members one after the other, with events of other rooms between; then single
//! members change at random. The bytes are those of the chunks put into the batch of each change, as
//! a back end sees them, with and without their keys. For the comparisons, two snapshots of the
//! largest room differ in as many keys as is said; the chunks are in memory.
#![expect(clippy::print_stdout, reason = "the table is what this program is for")]
#![expect(clippy::expect_used, reason = "a benchmark may stop")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use base::{Metrics, Random, Tasks};
use bytes::Bytes;
use room::{
    EventSerial, RoomSerial, Root, StateKeySerial,
    snapshot::{Change, Snapshots},
};
use store::{
    Backend, Batch, CommitError, Interposed, MemoryBackend, Options, RawBatch, RawCommitted, RawOp, Store,
};

const ROOM: RoomSerial = RoomSerial(1);
const SIZES: [u64; 6] = [100, 1_000, 10_000, 30_000, 60_000, 100_000];
/// The size for which there are targets, and at which snapshots are compared.
const LARGE: u64 = 30_000;
const MEAN_TARGET_BYTES: u64 = 2_560;
const P99_TARGET_BYTES: u64 = 5_120;
const CHANGES: usize = 10_000;

#[tokio::main]
async fn main() {
    println!("bytes written per change of one key ({CHANGES} random changes)");
    println!(
        "{:>9} {:>8} {:>8} {:>8} {:>8} {:>9} {:>11}",
        "entries", "mean", "p50", "p99", "max", "chunks", "with keys"
    );
    for entries in SIZES {
        let bench = Bench::new(entries).await;
        let costs = bench.change_costs().await;
        println!("{entries:>9} {costs}");
        if entries == LARGE {
            let held = costs.mean <= MEAN_TARGET_BYTES && costs.p99 <= P99_TARGET_BYTES;
            println!(
                "          targets: mean <= {MEAN_TARGET_BYTES}, p99 <= {P99_TARGET_BYTES}: {}",
                if held { "held" } else { "MISSED" }
            );
        }
    }

    println!("\ntime to compare two snapshots of {LARGE} entries");
    println!("{:>9} {:>12} {:>14}", "differing", "time", "per difference");
    let bench = Bench::new(LARGE).await;
    for differing in [0, 1, 10, 100, 1_000, 10_000] {
        let time = bench.compare(differing).await;
        let each = time.checked_div(u32::try_from(differing.max(1)).unwrap_or(1)).unwrap_or_default();
        println!("{differing:>9} {:>9.1} us {:>11.2} us", micros(time), micros(each));
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

struct Bench {
    random: Random,
    backend: Arc<Counting>,
    store: Store,
    snapshots: Snapshots,
    entries: u64,
    root: Root,
    // Kept for its tasks.
    _tasks: Tasks,
}

struct Costs {
    mean: u64,
    p50: u64,
    p99: u64,
    max: u64,
    chunks: f64,
    with_keys: u64,
}

impl std::fmt::Display for Costs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { mean, p50, p99, max, chunks, with_keys } = self;
        write!(f, "{mean:>8} {p50:>8} {p99:>8} {max:>8} {chunks:>9.2} {with_keys:>11}")
    }
}

impl Bench {
    async fn new(entries: u64) -> Self {
        let metrics = Metrics::new();
        let tasks = Tasks::new(&metrics);
        let backend = Arc::new(Counting::default());
        let store = Store::open(backend.clone(), Options::default(), &tasks, &metrics).await.expect("opens");
        let snapshots = Snapshots::new(store.clone(), metrics.caches(), 64 << 20, &tasks);
        let mut bench = Self {
            random: Random::seeded(30_000),
            backend,
            store,
            snapshots,
            entries,
            root: Root::EMPTY,
            _tasks: tasks,
        };
        let joins: Vec<_> = (0..entries).map(|member| bench.change(member, 10 * member)).collect();
        bench.root = bench.apply(Root::EMPTY, &joins).await;
        bench
    }

    /// Serials as a busy server gives them: about every tenth event belongs to this room.
    fn change(&self, member: u64, event: u64) -> Change {
        (StateKeySerial(5_000 + 3 * member), Some(EventSerial(1_000_000 + event + self.random.range(0..10))))
    }

    async fn apply(&self, root: Root, changes: &[Change]) -> Root {
        let mut batch = Batch::new();
        let root = self.snapshots.apply(ROOM, root, changes, &mut batch).await.expect("applies");
        self.store.commit(batch).await.expect("commits");
        root
    }

    async fn change_costs(&self) -> Costs {
        let (mut costs, mut with_keys, mut chunks) = (Vec::with_capacity(CHANGES), 0, 0);
        let mut root = self.root;
        for step in 0..CHANGES as u64 {
            let member = self.random.range(0..self.entries);
            self.backend.reset();
            root = self.apply(root, &[self.change(member, 10 * (self.entries + step))]).await;
            costs.push(self.backend.value_bytes.load(Relaxed));
            with_keys += self.backend.value_bytes.load(Relaxed) + self.backend.key_bytes.load(Relaxed);
            chunks += self.backend.rows.load(Relaxed);
        }
        costs.sort_unstable();
        let count = costs.len() as u64;
        Costs {
            mean: costs.iter().sum::<u64>() / count,
            p50: costs[costs.len() / 2],
            p99: costs[costs.len() * 99 / 100],
            max: costs[costs.len() - 1],
            chunks: chunks as f64 / count as f64,
            with_keys: with_keys / count,
        }
    }

    /// The median time of comparisons with so many differing keys.
    async fn compare(&self, differing: u64) -> Duration {
        let mut times = Vec::new();
        for _ in 0..50 {
            let step = self.entries / differing.max(1);
            let first = self.random.range(0..step);
            let changes: Vec<_> =
                (0..differing).map(|n| self.change(first + n * step, 10 * self.entries)).collect();
            let other = self.apply(self.root, &changes).await;
            let start = Instant::now();
            let found = self.snapshots.difference(ROOM, self.root, other).await.expect("compares");
            times.push(start.elapsed());
            assert_eq!(found.len() as u64, differing);
        }
        times.sort_unstable();
        times[times.len() / 2]
    }
}

/// A back end in memory that counts what is put into it.
#[derive(Default)]
struct Counting {
    memory: MemoryBackend,
    value_bytes: AtomicU64,
    key_bytes: AtomicU64,
    rows: AtomicU64,
}

impl Counting {
    fn reset(&self) {
        for counter in [&self.value_bytes, &self.key_bytes, &self.rows] {
            counter.store(0, Relaxed);
        }
    }

    fn count(&self, key: &Bytes, value: &Bytes) {
        self.key_bytes.fetch_add(key.len() as u64, Relaxed);
        self.value_bytes.fetch_add(value.len() as u64, Relaxed);
        self.rows.fetch_add(1, Relaxed);
    }
}

#[async_trait::async_trait]
impl Interposed for Counting {
    fn behind(&self) -> &dyn Backend {
        &self.memory
    }

    async fn commit(&self, batches: Arc<Vec<RawBatch>>) -> Vec<Result<RawCommitted, CommitError>> {
        for op in batches.iter().flat_map(|batch| &batch.ops) {
            if let RawOp::Put { key, value, .. } = op {
                self.count(key, value);
            }
        }
        self.memory.commit(batches).await
    }
}
