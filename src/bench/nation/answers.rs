//! What peers answer, as the specification wants it.

use std::{sync::atomic::Ordering, time::Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use ruma::{CanonicalJsonObject, UserId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    identity::{check_authorization, now_ms, text},
    names::SUBJECT,
    nation::Nation,
    peer::Peer,
    room::{Draft, Number, Room},
};

pub(super) type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// The largest request that is read.
const LARGEST: usize = 64 << 20;
/// Of the transactions of a peer, the first and then each of this many has its signature checked; of all other
/// requests, every one.
const SAMPLE: usize = 50;
/// A long answer is given in pieces of about this size.
const PIECE: usize = 64 << 10;

/// A request that has come whole.
struct Asked<'a> {
    nation: &'a Nation,
    peer: &'a Peer,
    method: Method,
    /// Path and query as they came.
    uri: String,
    body: Bytes,
    at: Instant,
}

/// Answers a request to a peer. What must not be is noted as a fault and refused.
pub(super) async fn answer(nation: &Nation, peer: &Peer, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let uri = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let Ok(body) = Limited::new(body, LARGEST).collect().await else {
        return refusal(StatusCode::BAD_REQUEST, "M_TOO_LARGE");
    };
    let at = Instant::now();
    let asked = Asked { nation, peer, method: head.method, uri, body: body.to_bytes(), at };
    let authorization = head.headers.get(header::AUTHORIZATION).and_then(|header| header.to_str().ok());
    match asked.answer(authorization) {
        Ok(answer) => answer,
        Err(error) => {
            nation.arrivals.fault(format!("{} {}: {error:#}", asked.method, asked.uri));
            refusal(StatusCode::BAD_REQUEST, "M_UNKNOWN")
        }
    }
}

impl Asked<'_> {
    fn answer(&self, authorization: Option<&str>) -> Result<Response<Body>> {
        let (path, query) = self.uri.split_once('?').unwrap_or((&self.uri, ""));
        let words: Vec<String> = path.trim_start_matches("/_matrix/").split('/').map(decoded).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["key", "v2", "server", ..] => {
                self.count("key");
                return Ok(whole(self.peer.identity.document.clone()));
            }
            ["federation", "v1", "version"] => {
                return Ok(said(&json!({ "server": { "name": "bench nation", "version": "1" } })));
            }
            ["federation", "v1", "send", id] => return self.transaction(id, authorization),
            _ => {}
        }
        self.check(authorization)?;
        let room = self.nation.room.lock();
        match words.as_slice() {
            ["federation", "v1", "make_join", id, user] if *id == room.id => self.make_join(&room, user),
            ["federation", "v2", "send_join", id, event] if *id == room.id => self.send_join(room, event),
            ["federation", "v1", "event", id] => {
                self.count("event");
                Ok(room.find(id).map_or_else(nothing, |number| unit(self, &room.texts(&[number]))))
            }
            ["federation", "v1", kind @ ("state" | "state_ids"), id] if *id == room.id => {
                self.count(if *kind == "state" { "state" } else { "state_ids" });
                let event = parameters(query, "event_id").pop().and_then(|id| room.find(&id));
                Ok(event.map_or_else(nothing, |event| state(&room, event, kind)))
            }
            ["federation", "v1", "event_auth", id, event] if *id == room.id => {
                self.count("event_auth");
                let Some(event) = room.find(event) else { return Ok(nothing()) };
                Ok(pieces(vec![
                    ("{\"auth_chain\":[", room.texts(&room.auth_chain(&[event]))),
                    ("]}", Vec::new()),
                ]))
            }
            ["federation", "v1", "backfill", id] if *id == room.id => {
                self.count("backfill");
                let limit =
                    parameters(query, "limit").pop().and_then(|limit| limit.parse().ok()).unwrap_or(100);
                let found = room.back_from(&parameters(query, "v"), &[], usize::min(limit, 100));
                Ok(unit(self, &room.texts(&found)))
            }
            ["federation", "v1", "get_missing_events", id] if *id == room.id => self.missing(&room),
            ["federation", "v1", "query", "profile"] => Ok(said(&json!({ "displayname": "職員" }))),
            _ => {
                self.count("unknown");
                Ok(refusal(StatusCode::NOT_FOUND, "M_UNRECOGNIZED"))
            }
        }
    }

    fn count(&self, endpoint: &'static str) {
        *self.nation.asked.lock().entry(endpoint).or_default() += 1;
    }

    /// That the request is for this peer, and signed by the server under test.
    fn check(&self, authorization: Option<&str>) -> Result<()> {
        let header = authorization.context("a request without a signature")?;
        let content: Option<CanonicalJsonObject> = match self.body.is_empty() {
            true => None,
            false => Some(serde_json::from_slice(&self.body).context("a body that is no canonical JSON")?),
        };
        let content = content.map(text);
        let own = self.peer.identity.name.as_str();
        let keys = self.nation.keys.read();
        let (method, uri) = (self.method.as_str(), self.uri.as_str());
        let origin = check_authorization(&keys, header, own, method, uri, content.as_deref())?;
        ensure!(origin == SUBJECT, "a request of {origin}");
        Ok(())
    }

    fn transaction(&self, id: &str, authorization: Option<&str>) -> Result<Response<Body>> {
        let before = self.peer.transactions.fetch_add(1, Ordering::Relaxed);
        if before.is_multiple_of(SAMPLE) {
            self.check(authorization)?;
        }
        let Nation { room, keys, arrivals, .. } = self.nation;
        let ids = arrivals.take(self.peer.number, id, &self.body, self.at, room, keys)?;
        let verdicts: serde_json::Map<String, Value> = ids.into_iter().map(|id| (id, json!({}))).collect();
        Ok(said(&json!({ "pdus": verdicts })))
    }

    fn make_join(&self, room: &Room, user: &str) -> Result<Response<Body>> {
        self.count("make_join");
        let of = UserId::parse(user).context("a user id")?;
        ensure!(of.server_name() == SUBJECT, "a join of a user of {}", of.server_name());
        let draft = Draft::state(user, "m.room.member", user, json!({ "membership": "join" }));
        let event = room.template(&draft, None);
        Ok(said(&json!({ "room_version": "12", "event": event })))
    }

    fn send_join(&self, mut room: parking_lot::MutexGuard<'_, Room>, id: &str) -> Result<Response<Body>> {
        self.count("send_join");
        let state = room.state_before(None);
        let number = room.learn(std::str::from_utf8(&self.body)?, &self.nation.keys.read())?;
        if room.event(number).id != id {
            bail!("the event is {} and not {id}", room.event(number).id);
        }
        room.publish(number);
        let mut of: Vec<Number> = state.clone();
        of.push(number);
        Ok(pieces(vec![
            ("{\"auth_chain\":[", room.texts(&room.auth_chain(&of))),
            ("],\"event\":", room.texts(&[number])),
            (",\"members_omitted\":false,\"state\":[", room.texts(&state)),
            ("]}", Vec::new()),
        ]))
    }

    fn missing(&self, room: &Room) -> Result<Response<Body>> {
        #[derive(Deserialize)]
        struct Question {
            #[serde(default)]
            earliest_events: Vec<String>,
            latest_events: Vec<String>,
            limit: Option<usize>,
        }

        self.count("get_missing_events");
        let question: Question = serde_json::from_slice(&self.body)?;
        let before: Vec<String> = question.latest_events.iter().flat_map(|id| room.prev_ids(id)).collect();
        let limit = question.limit.unwrap_or(10).min(100);
        let mut found = room.back_from(&before, &question.earliest_events, limit);
        found.reverse();
        Ok(pieces(vec![("{\"events\":[", room.texts(&found)), ("]}", Vec::new())]))
    }
}

fn state(room: &Room, event: Number, kind: &str) -> Response<Body> {
    let before = room.state_before(Some(event));
    let chain = room.auth_chain(&before);
    if kind == "state_ids" {
        return said(&json!({ "pdu_ids": room.ids(&before), "auth_chain_ids": room.ids(&chain) }));
    }
    pieces(vec![
        ("{\"auth_chain\":[", room.texts(&chain)),
        ("],\"pdus\":[", room.texts(&before)),
        ("]}", Vec::new()),
    ])
}

/// Events as `backfill` and `event` give them.
fn unit(asked: &Asked<'_>, events: &[Bytes]) -> Response<Body> {
    let events: Vec<&str> = events.iter().filter_map(|event| std::str::from_utf8(event).ok()).collect();
    let (name, now) = (&asked.peer.identity.name, now_ms());
    let text =
        format!("{{\"origin\":\"{name}\",\"origin_server_ts\":{now},\"pdus\":[{}]}}", events.join(","));
    whole(Bytes::from(text))
}

fn said(json: &Value) -> Response<Body> {
    whole(Bytes::from(json.to_string()))
}

fn whole(body: Bytes) -> Response<Body> {
    answered(Full::new(body).boxed_unsync())
}

fn nothing() -> Response<Body> {
    refusal(StatusCode::NOT_FOUND, "M_NOT_FOUND")
}

fn refusal(status: StatusCode, code: &str) -> Response<Body> {
    let mut answer = said(&json!({ "errcode": code, "error": "no" }));
    *answer.status_mut() = status;
    answer
}

/// Lists of events, each after its opening text, put together while they are sent.
fn pieces(parts: Vec<(&'static str, Vec<Bytes>)>) -> Response<Body> {
    let texts = parts.into_iter().flat_map(|(opening, events)| {
        let separated = events.into_iter().enumerate().flat_map(|(place, event)| {
            let comma = (place > 0).then(|| Bytes::from_static(b","));
            comma.into_iter().chain([event])
        });
        std::iter::once(Bytes::from_static(opening.as_bytes())).chain(separated)
    });
    let mut texts = texts.peekable();
    let pieces = std::iter::from_fn(move || {
        texts.peek()?;
        let mut piece = Vec::with_capacity(PIECE + 4_096);
        while piece.len() < PIECE
            && let Some(text) = texts.next()
        {
            piece.extend_from_slice(&text);
        }
        Some(Ok(Frame::data(Bytes::from(piece))))
    });
    answered(StreamBody::new(stream::iter(pieces)).boxed_unsync())
}

fn answered(body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    let json = header::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer
}

/// The values of a query's parameter.
fn parameters(query: &str, name: &str) -> Vec<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| decoded(value)).collect()
}

/// A segment of a path, or a value of a query, without its percent signs.
fn decoded(segment: &str) -> String {
    percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned()
}
