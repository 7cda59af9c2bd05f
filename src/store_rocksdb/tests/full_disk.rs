//! A disk that is full, and is not any more: of a few MiB, in a mount namespace of its own.
//!
//! Each test runs itself again under `unshare`, so that what it mounts is gone with it, however it
//! ends. That takes root or user namespaces; where neither is to be had, the tests fail and say so.

use std::{
    fs::{File, create_dir, remove_file},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use base::ByteSize;
use bytes::Bytes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use store::{
    Batch, CommitError, Condition, Error, Order, Position, Range, Stamped, Store, Table, Topic, Tuning,
};

use super::open;
use crate::{Settings, restore};

/// Incompressible rows, so that the disk fills as fast as one thinks.
static NOISE: Table<u64, Stamped<Bytes>> = Table::new(197, "test.noise", Tuning::Large);

/// Set for the process that may mount: the directory that is its own.
const INSIDE: &str = "YAKUBA_TEST_MOUNT_DIRECTORY";

/// How long healing may take before a test fails.
const SOON: Duration = Duration::from_secs(60);

/// Runs a child test where it can mount, and fails with its words.
fn inside(child: &str) {
    let root = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.arg("--mount");
    let id = Command::new("id").arg("-u").output().unwrap();
    if id.stdout != b"0\n" {
        command.args(["--user", "--map-root-user"]);
    }
    let name = format!("tests::full_disk::{child}");
    let done = command
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--ignored", "--nocapture"])
        .env(INSIDE, root.path())
        .output()
        .expect("`unshare` (util-linux) is needed");
    let said = [done.stdout, done.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        done.status.success() && said.contains("1 passed"),
        "{child} failed; it needs root or user namespaces, to mount a small disk:\n{said}"
    );
}

/// The directory of a child test; none when it is run for itself.
fn directory() -> Option<PathBuf> {
    std::env::var_os(INSIDE).map(PathBuf::from)
}

/// Mounts a disk of so many MiB.
fn disk(root: &Path, name: &str, size_mib: u64) -> PathBuf {
    let path = root.join(name);
    create_dir(&path).unwrap();
    mount(&["-t", "tmpfs", "-o", &format!("size={size_mib}m"), "tmpfs"], &path);
    path
}

fn mount(arguments: &[&str], path: &Path) {
    let status = Command::new("mount").args(arguments).arg(path).status().unwrap();
    assert!(status.success(), "mount {arguments:?}: {status}");
}

/// Takes so many bytes of a disk away until it is removed.
fn ballast(disk: &Path, bytes: u64) -> PathBuf {
    let path = disk.join("ballast");
    let mut file = File::create(&path).unwrap();
    let block = [1; 4_096];
    for _ in 0..bytes / 4_096 {
        file.write_all(&block).unwrap();
    }
    path
}

fn free(disk: &Path) -> u64 {
    let disk = rustix::fs::statvfs(disk).unwrap();
    disk.f_bavail * disk.f_frsize
}

fn settings(path: &Path, reserve: ByteSize) -> Settings {
    Settings { memory: ByteSize::mib(8), reserve, ..Settings::at(path) }
}

fn noise(number: u64) -> Bytes {
    let word = |at: u64| (number * 8_191 + at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    (0..4_000).flat_map(word).collect()
}

fn batch(number: u64) -> Batch {
    let mut batch = Batch::new();
    let slot = batch.log(1, Bytes::copy_from_slice(&number.to_be_bytes()), [Topic::room("!a")]);
    batch.put_stamped(&NOISE, &number, slot, &noise(number));
    batch
}

async fn healed(store: &Store) {
    let healing = async {
        while !store.condition().is_writable() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, healing).await.expect("it heals by itself");
}

/// Everything acknowledged is there, and the log goes without a hole up to the head.
async fn check(store: &Store, acknowledged: &[(u64, Position)]) {
    let keys: Vec<_> = acknowledged.iter().map(|(number, _)| *number).collect();
    let rows = store.get_many(&NOISE, &keys).await.unwrap();
    for ((number, position), row) in acknowledged.iter().zip(rows) {
        assert_eq!(row.map(|row| row.position), Some(*position), "{number} is lost");
    }
    let log = store.changes(Position::START, usize::MAX).await.unwrap();
    let positions: Vec<_> = log.iter().map(|entry| entry.position.0).collect();
    assert_eq!(positions, (1..=store.head().0).collect::<Vec<_>>());
    let rows = store.scan(&NOISE, Range::all(), Order::Ascending, usize::MAX).await.unwrap();
    assert_eq!(rows.len(), log.len(), "each entry of the log has its row");
    let report = store.verify(&[NOISE.check()]).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn writes_are_refused_before_the_disk_is_full_and_taken_again_after() {
    inside("child_with_a_reserve");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child process of a test"]
async fn child_with_a_reserve() {
    let Some(root) = directory() else { return };
    let disk = disk(&root, "disk", 32);
    let (_, store) = open(&settings(&disk.join("data"), ByteSize::mib(4))).await;
    let mut acknowledged = Vec::new();
    for number in 0..20 {
        acknowledged.push((number, store.commit(batch(number)).await.unwrap().last()));
    }
    let head = store.head();
    for _ in 0..2 {
        let ballast = ballast(&disk, free(&disk) - (2 << 20));
        let receipts: Vec<_> = (100..110).map(|number| store.submit(batch(number))).collect();
        for receipt in receipts {
            let refused = receipt.await.unwrap_err();
            assert!(matches!(refused, CommitError::Store(Error::Full(_))), "{refused:?}");
        }
        assert!(matches!(store.condition(), Condition::ReadOnly(Error::Full(_))));
        assert_eq!(store.head(), head, "what was refused took no position");
        check(&store, &acknowledged).await;
        remove_file(ballast).unwrap();
        healed(&store).await;
    }
    let next = store.commit(batch(20)).await.unwrap().last();
    assert_eq!(next, head.plus(1));
    acknowledged.push((20, next));
    check(&store, &acknowledged).await;
    store.close().await.unwrap();
}

#[test]
fn a_full_disk_loses_nothing_acknowledged_and_is_healed_without_a_restart() {
    inside("child_without_a_reserve");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child process of a test"]
async fn child_without_a_reserve() {
    let Some(root) = directory() else { return };
    let disk = disk(&root, "disk", 64);
    let data = disk.join("data");
    let (_, store) = open(&settings(&data, ByteSize::bytes(0))).await;
    let (mut acknowledged, mut number) = (Vec::new(), 0);
    for round in 1..=3 {
        let ballast = ballast(&disk, free(&disk) - (round << 20));
        let mut failed = 0;
        while failed == 0 {
            let receipts: Vec<_> =
                (number..number + 7).map(|number| (number, store.submit(batch(number)))).collect();
            number += 7;
            for (number, receipt) in receipts {
                match receipt.await {
                    Ok(done) => acknowledged.push((number, done.last())),
                    Err(
                        CommitError::Unknown | CommitError::Store(Error::Full(_) | Error::Unavailable { .. }),
                    ) => {
                        failed += 1;
                    }
                    Err(error) => panic!("{error:?}"),
                }
            }
        }
        // Reading goes on.
        let keys: Vec<_> = acknowledged.iter().map(|(number, _)| *number).collect();
        let rows = store.get_many(&NOISE, &keys).await.unwrap();
        assert!(rows.iter().all(Option::is_some));
        remove_file(ballast).unwrap();
        healed(&store).await;
        let head = store.head();
        let done = store.commit(batch(number)).await.unwrap();
        assert_eq!(done.last(), head.plus(1), "positions are consecutive");
        acknowledged.push((number, done.last()));
        number += 1;
        check(&store, &acknowledged).await;
    }
    store.close().await.unwrap();
    let (_, store) = open(&settings(&data, ByteSize::bytes(0))).await;
    check(&store, &acknowledged).await;
    store.close().await.unwrap();
}

#[test]
fn a_process_killed_on_a_full_disk_has_lost_nothing_acknowledged() {
    inside("child_that_kills");
}

const ROUNDS: u64 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child process of a test"]
async fn child_that_kills() {
    let Some(root) = directory() else { return };
    let disk = disk(&root, "disk", 96);
    let data = disk.join("data");
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        let ballast = ballast(&disk, free(&disk).saturating_sub(3 << 20));
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::full_disk::child_that_writes", "--ignored", "--nocapture"])
            .env(INSIDE, &root)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut refusals = 0;
        for line in BufReader::new(writer.stdout.take().unwrap()).lines().map_while(Result::ok) {
            match line.split(' ').collect::<Vec<_>>().as_slice() {
                ["acknowledged", number, position, "."] => {
                    acknowledged.push((number.parse().unwrap(), Position(position.parse().unwrap())));
                }
                ["refused", "."] => refusals += 1,
                _ => {}
            }
            // At the first refusal, while it tries to heal, and after the disk has room again.
            if refusals == 1 + round / 2 * 20 && ballast.exists() {
                if round % 2 == 0 {
                    break;
                }
                remove_file(&ballast).unwrap();
            }
            if !ballast.exists() && acknowledged.len() % 5 == 4 {
                break;
            }
        }
        writer.kill().unwrap();
        writer.wait().unwrap();
        if ballast.exists() {
            remove_file(&ballast).unwrap();
        }
        let (_, store) = open(&settings(&data, ByteSize::bytes(0))).await;
        check(&store, &acknowledged).await;
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child process of a child process"]
async fn child_that_writes() {
    let Some(root) = directory() else { return };
    let (_, store) = open(&settings(&root.join("disk/data"), ByteSize::bytes(0))).await;
    let newest = store.scan(&NOISE, Range::all(), Order::Descending, 1).await.unwrap();
    let mut number = newest.first().map_or(0, |row| row.0 + 1);
    loop {
        let line = match store.commit(batch(number)).await {
            Ok(done) => format!("acknowledged {number} {} .", done.last()),
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(1)).await;
                "refused .".to_owned()
            }
        };
        number += 1;
        let mut out = std::io::stdout();
        writeln!(out, "\n{line}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn a_process_without_file_handles_reads_on_and_is_healed_when_it_has_some() {
    inside("child_without_handles");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child process of a test"]
async fn child_without_handles() {
    let Some(root) = directory() else { return };
    let (_, store) = open(&settings(&root.join("data"), ByteSize::mib(1))).await;
    let (mut acknowledged, mut number) = (Vec::new(), 0);
    let before = getrlimit(Resource::Nofile);
    // The next file that is opened is one too many: that of a new log, sooner or later.
    setrlimit(Resource::Nofile, Rlimit { current: Some(3), ..before }).unwrap();
    let refused = loop {
        match store.commit(batch(number)).await {
            Ok(done) => acknowledged.push((number, done.last())),
            Err(refused) => break refused,
        }
        number += 1;
        assert!(number < 10_000, "it is never refused");
    };
    assert!(matches!(refused, CommitError::Unknown | CommitError::Store(_)), "{refused:?}");
    let read = store.get(&NOISE, &0).await.unwrap();
    assert!(read.is_some(), "reading goes on");
    setrlimit(Resource::Nofile, before).unwrap();
    healed(&store).await;
    let head = store.head();
    let done = store.commit(batch(number + 1)).await.unwrap().last();
    assert_eq!(done, head.plus(1));
    acknowledged.push((number + 1, done));
    check(&store, &acknowledged).await;
    store.close().await.unwrap();
}

#[test]
fn a_backup_that_finds_no_room_is_no_backup() {
    inside("child_that_backs_up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child process of a test"]
async fn child_that_backs_up() {
    let Some(root) = directory() else { return };
    let backups = disk(&root, "disk", 3);
    let (backend, store) = open(&settings(&root.join("data"), ByteSize::mib(1))).await;
    let mut number = 0;
    let mut write = async |count: u64| {
        for _ in 0..count {
            store.commit(batch(number)).await.unwrap();
            number += 1;
        }
    };
    let back_up = async || {
        let (backend, backups) = (backend.clone(), backups.clone());
        tokio::task::spawn_blocking(move || backend.backup(&backups)).await.unwrap()
    };
    write(150).await;
    back_up().await.unwrap_err();
    let nothing = restore(&backups, &root.join("nothing")).unwrap_err();
    assert!(nothing.to_string().contains("no backup"), "{nothing}");

    mount(&["-o", "remount,size=20m"], &backups);
    let whole = back_up().await.unwrap();
    write(600).await;
    back_up().await.unwrap_err();
    let restored = root.join("restored");
    assert_eq!(restore(&backups, &restored).unwrap().id, whole.id);
    let (_, copy) = open(&settings(&restored, ByteSize::mib(1))).await;
    let rows = copy.scan(&NOISE, Range::all(), Order::Ascending, usize::MAX).await.unwrap();
    assert_eq!(rows.len(), 150);
    copy.close().await.unwrap();

    mount(&["-o", "remount,size=200m"], &backups);
    let newer = back_up().await.unwrap();
    assert!(newer.id > whole.id);
    assert_eq!(restore(&backups, &root.join("newer")).unwrap().id, newer.id);
    store.close().await.unwrap();
}
