//! The conformance suite on RocksDB, with crashes as images of the directory and as killed
//! processes; backups.
#![expect(clippy::unwrap_used, reason = "tests")]

mod full_disk;
mod stalls;

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    pin::Pin,
    process::{Command, Stdio},
    sync::Arc,
};

use base::{ByteSize, Metrics, Tasks};
use bytes::Bytes;
use parking_lot::Mutex;
use store::{
    Backend, Batch, Error, Options, Order, Position, Range, Stamped, Store, Table, Topic, Tuning,
    conformance::Place,
};
use tempfile::TempDir;

use crate::{Durability, RocksBackend, Settings, restore};

static ROWS: Table<u64, Stamped<Bytes>> = Table::new(195, "test.rows", Tuning::Point);
static QUEUE: Table<(u8, Position), u64> = Table::new(196, "test.queue", Tuning::Queue);

/// A directory, and after each crash the next.
struct RocksPlace {
    root: TempDir,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    crashes: usize,
    open: Option<Arc<RocksBackend>>,
}

impl RocksPlace {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), state: Mutex::default() }
    }

    fn path(&self, crashes: usize) -> PathBuf {
        self.root.path().join(crashes.to_string())
    }
}

impl Place for RocksPlace {
    fn open(&self) -> Pin<Box<dyn Future<Output = Arc<dyn Backend>> + Send + '_>> {
        let mut state = self.state.lock();
        let backend = Arc::new(RocksBackend::open(&small(&self.path(state.crashes))).unwrap());
        state.open = Some(backend.clone());
        Box::pin(std::future::ready(backend as Arc<dyn Backend>))
    }

    /// What a power failure would leave is what the files hold now.
    fn crash(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut state = self.state.lock();
        let from = self.path(state.crashes);
        state.crashes += 1;
        let backend = state.open.take().unwrap();
        let db = backend.db().unwrap();
        db.disable_file_deletions().unwrap();
        copy_image(&from, &self.path(state.crashes));
        Box::pin(std::future::ready(()))
    }
}

/// Copies a database that is in use and deletes no files: again, until no file vanished on the way
/// (one whose deletion had begun before, or a temporary one that got its name).
fn copy_image(from: &Path, to: &Path) {
    loop {
        std::fs::create_dir(to).unwrap();
        match copy_files(from, to) {
            Ok(()) => return,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                std::fs::remove_dir_all(to).unwrap();
            }
            Err(error) => panic!("copying {}: {error}", from.display()),
        }
    }
}

/// Copies what names files first, and looks for the files then: one that is made meanwhile may be named already.
fn copy_files(from: &Path, to: &Path) -> std::io::Result<()> {
    for first in [Some("CURRENT"), Some("MANIFEST"), None] {
        for entry in std::fs::read_dir(from)? {
            let name = entry?.file_name();
            let is_first = |prefix: &str| name.to_string_lossy().starts_with(prefix);
            let is_meant = match first {
                Some(prefix) => is_first(prefix),
                None => !is_first("CURRENT") && !is_first("MANIFEST"),
            };
            if is_meant {
                std::fs::copy(from.join(&name), to.join(&name))?;
            }
        }
    }
    Ok(())
}

fn small(path: &Path) -> Settings {
    Settings { memory: ByteSize::mib(16), ..Settings::at(path) }
}

async fn open(settings: &Settings) -> (Arc<RocksBackend>, Store) {
    let backend = Arc::new(RocksBackend::open(settings).unwrap());
    let metrics = Metrics::new();
    let store = Store::open(backend.clone(), Options::default(), &Tasks::new(&metrics), &metrics).await;
    (backend, store.unwrap())
}

fn numbered(number: u64) -> Batch {
    let mut batch = Batch::new();
    let slot = batch.log(1, Bytes::copy_from_slice(&number.to_be_bytes()), [Topic::room("!a")]);
    batch.put_stamped(&ROWS, &number, slot, &Bytes::from(vec![number as u8; 300]));
    batch.append(&QUEUE, &1, slot, &number);
    batch
}

store::conformance_tests!(std::future::ready(RocksPlace::new()));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_opener_is_told_that_the_directory_is_in_use() {
    let root = tempfile::tempdir().unwrap();
    let (_backend, store) = open(&small(root.path())).await;
    let refused = RocksBackend::open(&small(root.path())).err().unwrap();
    assert!(matches!(refused, Error::InUse { .. }), "{refused:?}");
    store.close().await.unwrap();
    open(&small(root.path())).await.1.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_made_while_writing_restores_to_a_clean_store() {
    let root = tempfile::tempdir().unwrap();
    let (live, backups, restored) =
        (root.path().join("live"), root.path().join("backups"), root.path().join("restored"));
    let (backend, store) = open(&small(&live)).await;
    for number in 0..50 {
        store.commit(numbered(number)).await.unwrap();
    }
    let acknowledged = store.head();
    let writing = {
        let store = store.clone();
        tokio::spawn(async move {
            for number in 50..400 {
                store.commit(numbered(number)).await.unwrap();
            }
        })
    };
    let to = backups.clone();
    let first = tokio::task::spawn_blocking({
        let backend = backend.clone();
        move || backend.backup(&to).unwrap()
    });
    let first = first.await.unwrap();
    writing.await.unwrap();
    let second = backend.backup(&backups).unwrap();
    assert!(second.id > first.id);

    let refused = restore(&backups, &live).unwrap_err();
    assert!(refused.to_string().contains("not empty"), "{refused}");
    restore(&root.path().join("nothing"), &restored).unwrap_err();
    assert_eq!(restore(&backups, &restored).unwrap().id, second.id);

    let (_, copy) = open(&small(&restored)).await;
    assert!(copy.head() >= acknowledged);
    assert_eq!(copy.scan(&ROWS, Range::all(), Order::Ascending, 1_000).await.unwrap().len(), 400);
    let report = copy.verify(&[ROWS.check(), QUEUE.check()]).await.unwrap();
    assert!(report.is_clean() && report.unchecked == 0, "{report:?}");
    assert_eq!((report.entries, report.rows), (400, 801));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_position_that_was_given_after_a_backup_is_given_again_by_what_it_restores() {
    let root = tempfile::tempdir().unwrap();
    let (live, backups) = (root.path().join("live"), root.path().join("backups"));
    let os = |path: &Path| Settings { durability: Durability::Os, ..small(path) };
    let (backend, store) = open(&os(&live)).await;
    store.commit(numbered(1)).await.unwrap();
    backend.backup(&backups).unwrap();
    let mut lost = store.head();
    for number in 2..100 {
        store.commit(numbered(number)).await.unwrap();
        lost = store.head();
    }
    store.close().await.unwrap();
    for again in ["restored", "once more"] {
        let restored = root.path().join(again);
        restore(&backups, &restored).unwrap();
        let (backend, copy) = open(&os(&restored)).await;
        assert!(copy.head() > lost);
        copy.commit(numbered(2)).await.unwrap();
        let made = copy.head();
        assert!(made > lost, "{made} after {lost}");
        let told: Vec<_> = copy.changes(lost, 9).await.unwrap().iter().map(|it| it.position).collect();
        assert_eq!(told, [made], "who goes on from a lost position is told all that is new");
        assert!(copy.verify(&[ROWS.check(), QUEUE.check()]).await.unwrap().is_clean());
        lost = copy.head();
        // The next one is made of this.
        std::fs::remove_dir_all(&backups).unwrap();
        backend.backup(&backups).unwrap();
        for number in 3..100 {
            copy.commit(numbered(number)).await.unwrap();
            lost = copy.head();
        }
        copy.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_finds_a_flipped_byte() {
    let root = tempfile::tempdir().unwrap();
    let (_, store) = open(&small(root.path())).await;
    for number in 0..200 {
        store.commit(numbered(number)).await.unwrap();
    }
    store.close().await.unwrap();
    let files = std::fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().path());
    let largest = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "sst"))
        .max_by_key(|path| path.metadata().unwrap().len())
        .unwrap();
    let mut bytes = std::fs::read(&largest).unwrap();
    bytes[200] ^= 1;
    std::fs::write(&largest, bytes).unwrap();

    let (_, store) = open(&small(root.path())).await;
    let report = store.verify(&[ROWS.check(), QUEUE.check()]).await.unwrap();
    assert!(!report.is_clean());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_log_that_is_trimmed_meanwhile_is_whole() {
    let root = tempfile::tempdir().unwrap();
    let (backend, store) = open(&small(&root.path().join("data"))).await;
    for number in 1..=200 {
        store.commit(numbered(number)).await.unwrap();
    }
    let trimming = tokio::spawn({
        let store = store.clone();
        async move {
            for through in 1..=150 {
                store.trim_log_now(Position(through)).await.unwrap();
            }
        }
    });
    let to = root.path().join("backup");
    tokio::task::spawn_blocking(move || backend.backup(&to)).await.unwrap().unwrap();
    trimming.await.unwrap();
    assert_eq!(store.log_status().await.unwrap().trimmed, Position(150));
    store.close().await.unwrap();
    restore(&root.path().join("backup"), &root.path().join("again")).unwrap();
    let (_, store) = open(&small(&root.path().join("again"))).await;
    let report = store.verify(&[ROWS.check(), QUEUE.check()]).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
    let trimmed = store.log_status().await.unwrap().trimmed;
    assert_eq!(store.changes(trimmed, usize::MAX).await.unwrap().len() as u64, 200 - trimmed.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_space_of_a_trimmed_log_comes_back() {
    let root = tempfile::tempdir().unwrap();
    let settings = Settings { durability: Durability::Os, ..small(root.path()) };
    let (backend, store) = open(&settings).await;
    let noise = |number: u64| -> Vec<u8> {
        let words = (0..128_u64).map(|at| (number * 131 + at).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        words.flat_map(u64::to_be_bytes).collect()
    };
    for number in 0..20_000_u64 {
        let mut batch = Batch::new();
        batch.log(1, Bytes::from(noise(number)), []);
        store.ready().await;
        // The store answers in order, so the last one answers for all.
        let receipt = store.submit(batch);
        if number % 1_000 == 999 {
            receipt.await.unwrap();
        }
    }
    let db = backend.db().unwrap();
    let append = db.cf_handle("append").unwrap();
    let size = || {
        db.flush_cf(append).unwrap();
        db.property_int_value_cf(append, "rocksdb.total-sst-files-size").unwrap().unwrap()
    };
    let full = size();
    assert!(full > 10 << 20, "{full}");
    store.trim_log_now(Position(19_000)).await.unwrap();
    store.give_log_back().await.unwrap();
    let left = size();
    assert!(left < full / 8, "{left} of {full}");
}

/// The environment variable that tells the child where to write.
const CHILD: &str = "YAKUBA_TEST_CRASH_DIRECTORY";

/// Not a test of its own: the process that the next test kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child process of a test"]
async fn child_that_writes_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let (_, store) = open(&small(Path::new(&path))).await;
    let mut number =
        store.scan(&ROWS, Range::all(), Order::Descending, 1).await.unwrap().pop().map_or(0, |row| row.0);
    let mut out = std::io::stdout();
    loop {
        let receipts: Vec<_> =
            (1..=number % 9 + 1).map(|step| (number + step, store.submit(numbered(number + step)))).collect();
        for (written, receipt) in receipts {
            let position = receipt.await.unwrap().last();
            writeln!(out, "\nacknowledged {written} {position}").unwrap();
            number = written;
        }
        if number.is_multiple_of(3) {
            let position = store.publish([Topic::room("!typing")]).await.unwrap();
            writeln!(out, "\nephemeral {position}").unwrap();
            // Most of the log goes, again and again.
            store.trim_log_now(Position(position.0.saturating_sub(30))).await.unwrap();
        }
        out.flush().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_had_acknowledged_is_there() {
    const KILLS: usize = 10;
    let root = tempfile::tempdir().unwrap();
    let settings = small(root.path());
    let mut acknowledged: Vec<(u64, u64)> = Vec::new();
    let mut highest = 0;
    for round in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::child_that_writes_until_it_is_killed", "--ignored", "--nocapture"])
            .env(CHILD, root.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut wanted = 40 + 37 * round;
        let mut note = |line: &str, highest: &mut u64| -> bool {
            let words: Vec<_> = line.split(' ').collect();
            match words.as_slice() {
                ["acknowledged", number, position] => {
                    let entry = (number.parse().unwrap(), position.parse().unwrap());
                    assert!(entry.1 > *highest, "{entry:?} after {highest}");
                    *highest = entry.1;
                    acknowledged.push(entry);
                    true
                }
                ["ephemeral", position] => {
                    let position = position.parse().unwrap();
                    assert!(position > *highest);
                    *highest = position;
                    false
                }
                _ => false,
            }
        };
        while wanted > 0 {
            if note(&lines.next().expect("the child writes").unwrap(), &mut highest) {
                wanted -= 1;
            }
        }
        let refused = RocksBackend::open(&settings).err().unwrap();
        assert!(matches!(refused, Error::InUse { .. }), "{refused:?}");
        child.kill().unwrap();
        child.wait().unwrap();
        // The last line may be cut off.
        for line in lines.map_while(Result::ok).filter(|line| line.split(' ').count() > 1) {
            if line.starts_with("acknowledged") && line.split(' ').count() == 3 {
                note(&line, &mut highest);
            }
        }

        let (_, store) = open(&settings).await;
        assert!(store.head().0 >= highest);
        let numbers: Vec<_> = acknowledged.iter().map(|entry| entry.0).collect();
        let rows = store.get_many(&ROWS, &numbers).await.unwrap();
        for ((number, position), row) in acknowledged.iter().zip(rows) {
            assert_eq!(row.map(|row| row.position.0), Some(*position), "{number} is lost");
        }
        let trimmed = store.log_status().await.unwrap().trimmed;
        let log = store.changes(trimmed, usize::MAX).await.unwrap();
        let log: std::collections::HashSet<u64> = log.iter().map(|entry| entry.position.0).collect();
        let mut kept = acknowledged.iter().filter(|entry| entry.1 > trimmed.0);
        assert!(kept.all(|entry| log.contains(&entry.1)), "an entry behind {trimmed} is lost");
        assert!(trimmed > Position::START && log.iter().all(|position| *position > trimmed.0));
        let report = store.verify(&[ROWS.check(), QUEUE.check()]).await.unwrap();
        assert!(report.is_clean(), "{report:?}");
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_stays_within_its_budget() {
    let root = tempfile::tempdir().unwrap();
    let settings =
        Settings { durability: Durability::Os, memory: ByteSize::mib(8), ..Settings::at(root.path()) };
    let (backend, store) = open(&settings).await;
    let mut receipts = Vec::new();
    for number in 0..40_000_u64 {
        let mut batch = Batch::new();
        let slot = batch.log(1, Bytes::new(), []);
        let noise: Vec<u8> = (0..60)
            .flat_map(|at: u64| (number * 31 + at).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes())
            .collect();
        batch.put_stamped(&ROWS, &number, slot, &Bytes::from(noise));
        store.ready().await;
        receipts.push(store.submit(batch));
    }
    for receipt in receipts {
        receipt.await.unwrap();
    }
    for _ in 0..2 {
        store.scan(&ROWS, Range::all(), Order::Ascending, usize::MAX).await.unwrap();
    }
    let used = backend.memory_used().unwrap();
    assert!(used <= 12 << 20, "{used} bytes");
}

/// Else a process that exits tears down what the read uses: nine of 300 starts that failed were killed so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_closes_waits_for_reads_under_way() {
    let root = tempfile::tempdir().unwrap();
    let backend = Arc::new(RocksBackend::open(&small(root.path())).unwrap());
    let db = backend.db().unwrap();
    let open = Arc::downgrade(&db);
    let reading = std::thread::spawn({
        let backend = backend.clone();
        move || {
            while backend.db().is_ok() {
                std::thread::yield_now();
            }
            // Longer than all else that closing does.
            std::thread::sleep(std::time::Duration::from_millis(300));
            drop(db);
        }
    });
    backend.close().await.unwrap();
    assert!(open.upgrade().is_none());
    reading.join().unwrap();
}
