//! Who may send how much, and when.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base::{ByteSize, Clock, Metrics};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Method, Request};
use ruma::server_name;

use super::kit::{Server, kit, request, server, server_of};
use crate::{
    Address, Body, BodyBounds, Faces, Peer,
    bodies::{Bodies, BodyStream, Held, Holder},
};

const SEND: &str = "/_matrix/client/v3/rooms/!a:b.test/send/m.room.message/1";

/// A body of so many pieces of 1 KiB, and how many of them were taken.
fn counted(pieces: usize) -> (Body, Arc<AtomicUsize>) {
    let taken = Arc::new(AtomicUsize::new(0));
    let count = taken.clone();
    let body = stream::iter(0..pieces).map(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Ok::<_, Infallible>(Bytes::from(vec![b' '; 1 << 10]))
    });
    (Body::from_stream(body), taken)
}

fn from(method: Method, path: &str, authorization: &str, body: Body) -> Request<Body> {
    Request::builder().method(method).uri(path).header("authorization", authorization).body(body).unwrap()
}

#[tokio::test]
async fn nothing_of_a_body_is_taken_before_its_sender_has_shown_a_token() {
    let server = server();
    for authorization in ["Bearer unknown", "Bearer", "nothing"] {
        let (body, taken) = counted(1);
        let answer = server.ask(from(Method::PUT, SEND, authorization, body)).await;
        assert_eq!((answer.status.as_u16(), taken.load(Ordering::Relaxed)), (401, 0), "{authorization}");
    }
    let (body, taken) = counted(1);
    server.ask(from(Method::PUT, SEND, "Bearer token-of-hanako", body)).await;
    assert_eq!(taken.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn nothing_of_a_late_body_is_taken_before_the_handler_asks_for_it() {
    let server = server();
    let late = |word: bool, body| {
        let request = Request::builder().method(Method::POST).uri("/late");
        let request = if word { request.header("x-word", "open") } else { request };
        server.ask(request.body(body).unwrap())
    };
    let (body, taken) = counted(1);
    let answer = late(false, body).await;
    assert_eq!((answer.status.as_u16(), taken.load(Ordering::Relaxed)), (401, 0));
    let (body, taken) = counted(1);
    let answer = late(true, body).await;
    assert_eq!((answer.status.as_u16(), taken.load(Ordering::Relaxed)), (200, 1));
    // Within the bound of the route all the same.
    let (body, taken) = counted(100);
    let answer = late(true, body).await;
    assert_eq!(answer.status.as_u16(), 413);
    assert!(taken.load(Ordering::Relaxed) < 5, "of a hundred");
}

#[tokio::test]
async fn nothing_of_a_body_is_taken_before_the_head_names_a_server_that_could_have_signed_it() {
    let server = server();
    for authorization in ["Bearer token-of-hanako", "X-Matrix !"] {
        let (body, taken) = counted(1);
        let answer =
            server.ask(from(Method::PUT, "/_matrix/federation/v1/send/raw", authorization, body)).await;
        assert_eq!((answer.status.as_u16(), taken.load(Ordering::Relaxed)), (401, 0), "{authorization}");
    }
    let signed = |body: &'static str| {
        from(Method::PUT, "/_matrix/federation/v1/send/raw", "X-Matrix peer.test", Body::from(body))
    };
    let answer = server.ask(signed(r#"{"origin":"peer.test"}"#)).await;
    assert_eq!(answer.body["origin"], "peer.test");
    assert!(server.ask(signed(r#"{"origin":"other.test"}"#)).await.is(401, "M_UNAUTHORIZED"));
}

#[tokio::test]
async fn a_stranger_sends_little_also_where_the_endpoint_takes_more() {
    let server = server();
    let (body, _) = counted(64);
    assert_eq!(server.ask(from(Method::POST, "/open", "", body)).await.body["read"], 64 << 10);
    let (body, taken) = counted(1_000);
    let answer = server.ask(from(Method::POST, "/open", "", body)).await;
    assert!(answer.is(413, "M_TOO_LARGE"), "{:?}", answer.body);
    assert!(taken.load(Ordering::Relaxed) <= 65);
}

fn steered() -> (Server, base::ManualClock) {
    let metrics = Metrics::new();
    let (clock, hand) = Clock::manual(1_000);
    let faces = Faces::single(server_name!("wajima.test").to_owned());
    (server_of(kit(faces, clock, &metrics), metrics), hand)
}

#[tokio::test]
async fn a_body_that_stops_coming_is_given_up() {
    let (server, hand) = steered();
    let first = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"{"))]);
    let body = Body::from_stream(first.chain(stream::pending()));
    let asked = server.ask(request(Method::PUT, SEND, body));
    let time = async {
        while hand.sleepers() < 2 {
            tokio::task::yield_now().await;
        }
        hand.advance(Duration::from_secs(15));
    };
    let (answer, ()) = futures_util::future::join(asked, time).await;
    assert_eq!(answer.status.as_u16(), 408);
}

/// How many of so many pieces of a streamed body come in, when each takes ten seconds.
async fn come_in(pieces: usize, size: usize) -> usize {
    let metrics = Metrics::new();
    let (clock, hand) = Clock::manual(1_000);
    let kit = kit(Faces::single(server_name!("wajima.test").to_owned()), clock, &metrics);
    let body = stream::iter(0..pieces).map(move |_| {
        hand.advance(Duration::from_secs(10));
        Ok::<_, Infallible>(Bytes::from(vec![b' '; size]))
    });
    let mut body = BodyStream::new(&kit, Body::from_stream(body), ByteSize::mib(1_000));
    for count in 0.. {
        match body.next().await {
            Ok(Some(_)) => {}
            Ok(None) => return count,
            Err(error) => {
                assert_eq!(error.status().as_u16(), 408);
                return count;
            }
        }
    }
    unreachable!()
}

#[tokio::test]
async fn a_streamed_body_has_as_much_time_as_what_has_come_of_it_is_worth() {
    assert_eq!(come_in(100, 1).await, 6, "a byte now and then keeps no place");
    assert_eq!(come_in(100, 512 << 10).await, 100, "a slow line is not cut");
}

fn bounds() -> BodyBounds {
    let bytes = ByteSize::bytes;
    BodyBounds { all: bytes(100), strangers: bytes(60), address: bytes(40), peer: bytes(30), user: bytes(50) }
}

#[test]
fn strangers_together_leave_room_for_users_and_one_address_leaves_room_for_others() {
    let bodies = Bodies::new(bounds(), &Metrics::new());
    let stranger = |ip: &str| {
        let address = Address::of(ip.parse().unwrap());
        Held::nothing(&bodies, vec![Holder::Strangers, Holder::Address(address)])
    };
    let mut first = stranger("192.0.2.1");
    first.grow(40).unwrap();
    let refused = stranger("192.0.2.1").grow(1).unwrap_err();
    assert_eq!((refused.status().as_u16(), refused.errcode()), (429, "M_LIMIT_EXCEEDED"));
    let mut second = stranger("192.0.2.2");
    second.grow(20).unwrap();
    assert_eq!(stranger("192.0.2.3").grow(1).unwrap_err().status().as_u16(), 503);

    let mut hanako = Held::nothing(&bodies, vec![Holder::User("@hanako:wajima.test".try_into().unwrap())]);
    hanako.grow(40).unwrap();
    assert_eq!(hanako.grow(1).unwrap_err().status().as_u16(), 503);
    drop(first);
    hanako.grow(10).unwrap();
    assert_eq!(hanako.grow(1).unwrap_err().status().as_u16(), 429);
    drop((second, hanako));
    stranger("192.0.2.1").grow(40).unwrap();
}

#[test]
fn what_a_server_has_proved_to_send_counts_as_its_own_so_that_nobody_fills_it_in_its_name() {
    let bodies = Bodies::new(bounds(), &Metrics::new());
    let peer = || Holder::Peer(server_name!("peer.test").to_owned());
    let mut forged = Held::nothing(&bodies, vec![Holder::Strangers]);
    forged.grow(30).unwrap();
    let mut honest = Held::nothing(&bodies, vec![Holder::Strangers]);
    honest.grow(30).unwrap();
    honest.belongs_to(peer()).unwrap();
    let mut another = Held::nothing(&bodies, vec![Holder::Strangers]);
    another.grow(1).unwrap();
    assert_eq!(another.belongs_to(peer()).unwrap_err().status().as_u16(), 429);
    drop((forged, honest, another));
    let mut all = Held::nothing(&bodies, Vec::new());
    all.grow(100).unwrap();
}

#[tokio::test]
async fn bytes_are_given_back_when_the_request_is_over() {
    let metrics = Metrics::new();
    let faces = Faces::single(server_name!("wajima.test").to_owned());
    let kit = kit(faces, Clock::system(), &metrics).with_body_bounds(bounds(), &metrics);
    let server = server_of(kit, metrics);
    for _ in 0..5 {
        let mut request = from(Method::POST, "/open", "", Body::from(vec![b' '; 40]));
        request.extensions_mut().insert(Peer("192.0.2.1:4".parse().unwrap()));
        assert_eq!(server.ask(request).await.body["read"], 40);
    }
    let mut request = from(Method::POST, "/open", "", Body::from(vec![b' '; 41]));
    request.extensions_mut().insert(Peer("192.0.2.1:4".parse().unwrap()));
    let answer = server.ask(request).await;
    assert!(answer.is(429, "M_LIMIT_EXCEEDED"));
    assert_eq!(answer.body["limit"], "bodies_per_address");
    assert!(answer.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);
}
