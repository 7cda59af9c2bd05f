//! The crate's one handle and what its verbs share.

use std::{sync::Arc, time::Duration};

use account::{Accounts, DeviceEnds};
use async_trait::async_trait;
use base::{Buckets, ByteSize, Cache, Clock, CounterFamily, Metrics, Random, Rate, Tasks};
use pdu::Authorities;
use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, ServerName, UserId};
use store::{Batch, Store, Topic, UpTo};

use crate::tables::{INBOX, INBOX_SHARES, INBOX_USE, SERVED};

/// So many servers that never answered or called one user has us try: those of a room that is as large as a country at once.
/// Names may be invented, and each costs rows and attempts.
const STRANGERS: Rate = Rate { per_second: 1.0, burst: 2_000 };

/// How often it is told of one other server that it sends more than is kept.
const OVERFLOWS: Rate = Rate { per_second: 1.0 / 600.0, burst: 1 };

/// With whom messages may be exchanged: a port, since what knows it stands above.
pub trait Contacts: Send + Sync {
    /// Whether we exchange requests with this server at all.
    fn may_contact(&self, server: &ServerName) -> bool;

    /// Whether it ever answered or called.
    fn is_known(&self, server: &ServerName) -> bool;
}

/// There is no other server.
#[derive(Clone, Copy, Debug)]
pub struct NoContacts;

impl Contacts for NoContacts {
    fn may_contact(&self, _: &ServerName) -> bool {
        false
    }

    fn is_known(&self, _: &ServerName) -> bool {
        false
    }
}

/// What messages to devices are made of.
pub struct Parts<'a> {
    /// Where they wait.
    pub store: Store,
    /// Whose devices there are.
    pub accounts: Accounts,
    /// Our server names.
    pub authorities: Arc<Authorities>,
    /// With whom they may be exchanged.
    pub contacts: Arc<dyn Contacts>,
    /// How long messages wait for a device that never asks for them, in time that servers run.
    pub kept: Duration,
    /// Memory for the devices of which it is known that nothing waits for them: each takes some 200 bytes.
    pub memory: ByteSize,
    /// The clock.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
    /// Who runs our tasks.
    pub tasks: &'a Tasks,
    /// Where we count.
    pub metrics: &'a Metrics,
}

/// Messages to devices, of all authorities of this process. Cheap to clone; its verbs are spread over the files of
/// this crate by subject.
#[derive(Clone)]
pub struct ToDevice {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) accounts: Accounts,
    pub(crate) authorities: Arc<Authorities>,
    pub(crate) contacts: Arc<dyn Contacts>,
    /// By user, for each server that he has us try which nobody knows.
    pub(crate) strangers: Buckets,
    /// By server, for telling that its share is full.
    pub(crate) overflows: Buckets,
    pub(crate) kept: Duration,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) quiet: Quiet,
    pub(crate) counts: Counts,
}

/// Devices for which nothing waits, and up to where that is known. Most of all who sync.
pub(crate) type Quiet = Cache<(OwnedUserId, OwnedDeviceId), Arc<UpTo>>;

/// How many messages had which end.
pub(crate) struct Counts(CounterFamily);

impl Counts {
    pub(crate) fn add(&self, outcome: &str, count: u64) {
        if count > 0 {
            self.0.with(&[("outcome", outcome)]).inc_by(count);
        }
    }
}

impl ToDevice {
    /// Opens the messages in a store, has them go with their devices, and starts the tasks that forget what was served and what
    /// nobody fetched.
    pub fn open(parts: Parts<'_>) -> Self {
        let Parts { store, accounts, authorities, contacts, kept, memory, clock, random, tasks, metrics } =
            parts;
        let to_device = Self {
            inner: Arc::new(Inner {
                store,
                accounts: accounts.clone(),
                authorities,
                contacts,
                strangers: Buckets::new(STRANGERS),
                overflows: Buckets::new(OVERFLOWS),
                kept,
                quiet: quiet(metrics, memory),
                clock,
                random,
                counts: Counts(metrics.counter_family(
                    "yakuba_to_device_messages",
                    "Messages to devices, and units of them between servers, by what became of them",
                )),
            }),
        };
        accounts.add_device_ends(Arc::new(OfDevices));
        to_device.start_forgetting(tasks);
        to_device.start_ageing(tasks, metrics);
        to_device
    }
}

pub(crate) fn quiet(metrics: &Metrics, memory: ByteSize) -> Quiet {
    let owned = |(user, device): &(OwnedUserId, OwnedDeviceId), _: &Arc<UpTo>| {
        user.as_str().len() + device.as_str().len() + size_of::<UpTo>() + 16
    };
    Cache::new(metrics.caches(), "to_device_quiet", memory.as_u64(), owned).borrowing()
}

/// What goes with a device: what waits for it, and what was served to it.
struct OfDevices;

#[async_trait]
impl DeviceEnds for OfDevices {
    async fn put_ends(
        &self,
        batch: &mut Batch,
        user: &UserId,
        devices: &[OwnedDeviceId],
    ) -> Result<(), account::Error> {
        for device in devices {
            let prefix = (user.as_str(), device.as_str());
            batch.delete_prefix(&INBOX, &prefix);
            batch.delete_prefix(&INBOX_USE, &prefix);
            batch.delete_prefix(&INBOX_SHARES, &prefix);
            batch.delete_prefix(&SERVED, &prefix);
            // What is known of its inbox is known no more.
            batch.touch([inbox_topic(user, device)]);
        }
        Ok(())
    }
}

/// What is touched by messages to one device.
pub(crate) fn inbox_topic(user: &UserId, device: &DeviceId) -> Topic {
    Topic::new(40, &format!("{user}\0{device}"))
}

impl ToDevice {
    /// What is touched by messages to any device of a user: what his clients wait for, all of them by one watch.
    pub fn topic(user: &UserId) -> Topic {
        Topic::new(41, user.as_str())
    }
}
