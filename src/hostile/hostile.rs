//! [`Hostile`]: the server, and what it does on its own.

use std::{collections::BTreeMap, fmt, sync::Arc};

use base::Clock;
use bytes::Bytes;
use federation::{Transport, TransportError};
use http::{Request, header};
use parking_lot::Mutex;
use pdu::{
    Authority,
    json::{Numbers, canonicalize},
};
use ruma::{OwnedServerName, OwnedUserId, RoomId, ServerName, UserId};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::{
    conduct::Conduct,
    forge::{Event, event_id},
    hosted::Hosted,
};

/// A homeserver that means harm. Cheap to clone; clones are the same server.
#[derive(Clone)]
pub struct Hostile(Arc<Inner>);

struct Inner {
    authority: Authority,
    seed: [u8; 32],
    clock: Clock,
    books: Mutex<Books>,
    heard: Notify,
}

#[derive(Default)]
struct Books {
    conduct: Vec<(String, Conduct)>,
    asked: Vec<Asked>,
    events: BTreeMap<String, Value>,
    rooms: BTreeMap<String, Hosted>,
    transactions: u64,
}

/// A request that the hostile server got.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Method.
    pub method: String,
    /// Path and query as they came.
    pub uri: String,
    /// The body, if it was JSON.
    pub body: Value,
}

/// An answer that the hostile server got.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, if it was JSON.
    pub json: Value,
    /// The body as it came.
    pub text: String,
}

impl Answer {
    /// Its errcode, if it has one.
    pub fn errcode(&self) -> Option<&str> {
        self.json["errcode"].as_str()
    }
}

/// An id, or any text, as a segment of a path or a value of a query.
pub fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

impl Hostile {
    /// A server of this name, with a key that follows from the name and the machine's clock.
    pub fn new(name: &str) -> Self {
        Self::with(name, Clock::system())
    }

    /// The same with the clock of a test.
    pub fn with(name: &str, clock: Clock) -> Self {
        let name = OwnedServerName::try_from(name).expect("a server name");
        let mut seed = [0x5a; 32];
        for (at, byte) in name.as_str().bytes().enumerate() {
            if let Some(slot) = seed.get_mut(at % 32) {
                *slot ^= byte.rotate_left(3);
            }
        }
        let authority = Authority::new(name, "hostile", &seed).expect("a key version");
        let (books, heard) = (Mutex::default(), Notify::new());
        Self(Arc::new(Inner { authority, seed, clock, books, heard }))
    }

    /// Its server name.
    pub fn name(&self) -> &ServerName {
        self.0.authority.name()
    }

    /// Its name and key, for what a test wants to sign itself.
    pub fn authority(&self) -> &Authority {
        &self.0.authority
    }

    pub(crate) fn seed(&self) -> [u8; 32] {
        self.0.seed
    }

    pub(crate) fn now(&self) -> u64 {
        self.0.clock.now().millis()
    }

    /// A user of this server.
    pub fn user(&self, localpart: &str) -> OwnedUserId {
        UserId::parse(format!("@{localpart}:{}", self.name())).expect("a user id")
    }

    /// How requests are answered whose path contains this text, such as `"/send_join/"`, from now on. What
    /// is said last counts.
    pub fn on(&self, endpoint: &str, conduct: Conduct) {
        self.0.books.lock().conduct.push((endpoint.to_owned(), conduct));
    }

    pub(crate) fn conduct(&self, path: &str) -> Conduct {
        let books = self.0.books.lock();
        let said = books.conduct.iter().rev().find(|(endpoint, _)| path.contains(endpoint.as_str()));
        said.map_or(Conduct::Honest, |(_, conduct)| conduct.clone())
    }

    /// What it was asked so far whose path contains this text.
    pub fn asked(&self, endpoint: &str) -> Vec<Asked> {
        let books = self.0.books.lock();
        books.asked.iter().filter(|asked| asked.uri.contains(endpoint)).cloned().collect()
    }

    /// Waits until it has been asked so often for something whose path contains this text.
    pub async fn until_asked(&self, endpoint: &str, times: usize) -> Vec<Asked> {
        loop {
            let heard = self.0.heard.notified();
            let asked = self.asked(endpoint);
            if asked.len() >= times {
                return asked;
            }
            heard.await;
        }
    }

    pub(crate) fn note(&self, request: &Request<Bytes>) {
        let asked = Asked {
            method: request.method().to_string(),
            uri: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
            body: serde_json::from_slice(request.body()).unwrap_or(Value::Null),
        };
        self.0.books.lock().asked.push(asked);
        self.0.heard.notify_waiters();
    }

    pub(crate) fn remember(&self, id: String, event: Value) {
        self.0.books.lock().events.insert(id, event);
    }

    pub(crate) fn recall(&self, id: &str) -> Option<Value> {
        self.0.books.lock().events.get(id).cloned()
    }

    /// Answers for this room, as it is now, from here on: joins, state, events.
    pub fn host(&self, room: &Hosted) {
        self.0.books.lock().rooms.insert(room.id.to_string(), room.clone());
    }

    pub(crate) fn hosted(&self, room: &str) -> Option<Hosted> {
        self.0.books.lock().rooms.get(room).cloned()
    }

    /// The `Authorization` header of a request of this server.
    pub fn authorization(&self, to: &str, method: &str, uri: &str, body: &[u8]) -> String {
        // Our canonical JSON writes no string wrongly, so the rest can be put together by hand.
        let text = |text: &str| Value::from(text).to_string();
        let mut message = String::from("{");
        if !body.is_empty() {
            // What is no JSON cannot be signed; the victim refuses it for that.
            let content = canonicalize(body, Numbers::Lax).unwrap_or_default();
            message.push_str(&format!("\"content\":{content},"));
        }
        message.push_str(&format!(
            "\"destination\":{},\"method\":{},\"origin\":{},\"uri\":{}}}",
            text(to),
            text(method),
            text(self.name().as_str()),
            text(uri)
        ));
        let signature = self.0.authority.sign_bytes(message.as_bytes());
        let (name, key) = (self.name(), self.0.authority.key_id());
        format!("X-Matrix origin=\"{name}\",destination=\"{to}\",key=\"{key}\",sig=\"{signature}\"")
    }

    /// Asks a server anything, rightly signed.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn ask(
        &self,
        road: &dyn Transport,
        to: &str,
        method: &str,
        uri: &str,
        body: Option<&Value>,
    ) -> Answer {
        self.try_ask(road, to, method, uri, body).await.expect("an answer")
    }

    /// The same of a server that may be gone.
    ///
    /// # Errors
    /// [`TransportError`] when there is no answer.
    pub async fn try_ask(
        &self,
        road: &dyn Transport,
        to: &str,
        method: &str,
        uri: &str,
        body: Option<&Value>,
    ) -> Result<Answer, TransportError> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let authorization = self.authorization(to, method, uri, body.as_bytes());
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(header::AUTHORIZATION, authorization)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Bytes::from(body))
            .expect("a request");
        let to = <&ServerName>::try_from(to).expect("a server name");
        let answer = road.send(to, request).await?;
        let json = serde_json::from_slice(answer.body()).unwrap_or(Value::Null);
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        Ok(Answer { status: answer.status().as_u16(), json, text })
    }

    /// Sends a transaction of these events, under an id that it has not used before.
    pub async fn send(&self, road: &dyn Transport, to: &str, events: &[Value]) -> Answer {
        self.transaction(road, to, events, &[]).await
    }

    /// Sends a transaction of these events and ephemeral units.
    pub async fn transaction(
        &self,
        road: &dyn Transport,
        to: &str,
        events: &[Value],
        units: &[Value],
    ) -> Answer {
        let (uri, body) = self.pack(events, units);
        self.ask(road, to, "PUT", &uri, Some(&body)).await
    }

    /// Path and body of a transaction of these events and ephemeral units, under an id that was not used
    /// before: for whoever has to send it again.
    pub fn pack(&self, events: &[Value], units: &[Value]) -> (String, Value) {
        let number = {
            let mut books = self.0.books.lock();
            books.transactions += 1;
            books.transactions
        };
        let body = json!({
            "origin": self.name(),
            "origin_server_ts": self.now(),
            "pdus": events,
            "edus": units,
        });
        (format!("/_matrix/federation/v1/send/h{number}"), body)
    }

    /// Joins a room with a user of this server by way of a server that is in it, as an honest one would.
    ///
    /// # Panics
    /// When it is not let in.
    pub async fn join(&self, road: &dyn Transport, via: &str, room: &RoomId, user: &str) -> Hosted {
        let user_id = self.user(user);
        let versions: Vec<String> = (1..=12).map(|version| format!("ver={version}")).collect();
        let uri = format!(
            "/_matrix/federation/v1/make_join/{}/{}?{}",
            encoded(room.as_str()),
            encoded(user_id.as_str()),
            versions.join("&")
        );
        let made = self.ask(road, via, "GET", &uri, None).await;
        assert_eq!(made.status, 200, "make_join: {}", made.text);
        let version = made.json["room_version"].as_str().unwrap_or("1").to_owned();
        let mut template = made.json["event"].clone();
        template["origin_server_ts"] = json!(self.now());
        let Event { id, json: event } = self.sign(&version, template);
        let uri = format!("/_matrix/federation/v2/send_join/{}/{}", encoded(room.as_str()), encoded(&id));
        let sent = self.ask(road, via, "PUT", &uri, Some(&event)).await;
        assert_eq!(sent.status, 200, "send_join: {}", sent.text);

        let mut joined = Hosted::new(self, room, &version);
        let list = |key: &str| sent.json[key].as_array().cloned().unwrap_or_default();
        for event in list("state") {
            joined.note_state(&event);
        }
        joined.auth_chain = list("auth_chain");
        let event = if sent.json["event"].is_object() { sent.json["event"].clone() } else { event };
        joined.see(&event);
        joined
    }

    /// A room as somebody has told it, from its first event on: for forging events of rooms that this server
    /// has no business in.
    pub fn learn(&self, room: &RoomId, version: &str, events: &[Value]) -> Hosted {
        let mut learnt = Hosted::new(self, room, version);
        for event in events {
            learnt.see(event);
        }
        learnt
    }

    /// Makes a public room of its own, of this version, and [hosts](Hostile::host) it.
    pub fn found(&self, creator: &str, version: &str) -> Hosted {
        let user = self.user(creator);
        let has_hash_id = version == "12";
        let own = format!("!{}:{}", self.now(), self.name());
        let mut room = Hosted::new(self, <&RoomId>::try_from(own.as_str()).expect("a room id"), version);
        let mut create = room.draft(
            creator,
            "m.room.create",
            Some(""),
            json!({ "room_version": version, "creator": user }),
        );
        if has_hash_id && let Some(create) = create.as_object_mut() {
            create.remove("room_id");
        }
        let create = self.sign(version, create);
        if has_hash_id {
            let id = create.id.replacen('$', "!", 1);
            room.id = RoomId::parse(id).expect("a room id");
        }
        room.see(&create.json);
        room.event(creator, "m.room.member", Some(user.as_str()), json!({ "membership": "join" }));
        let users = if has_hash_id { json!({}) } else { json!({ user.as_str(): 100 }) };
        room.event(creator, "m.room.power_levels", Some(""), json!({ "users": users }));
        room.event(creator, "m.room.join_rules", Some(""), json!({ "join_rule": "public" }));
        room.auth_chain = room.state_events();
        self.host(&room);
        room
    }

    /// The id of an event of somebody in a room of this version.
    pub fn event_id(version: &str, event: &Value) -> String {
        event_id(version, event)
    }
}

impl fmt::Debug for Hostile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hostile").field(&self.name()).finish()
    }
}
