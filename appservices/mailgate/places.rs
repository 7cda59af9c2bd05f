//! Connections and memory of the door, in all and for each address that connects.
//!
//! A mail takes memory as it comes, so one that stalls after its first line keeps nobody out; and one machine, whatever it does, leaves
//! places to the mail server.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// Connections at a time: more wait. And those of one address: more are sent away. A Postfix makes 20.
pub(crate) const CONNECTIONS: usize = 32;
pub(crate) const OF_ADDRESS: usize = 24;

/// Largest mails that may be in memory at a time, and those of one address.
const MAILS: usize = 4;
const MAILS_OF_ADDRESS: usize = 3;

/// Memory is taken in pieces of this.
pub(crate) const PIECE: usize = 64 << 10;

/// A mail waits for memory for so long; then its sender tries again later.
const PATIENCE: Duration = Duration::from_secs(30);

/// The places.
pub(crate) struct Places {
    memory: Arc<Semaphore>,
    /// Pieces of one address.
    of_address: usize,
    patience: Duration,
    addresses: Mutex<HashMap<IpAddr, Address>>,
}

struct Address {
    connections: usize,
    memory: Arc<Semaphore>,
}

/// A connection's place.
pub(crate) struct Place {
    places: Arc<Places>,
    address: IpAddr,
    memory: Arc<Semaphore>,
}

/// Memory that a mail holds.
#[derive(Default)]
pub(crate) struct Held {
    pieces: usize,
    permits: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

impl Places {
    /// Places for mails of so many bytes.
    pub(crate) fn new(largest: usize) -> Arc<Self> {
        Self::with(largest, PATIENCE)
    }

    fn with(largest: usize, patience: Duration) -> Arc<Self> {
        let pieces = |mails: usize| (largest / PIECE + 1).saturating_mul(mails);
        Arc::new(Self {
            memory: Arc::new(Semaphore::new(pieces(MAILS))),
            of_address: pieces(MAILS_OF_ADDRESS),
            patience,
            addresses: Mutex::default(),
        })
    }

    /// A place for a connection of an address; none if it has enough of them.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        let mut addresses = self.addresses();
        let own = addresses
            .entry(address)
            .or_insert_with(|| Address { connections: 0, memory: Arc::new(Semaphore::new(self.of_address)) });
        if own.connections >= OF_ADDRESS {
            return None;
        }
        own.connections += 1;
        Some(Place { places: self.clone(), address, memory: own.memory.clone() })
    }

    fn addresses(&self) -> MutexGuard<'_, HashMap<IpAddr, Address>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut addresses = self.places.addresses();
        if let Some(own) = addresses.get_mut(&self.address) {
            own.connections -= 1;
            if own.connections == 0 {
                addresses.remove(&self.address);
            }
        }
    }
}

impl Place {
    /// Has a mail hold memory for so many bytes; false if there is none for long.
    pub(crate) async fn grow(&self, held: &mut Held, bytes: usize) -> bool {
        let wanted = (bytes / PIECE + 1).saturating_sub(held.pieces);
        let Ok(more) = u32::try_from(wanted) else { return false };
        if more == 0 {
            return true;
        }
        // Its own first: who waits for that holds nothing of the others'.
        let taken = async {
            let own = self.memory.clone().acquire_many_owned(more).await.ok()?;
            Some((own, self.places.memory.clone().acquire_many_owned(more).await.ok()?))
        };
        let Ok(Some((own, all))) = timeout(self.places.patience, taken).await else { return false };
        held.pieces += wanted;
        match &mut held.permits {
            Some((first, second)) => {
                first.merge(own);
                second.merge(all);
            }
            none => *none = Some((own, all)),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGEST: usize = 1 << 20;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn one_address_leaves_connections_to_others_and_gives_its_own_back() {
        let places = Places::new(LARGEST);
        let held: Vec<Place> = (0..OF_ADDRESS).filter_map(|_| places.take(address(1))).collect();
        assert_eq!(held.len(), OF_ADDRESS);
        assert!(places.take(address(1)).is_none());
        assert!(places.take(address(2)).is_some());
        drop(held);
        assert!(places.take(address(1)).is_some());
        assert!(places.addresses().is_empty(), "nothing is kept of who is gone");
    }

    #[tokio::test]
    async fn a_mail_takes_memory_as_it_grows_and_one_address_never_all_of_it() {
        let places = Places::with(LARGEST, Duration::ZERO);
        let (one, other) =
            (places.take(address(1)).expect("a place"), places.take(address(2)).expect("a place"));
        let mut held: Vec<Held> = (0..20).map(|_| Held::default()).collect();
        for held in &mut held {
            assert!(one.grow(held, 100).await && one.grow(held, 200).await, "the first line of each");
        }
        let mut large: Vec<Held> = Vec::new();
        loop {
            let mut held = Held::default();
            if !one.grow(&mut held, LARGEST).await {
                break;
            }
            large.push(held);
        }
        assert!((1..MAILS_OF_ADDRESS).contains(&large.len()), "{}", large.len());
        let mut own = Held::default();
        assert!(other.grow(&mut own, LARGEST).await, "the other address has some left");
        drop((held, large));
        let mut again = Held::default();
        assert!(one.grow(&mut again, LARGEST).await, "it is given back");
    }
}
