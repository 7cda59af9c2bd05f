//! [`Peer`]: one authority that is played: it listens on an address of its own, answers, and calls.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize},
    },
};

use anyhow::{Context as _, Result};
use hyper::{body::Incoming, client::conn::http1::SendRequest, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Mutex, watch},
};
use tokio_rustls::TlsAcceptor;

use super::{answers, identity::Identity, nation::Nation};

/// How a peer behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// It answers.
    Awake,
    /// It takes requests and never answers.
    Mute,
    /// It takes no connection; the system completes them, and nobody reads.
    Deaf,
}

/// An authority that is played here.
pub(super) struct Peer {
    pub(super) number: usize,
    pub(super) identity: Identity,
    pub(super) address: SocketAddr,
    /// Whether it has somebody in the room.
    pub(super) is_in_room: AtomicBool,
    /// Transactions that it got.
    pub(super) transactions: AtomicUsize,
    /// Transactions that it sent, for their ids.
    pub(super) sent: AtomicUsize,
    /// Its connection to the server under test.
    pub(super) line: Mutex<Option<SendRequest<http_body_util::Full<bytes::Bytes>>>>,
    mood: watch::Sender<Mood>,
}

impl Peer {
    /// Takes an address for a server of this name; nobody is answered before [`Peer::listen`].
    pub(super) async fn bind(number: usize, identity: Identity) -> Result<(Self, TcpListener)> {
        let [.., high, low] = u32::try_from(number + 1)?.to_be_bytes();
        let host = Ipv4Addr::new(127, 64, high, low);
        let listener = TcpListener::bind((host, 0)).await.with_context(|| format!("no port on {host}"))?;
        let peer = Self {
            number,
            identity,
            address: listener.local_addr()?,
            is_in_room: AtomicBool::new(false),
            transactions: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
            line: Mutex::new(None),
            mood: watch::Sender::new(Mood::Awake),
        };
        Ok((peer, listener))
    }

    pub(super) fn set_mood(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// Answers whoever connects, as long as the program runs.
    pub(super) async fn listen(
        self: Arc<Self>,
        nation: Arc<Nation>,
        listener: TcpListener,
        tls: TlsAcceptor,
    ) {
        let mut mood = self.mood.subscribe();
        loop {
            if mood.wait_for(|mood| *mood != Mood::Deaf).await.is_err() {
                return;
            }
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let (peer, nation, tls) = (self.clone(), nation.clone(), tls.clone());
                        tokio::spawn(async move { peer.converse(nation, stream, tls).await });
                    }
                    Err(error) => nation.arrivals.fault(format!("a peer cannot take connections: {error}")),
                },
                changed = mood.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Serves one connection until it ends, or this peer goes or comes back: then all its connections break.
    async fn converse(self: Arc<Self>, nation: Arc<Nation>, stream: TcpStream, tls: TlsAcceptor) {
        let mut mood = self.mood.subscribe();
        let broken =
            async { while mood.changed().await.is_ok() && *mood.borrow_and_update() == Mood::Mute {} };
        let served = async {
            stream.set_nodelay(true)?;
            let stream = tls.accept(stream).await?;
            let service = service_fn(|request: http::Request<Incoming>| async {
                // Before anything is taken: what is not answered was not heard.
                if *self.mood.borrow() != Mood::Awake {
                    std::future::pending::<()>().await;
                }
                Ok::<_, Infallible>(answers::answer(&nation, &self, request).await)
            });
            let served = hyper::server::conn::http1::Builder::new();
            anyhow::Ok(served.serve_connection(TokioIo::new(stream), service).await?)
        };
        tokio::select! {
            // Connections end in every way here: idle ones are closed by the other side, answers are given up.
            _ = served => {}
            () = broken => {}
        }
    }
}
