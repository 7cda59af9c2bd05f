//! How often is answered, and what is said when it is too often.

use std::{io, sync::Arc, time::Duration};

use base::{Clock, ManualClock, Metrics, Rate};
use http::{Method, Request};
use parking_lot::Mutex;
use ruma::server_name;
use tracing::{Dispatch, dispatcher, level_filters::LevelFilter};

use super::kit::{Answer, Server, kit, server_of};
use crate::{Body, Class, Faces, Limits, Network, Peer, Proxies};

const SEND: &str = "/_matrix/client/v3/rooms/!a:b.test/send/m.room.message/1";
const WHOAMI: &str = "/_matrix/client/v3/account/whoami";
const SYNC: &str = "/_matrix/client/v3/sync";

/// A server with three of everything, of which one comes back each second.
fn limited() -> (Server, ManualClock) {
    let metrics = Metrics::new();
    let (clock, hand) = Clock::manual(1_000);
    let faces = Faces::single(server_name!("wajima.test").to_owned());
    let limits = Limits::new(|_| Rate { per_second: 1.0, burst: 3 }, &clock, &metrics);
    let proxies = Proxies { networks: vec!["127.0.0.1".parse::<Network>().unwrap()], ..Proxies::default() };
    let kit = kit(faces, clock, &metrics).with_limits(limits).behind(proxies);
    (server_of(kit, metrics), hand)
}

fn from(peer: &str, method: Method, path: &str, authorization: &str, body: &str) -> Request<Body> {
    let request = Request::builder().method(method).uri(path).header("authorization", authorization);
    let mut request = request.body(Body::from(body.to_owned())).unwrap();
    request.extensions_mut().insert(Peer(format!("{peer}:1").parse().unwrap()));
    request
}

fn refused(answer: &Answer, limit: &str) -> bool {
    let told = answer.body["retry_after_ms"].as_u64().is_some_and(|millis| millis > 0)
        && answer.body["limit"] == limit
        && answer.body["error"].as_str().is_some_and(|error| error.contains(limit))
        && answer.headers.get("retry-after").is_some_and(|value| value == "1");
    answer.is(429, "M_LIMIT_EXCEEDED") && told
}

#[tokio::test]
async fn a_user_is_counted_for_each_kind_of_request_and_nobody_with_him() {
    let (server, hand) = limited();
    let send = |who: &str| server.ask(from("192.0.2.1", Method::PUT, SEND, who, "{}"));
    for _ in 0..3 {
        assert_eq!(send("Bearer token-of-hanako").await.status, 200);
    }
    assert!(refused(&send("Bearer token-of-hanako").await, "send"));
    assert_eq!(send("Bearer token-of-taro").await.status, 200);
    let who = from("192.0.2.1", Method::GET, WHOAMI, "Bearer token-of-hanako", "");
    assert_eq!(server.ask(who).await.status, 200);
    hand.advance(Duration::from_secs(1));
    assert_eq!(send("Bearer token-of-hanako").await.status, 200);
    assert!(server.metrics.render().contains("yakuba_web_limited_total{limit=\"send\"} 1"));
}

#[tokio::test]
async fn syncs_are_counted_by_device_and_one_that_asks_too_often_takes_nothing_from_the_users_others() {
    let (server, hand) = limited();
    let sync = |token: &str| server.ask(from("192.0.2.1", Method::GET, SYNC, &format!("Bearer {token}"), ""));
    for _ in 0..3 {
        assert_eq!(sync("token-of-hanako").await.status, 200);
    }
    assert!(refused(&sync("token-of-hanako").await, "sync"));
    assert_eq!(sync("token-of-hanako@TABLET").await.status, 200);
    // Another user's device may have the same name.
    assert_eq!(sync("token-of-taro").await.status, 200);
    hand.advance(Duration::from_secs(1));
    assert_eq!(sync("token-of-hanako").await.status, 200);
}

/// What is logged by the thread of a test at the level that is logged by default.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// The log, and what keeps it open.
    fn open() -> (Log, impl Sized) {
        // With a single log in the process, a line that a thread without one passes first is off for all. So there
        // is another one, which hears nothing.
        let deaf = Dispatch::new(tracing_subscriber::fmt().with_max_level(LevelFilter::OFF).finish());
        let log = Log::default();
        let to = log.clone();
        let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(move || to.clone()).finish();
        (log, (dispatcher::set_default(&Dispatch::new(lines)), deaf))
    }

    fn lines(&self) -> Vec<String> {
        String::from_utf8(self.0.lock().clone()).unwrap().lines().map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn a_limit_that_is_reached_is_logged_with_its_name_and_who_reached_it_once_a_minute() {
    let (log, _open) = Log::open();
    let (server, hand) = limited();
    let send = async |times: usize| {
        for _ in 0..times {
            server.ask(from("192.0.2.1", Method::PUT, SEND, "Bearer token-of-hanako", "{}")).await;
        }
    };
    send(3).await;
    assert!(log.lines().is_empty(), "{:?}", log.lines());
    send(2).await;
    hand.advance(Duration::from_secs(59));
    send(5).await;
    let lines = log.lines();
    let told = |line: &str, count| {
        line.ends_with(&format!(r#"limit="send" by="@hanako:wajima.test" count={count}"#))
    };
    assert!(lines.len() == 1 && told(&lines[0], 1), "{lines:?}");

    hand.advance(Duration::from_secs(1));
    send(2).await;
    let lines = log.lines();
    assert!(lines.len() == 2 && told(&lines[1], 4), "{lines:?}");
}

#[tokio::test]
async fn strangers_are_counted_by_their_address_behind_the_proxy() {
    let (server, _hand) = limited();
    let versions = "/_matrix/client/versions";
    for _ in 0..3 {
        assert_eq!(server.ask(from("192.0.2.1", Method::GET, versions, "", "")).await.status, 200);
    }
    assert!(refused(&server.ask(from("192.0.2.1", Method::GET, versions, "", "")).await, "open"));
    assert_eq!(server.ask(from("192.0.2.2", Method::GET, versions, "", "")).await.status, 200);
    // Tokens that do not hold count as well, and what a user is answered does not.
    let guess = |token| server.ask(from("192.0.2.2", Method::GET, WHOAMI, token, ""));
    for _ in 0..3 {
        assert_eq!(guess("Bearer token-of-hanako").await.status, 200);
    }
    assert!(guess("Bearer x").await.is(401, "M_UNKNOWN_TOKEN"));
    assert!(guess("Bearer x").await.is(401, "M_UNKNOWN_TOKEN"));
    assert!(refused(&guess("Bearer x").await, "open"));
    let mut behind = from("127.0.0.1", Method::GET, versions, "", "");
    behind.headers_mut().insert("x-forwarded-for", "192.0.2.1".parse().unwrap());
    assert!(refused(&server.ask(behind).await, "open"));
}

#[tokio::test]
async fn who_stands_behind_a_proxy_that_names_nobody_is_counted_with_all_others_and_there_is_more_for_them() {
    let (server, hand) = limited();
    let ask = || server.ask(from("127.0.0.1", Method::GET, "/_matrix/client/versions", "", ""));
    for _ in 0..30 {
        assert_eq!(ask().await.status, 200);
    }
    assert!(refused(&ask().await, "open"));
    // Users who show who they are notice nothing, nor do servers that have signed.
    let user = from("127.0.0.1", Method::GET, WHOAMI, "Bearer token-of-hanako", "");
    assert_eq!(server.ask(user).await.status, 200);
    let signed = |origin: &str| {
        let body = format!(r#"{{"origin":"{origin}"}}"#);
        server.ask(from("127.0.0.1", Method::PUT, SIGNED, "X-Matrix peer.test", &body))
    };
    for _ in 0..30 {
        assert!(signed("other.test").await.is(401, "M_UNAUTHORIZED"));
    }
    assert!(refused(&signed("peer.test").await, "peer_unproven"));
    for _ in 0..3 {
        hand.advance(Duration::from_millis(100));
        assert_eq!(signed("peer.test").await.status, 200, "what is proved is not counted");
    }
}

#[tokio::test]
async fn junk_in_the_header_of_a_proxy_frees_nobody_from_limits() {
    let (server, _hand) = limited();
    let ask = |sent: &[u8]| {
        let mut request = from("127.0.0.1", Method::GET, "/_matrix/client/versions", "", "");
        request.headers_mut().insert("x-forwarded-for", http::HeaderValue::from_bytes(sent).unwrap());
        server.ask(request)
    };
    for own in [&b"\xff, 192.0.2.1"[..], b"\xff"] {
        for _ in 0..3 {
            assert_eq!(ask(own).await.status, 200);
        }
        assert!(refused(&ask(own).await, "open"));
    }
    assert!(refused(&ask(b"192.0.2.1").await, "open"));
}

#[tokio::test]
async fn nobody_uses_up_another_servers_share_in_its_name() {
    let (server, hand) = limited();
    let ask = |peer: &str, origin: &str| {
        let body = format!(r#"{{"origin":"{origin}"}}"#);
        server.ask(from(peer, Method::PUT, SIGNED, "X-Matrix peer.test", &body))
    };
    for _ in 0..3 {
        assert!(ask("192.0.2.66", "other.test").await.is(401, "M_UNAUTHORIZED"));
    }
    assert!(refused(&ask("192.0.2.66", "other.test").await, "peer_unproven"));
    for _ in 0..3 {
        assert_eq!(ask("192.0.2.1", "peer.test").await.status, 200);
    }
    assert!(refused(&ask("192.0.2.1", "peer.test").await, "peer_transactions"));
    hand.advance(Duration::from_secs(1));
    assert_eq!(ask("192.0.2.1", "peer.test").await.status, 200);
}

const SIGNED: &str = "/_matrix/federation/v1/send/raw";

#[test]
fn every_class_has_a_name_a_default_and_a_place_of_its_own() {
    let mut names: Vec<_> = Class::ALL.iter().map(|class| class.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Class::ALL.len());
    for (index, class) in Class::ALL.iter().enumerate() {
        assert_eq!(*class as usize, index);
        assert!(!class.default_rate().is_unlimited() && class.default_rate().burst >= 100);
    }
}
