//! A server that takes no writes for a while: made read-only, gone, or without room on its disk.

use std::{path::Path, process::Command, sync::Arc, time::Duration};

use bytes::Bytes;
use store::{Batch, CommitError, Condition, Error, Order, Position, Range, Store, Topic};

use super::{ROWS, admin, cluster::Cluster, open};
use crate::Settings;

/// How long healing may take before a test fails.
const SOON: Duration = Duration::from_secs(60);

/// Set for the process that may mount: the directory that is its own.
const INSIDE: &str = "YAKUBA_TEST_MOUNT_DIRECTORY";

fn batch(number: u64, value: Bytes) -> Batch {
    let mut batch = Batch::new();
    batch.put(&ROWS, &number, &value);
    batch.log(1, Bytes::new(), [Topic::room("!a")]);
    batch
}

fn small(number: u64) -> Batch {
    batch(number, Bytes::copy_from_slice(&number.to_be_bytes()))
}

async fn healed(store: &Store) {
    let healing = async {
        while !store.condition().is_writable() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, healing).await.expect("it heals by itself");
}

/// As many rows as were acknowledged, and the log without a hole. Ephemeral positions were not given.
async fn check(store: &Store, rows: u64) {
    let found = store.scan(&ROWS, Range::all(), Order::Ascending, usize::MAX).await.unwrap();
    assert_eq!(found.len() as u64, rows);
    let log = store.changes(Position::START, usize::MAX).await.unwrap();
    let positions: Vec<_> = log.iter().map(|entry| entry.position.0).collect();
    assert_eq!(positions, (1..=rows).collect::<Vec<_>>());
    assert!(store.verify(&[ROWS.check()]).await.unwrap().is_clean());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_made_read_only_is_read_and_written_again_when_it_may_be() {
    let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
    let store = open(&Settings::at(cluster.url())).await;
    let admin = admin(&cluster.url()).await;
    store.commit(small(1)).await.unwrap();
    for number in 2..4 {
        admin.batch_execute("ALTER SYSTEM SET default_transaction_read_only = on").await.unwrap();
        admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        // The server's processes take the setting up one by one.
        let refused = first_refusal(&store, number * 100_000).await;
        assert!(matches!(refused, CommitError::Store(Error::Unavailable { .. })), "{refused:?}");
        assert!(store.get(&ROWS, &1).await.unwrap().is_some(), "reading goes on");

        admin.batch_execute("SET default_transaction_read_only = off").await.unwrap();
        admin.batch_execute("ALTER SYSTEM RESET default_transaction_read_only").await.unwrap();
        admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        healed(&store).await;
        let head = store.head();
        assert_eq!(store.commit(small(number)).await.unwrap().last(), head.plus(1));
    }
    let rows = store.scan(&ROWS, Range::all(), Order::Ascending, usize::MAX).await.unwrap();
    check(&store, rows.len() as u64).await;
    store.close().await.unwrap();
}

/// Commits until it is refused.
async fn first_refusal(store: &Store, start: u64) -> CommitError {
    for number in start..start + 10_000 {
        if let Err(refused) = store.commit(small(number)).await {
            return refused;
        }
    }
    panic!("it is never refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_gone_is_found_again_and_nobody_waits_for_it_long() {
    let cluster = Arc::new(tokio::task::spawn_blocking(Cluster::start).await.unwrap());
    let store = open(&Settings::at(cluster.url())).await;
    store.commit(small(1)).await.unwrap();
    let server = cluster.clone();
    tokio::task::spawn_blocking(move || server.down_at_once()).await.unwrap();

    let first = store.commit(small(2)).await.unwrap_err();
    assert!(matches!(first, CommitError::Store(Error::Unavailable { .. })), "{first:?}");
    // Once it is known, many are refused in less time than one attempt to connect takes.
    let receipts: Vec<_> = (10..1_000).map(|number| store.submit(small(number))).collect();
    let refused = async {
        for receipt in receipts {
            let refused = receipt.await.unwrap_err();
            assert!(matches!(refused, CommitError::Store(Error::Unavailable { .. })), "{refused:?}");
        }
    };
    tokio::time::timeout(Duration::from_secs(5), refused).await.expect("they are answered at once");

    let server = cluster.clone();
    tokio::task::spawn_blocking(move || server.up()).await.unwrap();
    healed(&store).await;
    assert_eq!(store.commit(small(2)).await.unwrap().last(), Position(2));
    check(&store, 2).await;
    store.close().await.unwrap();
}

#[test]
fn a_database_without_room_is_read_and_written_again_when_there_is_some() {
    let root = tempfile::tempdir().unwrap();
    let done = Command::new("unshare")
        .arg("--mount")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "tests::refusing::child_without_room", "--ignored", "--nocapture"])
        .env(INSIDE, root.path())
        .output()
        .expect("`unshare` (util-linux) is needed");
    let said = [done.stdout, done.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let passed = done.status.success() && said.contains("1 passed");
    assert!(passed, "it failed; it needs root, to mount a small disk:\n{said}");
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

/// The tables lie on a disk of eight MiB, the rest of the server elsewhere: a full disk under the
/// server's own log ends the server, which is the test above.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child process of a test"]
async fn child_without_room() {
    let Some(root) = std::env::var_os(INSIDE) else { return };
    let disk = Path::new(&root).join("disk");
    std::fs::create_dir(&disk).unwrap();
    run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(&disk));
    run(Command::new("chmod").arg("711").arg(&root));
    run(Command::new("chown").arg("postgres").arg(&disk));
    let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
    let admin = admin(&cluster.url()).await;
    let tablespace = format!("CREATE TABLESPACE small LOCATION '{}'", disk.display());
    admin.batch_execute(&tablespace).await.unwrap();
    admin.batch_execute("ALTER SYSTEM SET default_tablespace = small").await.unwrap();
    admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    drop(admin);

    let store = open(&Settings::at(cluster.url())).await;
    let noise = |number: u64| {
        let word = |at: u64| (number * 8_191 + at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        Bytes::from((0..16_000).flat_map(word).collect::<Vec<u8>>())
    };
    let mut rows = 0;
    let refused = loop {
        match store.commit(batch(rows, noise(rows))).await {
            Ok(_) => rows += 1,
            Err(refused) => break refused,
        }
        assert!(rows < 1_000, "the disk is not where the tables are");
    };
    assert!(matches!(refused, CommitError::Store(Error::Full(_))), "{refused:?}");
    let next = store.commit(batch(2_000, Bytes::new())).await.unwrap_err();
    assert!(matches!(next, CommitError::Store(Error::Full(_))), "{next:?}");
    assert!(matches!(store.condition(), Condition::ReadOnly(Error::Full(_))));
    check(&store, rows).await;

    run(Command::new("mount").args(["-o", "remount,size=64m"]).arg(&disk));
    healed(&store).await;
    assert_eq!(store.commit(batch(rows, noise(rows))).await.unwrap().last(), Position(rows + 1));
    check(&store, rows + 1).await;
    store.close().await.unwrap();
}
