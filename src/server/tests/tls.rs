//! Certificates and listeners, over real connections.

use std::{fs, net::SocketAddr, path::Path, sync::Arc};

use base::{Metrics, Tasks};
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use web::Router;

use crate::{
    config::Config,
    listen::{self, Service},
    places::Bounds,
    tls::Certificates,
};

pub(super) fn make_certificate(directory: &Path, name: &str) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
    fs::write(directory.join(format!("{name}.pem")), certificate.pem()).unwrap();
    fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

pub(super) fn config_for(directory: &Path, names: &[&str]) -> Config {
    let mut text =
        String::from("[[listeners]]\naddress = \"127.0.0.1:0\"\nserves = [\"federation\"]\ntls = true\n");
    for name in names {
        text += &format!(
            "[[authorities]]\nname = \"{name}\"\nkey_file = \"x\"\n\
             tls = {{ certificate = \"{name}.pem\", key = \"{name}.key\" }}\n"
        );
    }
    Config::parse(&text, [], directory).unwrap()
}

struct Listening {
    address: SocketAddr,
    tasks: Tasks,
}

async fn listen_with(certificates: &Arc<Certificates>) -> Listening {
    let (metrics, socket) = (Metrics::new(), listen::bind("127.0.0.1:0".parse().unwrap()).await.unwrap());
    let (address, tasks) = (socket.local_addr().unwrap(), Tasks::new(&metrics));
    let tls = Some(certificates.acceptor().unwrap());
    let service = Service { router: Router::new(), tls, default_name: None, zone: None };
    listen::start(socket, service, Bounds::default(), &tasks, &metrics);
    Listening { address, tasks }
}

/// Connects under this name, trusting the certificate of that name.
pub(super) async fn connect(
    address: SocketAddr,
    directory: &Path,
    name: &str,
) -> Result<TlsStream<TcpStream>, String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(directory.join(format!("{name}.pem"))).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let server_name = ServerName::try_from(name.to_owned()).unwrap();
    let connected = TlsConnector::from(Arc::new(config)).connect(server_name, stream).await;
    connected.map_err(|error| error.to_string())
}

/// Connects under this name, and asks for something.
async fn ask(listening: &Listening, directory: &Path, name: &str) -> Result<http::StatusCode, String> {
    let stream = connect(listening.address, directory, name).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("/").header("host", name).body(Empty::<bytes::Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    response.into_body().collect().await.unwrap();
    Ok(status)
}

#[tokio::test]
async fn each_authority_shows_its_own_certificate() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["kanazawa.test", "wajima.test"] {
        make_certificate(directory.path(), name);
    }
    let config = config_for(directory.path(), &["kanazawa.test", "wajima.test"]);
    let listening = listen_with(&Certificates::open(&config).unwrap()).await;

    for name in ["kanazawa.test", "wajima.test"] {
        assert_eq!(ask(&listening, directory.path(), name).await.unwrap(), 404, "{name}");
    }
}

#[tokio::test]
async fn a_new_certificate_is_taken_up_without_a_restart_and_a_broken_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    make_certificate(directory.path(), "wajima.test");
    let certificates = Certificates::open(&config_for(directory.path(), &["wajima.test"])).unwrap();
    let listening = listen_with(&certificates).await;
    assert!(ask(&listening, directory.path(), "wajima.test").await.is_ok());

    make_certificate(directory.path(), "wajima.test");
    assert!(ask(&listening, directory.path(), "wajima.test").await.is_err(), "still the old one");
    certificates.reload(true);
    assert!(ask(&listening, directory.path(), "wajima.test").await.is_ok());

    fs::write(directory.path().join("wajima.test.key"), "no key").unwrap();
    certificates.reload(true);
    assert!(ask(&listening, directory.path(), "wajima.test").await.is_ok());
}

#[tokio::test]
async fn a_stopped_listener_takes_no_more_connections_and_ends_the_open_ones() {
    let directory = tempfile::tempdir().unwrap();
    make_certificate(directory.path(), "wajima.test");
    let certificates = Certificates::open(&config_for(directory.path(), &["wajima.test"])).unwrap();
    let listening = listen_with(&certificates).await;
    ask(&listening, directory.path(), "wajima.test").await.unwrap();

    assert_eq!(listening.tasks.stop(std::time::Duration::from_secs(10)).await, 0);

    // The port may be somebody else's by now: nobody answers there, or another without our certificate.
    let answer = ask(&listening, directory.path(), "wajima.test");
    let answer = tokio::time::timeout(std::time::Duration::from_secs(10), answer).await;
    assert!(!matches!(answer, Ok(Ok(_))), "it still takes connections");
}

#[test]
fn a_key_that_does_not_fit_is_refused_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    make_certificate(directory.path(), "wajima.test");
    make_certificate(directory.path(), "suzu.test");
    fs::copy(directory.path().join("suzu.test.key"), directory.path().join("wajima.test.key")).unwrap();
    let error = Certificates::open(&config_for(directory.path(), &["wajima.test"])).unwrap_err();
    assert!(error.to_string().contains("wajima.test.pem"), "{error}");
}
