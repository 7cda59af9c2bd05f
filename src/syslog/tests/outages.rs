//! Log servers that stall, reset, are away, cannot be believed, or never read.

use base::Random;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};

use super::{
    receiver::{Receiver, read_frame, some},
    *,
};
use crate::Fault;

fn numbers(frames: &[super::receiver::Frame]) -> Vec<u64> {
    frames.iter().map(super::receiver::Frame::number).collect()
}

#[tokio::test]
async fn rows_arrive_in_order_with_the_values_of_their_chain_and_count_once_the_connection_stood() {
    let receiver = Receiver::new().await;
    let mut office = Office::sending_to(to(receiver.port())).await;
    office.rows(1..=3).await;
    office.forwarder.start();
    let mut stream = receiver.accept().await.unwrap();
    let frames = some(&mut stream, 3).await;
    assert_eq!(numbers(&frames), [1, 2, 3]);
    office.rows(4..=5).await;
    let more = some(&mut stream, 2).await;
    assert_eq!(numbers(&more), [4, 5]);
    let status = office.until(|status| status.sent == 5).await;
    assert_eq!((status.waiting, status.failing, status.waiting_since), (0, None, None));
    // The value of the last row is the one that a check prints, so that the log server is where it is kept.
    let findings = audit::verify(&office.store, kanazawa(), None, None).await.unwrap();
    let noted = format!("5:{}", more[1].get("chain").unwrap());
    assert_eq!(findings.chain.to_string(), noted);
}

#[tokio::test]
async fn ten_thousand_rows_that_come_while_it_is_away_arrive_each_once_when_it_is_back() {
    let receiver = Receiver::new().await;
    let port = receiver.port();
    drop(receiver);
    let mut office = Office::sending_to(to(port)).await;
    office.forwarder.start();
    office.rows(1..=1).await;
    let status = office.until(|status| status.failing.is_some()).await;
    assert!(matches!(status.failing, Some((_, Fault::Unreachable(_)))), "{status:?}");
    office.rows(2..=10_000).await;
    assert_eq!(office.metric("yakuba_syslog_failing{"), 1);
    let has = async || audit::Elsewhere::has_through(&office.forwarder, kanazawa()).await.unwrap();
    assert_eq!(has().await, Some(0), "none of it may be removed yet");
    let listener = tokio::net::TcpListener::bind(("localhost", port)).await.unwrap();
    let mut stream = listener.accept().await.unwrap().0;
    let frames = some(&mut stream, 10_000).await;
    assert_eq!(numbers(&frames), (1..=10_000).collect::<Vec<u64>>());
    let status = office.until(|status| status.waiting == 0).await;
    assert_eq!(status.failing, None);
    assert_eq!(has().await, Some(10_000));
    assert_eq!(office.metric("yakuba_syslog_failing{"), 0);
    assert_eq!(office.metric("yakuba_syslog_lag_seconds{"), 0);
}

#[tokio::test]
async fn a_reset_in_the_middle_of_a_frame_loses_no_row_and_what_is_repeated_has_the_same_number_and_value() {
    let receiver = Receiver::new().await;
    let mut office = Office::sending_to(to(receiver.port())).await;
    office.rows(1..=300).await;
    office.forwarder.start();
    let random = Random::seeded(7);
    let mut taken = BTreeMap::new();
    let mut keep = |text: &str| {
        let frame = super::receiver::Frame::read(text);
        let chain = frame.get("chain").unwrap().to_owned();
        assert_eq!(*taken.entry(frame.number()).or_insert(chain.clone()), chain);
        taken.len()
    };
    for _ in 0..10 {
        let mut stream = receiver.accept_raw().await;
        for _ in 0..random.range(0..20) {
            keep(&read_frame(&mut stream).await.unwrap());
        }
        let mut part = vec![0; random.range(1..200) as usize];
        stream.read_exact(&mut part).await.unwrap();
        // Unread bytes: the system resets instead of ending.
        drop(stream);
    }
    let mut stream = receiver.accept().await.unwrap();
    while keep(&read_frame(&mut stream).await.unwrap()) < 300 {}
    office.until(|status| status.sent == 300 && status.failing.is_none()).await;
    assert_eq!(taken.keys().copied().collect::<Vec<u64>>(), (1..=300).collect::<Vec<u64>>());
}

#[tokio::test]
async fn what_was_not_settled_is_sent_again_by_the_next_process_and_what_was_is_not() {
    let receiver = Receiver::new().await;
    let mut office = Office::sending_to(to(receiver.port())).await;
    office.rows(1..=10).await;
    office.forwarder.start();
    let mut stream = receiver.accept().await.unwrap();
    some(&mut stream, 10).await;
    office.until(|status| status.sent == 10).await;
    let mut slow = to(receiver.port());
    slow.bounds.settle = Duration::from_secs(3_600);
    let mut office = office.crash(slow.clone()).await;
    office.rows(11..=12).await;
    office.forwarder.start();
    assert_eq!(numbers(&receiver.frames(2).await), [11, 12]);
    let office = office.crash(slow).await;
    office.forwarder.start();
    assert_eq!(numbers(&receiver.frames(2).await), [11, 12], "nobody knows whether they were kept");
    assert_eq!(office.status().await.sent, 10);
}

#[tokio::test]
async fn one_that_never_reads_is_given_up_after_a_while_with_bounded_memory_and_tried_again() {
    let receiver = Receiver::new().await;
    let mut settings = to(receiver.port());
    settings.bounds.writing = Duration::from_millis(300);
    settings.bounds.settle = Duration::from_secs(3_600);
    let mut office = Office::sending_to(settings).await;
    office.rows(1..=20_000).await;
    office.forwarder.start();
    let first = receiver.accept_raw().await;
    let status = office.until(|status| status.failing.is_some()).await;
    assert!(matches!(status.failing, Some((_, Fault::Stalled | Fault::Closed(_)))), "{status:?}");
    assert_eq!(status.sent, 0);
    drop(first);
    assert_eq!(numbers(&receiver.frames(2).await), [1, 2]);
}

/// A log server that has room for a row or two in its system.
fn narrow() -> Receiver {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(2_048).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(8).unwrap();
    socket.set_nonblocking(true).unwrap();
    Receiver::of(tokio::net::TcpListener::from_std(socket.into()).unwrap())
}

#[tokio::test]
async fn what_lies_in_our_own_system_does_not_count_as_sent_however_long_the_connection_stands() {
    let receiver = narrow();
    let mut settings = to(receiver.port());
    settings.place.host = "127.0.0.1".to_owned();
    settings.bounds = Bounds { page: 1, unsettled: 60, ..quick() };
    let mut office = Office::sending_to(settings).await;
    office.rows(1..=100).await;
    office.forwarder.start();
    let mut slow = receiver.accept_raw().await;
    // It has read nothing, and what its system has room for is little.
    let all = office.until(|status| status.sent >= 60);
    assert!(timeout(Duration::from_secs(2), all).await.is_err(), "{:?}", office.status().await);
    // It takes a few slowly, which is no fault, and dies.
    let kept = numbers(&some(&mut slow, 5).await);
    assert_eq!(kept, [1, 2, 3, 4, 5]);
    assert_eq!(office.status().await.failing, None);
    drop(slow);
    let mut stream = receiver.accept().await.unwrap();
    let first = numbers(&some(&mut stream, 1).await)[0];
    assert!(first <= 20, "what its system had confirmed at most is not sent again: {first}");
    let rest = numbers(&some(&mut stream, usize::try_from(100 - first).unwrap()).await);
    assert_eq!(rest, (first + 1..=100).collect::<Vec<u64>>());
    office.until(|status| status.sent == 100).await;
}

#[tokio::test]
async fn one_that_reads_slowly_for_longer_than_a_page_may_stall_gets_everything_on_one_connection() {
    let receiver = Receiver::new().await;
    let mut settings = to(receiver.port());
    settings.bounds = Bounds { page: 20_000, writing: Duration::from_millis(500), ..quick() };
    let mut office = Office::sending_to(settings).await;
    office.rows(1..=20_000).await;
    office.forwarder.start();
    let mut slow = receiver.accept_raw().await;
    let (mut part, mut text) = (vec![0; 32 * 1024], Vec::new());
    // Slow on purpose: a page takes some seconds.
    while !text.ends_with(b"}")
        || !String::from_utf8_lossy(&text[text.len() - 4_000..]).contains("number=\"20000\"")
    {
        let count = slow.read(&mut part).await.unwrap();
        assert!(count > 0, "it was given up: {:?}", office.status().await.failing);
        text.extend_from_slice(&part[..count]);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    office.until(|status| status.sent == 20_000 && status.failing.is_none()).await;
}

#[tokio::test]
async fn one_that_takes_connections_and_ends_them_gets_everything_once_it_keeps_one() {
    let receiver = Receiver::new().await;
    let mut office = Office::sending_to(to(receiver.port())).await;
    office.rows(1..=5).await;
    office.forwarder.start();
    // As a proxy does whose log server is away.
    for _ in 0..20 {
        drop(receiver.accept_raw().await);
    }
    assert_eq!(office.status().await.sent, 0, "nothing counts that went to nobody");
    let mut stream = receiver.accept().await.unwrap();
    assert_eq!(numbers(&some(&mut stream, 5).await), [1, 2, 3, 4, 5]);
    office.until(|status| status.sent == 5 && status.failing.is_none()).await;
}

#[tokio::test]
async fn one_that_leaves_when_it_has_everything_is_no_failure() {
    let receiver = Receiver::new().await;
    let mut office = Office::sending_to(to(receiver.port())).await;
    office.rows(1..=1).await;
    office.forwarder.start();
    let mut stream = receiver.accept().await.unwrap();
    some(&mut stream, 1).await;
    office.until(|status| status.sent == 1).await;
    drop(stream);
    office.rows(2..=2).await;
    assert_eq!(numbers(&receiver.frames(1).await), [2]);
    assert_eq!(office.status().await.failing, None);
}

#[tokio::test]
async fn what_says_something_is_no_log_server() {
    let receiver = Receiver::new().await;
    let mut office = Office::sending_to(to(receiver.port())).await;
    office.rows(1..=1).await;
    office.forwarder.start();
    let mut stream = receiver.accept_raw().await;
    stream.write_all(b"220 mail.test ESMTP\r\n").await.unwrap();
    let status = office.until(|status| status.failing.is_some()).await;
    assert!(matches!(status.failing, Some((_, Fault::Speaks))), "{status:?}");
}

#[tokio::test]
async fn not_more_than_the_bound_is_under_way_on_a_connection() {
    let receiver = Receiver::new().await;
    let mut settings = to(receiver.port());
    settings.bounds = Bounds { page: 10, unsettled: 30, settle: Duration::from_secs(3_600), ..quick() };
    let mut office = Office::sending_to(settings).await;
    office.rows(1..=100).await;
    office.forwarder.start();
    let mut stream = receiver.accept().await.unwrap();
    assert_eq!(numbers(&some(&mut stream, 30).await), (1..=30).collect::<Vec<u64>>());
    let more = timeout(Duration::from_millis(300), read_frame(&mut stream)).await;
    assert!(more.is_err(), "{more:?}");
}

/// A certificate authority, and certificates of it.
pub(super) struct Ca(rcgen::Certificate, Issuer<'static, KeyPair>);

impl Ca {
    pub(super) fn new(name: &str) -> Ca {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Ca(certificate, Issuer::new(params, key))
    }

    fn issue(&self, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.1).unwrap();
        (vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
    }

    /// Certificate and key of this name, as files hold them.
    pub(super) fn issue_pem(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.1).unwrap().pem(), key.serialize_pem())
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }
}

pub(super) fn client(trusts: &Ca, shows: Option<&Ca>) -> Arc<ClientConfig> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(trusts.roots());
    Arc::new(match shows.map(|ca| ca.issue("kanazawa.test")) {
        Some((chain, key)) => config.with_client_auth_cert(chain, key).unwrap(),
        None => config.with_no_client_auth(),
    })
}

fn server(ca: &Ca, name: &str, asks: Option<&Ca>) -> ServerConfig {
    let provider = Arc::new(ring::default_provider());
    let config =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let (chain, key) = ca.issue(name);
    let config = match asks {
        Some(ca) => {
            let roots = Arc::new(ca.roots());
            config.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(roots, provider).build().unwrap(),
            )
        }
        None => config.with_no_client_auth(),
    };
    config.with_single_cert(chain, key).unwrap()
}

#[tokio::test]
async fn over_tls_rows_go_to_whose_certificate_is_right_and_to_nobody_else() {
    let (ours, others) = (Ca::new("ours"), Ca::new("others"));
    for (config, trusted) in [
        (server(&ours, "localhost", None), true),
        (server(&others, "localhost", None), false),
        (server(&ours, "log.wajima.test", None), false),
    ] {
        let receiver = Receiver::over_tls(config).await;
        let settings = Settings { tls: Some(client(&ours, None)), ..to(receiver.port()) };
        let clock = Clock::system();
        let looking = crate::look(&settings, &clock);
        let (looked, _) = tokio::join!(looking, receiver.accept());
        assert_eq!(looked.is_ok(), trusted, "{looked:?}");
        let mut office = Office::sending_to(settings).await;
        office.rows(1..=2).await;
        office.forwarder.start();
        if trusted {
            let mut stream = receiver.accept().await.unwrap();
            assert_eq!(numbers(&some(&mut stream, 2).await), [1, 2]);
            office.until(|status| status.sent == 2 && status.is_tls).await;
        } else {
            assert!(receiver.accept().await.is_none());
            let status = office.until(|status| status.failing.is_some()).await;
            assert!(matches!(status.failing, Some((_, Fault::Tls(_)))), "{status:?}");
            assert_eq!(status.sent, 0);
        }
    }
}

#[tokio::test]
async fn who_asks_for_our_certificate_is_shown_it_and_whoever_refuses_it_has_got_nothing() {
    let (ours, others) = (Ca::new("ours"), Ca::new("others"));
    for (shows, taken) in [(Some(&ours), true), (Some(&others), false), (None, false)] {
        let receiver = Receiver::over_tls(server(&ours, "localhost", Some(&ours))).await;
        let settings = Settings { tls: Some(client(&ours, shows)), ..to(receiver.port()) };
        let mut office = Office::sending_to(settings).await;
        office.rows(1..=2).await;
        office.forwarder.start();
        if taken {
            let mut stream = receiver.accept().await.unwrap();
            assert_eq!(numbers(&some(&mut stream, 2).await), [1, 2]);
            office.until(|status| status.sent == 2).await;
        } else {
            // With TLS 1.3 the handshake is over for us before we are refused.
            assert!(receiver.accept().await.is_none());
            let status = office.until(|status| status.failing.is_some()).await;
            assert!(matches!(status.failing, Some((_, Fault::Closed(_) | Fault::Tls(_)))), "{status:?}");
            assert_eq!(status.sent, 0);
        }
    }
}

#[tokio::test]
async fn one_that_takes_the_connection_and_says_nothing_of_tls_is_given_up_in_time_and_tried_again() {
    let ours = Ca::new("ours");
    let receiver = Receiver::new().await;
    let mut settings = Settings { tls: Some(client(&ours, None)), ..to(receiver.port()) };
    settings.bounds.connecting = Duration::from_millis(200);
    let mut office = Office::sending_to(settings).await;
    office.rows(1..=1).await;
    office.forwarder.start();
    let silent = receiver.accept_raw().await;
    let status = office.until(|status| status.failing.is_some()).await;
    assert!(matches!(status.failing, Some((_, Fault::Silent))), "{status:?}");
    assert_eq!(status.sent, 0);
    drop(silent);
    // Nor does it hold up the end of the process.
    let office = office.crash(to(receiver.port())).await;
    assert_eq!(office.status().await.sent, 0);
}
