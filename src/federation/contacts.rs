//! Which servers we have heard from.
//!
//! Whoever talks to a peer, in either direction, says so here; the sender learns of it. So a peer that
//! comes back is noticed at its first sign of life and not when its back-off ends, and after a start
//! we know whom to tell that we are back.

use std::collections::HashSet;

use parking_lot::{Mutex, RwLock};
use ruma::{OwnedServerName, ServerName};
use tokio::sync::Notify;

/// Shared by all parts of federation.
#[derive(Debug, Default)]
pub(crate) struct Contacts {
    /// Servers that transactions do not reach at the moment.
    troubled: RwLock<HashSet<OwnedServerName>>,
    /// Every server heard from since the start.
    known: RwLock<HashSet<OwnedServerName>>,
    news: Mutex<News>,
    changed: Notify,
}

/// What happened since it was asked last.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Troubled servers that gave a sign of life.
    pub(crate) recovered: Vec<OwnedServerName>,
    /// Servers heard from for the first time.
    pub(crate) new: Vec<OwnedServerName>,
}

impl Contacts {
    /// This server has just sent us a signed request, or answered one of ours.
    pub(crate) fn heard_from(&self, server: &ServerName) {
        let recovered = self.troubled.read().contains(server);
        let new = !self.known.read().contains(server);
        if !recovered && !new {
            return;
        }
        let mut news = self.news.lock();
        if recovered {
            news.recovered.push(server.to_owned());
        }
        if new && self.known.write().insert(server.to_owned()) {
            news.new.push(server.to_owned());
        }
        drop(news);
        if recovered {
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
    pub(crate) fn take_recovered(&self) -> Vec<OwnedServerName> {
        std::mem::take(&mut self.news.lock().recovered)
    }

    /// The servers heard from for the first time since the last call.
    pub(crate) fn take_new(&self) -> Vec<OwnedServerName> {
        std::mem::take(&mut self.news.lock().new)
    }
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::*;

    #[test]
    fn only_news_are_told() {
        let contacts = Contacts::default();
        let peer = server_name!("peer.test");
        contacts.heard_from(peer);
        contacts.heard_from(peer);
        assert_eq!(contacts.take_new(), [peer]);
        assert!(contacts.take_recovered().is_empty());

        contacts.set_troubled(peer, true);
        contacts.heard_from(peer);
        assert_eq!(contacts.take_recovered(), [peer]);
        assert!(contacts.take_new().is_empty());

        contacts.set_troubled(peer, false);
        contacts.heard_from(peer);
        assert!(contacts.take_recovered().is_empty());
    }
}
