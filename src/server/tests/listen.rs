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

struct Listening {
    address: SocketAddr,
    /// Lets an answer to `/slow` go.
    slow: Arc<Notify>,
    _tasks: Tasks,
}

async fn listening(bounds: Bounds, tls: Option<TlsAcceptor>) -> Listening {
    let (metrics, socket) = (Metrics::new(), listen::bind("127.0.0.1:0".parse().unwrap()).await.unwrap());
    let (address, tasks) = (socket.local_addr().unwrap(), Tasks::new(&metrics));
    let slow = Arc::new(Notify::new());
    let until = slow.clone();
    let answer = tower::service_fn(move |request: Request<Body>| {
        let until = until.clone();
        async move {
            if request.uri().path() == "/slow" {
                until.notified().await;
            }
            Ok::<_, Infallible>(http::Response::new(Body::from("answer")))
        }
    });
    let service = Service { router: Router::new().fallback_service(answer), tls, default_name: None };
    listen::start(socket, service, bounds, &tasks, &metrics);
    Listening { address, slow, _tasks: tasks }
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
