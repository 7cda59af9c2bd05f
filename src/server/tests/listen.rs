//! Connections on which nobody asks for anything, over real sockets.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use base::{Metrics, Tasks};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};
use tokio_rustls::TlsAcceptor;
use web::{Body, Router};

use crate::{
    listen::{self, Service},
    places::Bounds,
    tests::tls::{config_for, connect, make_certificate},
    tls::Certificates,
};

/// Short, since the tests wait for it to be over.
const SHORT: Duration = Duration::from_millis(50);

/// So long that what ends before has another reason.
const LONG: Duration = Duration::from_secs(600);

/// A test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);

struct Listening {
    address: SocketAddr,
    /// Lets an answer to `/slow` go.
    slow: Arc<Notify>,
    /// Told when an answer to `/endless` was given up.
    given_up: Arc<Notify>,
    _tasks: Tasks,
}

async fn listening(bounds: Bounds, tls: Option<TlsAcceptor>) -> Listening {
    let (metrics, socket) = (Metrics::new(), listen::bind("127.0.0.1:0".parse().unwrap()).await.unwrap());
    let (address, tasks) = (socket.local_addr().unwrap(), Tasks::new(&metrics));
    let slow = Arc::new(Notify::new());
    let given_up = Arc::new(Notify::new());
    let (until, told) = (slow.clone(), given_up.clone());
    let answer = tower::service_fn(move |request: Request<Body>| {
        let (until, told) = (until.clone(), told.clone());
        async move {
            let body = match request.uri().path() {
                "/endless" => endless(told),
                "/slow" => {
                    until.notified().await;
                    Body::from("answer")
                }
                _ => Body::from("answer"),
            };
            Ok::<_, Infallible>(http::Response::new(body))
        }
    });
    let service =
        Service { router: Router::new().fallback_service(answer), tls, default_name: None, zone: None };
    listen::start(socket, service, bounds, &tasks, &metrics);
    Listening { address, slow, given_up, _tasks: tasks }
}

/// An answer that is never at its end; says so when nobody asks for more of it any longer.
fn endless(told: Arc<Notify>) -> Body {
    struct Kept(Arc<Notify>);
    impl Drop for Kept {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    Body::from_stream(futures_util::stream::unfold(Kept(told), async |kept| {
        Some((Ok::<_, Infallible>(Bytes::from_static(&[0; 64 << 10])), kept))
    }))
}

fn request(path: &str) -> Request<Empty<Bytes>> {
    Request::get(path).header("host", "a.test").body(Empty::new()).unwrap()
}

async fn ended(mut stream: impl AsyncRead + Unpin) {
    let mut said = Vec::new();
    // A reset is an end as well.
    stream.read_to_end(&mut said).await.ok();
}

#[tokio::test]
async fn a_connection_on_which_no_request_comes_is_ended_whatever_was_begun_on_it() {
    let listening = listening(Bounds { head: SHORT, idle: SHORT, ..Bounds::default() }, None).await;
    // Nothing; a part of HTTP/2's greeting; all of it and no more; a part of a head.
    let greeting = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for begun in ["", "PRI * HTT", greeting, "GET / HTTP/1.1\r\nHost: a"] {
        let mut stream = TcpStream::connect(listening.address).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        ended(stream).await;
    }
}

#[tokio::test]
async fn a_connection_that_says_nothing_after_its_tls_greeting_is_ended() {
    let directory = tempfile::tempdir().unwrap();
    make_certificate(directory.path(), "wajima.test");
    let config = config_for(directory.path(), &["wajima.test"]);
    let acceptor = Certificates::open(&config).unwrap().acceptor().unwrap();
    let bounds = Bounds { head: SHORT, idle: SHORT, ..Bounds::default() };
    let listening = listening(bounds, Some(acceptor)).await;
    ended(connect(listening.address, directory.path(), "wajima.test").await.unwrap()).await;
}

#[tokio::test]
async fn a_connection_on_which_nobody_asks_any_more_is_ended_with_http_1_and_http_2() {
    let listening = listening(Bounds { head: SHORT, idle: SHORT, ..Bounds::default() }, None).await;
    let stream = TcpStream::connect(listening.address).await.unwrap();
    let (mut first, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    first.send_request(request("/")).await.unwrap().into_body().collect().await.unwrap();
    connection.await.unwrap().unwrap();

    let stream = TokioIo::new(TcpStream::connect(listening.address).await.unwrap());
    let (mut second, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    let connection = tokio::spawn(connection);
    second.send_request(request("/")).await.unwrap().into_body().collect().await.unwrap();
    connection.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_request_that_is_answered_late_keeps_its_connection_with_http_1_and_http_2() {
    let listening = listening(Bounds { head: SHORT, idle: SHORT, ..Bounds::default() }, None).await;
    let stream = TcpStream::connect(listening.address).await.unwrap();
    let (mut first, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let stream = TokioIo::new(TcpStream::connect(listening.address).await.unwrap());
    let (mut second, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);

    let answers = async {
        let answers = futures_util::future::join(
            first.send_request(request("/slow")),
            second.send_request(request("/slow")),
        );
        let (first, second) = answers.await;
        (first.unwrap().status(), second.unwrap().status())
    };
    let late = async {
        tokio::time::sleep(SHORT * 6).await;
        listening.slow.notify_waiters();
    };
    let (statuses, ()) = futures_util::future::join(answers, late).await;
    assert_eq!(statuses, (StatusCode::OK, StatusCode::OK));
}

#[tokio::test]
async fn a_connection_whose_client_does_not_read_its_answer_is_ended_with_http_1() {
    let bounds = Bounds { head: LONG, idle: LONG, window: SHORT, ..Bounds::default() };
    let listening = listening(bounds, None).await;
    let mut stream = TcpStream::connect(listening.address).await.unwrap();
    stream.write_all(b"GET /endless HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
    // Not by what is read: whoever reads is no such client.
    let given_up = tokio::time::timeout(PATIENCE, listening.given_up.notified()).await;
    given_up.expect("the answer is still offered");
    ended(stream).await;
}

#[tokio::test]
async fn a_connection_whose_client_does_not_read_an_answer_is_ended_with_http_2() {
    let bounds = Bounds { head: LONG, idle: LONG, window: SHORT, ..Bounds::default() };
    let listening = listening(bounds, None).await;
    let stream = TokioIo::new(TcpStream::connect(listening.address).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    // The connection is read all the time, this answer never.
    let connection = tokio::spawn(connection);
    let _unread = sender.send_request(request("/endless")).await.unwrap();
    let end = tokio::time::timeout(PATIENCE, connection).await.expect("the connection stays");
    // A reset is an end as well.
    end.unwrap().ok();
}

#[tokio::test]
async fn an_address_that_has_its_part_is_refused_and_not_left_to_wait() {
    let bounds = Bounds { places: 8, of_one_address: 2, head: LONG, idle: LONG, ..Bounds::default() };
    let listening = listening(bounds, None).await;
    let mut kept = Vec::new();
    for _ in 0..2 {
        kept.push(TcpStream::connect(listening.address).await.unwrap());
    }
    ended(TcpStream::connect(listening.address).await.unwrap()).await;
    for stream in kept {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        assert_eq!(sender.send_request(request("/")).await.unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn silent_connections_give_their_places_to_those_who_wait() {
    let bounds = Bounds { places: 2, head: LONG, idle: LONG, hurried: SHORT, ..Bounds::default() };
    let listening = listening(bounds, None).await;
    // One says nothing, one has been answered and keeps its connection.
    let silent = TcpStream::connect(listening.address).await.unwrap();
    let ask = async || {
        let stream = TcpStream::connect(listening.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        assert_eq!(sender.send_request(request("/")).await.unwrap().status(), StatusCode::OK);
        (sender, connection)
    };
    let (_kept, connection) = ask().await;
    let _others = (ask().await, ask().await);
    ended(silent).await;
    connection.await.unwrap().unwrap();
}
