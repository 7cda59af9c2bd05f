//! Tests of the audit log over the store in memory.

#![expect(clippy::unwrap_used, reason = "tests")]

mod damage;
mod following;
mod gaps;
mod listing;
mod retiring;
mod shaky;

use std::{sync::Arc, time::Duration};

use base::{Clock, ManualClock, Metrics, Random, Tasks, Timestamp};
use pdu::{Authorities, Authority, OldKey};
use ruma::{ServerName, server_name, user_id};
use store::{Backend, Batch, MemoryBackend, MemoryDisk, Store};

use crate::{Action, Actor, Day, Deed, Findings, Follower, Noted, verify};

const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// 2026-03-31T15:00:00Z, when 1 April begins in Japan.
const MIDNIGHT: u64 = 1_774_969_200_000;

fn kanazawa() -> &'static ServerName {
    server_name!("kanazawa.test")
}

fn wajima() -> &'static ServerName {
    server_name!("wajima.test")
}

fn authority(name: &ServerName, version: &str, seed: u8) -> Authority {
    Authority::new(name.to_owned(), version, &[seed; 32]).unwrap()
}

/// A store with two authorities, and who carries on their chains.
struct Office {
    store: Store,
    disk: MemoryDisk,
    authorities: Arc<Authorities>,
    clock: Clock,
    hand: ManualClock,
    follower: Follower,
    tasks: Tasks,
}

impl Office {
    async fn new() -> Self {
        Self::at(MIDNIGHT + 1, MemoryDisk::default()).await
    }

    async fn at(start_ms: u64, disk: MemoryDisk) -> Self {
        let backend = Arc::new(MemoryBackend::open(&disk));
        Self::over(backend, start_ms, disk).await
    }

    async fn over(backend: Arc<dyn Backend>, start_ms: u64, disk: MemoryDisk) -> Self {
        let (clock, hand) = Clock::manual(start_ms);
        let metrics = Metrics::new();
        let tasks = Tasks::new(&metrics);
        let store = Store::open(backend, Default::default(), &tasks, &metrics).await.unwrap();
        let authorities =
            Arc::new(Authorities::new([authority(kanazawa(), "1", 1), authority(wajima(), "1", 2)]));
        let follower = Follower::new(&store, &authorities, &clock);
        Self { store, disk, authorities, clock, hand, follower, tasks }
    }

    /// The same after a crash: the disk stays, all else is new.
    async fn crash(self) -> Self {
        let Self { store, disk, clock, tasks, follower, .. } = self;
        drop((store, follower));
        assert_eq!(tasks.stop(Duration::from_secs(10)).await, 0);
        Self::at(clock.now().millis(), disk).await
    }

    fn sign_in(&self) -> Deed {
        let hanako = user_id!("@hanako:kanazawa.test");
        let by = Actor::user(hanako, false, None);
        Deed::new(Action::SignIn, &by, hanako.as_str(), self.clock.now()).after("device", "PHONE")
    }

    /// Writes so many rows, each with a batch of its own and a millisecond later.
    async fn rows(&self, name: &ServerName, count: usize) {
        for _ in 0..count {
            self.hand.advance(Duration::from_millis(1));
            let mut batch = Batch::new();
            self.sign_in().write(&mut batch, name);
            self.store.commit(batch).await.unwrap();
        }
    }

    async fn follow(&mut self) {
        self.follower.catch_up().await.unwrap();
    }

    async fn verify(&self, name: &ServerName) -> Findings {
        self.verify_noted(name, None).await
    }

    async fn verify_noted(&self, name: &ServerName, noted: Option<Noted>) -> Findings {
        let keys = self.authorities.find(name);
        verify(&self.store, name, keys.map(AsRef::as_ref), noted).await.unwrap()
    }

    fn today(&self) -> Day {
        Day::of(self.clock.now())
    }
}
