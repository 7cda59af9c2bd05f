//! Pages that users link to, over the real network on loopback: where is gone, and where not.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use base::{ByteSize, Clock, Metrics, Random, Tasks};
use bytes::Bytes;
use federation::{AddressPolicy, Config, Dns, DnsError, Federation, Network, NetworkConfig, Parts, Service};
use futures_util::TryStreamExt;
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use media::{Browse, FetchBounds, FetchError, Page};
use pdu::Authorities;
use room::AllowAll;
use store::{MemoryBackend, Options, Store};
use tokio::net::TcpListener;

/// `page.test` is at this machine's usual address, `inner.test` at another one of its own.
struct Names;

const PAGE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const INNER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

#[async_trait]
impl Dns for Names {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        match host {
            "page.test" => Ok(vec![PAGE.into()]),
            "inner.test" => Ok(vec![INNER.into()]),
            _ => Err(DnsError::NoRecords),
        }
    }

    async fn services(&self, _: &str) -> Result<Vec<Service>, DnsError> {
        Err(DnsError::NoRecords)
    }
}

/// A web server on all addresses of this machine, without TLS; counts its connections.
async fn serve() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            let service = service_fn(move |request| answer(port, request));
            tokio::spawn(async move {
                let http = hyper::server::conn::http1::Builder::new();
                http.serve_connection(TokioIo::new(stream), service).await.ok();
            });
        }
    });
    (port, connections)
}

async fn answer(port: u16, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, http::Error> {
    let moved =
        |to: String| Response::builder().status(302).header(header::LOCATION, to).body(Full::default());
    match request.uri().path() {
        "/there" => moved("/here?x#part".to_owned()),
        "/inner" => moved(format!("http://inner.test:{port}/here")),
        "/literal" => moved(format!("http://127.0.0.2:{port}/here")),
        "/mapped" => moved(format!("http://[::ffff:127.0.0.2]:{port}/here")),
        "/number" => moved(format!("http://2130706434:{port}/here")),
        "/file" => moved("file:///etc/passwd".to_owned()),
        "/password" => moved(format!("http://u:p@page.test:{port}/here")),
        "/mail" => moved("http://page.test:25/".to_owned()),
        "/round" => moved("/round".to_owned()),
        "/gone" => Response::builder().status(404).body(Full::default()),
        "/long" => Response::builder().body(Full::from("x".repeat(10_000))),
        path => {
            let named: Vec<&str> = request.headers().keys().map(|name| name.as_str()).collect();
            let told = format!("{path}?{} {}", request.uri().query().unwrap_or_default(), named.join(" "));
            Response::builder().header(header::CONTENT_TYPE, "text/html").body(Full::from(told))
        }
    }
}

async fn pages(policy: Option<AddressPolicy>) -> (Arc<dyn Browse>, Tasks) {
    let (metrics, clock, random) = (Metrics::new(), Clock::system(), Random::os());
    let tasks = Tasks::new(&metrics);
    let network = NetworkConfig { pages: policy, ..NetworkConfig::default() };
    let transport = Network::with_dns(&network, Arc::new(Names), &clock, &random, &metrics).unwrap();
    let backend = Arc::new(MemoryBackend::default());
    let store = Store::open(backend, Options::default(), &tasks, &metrics).await.unwrap();
    let federation = Federation::open(Parts {
        config: Config { network, ..Config::default() },
        store,
        authorities: Arc::new(Authorities::new([])),
        policy: Arc::new(AllowAll),
        transport: Arc::new(transport),
        clock,
        random,
        tasks: &tasks,
        metrics: &metrics,
    });
    (federation.pages(), tasks)
}

async fn get(pages: &Arc<dyn Browse>, url: String) -> Result<(String, String), FetchError> {
    let bounds = FetchBounds { deadline: Duration::from_secs(20), size: ByteSize::bytes(5_000) };
    let Page { url, body, .. } = pages.get(&url, bounds).await?;
    let failed = |error: std::io::Error| FetchError::Failed(error.to_string());
    let parts: Vec<Bytes> = body.try_collect().await.map_err(failed)?;
    Ok((url, String::from_utf8(parts.concat()).unwrap()))
}

/// This machine may be reached at the one address only.
fn one_address() -> AddressPolicy {
    AddressPolicy { allow: vec!["127.0.0.1".parse().unwrap()], ..AddressPolicy::default() }
}

#[tokio::test]
async fn a_page_is_had_without_that_anything_of_ours_is_told() {
    let (port, _) = serve().await;
    let (pages, _tasks) = pages(Some(one_address())).await;
    let (url, text) = get(&pages, format!("http://page.test:{port}/there")).await.unwrap();
    assert_eq!(url, format!("http://page.test:{port}/here?x"));
    assert_eq!(text, "/here?x host user-agent accept-language accept");
    assert_eq!(get(&pages, format!("http://page.test:{port}/gone")).await, Err(FetchError::NotFound));
    assert!(matches!(get(&pages, format!("http://page.test:{port}/long")).await, Err(FetchError::Failed(_))));
}

#[tokio::test]
async fn no_redirect_leads_into_our_own_network() {
    let (port, connections) = serve().await;
    let (pages, _tasks) = pages(Some(one_address())).await;
    for path in ["inner", "literal", "mapped", "number", "file", "password", "mail"] {
        let before = connections.load(Ordering::SeqCst);
        let got = get(&pages, format!("http://page.test:{port}/{path}")).await;
        assert!(matches!(got, Err(FetchError::Failed(_))), "{path}: {got:?}");
        assert_eq!(connections.load(Ordering::SeqCst), before + 1, "{path}: the first address alone");
    }
    let before = connections.load(Ordering::SeqCst);
    assert!(get(&pages, format!("http://page.test:{port}/round")).await.is_err());
    assert_eq!(connections.load(Ordering::SeqCst), before + 6, "some redirects, not all");
}

#[tokio::test]
async fn addresses_of_our_own_network_are_not_connected_to_unless_that_is_allowed() {
    let (port, connections) = serve().await;
    let (closed, _tasks) = pages(Some(AddressPolicy::default())).await;
    for host in
        ["page.test", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "169.254.169.254", "0x7f.1"]
    {
        assert!(get(&closed, format!("http://{host}:{port}/")).await.is_err(), "{host}");
    }
    let (off, _tasks) = pages(None).await;
    assert!(get(&off, format!("http://page.test:{port}/")).await.is_err());
    assert_eq!(connections.load(Ordering::SeqCst), 0);
    let (open, _tasks) = pages(Some(AddressPolicy::anywhere())).await;
    assert!(get(&open, format!("http://inner.test:{port}/")).await.is_ok());
}
