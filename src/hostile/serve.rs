//! Answering: in memory, or over HTTP and TLS.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use base::ByteSize;
use bytes::Bytes;
use federation::{Budget, TransportError};
use futures_util::{StreamExt, stream};
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use ruma::CanonicalJsonObject;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::{
    conduct::{Conduct, Raw},
    hostile::Hostile,
};

/// The body of an answer, made while it is sent.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What a request without a [`Budget`] may cost in memory.
pub(crate) const USUAL: Budget = Budget { deadline: Duration::from_secs(30), response: ByteSize::mib(64) };

/// Entries of a long list in one piece of its body.
const PIECE: u64 = 1_000;

impl Hostile {
    /// Answers a request as the conduct for its endpoint says.
    pub async fn answer(&self, request: Request<Bytes>) -> Response<Body> {
        self.note(&request);
        match self.conduct(request.uri().path()) {
            Conduct::Honest => {
                let (status, json) = self.honest(&request);
                whole(status, &json)
            }
            Conduct::Alter(change) => {
                let (status, mut json) = self.honest(&request);
                change(&mut json);
                whole(status, &json)
            }
            Conduct::Say(status, json) => whole(status, &json),
            Conduct::Lie(lie) => whole(StatusCode::OK, &lie(&request)),
            Conduct::Hang => std::future::pending().await,
            Conduct::Drip(json, pause) => {
                let bytes = stream::iter(json.to_string().into_bytes());
                streamed(bytes.then(move |byte| async move {
                    tokio::time::sleep(pause).await;
                    Ok(Bytes::from(vec![byte]))
                }))
            }
            Conduct::List(before, count, entry, after) => {
                let pieces = (0..count.div_ceil(PIECE)).map(move |piece| {
                    let mut text = String::new();
                    for number in piece * PIECE..count.min((piece + 1) * PIECE) {
                        if number > 0 {
                            text.push(',');
                        }
                        text.push_str(&entry(number));
                    }
                    Bytes::from(text)
                });
                let fixed = |text: &'static str| stream::iter([Bytes::from_static(text.as_bytes())]);
                streamed(fixed(before).chain(stream::iter(pieces)).chain(fixed(after)).map(Ok))
            }
            Conduct::Flood(bytes) => {
                const SPACES: &[u8] = &[b' '; 64 * 1024];
                let pieces = bytes.div_ceil(SPACES.len() as u64);
                streamed(stream::iter((0..pieces).map(|_| Ok(Bytes::from_static(SPACES)))))
            }
            Conduct::Raw(Raw { headers, body, is_endless }) => {
                const SPACES: &[u8] = &[b' '; 64 * 1024];
                let endless = stream::repeat_with(|| Ok(Bytes::from_static(SPACES)));
                let rest = endless.take(if is_endless { usize::MAX } else { 0 });
                let mut answer = streamed(stream::iter([Ok(body)]).chain(rest));
                answer.headers_mut().clear();
                for (name, value) in headers {
                    answer.headers_mut().insert(name, value.parse().expect("a header"));
                }
                answer
            }
            Conduct::Break(json, after) => {
                let mut text = json.to_string().into_bytes();
                text.truncate(after);
                let cut = io::Error::new(io::ErrorKind::ConnectionReset, "broken off in the middle");
                streamed(stream::iter([Ok(Bytes::from(text)), Err(cut)]))
            }
        }
    }

    /// Answers a request in memory, within its [`Budget`], as a transport has to.
    ///
    /// # Errors
    /// [`TransportError`] when it takes too long, is too large, or breaks.
    pub async fn carry(&self, request: Request<Bytes>) -> Result<Response<Bytes>, TransportError> {
        let budget = request.extensions().get::<Budget>().copied().unwrap_or(USUAL);
        let work = async {
            let (head, body) = self.answer(request).await.into_parts();
            let body = Limited::new(body, budget.response.as_usize()).collect().await.map_err(|error| {
                match error.is::<LengthLimitError>() {
                    true => TransportError::TooLarge(budget.response),
                    false => TransportError::Broken(error.to_string()),
                }
            })?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        let late = |_| TransportError::Deadline(budget.deadline);
        tokio::time::timeout(budget.deadline, work).await.map_err(late)?
    }

    /// Listens on this address of the loopback network, with TLS if a certificate is given, until the
    /// test's runtime ends. Answers with the address.
    pub async fn listen(&self, address: IpAddr, tls: Option<TlsAcceptor>) -> SocketAddr {
        let listener = TcpListener::bind((address, 0)).await.expect("a free port");
        let bound = listener.local_addr().expect("bound");
        let server = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (server, tls) = (server.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => {
                            // An error is somebody who does not trust it; that is to be expected.
                            if let Ok(stream) = tls.accept(stream).await {
                                server.converse(stream).await;
                            }
                        }
                        None => server.converse(stream).await,
                    }
                });
            }
        });
        bound
    }

    async fn converse(
        &self,
        stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    ) {
        let service = service_fn(|request: Request<Incoming>| async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            Ok::<_, Infallible>(self.answer(Request::from_parts(head, body)).await)
        });
        // Connections end in every way here; none is of interest.
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
    }

    /// The answer of a server that follows the specification, as far as this one knows it.
    fn honest(&self, request: &Request<Bytes>) -> (StatusCode, Value) {
        let path = request.uri().path();
        let query = request.uri().query().unwrap_or_default();
        let mut parts = path.trim_start_matches("/_matrix/").split('/').map(decoded);
        let parts: Vec<String> = std::iter::from_fn(|| parts.next()).collect();
        let words: Vec<&str> = parts.iter().map(String::as_str).collect();
        let body: Value = serde_json::from_slice(request.body()).unwrap_or(Value::Null);
        match words.as_slice() {
            ["key", "v2", "server", ..] => (StatusCode::OK, self.key_document(self.now() + 86_400_000)),
            ["federation", "v1", "version"] => {
                (StatusCode::OK, json!({ "server": { "name": "Hostile", "version": "1" } }))
            }
            ["federation", "v1", "send", _] => (StatusCode::OK, json!({ "pdus": {} })),
            ["federation", "v1", "event", id] => match self.recall(id) {
                Some(event) => (StatusCode::OK, self.unit(vec![event])),
                None => unknown(),
            },
            ["federation", "v1", "backfill", _] => (StatusCode::OK, self.unit(Vec::new())),
            ["federation", "v1", "get_missing_events", _] => (StatusCode::OK, json!({ "events": [] })),
            ["federation", "v2", "invite", ..] => {
                let version = body["room_version"].as_str().unwrap_or("1");
                (StatusCode::OK, json!({ "event": self.countersigned(version, &body["event"]) }))
            }
            ["federation", "v1", "make_join", room, user] => match self.hosted(room) {
                Some(room) => {
                    let content = json!({ "membership": "join" });
                    let auth_events = room.auth_events(user, "m.room.member", Some(user), &content);
                    let mut event = room.draft("x", "m.room.member", Some(user), content);
                    event["sender"] = json!(user);
                    event["auth_events"] = json!(auth_events);
                    (StatusCode::OK, json!({ "room_version": room.version, "event": event }))
                }
                None => unknown(),
            },
            ["federation", "v2", "send_join", room, _] => match self.hosted(room) {
                Some(mut room) => {
                    let answer = json!({
                        "origin": self.name(),
                        "members_omitted": false,
                        "state": room.state_events(),
                        "auth_chain": room.auth_chain,
                        "event": body,
                    });
                    room.see(&body);
                    self.host(&room);
                    (StatusCode::OK, answer)
                }
                None => unknown(),
            },
            ["federation", "v1", kind @ ("state" | "state_ids"), room] => match self.hosted(room) {
                Some(room) if *kind == "state" => {
                    (StatusCode::OK, json!({ "pdus": room.state_events(), "auth_chain": room.auth_chain }))
                }
                Some(room) => {
                    let ids = |events: &[Value]| -> Vec<String> {
                        events.iter().map(|event| Self::event_id(&room.version, event)).collect()
                    };
                    let (state, chain) = (ids(&room.state_events()), ids(&room.auth_chain));
                    (StatusCode::OK, json!({ "pdu_ids": state, "auth_chain_ids": chain }))
                }
                None => unknown(),
            },
            ["federation", "v1", "query", "profile"] if !query.is_empty() => {
                (StatusCode::OK, json!({ "displayname": "Mallory" }))
            }
            _ => unknown(),
        }
    }

    /// Its key document, good until then (ms since 1970).
    pub fn key_document(&self, valid_until: u64) -> Value {
        let authority = self.authority();
        self.signed(&json!({
            "server_name": self.name(),
            "valid_until_ts": valid_until,
            "verify_keys": { authority.key_id().as_str(): { "key": authority.public_key_base64() } },
            "old_verify_keys": {},
        }))
    }

    /// Any JSON object with this server's signature, for key documents of its own making.
    ///
    /// # Panics
    /// When it is no object, or cannot be written as canonical JSON.
    pub fn signed(&self, json: &Value) -> Value {
        let mut object: CanonicalJsonObject =
            serde_json::from_value(json.clone()).expect("an object of canonical JSON");
        self.authority().sign_json(&mut object);
        serde_json::to_value(object).expect("JSON")
    }

    fn countersigned(&self, version: &str, event: &Value) -> Value {
        let Ok(mut object) = serde_json::from_value::<CanonicalJsonObject>(event.clone()) else {
            return event.clone();
        };
        let redaction = crate::forge::rules(version).redaction;
        let signatures = object.get("signatures").cloned();
        let Ok(redacted) = ruma::canonical_json::redact(object.clone(), &redaction, None) else {
            return event.clone();
        };
        let mut redacted: CanonicalJsonObject = redacted;
        redacted.remove("unsigned");
        if let Some(signatures) = signatures {
            redacted.insert("signatures".to_owned(), signatures);
        }
        self.authority().sign_json(&mut redacted);
        if let Some(signatures) = redacted.remove("signatures") {
            object.insert("signatures".to_owned(), signatures);
        }
        serde_json::to_value(object).expect("JSON")
    }

    fn unit(&self, events: Vec<Value>) -> Value {
        json!({ "origin": self.name(), "origin_server_ts": self.now(), "pdus": events })
    }
}

fn unknown() -> (StatusCode, Value) {
    (StatusCode::NOT_FOUND, json!({ "errcode": "M_NOT_FOUND", "error": "nothing here" }))
}

/// A segment of a path without its percent signs.
fn decoded(segment: &str) -> String {
    percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

fn whole(status: StatusCode, json: &Value) -> Response<Body> {
    let mut answer = streamed(stream::iter([Ok(Bytes::from(json.to_string()))]));
    *answer.status_mut() = status;
    answer
}

fn streamed(
    pieces: impl futures_util::Stream<Item = Result<Bytes, io::Error>> + Send + 'static,
) -> Response<Body> {
    let body = StreamBody::new(pieces.map(|piece| piece.map(Frame::data)));
    let mut answer = Response::new(body.boxed_unsync());
    let json = header::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer
}
