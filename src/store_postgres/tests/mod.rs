//! The conformance suite on PostgreSQL, two replicas, lost connections and a crashed server.
#![expect(clippy::unwrap_used, reason = "tests")]

mod cluster;
mod refusing;
mod tls;

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use base::{Metrics, Tasks};
use bytes::Bytes;
use store::{
    Backend, Batch, CommitError, Options, Order, Position, Range, Store, Table, Topic, Tuning,
    conformance::Place,
};
use tokio_postgres::NoTls;

use crate::{PostgresBackend, Settings, session, settings::Tls, tests::cluster::Cluster, tls::Way};

static ROWS: Table<u64, Bytes> = Table::new(195, "test.rows", Tuning::Point);

static SCHEMAS: AtomicU64 = AtomicU64::new(0);

/// A schema of its own in the shared cluster.
struct PostgresPlace {
    cluster: Arc<Cluster>,
    settings: Settings,
    tasks: Tasks,
}

impl PostgresPlace {
    async fn new() -> Self {
        let cluster = tokio::task::spawn_blocking(Cluster::shared).await.unwrap();
        let settings = Settings {
            schema: format!("place_{}", SCHEMAS.fetch_add(1, Ordering::Relaxed)),
            readers: 2,
            ..Settings::at(cluster.url())
        };
        Self { cluster, settings, tasks: Tasks::new(&Metrics::new()) }
    }
}

impl Place for PostgresPlace {
    fn open(&self) -> Pin<Box<dyn Future<Output = Arc<dyn Backend>> + Send + '_>> {
        Box::pin(async {
            let backend = PostgresBackend::open(self.settings.clone(), &self.tasks).await.unwrap();
            Arc::new(backend) as Arc<dyn Backend>
        })
    }
}

store::conformance_tests!(PostgresPlace::new());
store::replica_tests!(PostgresPlace::new());

async fn open(settings: &Settings) -> Store {
    let metrics = Metrics::new();
    let tasks = Tasks::new(&metrics);
    let backend = PostgresBackend::open(settings.clone(), &tasks).await.unwrap();
    Store::open(Arc::new(backend), Options::default(), &tasks, &metrics).await.unwrap()
}

/// Raises the number in a row until told to stop; says how often it was told that it worked.
async fn count_while(store: Store, key: u64, running: Arc<AtomicBool>) -> (u64, u64) {
    let (mut worked, mut unknown) = (0, 0);
    while running.load(Ordering::Relaxed) {
        let old = store.get(&ROWS, &key).await.unwrap();
        let count = old.as_ref().map_or(0, |old| u64::from_be_bytes(old.as_ref().try_into().unwrap()));
        let new = Bytes::copy_from_slice(&(count + 1).to_be_bytes());
        let mut batch = Batch::new();
        match &old {
            None => batch.insert(&ROWS, &key, &new),
            Some(old) => batch.replace(&ROWS, &key, old, &new),
        };
        batch.log(1, new, [Topic::room("!a")]);
        match store.commit(batch).await {
            Ok(committed) => {
                assert!(store.head() >= committed.last(), "acknowledged before it is visible");
                worked += 1;
            }
            Err(CommitError::Unknown) => unknown += 1,
            Err(CommitError::Conflict { .. } | CommitError::Busy) => {}
            Err(CommitError::Store(error)) => panic!("{error:?}"),
        }
    }
    (worked, unknown)
}

async fn admin(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn counted(store: &Store) -> u64 {
    let rows = store.scan(&ROWS, Range::all(), Order::Ascending, 100).await.unwrap();
    rows.iter().map(|(_, count)| u64::from_be_bytes(count.as_ref().try_into().unwrap())).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_lose_and_repeat_nothing() {
    let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
    let settings = Settings::at(cluster.url());
    let stores = [open(&settings).await, open(&settings).await];
    let running = Arc::new(AtomicBool::new(true));
    let writers: Vec<_> = (0..4_usize)
        .map(|writer| {
            let work = count_while(stores[writer % 2].clone(), writer as u64 % 3, running.clone());
            tokio::spawn(work)
        })
        .collect();
    let admin = admin(&cluster.url()).await;
    for _ in 0..30 {
        admin
            .execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE application_name = 'yakuba' AND random() < 0.5",
                &[],
            )
            .await
            .unwrap();
        let before = stores[0].head();
        let progress = async {
            while stores[0].head() < before.plus(5) {
                stores[0].watch(vec![Topic::room("!a")]).changed().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), progress).await.expect("work goes on");
    }
    running.store(false, Ordering::Relaxed);
    let (mut worked, mut unknown) = (0, 0);
    for writer in writers {
        let (one, other) = writer.await.unwrap();
        (worked, unknown) = (worked + one, unknown + other);
    }
    assert_eq!(unknown, 0, "with the server up, every answer can be found out");
    assert_eq!(counted(&stores[0]).await, worked);
    check_log(&stores[0], worked).await;
    for store in stores {
        store.close().await.unwrap();
    }
}

async fn check_log(store: &Store, entries: u64) {
    // The last of them may have been acknowledged by another replica.
    assert_eq!(store.reach(Position(entries)).await.unwrap(), Position(entries));
    let log = store.changes(Position::START, 1_000_000).await.unwrap();
    let positions: Vec<_> = log.iter().map(|entry| entry.position.0).collect();
    assert_eq!(positions, (1..=entries).collect::<Vec<_>>());
    assert!(store.verify(&[ROWS.check()]).await.unwrap().is_clean());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashed_server_has_lost_and_repeated_nothing_when_it_is_back() {
    let cluster = Arc::new(tokio::task::spawn_blocking(Cluster::start).await.unwrap());
    let store = open(&Settings::at(cluster.url())).await;
    let mut total = 0;
    for _ in 0..3 {
        let running = Arc::new(AtomicBool::new(true));
        let writers: Vec<_> =
            (0..3).map(|key| tokio::spawn(count_while(store.clone(), key, running.clone()))).collect();
        let before = store.head();
        let mut watch = store.watch(vec![Topic::room("!a")]);
        while store.head() < before.plus(20) {
            watch.changed().await;
        }
        let server = cluster.clone();
        tokio::task::spawn_blocking(move || {
            server.down_at_once();
            server.up();
        })
        .await
        .unwrap();
        let before = store.head();
        while store.head() < before.plus(20) {
            watch.changed().await;
        }
        running.store(false, Ordering::Relaxed);
        for writer in writers {
            let (worked, unknown) = writer.await.unwrap();
            assert_eq!(unknown, 0, "the server came back in time");
            total += worked;
        }
        assert_eq!(counted(&store).await, total);
    }
    check_log(&store, total).await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_laid_out_by_a_newer_program_is_refused() {
    let place = PostgresPlace::new().await;
    open(&place.settings).await.close().await.unwrap();
    let client = admin(&place.cluster.url()).await;
    let newer = format!("UPDATE {}.clock SET layout = 99", place.settings.schema);
    client.execute(&newer, &[]).await.unwrap();
    let refused = PostgresBackend::open(place.settings.clone(), &place.tasks).await.err().unwrap();
    assert!(matches!(refused, store::Error::NewerSchema { found: 99, known: 1 }), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_stopped_in_the_middle_of_a_commit_does_not_stop_the_others() {
    let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
    let settings = Settings::at(cluster.url());
    let store = open(&settings).await;
    let (way, tasks) = (Way::to(&settings).unwrap(), Tasks::new(&Metrics::new()));
    let stopped = session::connect(&way, &settings, &tasks, false).await.unwrap();
    stopped.client.batch_execute("BEGIN").await.unwrap();
    stopped.client.query_one(&stopped.statements.lock_clock, &[]).await.unwrap();

    // It says no more, and its connection is there all the time.
    let mut batch = Batch::new();
    batch.put(&ROWS, &1, &Bytes::from_static(b"1"));
    store.commit(batch).await.unwrap();
    let late = stopped.client.batch_execute("COMMIT").await.unwrap_err();
    assert!(stopped.is_lost(&late), "{late:?}");
    store.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_connections_and_says_nothing_is_not_waited_for_without_end() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for tls in [Tls::Disable, Tls::Require] {
        let settings =
            Settings { tls: Some(tls), ..Settings::at(format!("host=127.0.0.1 port={port} user=y")) };
        let way = Way::to(&settings).unwrap();
        let tasks = Tasks::new(&Metrics::new());
        let (connected, _held) = tokio::join!(
            tokio::time::timeout(Duration::from_secs(60), session::connect(&way, &settings, &tasks, false)),
            listener.accept(),
        );
        let refused = connected.expect("it has an end").err();
        assert!(matches!(refused, Some(store::Error::Unavailable { .. })), "{refused:?}");
    }
}
