#![expect(clippy::unwrap_used, reason = "tests")]

mod authenticator;
mod codes;
mod factors;
mod passkeys;
mod recoveries;
mod totp;

use base::{Metrics, Random, Tasks, Timestamp};
use ruma::{UserId, user_id};
use store::{Batch, MemoryBackend, MemoryDisk, Store};

use crate::{Factors, Secret, totp::code_of};

/// A moment in the middle of a step.
const NOW: Timestamp = Timestamp(1_790_000_010_000);

fn hanako() -> &'static UserId {
    user_id!("@hanako:kanazawa.test")
}

async fn store() -> Store {
    let metrics = Metrics::new();
    let backend = std::sync::Arc::new(MemoryBackend::open(&MemoryDisk::default()));
    Store::open(backend, Default::default(), &Tasks::new(&metrics), &metrics).await.unwrap()
}

/// The code that an app shows whose clock is so many steps ahead.
fn code_at(secret: &Secret, now: Timestamp, ahead: i64) -> String {
    code_of(secret, (now.millis() / 30_000).saturating_add_signed(ahead))
}

fn later(now: Timestamp, steps: i64) -> Timestamp {
    Timestamp(now.millis().saturating_add_signed(steps * 30_000))
}

/// Hanako with an app whose clock was so many steps ahead when she set it up.
async fn with_app(store: &Store, ahead: i64) -> (Factors, Secret, Vec<String>) {
    let random = Random::seeded(1);
    let secret = Factors::new_secret(&random);
    let none = Factors::read(store, hanako()).await.unwrap();
    let code = code_at(&secret, NOW, ahead);
    let (change, codes) = none.with_app("電話", &secret, &code, NOW, &random).unwrap();
    (commit(store, change).await, secret, codes)
}

/// The factors after a change.
async fn commit(store: &Store, change: crate::Change) -> Factors {
    let mut batch = Batch::new();
    change.put(&mut batch);
    store.commit(batch).await.unwrap();
    Factors::read(store, hanako()).await.unwrap()
}
