//! What comes over the wire, however wrong.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};

use super::{
    directory::{Directory, Says, done, entry, message, more, reference, sequence, somebody, value},
    town::{believing, source},
};
use crate::{Bind, Bounds, Place, Settings, fault::Fault, session};

async fn ask(settings: &Settings) -> Result<session::Found, Fault> {
    session::ask(settings, &settings.filter).await
}

async fn failing(said: Vec<Vec<u8>>) -> Fault {
    let directory = Directory::open().await;
    directory.says(Says::Messages(said));
    ask(&source(directory.port)).await.unwrap_err()
}

/// Settings with which silence is not waited for.
fn impatient(settings: Settings) -> Settings {
    let short = Duration::from_millis(200);
    Settings { bounds: Bounds { connecting: short, answering: short, ..settings.bounds }, ..settings }
}

#[tokio::test]
async fn a_search_goes_through_all_its_pages() {
    let directory = Directory::open().await;
    let page = |from: u8| (from..from + 2).map(|n| entry(&format!("cn={n}"), &[("cn", b"x")]));
    for (from, cookie) in [(0, b"a".as_slice()), (2, b"b"), (4, b"")] {
        directory.says(Says::Messages(page(from).chain([more(cookie)]).collect()));
    }
    let found = ask(&source(directory.port)).await.unwrap();
    let names: Vec<&str> = found.entries.iter().map(|entry| entry.dn.as_str()).collect();
    assert_eq!(names, ["cn=0", "cn=1", "cn=2", "cn=3", "cn=4", "cn=5"]);
    // The cookie of a page comes back with the next question.
    let asked = directory.asked(0x63);
    assert_eq!(asked.len(), 3);
    assert!(asked[1].ends_with(b"\x04\x01a") && asked[2].ends_with(b"\x04\x01b"));
}

/// L4.
#[tokio::test]
async fn references_are_counted_and_are_nobody() {
    let directory = Directory::open().await;
    let zones = ["ForestDnsZones", "DomainDnsZones", "Configuration"];
    let mut said: Vec<Vec<u8>> =
        zones.iter().map(|zone| reference(&format!("ldap://{zone}.city.test/DC={zone}"))).collect();
    said.insert(1, entry("cn=花子", &[("cn", "花子".as_bytes())]));
    said.push(done(0));
    directory.says(Says::Messages(said));
    let found = ask(&source(directory.port)).await.unwrap();
    assert_eq!((found.entries.len(), found.references), (1, 3));
    assert_eq!(found.entries[0].text("CN"), Some("花子"));
    // A search that refers to another server as a whole has found nothing.
    assert!(matches!(failing(vec![done(10)]).await, Fault::Search { code: 10, .. }));
}

/// L2.
#[tokio::test]
async fn a_search_that_is_cut_short_has_found_nothing() {
    for code in [3, 4, 11, 12, 51, 80] {
        let mut said: Vec<Vec<u8>> = (0..400).map(|n| entry(&format!("cn={n}"), &[("cn", b"x")])).collect();
        said.push(done(code));
        let fault = failing(said).await;
        assert!(matches!(&fault, Fault::Search { code: told, .. } if *told == u32::from(code)), "{fault:?}");
        assert!(fault.words().ja.contains(&format!("結果コード {code}")), "{fault}");
    }
    // Nor one that ends in the middle of a page, or of a message.
    let directory = Directory::open().await;
    directory.says(Says::Messages(vec![entry("cn=a", &[("cn", b"x")]), b"\x30\x84\x00".to_vec()]));
    assert_eq!(ask(&impatient(source(directory.port))).await.unwrap_err(), Fault::Silent);
    let directory = Directory::open().await;
    directory.says(Says::End);
    assert_eq!(ask(&source(directory.port)).await.unwrap_err(), Fault::Closed);
}

/// L15.
#[tokio::test]
async fn an_empty_password_is_not_sent() {
    let directory = Directory::open().await;
    let bind = Some(Bind { dn: "cn=yakuba".to_owned(), password: String::new() });
    let settings = Settings { bind, ..source(directory.port) };
    assert_eq!(ask(&settings).await.unwrap_err(), Fault::NoPassword);
    assert!(directory.asked(0x60).is_empty());
    // Whoever has no name to show does not bind at all.
    assert!(ask(&Settings { bind: None, ..settings }).await.is_ok());
    assert!(directory.asked(0x60).is_empty());
}

#[tokio::test]
async fn whoever_is_not_let_in_asks_nothing() {
    let directory = Directory::open().await;
    directory.refuses_bind(49);
    let fault = ask(&source(directory.port)).await.unwrap_err();
    assert!(fault.is_of_the_password(), "{fault:?}");
    assert!(directory.asked(0x63).is_empty());
}

/// L16.
#[tokio::test]
async fn a_directory_that_says_nothing_is_left_in_bounded_time() {
    let directory = Directory::open().await;
    directory.says(Says::Nothing);
    let settings = impatient(source(directory.port));
    assert_eq!(ask(&settings).await.unwrap_err(), Fault::Silent);
    directory.says_to_bind(Says::Nothing);
    assert_eq!(ask(&settings).await.unwrap_err(), Fault::Silent);
    // Nor does TLS come about with it, from the beginning or when it is asked to begin.
    for (scheme, starttls) in [("ldaps", false), ("ldap", true)] {
        let place = Place::parse(&format!("{scheme}://127.0.0.1:{}", directory.port), starttls).unwrap();
        directory.says(Says::Nothing);
        let fault = ask(&Settings { place, ..settings.clone() }).await.unwrap_err();
        assert!(matches!(fault, Fault::Silent | Fault::Closed), "{fault:?}");
    }
    // And one that says something now and then is left as well.
    let bounds = Bounds { whole: Duration::from_millis(300), ..Bounds::default() };
    let directory = Directory::open().await;
    directory.says(Says::Nothing);
    assert_eq!(ask(&Settings { bounds, ..source(directory.port) }).await.unwrap_err(), Fault::TooLong);
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_told_of() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    assert!(matches!(ask(&source(port)).await.unwrap_err(), Fault::Unreachable(_)));
}

/// L17.
#[tokio::test]
async fn an_answer_to_another_question_is_none() {
    let late = |id: u8| {
        let mut late = entry("cn=late", &[("cn", b"x")]);
        late[12] = id;
        late
    };
    for id in [1, 3, 9] {
        assert!(matches!(failing(vec![late(id), done(0)]).await, Fault::Malformed(_)));
    }
    // An answer that comes behind the end, too.
    let directory = Directory::open().await;
    directory.says(Says::Messages(vec![more(b"next"), entry("cn=late", &[("cn", b"x")])]));
    assert!(matches!(ask(&source(directory.port)).await.unwrap_err(), Fault::Malformed(_) | Fault::Closed));
    // Each question has a connection of its own, so what one waited for in vain comes to no other.
    let directory = Directory::open().await;
    directory.says(Says::Nothing);
    assert_eq!(ask(&impatient(source(directory.port))).await.unwrap_err(), Fault::Silent);
    directory.forgets();
    directory.has(&[somebody(1, "hanako")]);
    assert_eq!(ask(&source(directory.port)).await.unwrap().entries.len(), 1);
}

#[tokio::test]
async fn what_is_too_much_is_not_read() {
    let bounds = Bounds { message: 10_000, bytes: 100_000, entries: 500, ..Bounds::default() };
    let asked = async |said: Vec<Vec<u8>>| {
        let directory = Directory::open().await;
        directory.says(Says::Messages(said));
        ask(&Settings { bounds: bounds.clone(), ..source(directory.port) }).await.unwrap_err()
    };
    // A message that is announced as larger than any is not waited for.
    assert_eq!(asked(vec![b"\x30\x84\x7f\xff\xff\xff".to_vec()]).await, Fault::TooMuch("message"));
    let large = entry("cn=a", &[("cn", &[b'x'; 9_000])]);
    assert_eq!(asked(vec![large; 20]).await, Fault::TooMuch("bytes"));
    let small = entry("cn=a", &[("cn", b"x")]);
    assert_eq!(asked(vec![small; 600]).await, Fault::TooMuch("entries"));
}

#[tokio::test]
async fn what_is_no_answer_breaks_nothing() {
    let nested = (0..2_000).fold(Vec::new(), |inside: Vec<u8>, _| sequence(0x30, &[inside]));
    for said in [
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        // Without an operation; with one that has nothing in it; with lists in lists.
        sequence(0x30, &[value(0x02, &[super::directory::ID])]),
        message(sequence(0x65, &[]), None),
        message(sequence(0x64, &[]), None),
        message(sequence(0x64, &[nested]), None),
        message(sequence(0x79, &[]), None),
        // Names that are no texts.
        message(sequence(0x64, &[value(0x04, &[0xff]), sequence(0x30, &[])]), None),
        message(sequence(0x73, &[value(0x04, &[0xff])]), None),
        // A control that is none.
        message(sequence(0x64, &[value(0x04, b""), sequence(0x30, &[])]), Some(value(0xa0, b"x"))),
    ] {
        let fault = failing(vec![said.clone()]).await;
        assert!(matches!(fault, Fault::Malformed(_)), "{said:x?}: {fault:?}");
    }
    // A notice that it leaves.
    let mut notice =
        message(super::directory::sequence(0x78, &[value(0x0a, &[52]), value(4, b""), value(4, b"")]), None);
    notice[12] = 0;
    assert_eq!(failing(vec![notice]).await, Fault::Closed);
}

#[tokio::test]
async fn tls_is_with_the_host_that_is_named_and_with_nobody_else() {
    let made = |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let serve = async |certified: &rcgen::CertifiedKey<rcgen::KeyPair>| {
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(std::sync::Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
        let behind = Directory::open().await;
        behind.has(&[somebody(1, "hanako")]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(std::sync::Arc::new(config));
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, port) = (acceptor.clone(), behind.port);
                tokio::spawn(async move {
                    let Ok(mut outside) = acceptor.accept(stream).await else { return };
                    let mut inside = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    tokio::io::copy_bidirectional(&mut outside, &mut inside).await.ok();
                });
            }
        });
        port
    };
    let (right, wrong) = (made("localhost"), made("dc1.city.test"));
    let believed = believing(&[right.cert.der().clone(), wrong.cert.der().clone()]);
    let at = |port: u16, tls| {
        let place = Place::parse(&format!("ldaps://localhost:{port}"), true).unwrap();
        Settings { place, tls, ..source(port) }
    };
    let port = serve(&right).await;
    assert_eq!(ask(&at(port, believed.clone())).await.unwrap().entries.len(), 1);
    assert!(matches!(ask(&at(port, believing(&[]))).await.unwrap_err(), Fault::Tls(_)));
    let port = serve(&wrong).await;
    assert!(matches!(ask(&at(port, believed)).await.unwrap_err(), Fault::Tls(_)));
}
