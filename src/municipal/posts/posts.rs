//! The crate's one handle.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use base::{Clock, Tasks, Timestamp};
use intake::Date;
use organisation::Organisations;
use ruma::{OwnedRoomId, OwnedServerName, OwnedUserId};
use store::Store;
use tokio::sync::Mutex;

use crate::{limits::AGAIN, rooms::Rooms, wanted::Wanted};

/// What it is made of.
pub struct Parts<'a> {
    /// The store.
    pub store: Store,
    /// The authorities of this process.
    pub authorities: Vec<OwnedServerName>,
    /// Accounts and rooms.
    pub rooms: Arc<dyn Rooms>,
    /// Time.
    pub clock: Clock,
    /// Who runs the tasks.
    pub tasks: &'a Tasks,
}

/// The addresses of all authorities of a process. Cloning gives another handle.
#[derive(Clone)]
pub struct Posts {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) organisations: Organisations,
    pub(crate) store: Store,
    pub(crate) authorities: Vec<OwnedServerName>,
    pub(crate) rooms: Arc<dyn Rooms>,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    /// What was found out last of each authority; held by who sees to it, one at a time.
    pub(crate) seen: BTreeMap<OwnedServerName, Mutex<Option<Seen>>>,
}

/// What a list of addresses follows from: how far the organisation has come, and the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Print {
    pub(crate) organisation: u64,
    pub(crate) day: Date,
}

/// What was found out of an authority. It is a help alone: without it all is looked at once more.
pub(crate) struct Seen {
    pub(crate) print: Print,
    pub(crate) wanted: Vec<Wanted>,
    /// The users of addresses, by name.
    pub(crate) users: BTreeMap<String, OwnedUserId>,
    /// Rooms in which nothing was left to do, by the address.
    pub(crate) settled: BTreeSet<(OwnedUserId, OwnedRoomId)>,
    pub(crate) later: Later,
    /// Which address has its turn first.
    pub(crate) turn: usize,
}

impl Seen {
    pub(crate) fn of(print: Print, wanted: Vec<Wanted>, users: BTreeMap<String, OwnedUserId>) -> Self {
        Self { print, wanted, users, settled: BTreeSet::new(), later: BTreeMap::new(), turn: 0 }
    }
}

/// What failed, when it is tried again, and how often it has failed.
pub(crate) type Later = BTreeMap<(OwnedUserId, OwnedRoomId), (Timestamp, u32)>;

/// Notes that something is tried again in a while, each time later.
pub(crate) fn put_off(later: &mut Later, key: (OwnedUserId, OwnedRoomId), now: Timestamp) {
    let tries = later.get(&key).map_or(0, |(_, tries)| *tries).saturating_add(1);
    let wait = u64::try_from(AGAIN.as_millis()).unwrap_or(u64::MAX);
    let wait = wait.saturating_mul(1 << tries.min(8));
    later.insert(key, (Timestamp(now.millis().saturating_add(wait)), tries));
}

impl Posts {
    /// Over a store. Nothing is done by itself before [`Posts::start`].
    #[must_use]
    pub fn new(parts: Parts<'_>) -> Self {
        let Parts { store, authorities, rooms, clock, tasks } = parts;
        let inner = Inner {
            organisations: Organisations::new(&store),
            store,
            seen: authorities.iter().map(|name| (name.clone(), Mutex::default())).collect(),
            authorities,
            rooms,
            clock,
            tasks: tasks.clone(),
        };
        Self { inner: Arc::new(inner) }
    }
}
