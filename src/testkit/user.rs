//! [`User`]: a person with a device, who speaks the client-server API.

use std::{fmt::Write, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use engine::Preset;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use parking_lot::Mutex;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, ServerName, UserId};
use serde_json::{Value, json};

use crate::{seen::Seen, server::Server};

/// In real time: what takes longer will not come.
const PATIENCE: Duration = Duration::from_secs(60);
/// What everybody's password is.
pub const PASSWORD: &str = "秘密の合言葉123";

/// A request that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: StatusCode,
    /// The Matrix errcode.
    pub code: String,
    /// The whole answer.
    pub answer: Value,
}

/// A user's device. Clones are the same device.
///
/// Requests wait while the server is down; those that break are made again if that is safe.
#[derive(Clone)]
pub struct User(Arc<Inner>);

struct Inner {
    server: Server,
    user_id: OwnedUserId,
    device_id: String,
    token: String,
    /// Where its requests go; none: where its server's users' do.
    door: Option<SocketAddr>,
    seen: Mutex<Seen>,
    txn: Arc<Mutex<u64>>,
}

impl User {
    pub(crate) async fn register(server: &Server, authority: &ServerName, localpart: &str) -> Self {
        let body = json!({
            "username": localpart, "password": PASSWORD, "auth": { "type": "m.login.dummy" },
        });
        let answer = call(server, authority, None, Method::POST, "/_matrix/client/v3/register", Some(&body))
            .await
            .expect("registered");
        Self::of(server, &answer)
    }

    pub(crate) async fn register_guest(server: &Server, authority: &ServerName) -> Self {
        let path = "/_matrix/client/v3/register?kind=guest";
        let answer = call(server, authority, None, Method::POST, path, Some(&json!({}))).await;
        Self::of(server, &answer.expect("a guest"))
    }

    pub(crate) fn of_service(server: &Server, localpart: &str, token: &str) -> Self {
        Self(Arc::new(Inner {
            server: server.clone(),
            user_id: UserId::parse(format!("@{localpart}:{}", server.name())).expect("a user id"),
            device_id: String::new(),
            token: token.to_owned(),
            door: None,
            seen: Mutex::default(),
            txn: Arc::default(),
        }))
    }

    fn of(server: &Server, answer: &Value) -> Self {
        let text = |key: &str| answer[key].as_str().expect("a session").to_owned();
        Self(Arc::new(Inner {
            server: server.clone(),
            user_id: UserId::parse(text("user_id")).expect("a user id"),
            device_id: text("device_id"),
            token: text("access_token"),
            door: None,
            seen: Mutex::default(),
            txn: Arc::default(),
        }))
    }

    /// Logs the user in on another device.
    pub async fn another_device(&self) -> Self {
        self.device_at(&self.0.server).await
    }

    /// The same device, through this process of the same server.
    pub fn at(&self, server: &Server) -> Self {
        let Inner { user_id, device_id, token, .. } = &*self.0;
        Self(Arc::new(Inner {
            server: server.clone(),
            user_id: user_id.clone(),
            device_id: device_id.clone(),
            token: token.clone(),
            door: None,
            seen: Mutex::default(),
            // Its requests are named in the order in which they are made, wherever.
            txn: self.0.txn.clone(),
        }))
    }

    /// The same device, through a listener of its server.
    pub fn through(&self, door: SocketAddr) -> Self {
        let Inner { server, user_id, device_id, token, .. } = &*self.0;
        Self(Arc::new(Inner {
            server: server.clone(),
            user_id: user_id.clone(),
            device_id: device_id.clone(),
            token: token.clone(),
            door: Some(door),
            seen: Mutex::default(),
            txn: self.0.txn.clone(),
        }))
    }

    /// Logs the user in on another device, through this process of the same server.
    pub async fn device_at(&self, server: &Server) -> Self {
        let body = json!({
            "type": "m.login.password",
            "identifier": { "type": "m.id.user", "user": self.0.user_id },
            "password": PASSWORD,
        });
        let name = self.0.user_id.server_name();
        let answer = call(server, name, None, Method::POST, "/_matrix/client/v3/login", Some(&body)).await;
        Self::of(server, &answer.expect("logged in"))
    }

    /// Logs the user in on another device and refreshes its session: the device by its old token, and by the
    /// new one, which was not used yet.
    pub async fn refreshed_device(&self) -> (Self, Self) {
        let server = &self.0.server;
        let name = self.0.user_id.server_name();
        let body = json!({
            "type": "m.login.password", "refresh_token": true, "password": PASSWORD,
            "identifier": { "type": "m.id.user", "user": self.0.user_id },
        });
        let post = |path: &'static str, body: Value| async move {
            call(server, name, None, Method::POST, path, Some(&body)).await
        };
        let old = post("/_matrix/client/v3/login", body).await.expect("logged in");
        let token = json!({ "refresh_token": old["refresh_token"] });
        let mut new = post("/_matrix/client/v3/refresh", token).await.expect("refreshed");
        for key in ["user_id", "device_id"] {
            new[key] = old[key].clone();
        }
        (Self::of(server, &old), Self::of(server, &new))
    }

    /// The user's id.
    pub fn id(&self) -> &UserId {
        &self.0.user_id
    }

    /// The device's access token.
    pub fn token(&self) -> &str {
        &self.0.token
    }

    /// The device's id.
    pub fn device_id(&self) -> &str {
        &self.0.device_id
    }

    /// Makes a request; the path begins after `/_matrix/client/v3`.
    ///
    /// # Errors
    /// [`Refusal`]
    pub async fn try_call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Refusal> {
        let path = format!("/_matrix/client/v3{path}");
        let name = self.0.user_id.server_name();
        let Inner { server, token, door, .. } = &*self.0;
        call_at(server, name, *door, Some(token), method, &path, body).await
    }

    /// Makes a request that must be granted.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        match self.try_call(method.clone(), path, body).await {
            Ok(answer) => answer,
            Err(refusal) => panic!("{} {method} {path}: {refusal:?}", self.0.user_id),
        }
    }

    /// Makes a request under any path, once, and gives the answer as it comes.
    pub async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, String) {
        let body = body.map(Value::to_string);
        self.ask_text(method, path, body.as_deref()).await
    }

    /// The same with any body and further headers, and the answer in bytes.
    pub async fn ask_bytes(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Response<Bytes> {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("authorization", format!("Bearer {}", self.0.token));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).expect("a request");
        ask(&self.0.server, self.0.user_id.server_name(), self.0.door, request).await.expect("an answer")
    }

    /// The same with a body that need not be JSON.
    pub async fn ask_text(&self, method: Method, path: &str, body: Option<&str>) -> (StatusCode, String) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.0.token))
            .header("content-type", "application/json")
            .body(Bytes::from(body.unwrap_or_default().to_owned()))
            .expect("a request");
        let answer =
            ask(&self.0.server, self.0.user_id.server_name(), self.0.door, request).await.expect("an answer");
        (answer.status(), String::from_utf8_lossy(answer.body()).into_owned())
    }

    /// Creates a room.
    pub async fn create_room(&self, preset: Preset) -> OwnedRoomId {
        let preset = match preset {
            Preset::PrivateChat => "private_chat",
            Preset::TrustedPrivateChat => "trusted_private_chat",
            Preset::PublicChat => "public_chat",
        };
        self.create_room_with(&json!({ "preset": preset })).await
    }

    /// Creates a room with these wishes.
    pub async fn create_room_with(&self, wishes: &Value) -> OwnedRoomId {
        let answer = self.call(Method::POST, "/createRoom", Some(wishes)).await;
        RoomId::parse(answer["room_id"].as_str().expect("a room id")).expect("a room id")
    }

    /// Asks a user in.
    pub async fn invite(&self, room: &RoomId, user: &UserId) {
        self.act(room, "invite", &json!({ "user_id": user })).await;
    }

    /// Joins a room, with the help of this server if ours does not know it.
    pub async fn join(&self, room: &RoomId, via: &str) {
        self.try_join(room, via).await.expect("joined");
    }

    /// As [`User::join`].
    ///
    /// # Errors
    /// [`Refusal`]
    pub async fn try_join(&self, room: &RoomId, via: &str) -> Result<(), Refusal> {
        let path = format!("/join/{}?server_name={via}&via={via}", escaped(room.as_str()));
        self.try_call(Method::POST, &path, Some(&json!({}))).await.map(|_| ())
    }

    /// Leaves a room.
    pub async fn leave(&self, room: &RoomId) {
        self.act(room, "leave", &json!({})).await;
    }

    /// Kicks a user.
    pub async fn kick(&self, room: &RoomId, user: &UserId) {
        self.act(room, "kick", &json!({ "user_id": user })).await;
    }

    /// Bans a user.
    pub async fn ban(&self, room: &RoomId, user: &UserId) {
        self.act(room, "ban", &json!({ "user_id": user })).await;
    }

    async fn act(&self, room: &RoomId, what: &str, body: &Value) {
        self.call(Method::POST, &format!("/rooms/{}/{what}", escaped(room.as_str())), Some(body)).await;
    }

    /// Sends a text message.
    pub async fn send(&self, room: &RoomId, text: &str) -> OwnedEventId {
        self.try_send(room, text).await.expect("sent")
    }

    /// As [`User::send`].
    ///
    /// # Errors
    /// [`Refusal`]
    pub async fn try_send(&self, room: &RoomId, text: &str) -> Result<OwnedEventId, Refusal> {
        let txn = {
            let mut txn = self.0.txn.lock();
            *txn += 1;
            *txn
        };
        let path = format!("/rooms/{}/send/m.room.message/{txn}", escaped(room.as_str()));
        let answer =
            self.try_call(Method::PUT, &path, Some(&json!({ "msgtype": "m.text", "body": text }))).await?;
        Ok(event_id(&answer))
    }

    /// Sets state.
    pub async fn set_state(&self, room: &RoomId, kind: &str, key: &str, content: &Value) -> OwnedEventId {
        let path = format!("/rooms/{}/state/{kind}/{}", escaped(room.as_str()), escaped(key));
        event_id(&self.call(Method::PUT, &path, Some(content)).await)
    }

    /// The state of a room as the server gives it now, by type and state key.
    pub async fn state(&self, room: &RoomId) -> Vec<Value> {
        let answer = self.call(Method::GET, &format!("/rooms/{}/state", escaped(room.as_str())), None).await;
        answer.as_array().cloned().unwrap_or_default()
    }

    /// Tags a room.
    pub async fn set_tag(&self, room: &RoomId, tag: &str) {
        let user = escaped(self.0.user_id.as_str());
        let path = format!("/user/{user}/rooms/{}/tags/{}", escaped(room.as_str()), escaped(tag));
        self.call(Method::PUT, &path, Some(&json!({}))).await;
    }

    /// The texts of a room, oldest first, read back from now with `/messages`.
    pub async fn history(&self, room: &RoomId) -> Vec<String> {
        let mut texts = Vec::new();
        let mut from = String::new();
        loop {
            let path = format!("/rooms/{}/messages?dir=b&limit=50{from}", escaped(room.as_str()));
            let answer = self.call(Method::GET, &path, None).await;
            let chunk = answer["chunk"].as_array().cloned().unwrap_or_default();
            texts
                .extend(chunk.iter().filter_map(|event| Some(event["content"]["body"].as_str()?.to_owned())));
            match answer["end"].as_str() {
                Some(end) => from = format!("&from={end}"),
                None => break,
            }
        }
        texts.reverse();
        texts
    }

    /// One `/sync` after the last one, which waits for news for so long at most (by the net's clock).
    pub async fn sync(&self, wait: Duration) -> Seen {
        let since = self.0.seen.lock().since.clone();
        let since = since.map(|since| format!("&since={}", escaped(&since))).unwrap_or_default();
        let path = format!("/sync?timeout={}{since}", wait.as_millis());
        let answer = self.call(Method::GET, &path, None).await;
        let mut seen = self.0.seen.lock();
        seen.take(&answer);
        seen.clone()
    }

    /// Syncs until what the device has seen is as wanted.
    ///
    /// # Panics
    /// When that has not come after a minute of real time.
    pub async fn sync_until(&self, wanted: impl Fn(&Seen) -> bool) -> Seen {
        let wait = async {
            loop {
                let seen = self.0.seen.lock().clone();
                if wanted(&seen) {
                    return seen;
                }
                self.sync(Duration::from_secs(10)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(seen) => seen,
            Err(_) => panic!("{} waited in vain; it has seen {:#?}", self.0.user_id, self.0.seen.lock()),
        }
    }
}

fn event_id(answer: &Value) -> OwnedEventId {
    answer["event_id"].as_str().and_then(|id| id.try_into().ok()).expect("an event id")
}

/// A segment of a path, or a value of a query.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(byte.into()),
            _ => write!(escaped, "%{byte:02X}").expect("a string takes all"),
        }
    }
    escaped
}

async fn call(
    server: &Server,
    name: &ServerName,
    token: Option<&str>,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Value, Refusal> {
    call_at(server, name, None, token, method, path, body).await
}

async fn call_at(
    server: &Server,
    name: &ServerName,
    door: Option<SocketAddr>,
    token: Option<&str>,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Value, Refusal> {
    let repeatable = method != Method::POST;
    let attempts = async {
        loop {
            server.machine.wait_up().await;
            let mut request = Request::builder().method(&method).uri(path);
            if let Some(token) = token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
            let request = request.header("content-type", "application/json").body(Bytes::from(body));
            match ask(server, name, door, request.expect("a request")).await {
                // A server that is going down while it answers.
                Ok(answer) if answer.status().is_server_error() && !server.machine.is_up() => {}
                Ok(answer) => return judge(&answer),
                Err(_) if repeatable || !server.machine.is_up() => tokio::task::yield_now().await,
                Err(error) => panic!("{method} {path}: {error}"),
            }
        }
    };
    match tokio::time::timeout(PATIENCE, attempts).await {
        Ok(answer) => answer,
        Err(_) => panic!("no answer to {method} {path}"),
    }
}

async fn ask(
    server: &Server,
    name: &ServerName,
    door: Option<SocketAddr>,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, String> {
    let Some(address) = door.or_else(|| server.machine.address_for_users()) else {
        return server.machine.answer(name, request).await.map_err(|error| error.to_string());
    };
    let (mut head, body) = request.into_parts();
    head.uri = format!("http://{address}{}", head.uri).parse().expect("a URI");
    head.headers.insert("host", name.as_str().parse().expect("a host"));
    let client = Client::builder(TokioExecutor::new()).build_http();
    let answer = client.request(Request::from_parts(head, Full::new(body))).await;
    let (head, body) = answer.map_err(|error| error.to_string())?.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    Ok(Response::from_parts(head, body))
}

fn judge(answer: &Response<Bytes>) -> Result<Value, Refusal> {
    let value: Value = serde_json::from_slice(answer.body()).unwrap_or(Value::Null);
    if answer.status().is_success() {
        return Ok(value);
    }
    let code = value["errcode"].as_str().unwrap_or_default().to_owned();
    Err(Refusal { status: answer.status(), code, answer: value })
}
