//! Places for connections: as many as the process may have files open, and not all of them for one address.
//!
//! A connection takes a file descriptor, and so does what the storage and the way to other servers need.
//! Were connections to take them all, nothing could be written and nobody would be answered; so what those
//! need is left over, and the rest is divided among the listeners, of which each has its own: a crowd at
//! one of them does not keep others out of another.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use base::Address;
use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};
use web::Network;

use crate::patience::WINDOW;

/// Connections at a time on one listener; more wait in the system's queue.
pub(crate) const MOST: usize = 16_384;

/// Files that the storage, logs, certificates and commands have open.
const OF_THE_STORAGE: u64 = 640;

/// Fewest connections of a listener, whatever else there is.
const FEWEST: usize = 16;

/// A client that has not sent a request's head by then is left.
const HEAD: Duration = Duration::from_secs(30);

/// A connection on which nobody has asked for anything for so long is ended.
const IDLE: Duration = Duration::from_secs(60);

/// What a connection on which nobody asks for anything has left once others wait for its place.
const HURRIED: Duration = Duration::from_secs(3);

/// How many connections a listener takes, and how long they may be silent or leave an answer unread.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// At once.
    pub places: usize,
    /// Of those, from one address.
    pub of_one_address: usize,
    /// Addresses from which there may be as many as there are places: proxies, behind which everybody is.
    pub exempt: Vec<Network>,
    /// How long a request's head may take.
    pub head: Duration,
    /// How long nobody may ask for anything.
    pub idle: Duration,
    /// How long nobody may ask for anything while others wait.
    pub hurried: Duration,
    /// How often a client is looked at that does not read its answer.
    pub window: Duration,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            places: MOST,
            of_one_address: MOST / 4,
            exempt: Vec::new(),
            head: HEAD,
            idle: IDLE,
            hurried: HURRIED,
            window: WINDOW,
        }
    }
}

impl Bounds {
    /// For each of so many listeners of a process that may have so many files open; `of_one_address` is meant
    /// for as many places as there are at most, and shrinks with them.
    pub(crate) fn of(open_files: u64, listeners: usize, of_one_address: u32, exempt: Vec<Network>) -> Bounds {
        // A quarter is for our own connections, to other servers and to a database.
        let for_connections = open_files.saturating_sub(OF_THE_STORAGE) / 4 * 3;
        let each = usize::try_from(for_connections).unwrap_or(usize::MAX) / listeners.max(1);
        let places = each.clamp(FEWEST, MOST);
        let of_one_address = usize::try_from(of_one_address).unwrap_or(usize::MAX);
        let of_one_address = (of_one_address.min(MOST) * places / MOST).max(1);
        Bounds { places, of_one_address, exempt, ..Bounds::default() }
    }
}

/// The places of a listener.
pub(crate) struct Places {
    bounds: Bounds,
    free: Arc<Semaphore>,
    /// Connections from each address that has any.
    taken: Mutex<HashMap<Address, usize>>,
    /// Whether others wait for places.
    crowded: watch::Sender<bool>,
}

/// A place that a connection has until this is dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    /// Whom it is counted for.
    of: Option<Address>,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    pub(crate) fn new(bounds: Bounds) -> Arc<Places> {
        let free = Arc::new(Semaphore::new(bounds.places));
        let (crowded, _) = watch::channel(false);
        Arc::new(Places { bounds, free, taken: Mutex::default(), crowded })
    }

    /// Waits until a place is free; those who have one and do not use it are told to hurry.
    pub(crate) async fn free(&self) -> OwnedSemaphorePermit {
        let full = self.are_full();
        self.crowded.send_if_modified(|crowded| std::mem::replace(crowded, full) != full);
        self.free.clone().acquire_owned().await.expect("nobody closes the semaphore")
    }

    /// Whether the next connection has to wait.
    pub(crate) fn are_full(&self) -> bool {
        self.free.available_permits() == 0
    }

    /// Gives a free place to a connection from there; nothing when that address has its part.
    pub(crate) fn take(self: &Arc<Places>, free: OwnedSemaphorePermit, peer: SocketAddr) -> Option<Place> {
        let of = (!self.is_exempt(peer.ip())).then(|| Address::of(peer.ip()));
        if let Some(address) = of {
            let mut taken = self.taken.lock();
            let count = taken.entry(address).or_default();
            if *count >= self.bounds.of_one_address {
                return None;
            }
            *count += 1;
        }
        Some(Place { places: self.clone(), of, _permit: free })
    }

    fn is_exempt(&self, ip: IpAddr) -> bool {
        self.bounds.exempt.iter().any(|network| network.contains(ip))
    }
}

impl Place {
    pub(crate) fn bounds(&self) -> &Bounds {
        &self.places.bounds
    }

    /// Waits until others wait for places.
    pub(crate) async fn crowded(&self) {
        let mut crowded = self.places.crowded.subscribe();
        // The other end is in the places, which outlive this.
        crowded.wait_for(|crowded| *crowded).await.ok();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(address) = self.of else { return };
        let mut taken = self.places.taken.lock();
        if let Some(count) = taken.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&address);
            }
        }
    }
}

/// Something that goes wrong again and again, of which the log is to hear once.
pub(crate) struct Spell {
    last: Option<Instant>,
}

impl Spell {
    /// What comes again within this time is the same spell.
    pub(crate) const PAUSE: Duration = Duration::from_secs(60);

    pub(crate) const fn new() -> Spell {
        Spell { last: None }
    }

    /// It went wrong; whether that is the first time of a spell.
    pub(crate) fn begins(&mut self, now: Instant) -> bool {
        let before = self.last.replace(now);
        before.is_none_or(|before| now.duration_since(before) > Self::PAUSE)
    }
}
