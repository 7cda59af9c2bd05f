//! The real network: TLS on loopback with a throw-away certificate authority.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use base::{ByteSize, Clock, Metrics, Random, Tasks};
use bytes::Bytes;
use federation::{
    AddressPolicy, Budget, Config, Dns, DnsError, Federation, FixedAddress, Network, NetworkConfig, Parts,
    Peers, ResolveError, Service, Transport, TransportError, Trust,
};
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use pdu::Authorities;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use room::RemoteError;
use ruma::owned_server_name;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use store::{MemoryBackend, Options, Store};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::mpsc};
use tokio_rustls::TlsAcceptor;
use web::{Face, SignedHead};

/// A certificate authority, and its certificate as a file.
pub(super) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub(super) file: PathBuf,
    _folder: TempDir,
}

impl Ca {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.crt");
        std::fs::write(&file, certificate.pem()).unwrap();
        Self { issuer: Issuer::new(params, key), file, _folder: folder }
    }

    /// What a server for these names and addresses needs.
    fn acceptor(&self, names: &[&str]) -> TlsAcceptor {
        self.acceptor_speaking(names, &[])
    }

    /// The same for a server that agrees on one of these protocols.
    pub(super) fn acceptor_speaking(&self, names: &[&str], protocols: &[&str]) -> TlsAcceptor {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A web server that answers with what it was asked; counts its connections.
struct Web {
    port: u16,
    connections: Arc<AtomicUsize>,
}

async fn serve(acceptor: TlsAcceptor) -> Web {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let http = hyper::server::conn::http1::Builder::new();
                http.serve_connection(TokioIo::new(stream), service_fn(answer)).await.ok();
            });
        }
    });
    Web { port, connections }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let host = request.headers().get(header::HOST).unwrap().to_str().unwrap().to_owned();
    let line = format!("{} {} host {host}", request.method(), request.uri());
    let body = request.into_body().collect().await?.to_bytes();
    let text = match line.as_str() {
        line if line.contains("/large") => "x".repeat(1 << 20),
        line if line.contains("/never") || line.contains(".evil.test") => {
            std::future::pending::<()>().await;
            String::new()
        }
        line => format!("{line} body {}", String::from_utf8_lossy(&body)),
    };
    Ok(Response::new(Full::new(Bytes::from(text))))
}

/// Every name is this machine.
struct Loopback;

#[async_trait]
impl Dns for Loopback {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        if host == "nowhere.test" { Err(DnsError::NoRecords) } else { Ok(vec![Ipv4Addr::LOCALHOST.into()]) }
    }

    async fn services(&self, _: &str) -> Result<Vec<Service>, DnsError> {
        Err(DnsError::NoRecords)
    }
}

fn network(ca: &Ca, change: impl FnOnce(&mut NetworkConfig)) -> Network {
    network_at(ca, &Clock::system(), change)
}

fn network_at(ca: &Ca, clock: &Clock, change: impl FnOnce(&mut NetworkConfig)) -> Network {
    let mut config = NetworkConfig {
        addresses: AddressPolicy::anywhere(),
        ca_files: vec![ca.file.clone()],
        trust: Trust::FilesOnly,
        ..NetworkConfig::default()
    };
    change(&mut config);
    Network::with_dns(&config, Arc::new(Loopback), clock, &Random::os(), &Metrics::new()).unwrap()
}

/// The server kanazawa.test over this network; it has no rooms.
async fn federation_over(network: &Network, clock: &Clock) -> Federation {
    let metrics = Metrics::new();
    let tasks = Tasks::new(&metrics);
    let backend = Arc::new(MemoryBackend::new());
    Federation::open(Parts {
        config: Config { peers: Peers::Everybody, ..Config::default() },
        store: Store::open(backend, Options::default(), &tasks, &metrics).await.unwrap(),
        authorities: Arc::new(Authorities::new([crate::net::authority("kanazawa.test")])),
        policy: Arc::new(room::AllowAll),
        transport: Arc::new(network.clone()),
        clock: clock.clone(),
        random: Random::os(),
        tasks: &tasks,
        metrics: &metrics,
    })
}

async fn get(network: &Network, server: &str, path: &str) -> Result<String, TransportError> {
    let request = Request::get(path).body(Bytes::new()).unwrap();
    let answer = network.send(&crate::net::name(server), request).await?;
    Ok(String::from_utf8(answer.into_body().to_vec()).unwrap())
}

#[tokio::test]
async fn requests_reach_the_server_that_its_certificate_proves() {
    let ca = Ca::new();
    let web = serve(ca.acceptor(&["peer.test", "127.0.0.1"])).await;
    let network = network(&ca, |_| {});
    let by_name = format!("peer.test:{}", web.port);
    let by_address = format!("127.0.0.1:{}", web.port);
    for server in [&by_name, &by_address] {
        let answer = get(&network, server, "/a/%21b%3Ac?d=%2F&e=+").await.unwrap();
        assert_eq!(answer, format!("GET /a/%21b%3Ac?d=%2F&e=+ host {server} body "));
    }
    let request = Request::put("/x").body(Bytes::from_static(b"{}")).unwrap();
    let answer = network.send(&crate::net::name(&by_name), request).await.unwrap();
    assert_eq!(answer.body(), format!("PUT /x host {by_name} body {{}}").as_bytes());
    assert_eq!(web.connections.load(Ordering::SeqCst), 2, "connections are used again");
}

#[tokio::test]
async fn a_server_without_the_right_certificate_is_not_talked_to() {
    let (ca, other) = (Ca::new(), Ca::new());
    let wrong_name = serve(ca.acceptor(&["else.test"])).await;
    let wrong_ca = serve(other.acceptor(&["peer.test"])).await;
    let network = network(&ca, |_| {});
    for web in [wrong_name, wrong_ca] {
        let answer = get(&network, &format!("peer.test:{}", web.port), "/").await;
        assert!(matches!(answer, Err(TransportError::Connect(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn fixed_addresses_go_before_everything_and_may_name_the_certificate() {
    let ca = Ca::new();
    let web = serve(ca.acceptor(&["pref.test", "inside.test"])).await;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, web.port)).to_string();
    let fixed = BTreeMap::from([
        (owned_server_name!("pref.test"), FixedAddress { address: address.clone(), certificate_name: None }),
        (
            owned_server_name!("town.test"),
            FixedAddress { address, certificate_name: Some("inside.test".to_owned()) },
        ),
    ]);
    // Although private addresses are denied: the configuration knows what it does.
    let network = network(&ca, |config| {
        config.fixed = fixed;
        config.addresses = AddressPolicy::default();
        config.dns = false;
    });
    assert_eq!(get(&network, "pref.test", "/").await.unwrap(), "GET / host pref.test body ");
    assert_eq!(get(&network, "town.test", "/").await.unwrap(), "GET / host town.test body ");
    let denied = get(&network, &format!("127.0.0.1:{}", web.port), "/").await;
    assert!(matches!(denied, Err(TransportError::Resolve(ResolveError::NotPermitted { .. }))), "{denied:?}");
}

#[tokio::test]
async fn answers_have_bounds_in_size_and_time() {
    let ca = Ca::new();
    let web = serve(ca.acceptor(&["peer.test"])).await;
    let network = network(&ca, |config| config.largest_response = ByteSize::kib(64));
    let server = format!("peer.test:{}", web.port);
    let large = get(&network, &server, "/large").await;
    assert!(matches!(large, Err(TransportError::TooLarge(_))), "{large:?}");

    let mut request = Request::get("/never").body(Bytes::new()).unwrap();
    let deadline = Duration::from_millis(200);
    request.extensions_mut().insert(Budget { deadline, response: ByteSize::kib(1) });
    let late = network.send(&crate::net::name(&server), request).await;
    assert!(matches!(late, Err(TransportError::Deadline(_))), "{late:?}");
}

#[tokio::test]
async fn one_peer_that_never_answers_takes_only_its_own_places() {
    let ca = Ca::new();
    let web = serve(ca.acceptor(&["slow.test", "quick.test"])).await;
    let network = network(&ca, |config| config.requests_per_peer = 2);
    let slow = format!("slow.test:{}", web.port);
    for _ in 0..5 {
        let (network, slow) = (network.clone(), slow.clone());
        tokio::spawn(async move { get(&network, &slow, "/never").await });
    }
    assert!(get(&network, &format!("quick.test:{}", web.port), "/").await.is_ok());
}

/// Whether a stranger who asks for a profile is told that it cannot be had.
async fn no_profile(federation: Federation, server: String) -> bool {
    let who = crate::net::user(&format!("@x:{server}"));
    let from = crate::net::name("kanazawa.test");
    let answer = federation.peering().query_profile(&from, &who, None).await;
    matches!(answer, Err(RemoteError::Unreachable { .. }))
}

/// Whether a stranger who writes a server's name into a header is refused.
async fn no_proof(federation: Federation, server: String) -> bool {
    let face = Face::new(crate::net::name("kanazawa.test"));
    let signature = "A".repeat(86);
    let header = format!(
        r#"X-Matrix origin="{server}",destination="kanazawa.test",key="ed25519:1",sig="{signature}""#
    );
    let head = SignedHead { method: &Method::GET, uri: "/", authorization: vec![&header], face: &face };
    federation.signature_check().look(head).await.is_err()
}

#[tokio::test]
async fn names_that_strangers_have_us_ask_take_no_place_of_a_peer() {
    let ca = Ca::new();
    let web = serve(ca.acceptor(&["*.evil.test", "quick.test"])).await;
    // Nobody moves the hand of this clock, so what hangs does so until the end.
    let (clock, _hand) = Clock::manual(Clock::system().now().millis());
    let network = network_at(&ca, &clock, |config| {
        (config.requests, config.profiles, config.unproven_keys) = (4, 4, 4);
    });
    let federation = federation_over(&network, &clock).await;

    let (ended, mut ends) = mpsc::unbounded_channel();
    for number in 0..20 {
        let (ours, port) = (federation.clone(), web.port);
        let told = ended.clone();
        tokio::spawn(async move { told.send(no_profile(ours, format!("p{number}.evil.test:{port}")).await) });
        let (ours, told) = (federation.clone(), ended.clone());
        tokio::spawn(async move { told.send(no_proof(ours, format!("k{number}.evil.test:{port}")).await) });
    }
    let patience = Duration::from_secs(30);
    for _ in 0..2 * (20 - 4) {
        let is_refused = tokio::time::timeout(patience, ends.recv()).await.expect("who finds no place waits");
        assert_eq!(is_refused, Some(true));
    }
    let quick = format!("quick.test:{}", web.port);
    let quick = get(&network, &quick, "/");
    tokio::time::timeout(patience, quick).await.expect("strangers take the place of a peer").unwrap();
    assert!(ends.try_recv().is_err(), "what strangers asked hangs still");
}

#[tokio::test]
async fn names_that_lead_nowhere_say_so() {
    let ca = Ca::new();
    let network = network(&ca, |_| {});
    let answer = get(&network, "nowhere.test:1", "/").await;
    assert!(matches!(answer, Err(TransportError::Resolve(ResolveError::NoAddress { .. }))), "{answer:?}");
    let refused = get(&network, "peer.test:1", "/").await;
    assert!(matches!(refused, Err(TransportError::Connect(_))), "{refused:?}");
}

#[tokio::test]
async fn names_of_the_hosts_file_are_found_without_any_dns() {
    let ca = Ca::new();
    let web = serve(ca.acceptor(&["localhost"])).await;
    let config = NetworkConfig {
        addresses: AddressPolicy::anywhere(),
        ca_files: vec![ca.file.clone()],
        trust: Trust::FilesOnly,
        ..NetworkConfig::default()
    };
    let network = Network::open(&config, &Clock::system(), &Random::os(), &Metrics::new()).unwrap();
    let server = format!("localhost:{}", web.port);
    assert_eq!(get(&network, &server, "/").await.unwrap(), format!("GET / host {server} body "));
}

#[test]
fn a_file_without_certificates_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("empty.pem");
    std::fs::write(&file, "nothing").unwrap();
    let config = NetworkConfig { ca_files: vec![file.clone()], dns: false, ..NetworkConfig::default() };
    let error = Network::open(&config, &Clock::system(), &Random::os(), &Metrics::new()).err().unwrap();
    assert!(error.to_string().contains("empty.pem"), "{error}");
}
