//! People with accounts at any authority of one server, and what they ask for.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{HeaderValue, Method};
use serde_json::{Value, json};

use crate::{
    client::escape,
    readers::{Reader, token_in},
    wire::{Caller, Wire},
};

/// Filter for a first sync that asks for little: no members but those that are seen.
pub(crate) const LITTLE: &str =
    r#"{"room":{"state":{"lazy_load_members":true},"timeline":{"limit":1}},"presence":{"not_types":["*"]}}"#;

/// Somebody with a device.
#[derive(Debug)]
pub(crate) struct Person {
    pub(crate) id: String,
    caller: Caller,
}

impl Person {
    /// Registers at an authority, over the client interface and without a password.
    ///
    /// Such an account can be used in this session only, and costs no password hash: of 90,000 those alone would
    /// take 25 minutes of a processor. All else is done as for any other account.
    pub(crate) async fn register(wire: &mut Wire, authority: &str, name: &str) -> Result<Self> {
        Self::register_with(wire, authority, name, None).await
    }

    /// The same with a password, which is hashed.
    pub(crate) async fn register_with(
        wire: &mut Wire,
        authority: &str,
        name: &str,
        password: Option<&str>,
    ) -> Result<Self> {
        let body = json!({ "username": name, "password": password, "auth": { "type": "m.login.dummy" } });
        Self::begin(wire, authority, "/_matrix/client/v3/register", &body).await
    }

    /// Signs in with a password, on a new device.
    pub(crate) async fn log_in(wire: &mut Wire, authority: &str, name: &str, password: &str) -> Result<Self> {
        let who = json!({ "type": "m.id.user", "user": name });
        let body = json!({ "type": "m.login.password", "identifier": who, "password": password });
        Self::begin(wire, authority, "/_matrix/client/v3/login", &body).await
    }

    /// Begins a session.
    async fn begin(wire: &mut Wire, authority: &str, path: &str, body: &Value) -> Result<Self> {
        let host = HeaderValue::from_str(authority)?;
        let stranger = Caller { host: host.clone(), bearer: None };
        let answer = wire.ask(&stranger, Method::POST, path, bytes_of(body)).await?;
        let answer: Value = serde_json::from_slice(&answer)?;
        let text = |key: &str| answer[key].as_str().with_context(|| format!("no {key}"));
        let bearer = HeaderValue::from_str(&format!("Bearer {}", text("access_token")?))?;
        Ok(Self { id: text("user_id")?.to_owned(), caller: Caller { host, bearer: Some(bearer) } })
    }

    async fn ask(&self, wire: &mut Wire, method: Method, path: &str, body: &Value) -> Result<Bytes> {
        wire.ask(&self.caller, method, path, bytes_of(body)).await
    }

    /// Creates a room that everybody may join; returns its id.
    pub(crate) async fn create_room(&self, wire: &mut Wire, name: &str) -> Result<String> {
        let body = json!({ "preset": "public_chat", "name": name });
        let answer = self.ask(wire, Method::POST, "/_matrix/client/v3/createRoom", &body).await?;
        text_in(&answer, "room_id")
    }

    pub(crate) async fn join(&self, wire: &mut Wire, room: &str) -> Result<()> {
        let path = format!("/_matrix/client/v3/join/{}", escape(room));
        self.ask(wire, Method::POST, &path, &json!({})).await.map(drop)
    }

    /// Invites somebody, of whatever server.
    pub(crate) async fn invite(&self, wire: &mut Wire, room: &str, whom: &str) -> Result<()> {
        let path = format!("/_matrix/client/v3/rooms/{}/invite", escape(room));
        self.ask(wire, Method::POST, &path, &json!({ "user_id": whom })).await.map(drop)
    }

    /// What is answered at a path.
    pub(crate) async fn get(&self, wire: &mut Wire, path: &str) -> Result<Bytes> {
        wire.ask(&self.caller, Method::GET, path, Bytes::new()).await
    }

    /// Sends a text message; returns the event's id once the server has acknowledged it. No two messages of one
    /// person have the same text.
    pub(crate) async fn message(&self, wire: &mut Wire, room: &str, text: &str) -> Result<String> {
        let path = format!("/_matrix/client/v3/rooms/{}/send/m.room.message/{}", escape(room), escape(text));
        let answer =
            self.ask(wire, Method::PUT, &path, &json!({ "msgtype": "m.text", "body": text })).await?;
        text_in(&answer, "event_id")
    }

    /// Says that everything up to this event is read.
    pub(crate) async fn receipt(&self, wire: &mut Wire, room: &str, event: &str) -> Result<()> {
        let path = format!("/_matrix/client/v3/rooms/{}/receipt/m.read/{}", escape(room), escape(event));
        self.ask(wire, Method::POST, &path, &json!({})).await.map(drop)
    }

    /// Has a push gateway told of what notifies the person.
    pub(crate) async fn set_pusher(&self, wire: &mut Wire, url: &str) -> Result<()> {
        let body = json!({ "app_id": "jp.example.bench", "pushkey": self.id, "kind": "http", "lang": "ja",
            "app_display_name": "bench", "device_display_name": "bench", "data": { "url": url } });
        self.ask(wire, Method::POST, "/_matrix/client/v3/pushers/set", &body).await.map(drop)
    }

    pub(crate) async fn tag(&self, wire: &mut Wire, room: &str, order: f64) -> Result<()> {
        let (user, room) = (escape(&self.id), escape(room));
        let path = format!("/_matrix/client/v3/user/{user}/rooms/{room}/tags/u.bench");
        self.ask(wire, Method::PUT, &path, &json!({ "order": order })).await.map(drop)
    }

    /// Takes another name, which the rooms show afterwards.
    pub(crate) async fn rename(&self, wire: &mut Wire, name: &str) -> Result<()> {
        let path = format!("/_matrix/client/v3/profile/{}/displayname", escape(&self.id));
        self.ask(wire, Method::PUT, &path, &json!({ "displayname": name })).await.map(drop)
    }

    /// The name of somebody as a room shows it.
    pub(crate) async fn name_in(&self, wire: &mut Wire, room: &str, of: &str) -> Result<String> {
        let path = format!("/_matrix/client/v3/rooms/{}/state/m.room.member/{}", escape(room), escape(of));
        text_in(&wire.ask(&self.caller, Method::GET, &path, Bytes::new()).await?, "displayname")
    }

    /// Leaves a filter with the server; returns its id.
    pub(crate) async fn keep_filter(&self, wire: &mut Wire, filter: &str) -> Result<String> {
        let path = format!("/_matrix/client/v3/user/{}/filter", escape(&self.id));
        let filter: Value = serde_json::from_str(filter)?;
        text_in(&self.ask(wire, Method::POST, &path, &filter).await?, "filter_id")
    }

    /// A first sync that tells little, after which the person can wait for news.
    pub(crate) async fn become_reader(self: &Arc<Self>, wire: &mut Wire) -> Result<Reader> {
        let answer = self.sync(wire, &Ask { filter: Some(LITTLE), ..Ask::default() }).await?;
        let since = token_in(std::str::from_utf8(&answer)?)?.to_owned();
        Ok(Reader { person: self.clone(), since, filter: None })
    }

    /// One `/sync`; returns the raw answer.
    pub(crate) async fn sync(&self, wire: &mut Wire, ask: &Ask<'_>) -> Result<Bytes> {
        let mut path = format!("/_matrix/client/v3/sync?timeout={}", ask.wait_ms);
        for (key, value) in [("&since=", ask.since), ("&filter=", ask.filter)] {
            if let Some(value) = value {
                path.push_str(key);
                path.push_str(&escape(value));
            }
        }
        wire.ask(&self.caller, Method::GET, &path, Bytes::new()).await
    }
}

/// What a sync asks for.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) since: Option<&'a str>,
    pub(crate) filter: Option<&'a str>,
    pub(crate) wait_ms: u64,
}

fn bytes_of(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}

fn text_in(answer: &[u8], key: &str) -> Result<String> {
    let answer: Value = serde_json::from_slice(answer)?;
    Ok(answer[key].as_str().with_context(|| format!("no {key}"))?.to_owned())
}
