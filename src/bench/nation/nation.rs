//! [`Nation`]: all peers and their room.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use anyhow::Result;
use parking_lot::{Mutex, RwLock};
use ruma::signatures::PublicKeyMap;
use tokio::net::TcpListener;

use super::{arrivals::Arrivals, identity::Identity, names, peer::Peer, room::Room};
use crate::certificates::CertificateAuthority;

/// What all peers share.
pub(super) struct Nation {
    /// Those of the room, and after them those that join later.
    pub(super) peers: Vec<Arc<Peer>>,
    pub(super) room: Mutex<Room>,
    pub(super) arrivals: Arrivals,
    /// Everybody's keys; those of the server under test once it is there.
    pub(super) keys: RwLock<PublicKeyMap>,
    /// Requests that came, by endpoint.
    pub(super) asked: Mutex<BTreeMap<&'static str, usize>>,
}

impl Nation {
    /// Makes peers and room: `founders` peers with so many members, and `newcomers` that are in no room yet. All
    /// listen from here on.
    pub(super) async fn found(
        founders: usize,
        members: usize,
        newcomers: usize,
        authority: &CertificateAuthority,
    ) -> Result<Arc<Self>> {
        let mut peers = Vec::with_capacity(founders + newcomers);
        let mut listeners: Vec<TcpListener> = Vec::with_capacity(peers.capacity());
        let mut keys = PublicKeyMap::new();
        for number in 0..founders + newcomers {
            let identity = Identity::generate(names::name(number)?)?;
            identity.enter(&mut keys);
            let (peer, listener) = Peer::bind(number, identity).await?;
            peer.is_in_room.store(number < founders, Ordering::Relaxed);
            peers.push(Arc::new(peer));
            listeners.push(listener);
        }
        let tls = authority.acceptor(peers.iter().map(|peer| &*peer.identity.name))?;
        let of_room: Vec<&Identity> = peers[..founders].iter().map(|peer| &peer.identity).collect();
        let room = Mutex::new(Room::found(&of_room, members)?);
        let nation = Arc::new(Self {
            room,
            peers,
            arrivals: Arrivals::default(),
            keys: RwLock::new(keys),
            asked: Mutex::default(),
        });
        for (peer, listener) in nation.peers.iter().zip(listeners) {
            tokio::spawn(peer.clone().listen(nation.clone(), listener, tls.clone()));
        }
        Ok(nation)
    }

    /// The peers that are in the room, by number.
    pub(super) fn in_room(&self) -> Vec<usize> {
        let all = self.peers.iter().filter(|peer| peer.is_in_room.load(Ordering::Relaxed));
        all.map(|peer| peer.number).collect()
    }

    pub(super) fn asked(&self, endpoint: &str) -> usize {
        self.asked.lock().get(endpoint).copied().unwrap_or_default()
    }

    /// The part of the server's configuration that tells where the peers are.
    pub(super) fn addresses(&self) -> String {
        let of = |peer: &Arc<Peer>| {
            format!("[federation.fixed.\"{}\"]\naddress = \"{}\"\n", peer.identity.name, peer.address)
        };
        self.peers.iter().map(of).collect()
    }
}
