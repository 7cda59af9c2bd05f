//! [`Arrivals`]: what came to which peer, and when.
//!
//! The first time that a text comes it is checked as an event: its id, its hash and its signatures. From then
//! on it is known by its bytes, so that every one of its arrivals is that of a checked event.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use parking_lot::{Mutex, RwLock};
use ruma::signatures::PublicKeyMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::room::{Number, Room};

/// Faults that are kept in words; more are only counted.
const MOST_FAULTS: usize = 20;

/// What peers got.
#[derive(Default)]
pub(super) struct Arrivals(Mutex<Books>);

#[derive(Default)]
struct Books {
    known: HashMap<String, Number>,
    /// When each event came to which peer.
    tracks: HashMap<Number, HashMap<usize, Instant>>,
    /// Transactions that were taken, by peer.
    taken: HashMap<usize, HashSet<String>>,
    /// Arrivals of an event at a peer that had it.
    again: usize,
    faults: Vec<String>,
    faults_count: usize,
}

/// What has been seen of an event among some peers.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// How long after the moment asked about, by arrival.
    pub(super) after: Vec<Duration>,
    /// Peers where it is not yet.
    pub(super) lacking: usize,
}

impl Arrivals {
    /// Takes a transaction, which came whole at this moment; returns the ids of its events. One that comes again
    /// with its old id is a repetition of which the first try was heard, and counts for nothing.
    pub(super) fn take(
        &self,
        peer: usize,
        id: &str,
        body: &[u8],
        at: Instant,
        room: &Mutex<Room>,
        keys: &RwLock<PublicKeyMap>,
    ) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Transaction<'a> {
            #[serde(borrow, default)]
            pdus: Vec<&'a RawValue>,
        }

        let transaction: Transaction<'_> = serde_json::from_slice(body).context("a malformed transaction")?;
        let mut guard = self.0.lock();
        let books = &mut *guard;
        let is_new = books.taken.entry(peer).or_default().insert(id.to_owned());
        let mut ids = Vec::with_capacity(transaction.pdus.len());
        for pdu in transaction.pdus {
            let number = match books.known.get(pdu.get()) {
                Some(number) => *number,
                None => {
                    let mut room = room.lock();
                    let number = room.learn(pdu.get(), &keys.read())?;
                    room.publish(number);
                    books.known.insert(pdu.get().to_owned(), number);
                    number
                }
            };
            ids.push(number);
            if is_new {
                match books.tracks.entry(number).or_default().entry(peer) {
                    Entry::Vacant(place) => {
                        place.insert(at);
                    }
                    Entry::Occupied(_) => books.again += 1,
                }
            }
        }
        drop(guard);
        let room = room.lock();
        Ok(room.ids(&ids).into_iter().map(str::to_owned).collect())
    }

    /// How an event has spread among these peers, counted from a moment.
    pub(super) fn seen(&self, event: Option<Number>, among: &[usize], since: Instant) -> Seen {
        let books = self.0.lock();
        let Some(track) = event.and_then(|event| books.tracks.get(&event)) else {
            return Seen { after: Vec::new(), lacking: among.len() };
        };
        let after: Vec<Duration> =
            among.iter().filter_map(|peer| Some(track.get(peer)?.saturating_duration_since(since))).collect();
        Seen { lacking: among.len() - after.len(), after }
    }

    /// How many arrivals were of an event that had been at that peer.
    pub(super) fn again(&self) -> usize {
        self.0.lock().again
    }

    /// Notes that the server under test did what it must not, or that this program could not do its part.
    pub(super) fn fault(&self, what: String) {
        let mut books = self.0.lock();
        books.faults_count += 1;
        if books.faults.len() < MOST_FAULTS {
            books.faults.push(what);
        }
    }

    /// The faults so far: how many, and the first ones.
    pub(super) fn faults(&self) -> (usize, Vec<String>) {
        let books = self.0.lock();
        (books.faults_count, books.faults.clone())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::nation::room::{Draft, tests::small};

    fn body(pdu: &[u8]) -> Vec<u8> {
        [b"{\"pdus\":[", pdu, b"]}"].concat()
    }

    #[test]
    fn an_event_that_comes_to_one_peer_again_is_counted_and_a_repeated_transaction_is_not() {
        let (peers, keys, mut room) = small();
        let user = room.members[0].clone();
        let event = room.make(&peers[0], &Draft::message(&user, "一"), None).unwrap();
        let body = body(&room.event(event).text);
        let (room, keys, arrivals) = (Mutex::new(room), RwLock::new(keys), Arrivals::default());
        let since = Instant::now();
        let take = |peer, id: &str| arrivals.take(peer, id, &body, Instant::now(), &room, &keys).unwrap();

        take(0, "a");
        take(0, "a");
        take(1, "a");
        let seen = arrivals.seen(Some(event), &[0, 1, 2], since);
        assert_eq!((seen.after.len(), seen.lacking, arrivals.again()), (2, 1, 0));
        assert_eq!(take(1, "b").len(), 1);
        assert_eq!(arrivals.again(), 1);
    }

    #[test]
    fn a_transaction_with_an_event_that_is_wrong_is_refused() {
        let (peers, keys, mut room) = small();
        let user = room.members[0].clone();
        let event = room.make(&peers[0], &Draft::message(&user, "一"), None).unwrap();
        let text = String::from_utf8(room.event(event).text.to_vec()).unwrap();
        let (room, keys, arrivals) = (Mutex::new(room), RwLock::new(keys), Arrivals::default());
        let wrong = body(text.replace("一", "二").as_bytes());
        assert!(arrivals.take(0, "a", &wrong, Instant::now(), &room, &keys).is_err());
        assert_eq!(arrivals.seen(Some(event), &[0], Instant::now()).lacking, 1);
    }
}
