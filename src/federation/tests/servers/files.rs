//! Files that a server keeps elsewhere: its answer says where.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use base::{ByteSize, Clock, Metrics, Random, Tasks};
use bytes::Bytes;
use federation::{
    AnswerBody, Budget, Config, Federation, NetworkConfig, Parts, Peers, Transport, TransportError,
    whole_body,
};
use futures_util::TryStreamExt;
use http::{Request, Response, Uri, header};
use media::{FetchBounds, FetchError};
use pdu::{Authorities, Authority};
use room::AllowAll;
use ruma::{ServerName, server_name};
use store::{MemoryBackend, Options, Store};

/// A server that gives this for the place of each file, and a web on which there are two places.
struct Away {
    location: &'static str,
    visited: Mutex<Vec<String>>,
}

#[async_trait]
impl Transport for Away {
    async fn send(&self, _: &ServerName, _: Request<Bytes>) -> Result<Response<Bytes>, TransportError> {
        let body = format!(
            "\r\n--x\r\nContent-Type: application/json\r\n\r\n{{}}\r\n--x\r\nLocation: {}\r\n\r\n\r\n--x--\r\n",
            self.location
        );
        let kind = "multipart/mixed; boundary=x";
        Ok(Response::builder().header(header::CONTENT_TYPE, kind).body(Bytes::from(body)).unwrap())
    }

    async fn visit(&self, uri: &Uri, _: Budget) -> Result<Response<AnswerBody>, TransportError> {
        self.visited.lock().unwrap().push(uri.to_string());
        let moved = |to: &str| Response::builder().status(307).header(header::LOCATION, to);
        let (answer, body) = match uri.path() {
            "/file" => (Response::builder().header(header::CONTENT_TYPE, "image/png"), "bytes"),
            "/there" => (moved("/file"), ""),
            "/plain" => (moved("http://cdn.test/file"), ""),
            "/round" => (moved("/round"), ""),
            _ => (Response::builder().status(404), ""),
        };
        Ok(answer.body(whole_body(Bytes::from_static(body.as_bytes()))).unwrap())
    }
}

async fn fetched(location: &'static str) -> (Result<(Option<String>, Vec<u8>), FetchError>, Vec<String>) {
    let (metrics, clock, random) = (Metrics::new(), Clock::system(), Random::os());
    let tasks = Tasks::new(&metrics);
    let backend = Arc::new(MemoryBackend::default());
    let store = Store::open(backend, Options::default(), &tasks, &metrics).await.unwrap();
    let away = Arc::new(Away { location, visited: Mutex::default() });
    let us = Authority::new(server_name!("a.test").to_owned(), "1", &[7; 32]).unwrap();
    let federation = Federation::open(Parts {
        config: Config { network: NetworkConfig::default(), peers: Peers::Everybody, ..Config::default() },
        store,
        authorities: Arc::new(Authorities::new([us])),
        policy: Arc::new(AllowAll),
        transport: away.clone(),
        clock,
        random,
        tasks: &tasks,
        metrics: &metrics,
    });
    let bounds = FetchBounds { deadline: Duration::from_secs(20), size: ByteSize::kib(64) };
    let got = federation.files().fetch(server_name!("a.test"), server_name!("b.test"), "id", bounds).await;
    let got = match got {
        Ok(file) => {
            let parts: Vec<Bytes> = file.body.try_collect().await.unwrap();
            Ok((file.kind, parts.concat()))
        }
        Err(error) => Err(error),
    };
    let visited = std::mem::take(&mut *away.visited.lock().unwrap());
    (got, visited)
}

#[tokio::test]
async fn a_file_that_is_kept_elsewhere_comes_from_there_with_the_type_that_it_has_there() {
    for (location, ways) in [("https://cdn.test/file", 1), ("https://cdn.test/there", 2)] {
        let (got, visited) = fetched(location).await;
        assert_eq!(got.unwrap(), (Some("image/png".to_owned()), b"bytes".to_vec()), "{location}");
        assert_eq!(visited.len(), ways, "{visited:?}");
    }
    for (location, ways) in [
        ("http://cdn.test/file", 0),
        ("/file", 0),
        ("https://cdn.test/plain", 1),
        ("https://cdn.test/round", 6),
        ("https://cdn.test/none", 1),
    ] {
        let (got, visited) = fetched(location).await;
        assert!(matches!(got, Err(FetchError::Failed(_))), "{location}: {got:?}");
        assert_eq!(visited.len(), ways, "{visited:?}");
    }
}
