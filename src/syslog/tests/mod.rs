//! Tests over the store in memory, with receivers that behave and receivers that do not.

#![expect(clippy::unwrap_used, reason = "tests")]

mod frames;
mod outages;
mod receiver;
mod rsyslog;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use audit::{Action, Actor, Deed, Follower};
use base::{Clock, Metrics, Random, Tasks};
use pdu::{Authorities, Authority};
use ruma::{ServerName, server_name, user_id};
use store::{Batch, MemoryBackend, MemoryDisk, Store};
use tokio::time::timeout;

use crate::{Bounds, Forwarder, Parts, Place, Settings, Status};

const SOON: Duration = Duration::from_secs(60);

fn kanazawa() -> &'static ServerName {
    server_name!("kanazawa.test")
}

/// Bounds with which a test does not wait for long.
fn quick() -> Bounds {
    Bounds {
        settle: Duration::from_millis(200),
        again: (Duration::from_millis(5), Duration::from_millis(20)),
        ..Bounds::default()
    }
}

fn to(port: u16) -> Settings {
    let place = Place { host: "localhost".to_owned(), port };
    Settings { name: "siem".to_owned(), place, tls: None, enterprise: crate::EXAMPLE_NUMBER, bounds: quick() }
}

/// A store with an audit log that goes somewhere.
struct Office {
    store: Store,
    disk: MemoryDisk,
    follower: Follower,
    forwarder: Forwarder,
    tasks: Tasks,
    metrics: Metrics,
    clock: Clock,
}

impl Office {
    async fn sending_to(settings: Settings) -> Self {
        Self::over(MemoryDisk::default(), settings).await
    }

    async fn over(disk: MemoryDisk, settings: Settings) -> Self {
        let clock = Clock::system();
        let metrics = Metrics::new();
        let tasks = Tasks::new(&metrics);
        let backend = Arc::new(MemoryBackend::open(&disk));
        let store = Store::open(backend, Default::default(), &tasks, &metrics).await.unwrap();
        let authority = Authority::new(kanazawa().to_owned(), "1", &[1; 32]).unwrap();
        let authorities = Arc::new(Authorities::new([authority]));
        let follower = Follower::new(&store, &authorities, &clock);
        let forwarder = Forwarder::new(Parts {
            store: store.clone(),
            destinations: BTreeMap::from([(kanazawa().to_owned(), vec![settings])]),
            clock: clock.clone(),
            random: Random::seeded(1),
            tasks: &tasks,
            metrics: &metrics,
        });
        Self { store, disk, follower, forwarder, tasks, metrics, clock }
    }

    /// The same after a crash, sending elsewhere perhaps.
    async fn crash(self, settings: Settings) -> Self {
        let Self { store, disk, follower, forwarder, tasks, .. } = self;
        drop((store, follower, forwarder));
        assert_eq!(tasks.stop(SOON).await, 0);
        Self::over(disk, settings).await
    }

    /// Writes rows that say their place among all, and links them.
    async fn rows(&mut self, places: std::ops::RangeInclusive<usize>) {
        let by = Actor::user(user_id!("@hanako:kanazawa.test"), false, None);
        let places: Vec<usize> = places.collect();
        for some in places.chunks(500) {
            let written = some.iter().map(|place| {
                let mut batch = Batch::new();
                let deed = Deed::new(Action::SignIn, &by, "@hanako:kanazawa.test", self.clock.now());
                deed.after("place", place.to_string()).write(&mut batch, kanazawa());
                self.store.submit(batch)
            });
            for receipt in written.collect::<Vec<_>>() {
                receipt.await.unwrap();
            }
        }
        self.follower.catch_up().await.unwrap();
    }

    async fn status(&self) -> Status {
        self.forwarder.status(kanazawa()).await.unwrap().pop().unwrap()
    }

    /// Waits until what is known of the destination is so.
    async fn until(&self, is_so: impl Fn(&Status) -> bool) -> Status {
        let wait = async {
            loop {
                let status = self.status().await;
                if is_so(&status) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        match timeout(SOON, wait).await {
            Ok(status) => status,
            Err(_) => panic!("never so: {:?}", self.status().await),
        }
    }

    fn metric(&self, name: &str) -> i64 {
        let text = self.metrics.render();
        let line =
            text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}
