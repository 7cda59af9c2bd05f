//! Push services over HTTP/2: many requests over one connection, within bounds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base::{ByteSize, Clock, Metrics, Random};
use bytes::Bytes;
use federation::{AddressPolicy, Budget, Network, NetworkConfig, Transport, TransportError, Trust};
use futures_util::future::join_all;
use http::{Request, Response, Version};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpListener, sync::watch};

use super::tls::Ca;

/// Requests to one service at once.
const AT_ONCE: usize = 64;

/// Far more time than anything here takes.
const AMPLE: Duration = Duration::from_secs(60);

/// A service that speaks what its handshakes offer, and answers once it may.
struct Held {
    url: String,
    connections: Arc<AtomicUsize>,
    begun: watch::Receiver<usize>,
    may: watch::Sender<bool>,
}

impl Held {
    async fn new(ca: &Ca, protocols: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/3/device/a", listener.local_addr().unwrap());
        let acceptor = ca.acceptor_speaking(&["127.0.0.1"], protocols);
        let (count, begun) = watch::channel(0);
        let (may, answers) = watch::channel(false);
        let (count, connections) = (Arc::new(count), Arc::new(AtomicUsize::new(0)));
        let counted = connections.clone();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                let (acceptor, count, answers) = (acceptor.clone(), count.clone(), answers.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(socket).await else { return };
                    let service = service_fn(move |_| {
                        let (count, mut answers) = (count.clone(), answers.clone());
                        async move {
                            count.send_modify(|count| *count += 1);
                            answers.wait_for(|may| *may).await.unwrap();
                            Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from_static(
                                &[b'a'; 1_000],
                            ))))
                        }
                    });
                    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ended = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { url, connections, begun, may }
    }

    async fn ask(&self, network: &Network, largest: ByteSize) -> Result<Response<Bytes>, TransportError> {
        let request = Request::post(&self.url).version(Version::HTTP_2).body(Bytes::from_static(b"{}"));
        network.notify(request.unwrap(), Budget { deadline: AMPLE, response: largest }).await
    }
}

fn network(ca: &Ca) -> Network {
    let config = NetworkConfig {
        gateways: AddressPolicy { private: true, ..AddressPolicy::default() },
        ca_files: vec![ca.file.clone()],
        trust: Trust::FilesOnly,
        dns: false,
        ..NetworkConfig::default()
    };
    Network::open(&config, &Clock::system(), &Random::seeded(1), &Metrics::new()).unwrap()
}

#[tokio::test]
async fn many_requests_share_one_connection_and_no_more_than_may_are_under_way() {
    let ca = Ca::new();
    let service = Held::new(&ca, &["h2"]).await;
    let network = network(&ca);
    let asks = join_all((0..AT_ONCE + 10).map(|_| service.ask(&network, ByteSize::kib(1))));
    let watching = async {
        service.begun.clone().wait_for(|begun| *begun >= AT_ONCE).await.unwrap();
        // Whoever else were to come would be here: the connection has brought what was sent behind these.
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        let begun = *service.begun.borrow();
        service.may.send_replace(true);
        begun
    };

    let (answers, begun) = tokio::time::timeout(AMPLE, async { tokio::join!(asks, watching) }).await.unwrap();

    assert_eq!((begun, service.connections.load(Ordering::SeqCst)), (AT_ONCE, 1));
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|answer| answer.body().len() == 1_000)));
    assert_eq!(*service.begun.borrow(), AT_ONCE + 10);
}

#[tokio::test]
async fn what_is_larger_than_an_answer_may_be_is_none() {
    let ca = Ca::new();
    let service = Held::new(&ca, &["h2"]).await;
    service.may.send_replace(true);
    let answer = service.ask(&network(&ca), ByteSize::bytes(999)).await;
    assert!(matches!(answer, Err(TransportError::TooLarge(_))), "{answer:?}");
}

#[tokio::test]
async fn a_service_that_does_not_speak_it_is_told_nothing() {
    let ca = Ca::new();
    for protocols in [&["http/1.1"][..], &[]] {
        let service = Held::new(&ca, protocols).await;
        let answer = service.ask(&network(&ca), ByteSize::kib(1)).await;
        assert!(matches!(answer, Err(TransportError::Connect(_))), "{protocols:?} {answer:?}");
        assert_eq!(*service.begun.borrow(), 0, "{protocols:?}");
    }
}

/// What users write as the address of a gateway is looked at also where no name is looked up for it, in whatever way it is written.
#[tokio::test]
async fn addresses_without_a_name_are_judged_where_there_is_no_dns() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let open = |allow: &[&str]| {
        let allow = allow.iter().map(|range| range.parse().unwrap()).collect();
        let gateways = AddressPolicy { allow, ..AddressPolicy::default() };
        let config = NetworkConfig { gateways, dns: false, ..NetworkConfig::default() };
        Network::open(&config, &Clock::system(), &Random::seeded(1), &Metrics::new()).unwrap()
    };
    let network = open(&[]);
    for host in [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "localhost",
    ] {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let url = format!("http://{host}:{port}/_matrix/push/v1/notify");
            let request = Request::post(url).version(version).body(Bytes::from_static(b"{}")).unwrap();
            let answer =
                network.notify(request, Budget { deadline: AMPLE, response: ByteSize::kib(1) }).await;
            assert!(matches!(answer, Err(TransportError::Connect(_))), "{host} {answer:?}");
        }
    }
    assert!(listener.accept().is_err(), "nobody came");
    // The same that is allowed is gone to.
    let request = Request::post(format!("http://127.0.0.1:{port}/_matrix/push/v1/notify"));
    let request = request.body(Bytes::from_static(b"{}")).unwrap();
    let budget = Budget { deadline: Duration::from_secs(2), response: ByteSize::kib(1) };
    let _late = open(&["127.0.0.1"]).notify(request, budget).await;
    assert!(listener.accept().is_ok());
}
