//! How many commits a second the store makes, with 1, 8 and 32 writers that each wait for theirs.
//!
//! `cargo run --release -p store_rocksdb --example commit_rate [directory] [fsync|os]`
#![expect(clippy::print_stdout, reason = "a program for people")]

use std::{
    error::Error,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use base::{ByteSize, Metrics, Tasks};
use bytes::Bytes;
use store::{Batch, Options, Stamped, Store, Table, Topic, Tuning};
use store_rocksdb::{Durability, RocksBackend, Settings};

static EVENTS: Table<(u64, u64), Stamped<Bytes>> = Table::new(195, "rate.events", Tuning::Large);
static HEADS: Table<u64, Bytes> = Table::new(196, "rate.heads", Tuning::Point);

const SPAN: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path =
        arguments.next().map_or_else(|| std::env::temp_dir().join("yakuba-commit-rate"), PathBuf::from);
    let durability = match arguments.next().as_deref() {
        Some("os") => Durability::Os,
        _ => Durability::Fsync,
    };
    let settings = Settings { path, durability, memory: ByteSize::mib(64), ..Settings::at("") };
    println!("{} ({durability:?})", settings.path.display());
    println!("opening: {} KiB resident", resident_kib());
    let started = Instant::now();
    let backend = Arc::new(RocksBackend::open(&settings)?);
    let metrics = Metrics::new();
    let store = Store::open(backend.clone(), Options::default(), &Tasks::new(&metrics), &metrics).await?;
    println!("open after {:?}, {} KiB resident", started.elapsed(), resident_kib());

    let single = syncs_per_second(&settings)?;
    println!("the disk alone: {single:.0} appends with fdatasync a second");
    for writers in [1, 8, 32, 128] {
        let (commits, took, cpu) = run(&store, writers).await;
        let rate = commits as f64 / took.as_secs_f64();
        let micros = cpu.as_secs_f64() * 1e6 / commits as f64;
        println!("{writers:>4} writers: {rate:>8.0} commits/s, {micros:>5.0} µs CPU each");
    }
    println!("in the end: {} KiB resident, {} in caches and buffers", resident_kib(), backend.memory_used()?);
    store.close().await?;
    Ok(())
}

async fn run(store: &Store, writers: u64) -> (u64, Duration, Duration) {
    let (started, cpu) = (Instant::now(), cpu_time());
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut count = 0_u64;
                let mut head = store.get(&HEADS, &writer).await.ok().flatten();
                while started.elapsed() < SPAN {
                    let next = Bytes::from(format!("{count} of {writer} at {:?}", started.elapsed()));
                    let mut batch = Batch::new();
                    let slot = batch.log(
                        1,
                        Bytes::from_static(&[7; 40]),
                        [Topic::room("!a"), Topic::destination("*")],
                    );
                    match &head {
                        Some(old) => batch.replace(&HEADS, &writer, old, &next),
                        None => batch.insert(&HEADS, &writer, &next),
                    };
                    batch.put_stamped(&EVENTS, &(writer, count), slot, &Bytes::from(vec![b'x'; 700]));
                    if store.commit(batch).await.is_err() {
                        break;
                    }
                    head = Some(next);
                    count += 1;
                }
                count
            })
        })
        .collect();
    let mut commits = 0;
    for task in tasks {
        commits += task.await.unwrap_or(0);
    }
    (commits, started.elapsed(), cpu_time() - cpu)
}

/// How often a second the file system syncs a small append.
fn syncs_per_second(settings: &Settings) -> Result<f64, Box<dyn Error>> {
    use std::io::Write;
    let path = settings.path.join("probe");
    let mut file = std::fs::File::create(&path)?;
    let started = Instant::now();
    let mut count = 0.0;
    while started.elapsed() < Duration::from_secs(1) {
        file.write_all(&[0; 1_000])?;
        file.sync_data()?;
        count += 1.0;
    }
    std::fs::remove_file(path)?;
    Ok(count / started.elapsed().as_secs_f64())
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// The CPU time of this process so far.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks: u64 =
        fields.get(11..13).unwrap_or_default().iter().filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}
