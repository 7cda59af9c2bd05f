//! Which servers we have heard from.
//!
//! Whoever talks to a peer, in either direction, says so here; the sender learns of it. So a peer that
//! comes back is noticed at its first sign of life and not when its back-off ends, a name that nobody
//! answers to is told from a peer that is away, and after a start we know whom to tell that we are back.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use base::{Clock, Instant};
use parking_lot::{Mutex, RwLock};
use ruma::{OwnedServerName, ServerName};
use tokio::sync::Notify;

/// Servers that are remembered. Names cost nothing, so somebody may come with more; those are served all
/// the same, and are strangers to the sender until they answer it.
const MOST_KNOWN: usize = 20_000;

/// A peer that talks all the time is noted this often.
const NOTE_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// Shared by all parts of federation.
#[derive(Debug)]
pub(crate) struct Contacts {
    /// Servers that transactions do not reach at the moment.
    troubled: RwLock<HashSet<OwnedServerName>>,
    /// Every server heard from, and when it was noted since the start.
    known: RwLock<HashMap<OwnedServerName, Option<Instant>>>,
    news: Mutex<News>,
    changed: Notify,
    clock: Clock,
}

/// What happened since it was asked last.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Troubled servers that gave a sign of life.
    pub(crate) recovered: HashSet<OwnedServerName>,
    /// Servers to be noted in the store.
    pub(crate) to_note: HashSet<OwnedServerName>,
}

impl Contacts {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            troubled: RwLock::default(),
            known: RwLock::default(),
            news: Mutex::default(),
            changed: Notify::new(),
            clock,
        }
    }

    /// These servers were heard from before the start.
    pub(crate) fn recall(&self, servers: impl IntoIterator<Item = OwnedServerName>) {
        let mut known = self.known.write();
        for server in servers.into_iter().take(MOST_KNOWN) {
            known.entry(server).or_insert(None);
        }
    }

    /// Whether this server was ever heard from, as far as is remembered.
    pub(crate) fn is_known(&self, server: &ServerName) -> bool {
        self.known.read().contains_key(server)
    }

    /// This server has just sent us a signed request, answered one of ours, or given us its signed keys.
    pub(crate) fn heard_from(&self, server: &ServerName) {
        let now = self.clock.instant();
        let recovered = self.troubled.read().contains(server);
        let is_due = {
            let known = self.known.read();
            match known.get(server) {
                Some(Some(noted)) => now.since(*noted) >= NOTE_EVERY,
                Some(None) => true,
                None => known.len() < MOST_KNOWN,
            }
        };
        if !recovered && !is_due {
            return;
        }
        let mut news = self.news.lock();
        if is_due {
            self.known.write().insert(server.to_owned(), Some(now));
            news.to_note.insert(server.to_owned());
        }
        if recovered {
            news.recovered.insert(server.to_owned());
            drop(news);
            self.changed.notify_one();
        }
    }

    /// Transactions do not reach this server, or reach it again.
    pub(crate) fn set_troubled(&self, server: &ServerName, troubled: bool) {
        if self.troubled.read().contains(server) == troubled {
            return;
        }
        let mut servers = self.troubled.write();
        if troubled {
            servers.insert(server.to_owned());
        } else {
            servers.remove(server);
        }
    }

    /// How many servers transactions do not reach.
    pub(crate) fn troubled(&self) -> usize {
        self.troubled.read().len()
    }

    /// Waits for a troubled server to give a sign of life.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What happened since the last call.
    pub(crate) fn take_recovered(&self) -> HashSet<OwnedServerName> {
        std::mem::take(&mut self.news.lock().recovered)
    }

    /// The servers to be noted in the store since the last call.
    pub(crate) fn take_to_note(&self) -> HashSet<OwnedServerName> {
        std::mem::take(&mut self.news.lock().to_note)
    }

    /// These could not be noted.
    pub(crate) fn note_again(&self, servers: HashSet<OwnedServerName>) {
        self.news.lock().to_note.extend(servers);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use ruma::server_name;

    use super::*;

    fn only(servers: HashSet<OwnedServerName>) -> Vec<OwnedServerName> {
        servers.into_iter().collect()
    }

    #[test]
    fn only_news_are_told() {
        let (clock, hand) = Clock::manual(0);
        let contacts = Contacts::new(clock);
        let peer = server_name!("peer.test");
        assert!(!contacts.is_known(peer));
        contacts.heard_from(peer);
        contacts.heard_from(peer);
        assert!(contacts.is_known(peer));
        assert_eq!(only(contacts.take_to_note()), [peer]);
        assert!(contacts.take_recovered().is_empty());

        contacts.set_troubled(peer, true);
        contacts.heard_from(peer);
        assert_eq!(only(contacts.take_recovered()), [peer]);
        assert!(contacts.take_to_note().is_empty());

        contacts.set_troubled(peer, false);
        contacts.heard_from(peer);
        assert!(contacts.take_recovered().is_empty());

        hand.advance(NOTE_EVERY);
        contacts.heard_from(peer);
        assert_eq!(only(contacts.take_to_note()), [peer], "who talks every day is noted every day");
    }

    #[test]
    fn names_without_end_are_not_remembered_without_end() {
        let contacts = Contacts::new(Clock::system());
        for number in 0..MOST_KNOWN + 500 {
            contacts.heard_from(&ServerName::parse(format!("s{number}.test")).unwrap());
        }
        assert_eq!(contacts.known.read().len(), MOST_KNOWN);
        assert_eq!(contacts.take_to_note().len(), MOST_KNOWN);
    }
}
