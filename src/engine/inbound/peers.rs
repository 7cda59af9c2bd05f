//! Asking other servers on behalf of the inbox: how many requests at a time, how long, and whom not.
//!
//! A server that does not answer rests, each time longer; while it rests, nobody asks it. Who waits
//! for his turn at a server waits there with a deadline, and holds nothing that others need.

use std::{collections::HashMap, future::Future, sync::Arc, time::Duration};

use base::{Backoff, Instant};
use parking_lot::Mutex;
use room::RemoteError;
use ruma::{OwnedServerName, ServerName};
use tokio::sync::Semaphore;

use crate::Engine;

/// Small requests to one server at a time.
const SMALL_AT_ONCE: usize = 4;
/// Requests with large answers to one server at a time: each may take tens of MiB of memory.
const LARGE_AT_ONCE: usize = 1;

const SMALL_DEADLINE: Duration = Duration::from_secs(8);
const LARGE_DEADLINE: Duration = Duration::from_secs(20);

/// How long a server rests that did not answer, first and at most.
const FIRST_REST: Duration = Duration::from_secs(4);
const LONGEST_REST: Duration = Duration::from_secs(300);

/// Servers that are remembered; above it, those that answer well are forgotten.
const MOST_SERVERS: usize = 10_000;

/// How large the answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Small,
    Large,
}

/// The servers that we ask.
#[derive(Default)]
pub(crate) struct Peers(Mutex<HashMap<OwnedServerName, Arc<Peer>>>);

struct Peer {
    small: Semaphore,
    large: Semaphore,
    rest: Mutex<Rest>,
}

struct Rest {
    backoff: Backoff,
    until: Option<Instant>,
}

impl Peers {
    fn peer(&self, server: &ServerName) -> Arc<Peer> {
        let mut peers = self.0.lock();
        if let Some(peer) = peers.get(server) {
            return peer.clone();
        }
        if peers.len() >= MOST_SERVERS {
            peers.retain(|_, peer| Arc::strong_count(peer) > 1 || peer.rest.lock().backoff.failures() > 0);
        }
        if peers.len() >= MOST_SERVERS {
            peers.retain(|_, peer| Arc::strong_count(peer) > 1);
        }
        let new = Arc::new(Peer {
            small: Semaphore::new(SMALL_AT_ONCE),
            large: Semaphore::new(LARGE_AT_ONCE),
            rest: Mutex::new(Rest { backoff: Backoff::new(FIRST_REST, LONGEST_REST), until: None }),
        });
        peers.insert(server.to_owned(), new.clone());
        new
    }
}

/// A request under way; one that is given up counts as not answered.
struct Asking<'a> {
    engine: &'a Engine,
    peer: &'a Peer,
    /// Failures known when it began: of several that hang at once, the first counts.
    failures: u32,
    answered: bool,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut rest = self.peer.rest.lock();
        if self.answered {
            rest.backoff.reset();
            rest.until = None;
        } else if rest.backoff.failures() == self.failures {
            let wait = rest.backoff.next(&self.engine.0.random);
            rest.until = Some(self.engine.0.clock.instant() + wait);
        }
    }
}

impl Engine {
    /// Whether a server did not answer of late and is left alone.
    pub(crate) fn is_resting(&self, server: &ServerName) -> bool {
        let peer = self.0.peers.peer(server);
        let until = peer.rest.lock().until;
        until.is_some_and(|until| self.0.clock.instant() < until)
    }

    /// Makes a request to a server, in its turn and within its deadline.
    ///
    /// # Errors
    /// As the request; [`RemoteError::Unreachable`] when the time is over or the server rests.
    pub(crate) async fn ask<T>(
        &self,
        server: &ServerName,
        size: Size,
        request: impl Future<Output = Result<T, RemoteError>>,
    ) -> Result<T, RemoteError> {
        let unreachable =
            |cause: &str| RemoteError::Unreachable { server: server.to_owned(), cause: cause.to_owned() };
        let peer = self.0.peers.peer(server);
        let (turns, deadline) = match size {
            Size::Small => (&peer.small, SMALL_DEADLINE),
            Size::Large => (&peer.large, LARGE_DEADLINE),
        };
        let clock = &self.0.clock;
        // The wait for one's turn is no fault of the server's, so it is bounded but not counted.
        let turn = clock.timeout(deadline, turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(unreachable("too many requests to it are under way")) };
        if self.is_resting(server) {
            return Err(unreachable("it did not answer of late and is left alone"));
        }
        let failures = peer.rest.lock().backoff.failures();
        let mut asking = Asking { engine: self, peer: &peer, failures, answered: false };
        let answer = clock.timeout(deadline, request).await.unwrap_or(Err(unreachable("no answer in time")));
        asking.answered = !matches!(answer, Err(RemoteError::Unreachable { .. }));
        answer
    }
}
