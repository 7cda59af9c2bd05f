//! One user of a homeserver, over plain HTTP.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};

/// No single request may take longer than this, unless it is said otherwise.
const REQUEST_LIMIT: Duration = Duration::from_secs(120);

/// A homeserver, by the base URL of its client-server API.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    base: String,
    limit: Duration,
    http: Client<HttpConnector, Full<Bytes>>,
}

impl Server {
    /// # Errors
    /// When the URL is not plain HTTP on a loopback address: this program loads nobody else's machine.
    pub(crate) fn new(url: &str) -> Result<Self> {
        let uri: Uri = url.parse().context("the URL cannot be read")?;
        ensure!(uri.scheme_str() == Some("http"), "only http:// URLs can be driven");
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        ensure!(loopback, "{host} is not a loopback address; nothing else is ever driven");
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let http = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(256).build(connector);
        Ok(Self { base: url.trim_end_matches('/').to_owned(), limit: REQUEST_LIMIT, http })
    }

    /// The same with another limit on the time of each request.
    pub(crate) fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Waits until the server answers `GET /versions`, for two minutes at most.
    pub(crate) async fn wait_until_ready(&self, started: Instant) -> Result<()> {
        while started.elapsed() < Duration::from_secs(120) {
            if self.send(Method::GET, "/_matrix/client/versions", None, None).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        bail!("the server did not answer within 120 s")
    }

    /// Sends a request and reads the whole answer; a status of 400 or more is an error.
    async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Bytes>,
    ) -> Result<Bytes> {
        let mut request = Request::builder().method(method.clone()).uri(format!("{}{path}", self.base));
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(body.unwrap_or_default()))?;
        let answer = tokio::time::timeout(self.limit, async {
            let answer = self.http.request(request).await?;
            let status = answer.status();
            let body = answer.into_body().collect().await?.to_bytes();
            anyhow::Ok((status, body))
        });
        let (status, body) = answer.await.context("no answer in time")??;
        if status.is_client_error() || status.is_server_error() {
            bail!("{method} {path}: {status} {}", String::from_utf8_lossy(&body[..body.len().min(300)]));
        }
        Ok(body)
    }

    /// Registers an account without any verification (`m.login.dummy`), which the server must allow.
    pub(crate) async fn register(&self, name: &str) -> Result<User> {
        let password = format!("bench-password-{name}");
        let body = json!({
            "username": name, "password": password, "auth": { "type": "m.login.dummy" },
        });
        let body = Bytes::from(serde_json::to_vec(&body)?);
        let answer = self.send(Method::POST, "/_matrix/client/v3/register", None, Some(body)).await?;
        User::from_login(self.clone(), &answer, password)
    }

    /// Logs in with a password, as a new device.
    pub(crate) async fn log_in(&self, user_id: &str, password: &str) -> Result<User> {
        let body = json!({
            "type": "m.login.password", "password": password,
            "identifier": { "type": "m.id.user", "user": user_id },
        });
        let body = Bytes::from(serde_json::to_vec(&body)?);
        let answer = self.send(Method::POST, "/_matrix/client/v3/login", None, Some(body)).await?;
        User::from_login(self.clone(), &answer, password.to_owned())
    }
}

/// A logged-in user.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) password: String,
    server: Server,
    token: String,
    transactions: AtomicU64,
}

impl User {
    fn from_login(server: Server, answer: &[u8], password: String) -> Result<Self> {
        let answer: Value = serde_json::from_slice(answer)?;
        let text = |key: &str| answer[key].as_str().map(str::to_owned).with_context(|| format!("no {key}"));
        Ok(Self {
            id: text("user_id")?,
            password,
            server,
            token: text("access_token")?,
            transactions: AtomicU64::new(0),
        })
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Bytes> {
        let body = body.map(serde_json::to_vec).transpose()?.map(Bytes::from);
        self.server.send(method, path, Some(&self.token), body).await
    }

    /// Creates a public room and returns its id.
    pub(crate) async fn create_room(&self, name: &str) -> Result<String> {
        let body = json!({ "preset": "public_chat", "name": name });
        let answer = self.call(Method::POST, "/_matrix/client/v3/createRoom", Some(&body)).await?;
        let answer: Value = serde_json::from_slice(&answer)?;
        Ok(answer["room_id"].as_str().context("no room_id")?.to_owned())
    }

    pub(crate) async fn join(&self, room: &str) -> Result<()> {
        let path = format!("/_matrix/client/v3/join/{}", escape(room));
        self.call(Method::POST, &path, Some(&json!({}))).await.map(|_| ())
    }

    /// Sends a text message and returns once the server has acknowledged it.
    pub(crate) async fn message(&self, room: &str, body: &str) -> Result<()> {
        self.put_message(room, body).await.map(drop)
    }

    async fn put_message(&self, room: &str, body: &str) -> Result<Bytes> {
        let n = self.transactions.fetch_add(1, Ordering::Relaxed);
        let path = format!("/_matrix/client/v3/rooms/{}/send/m.room.message/bench{n}", escape(room));
        let body = json!({ "msgtype": "m.text", "body": body });
        self.call(Method::PUT, &path, Some(&body)).await
    }

    /// Joins a room of another server with the help of that server.
    pub(crate) async fn join_through(&self, room: &str, server: &str) -> Result<()> {
        let (room, via) = (escape(room), escape(server));
        let path = format!("/_matrix/client/v3/join/{room}?server_name={via}&via={via}");
        self.call(Method::POST, &path, Some(&json!({}))).await.map(|_| ())
    }

    /// Sends a text message and returns its event id.
    pub(crate) async fn tell(&self, room: &str, body: &str) -> Result<String> {
        let answer: Value = serde_json::from_slice(&self.put_message(room, body).await?)?;
        Ok(answer["event_id"].as_str().context("no event_id")?.to_owned())
    }

    /// Whether the server shows this event of a room.
    pub(crate) async fn sees(&self, room: &str, event: &str) -> bool {
        let path = format!("/_matrix/client/v3/rooms/{}/event/{}", escape(room), escape(event));
        self.call(Method::GET, &path, None).await.is_ok()
    }

    /// How many members of a room the server knows as joined.
    pub(crate) async fn joined_members(&self, room: &str) -> Result<usize> {
        let path = format!("/_matrix/client/v3/rooms/{}/joined_members", escape(room));
        let answer: Value = serde_json::from_slice(&self.call(Method::GET, &path, None).await?)?;
        Ok(answer["joined"].as_object().context("no members")?.len())
    }

    /// A page of a room's timeline, newest first: the ids of its events, and where the next page begins.
    pub(crate) async fn page_back(
        &self,
        room: &str,
        from: Option<&str>,
    ) -> Result<(Vec<String>, Option<String>)> {
        let mut path = format!("/_matrix/client/v3/rooms/{}/messages?dir=b&limit=500", escape(room));
        if let Some(from) = from {
            path.push_str("&from=");
            path.push_str(&escape(from));
        }
        let answer: Value = serde_json::from_slice(&self.call(Method::GET, &path, None).await?)?;
        let chunk = answer["chunk"].as_array().context("no chunk")?;
        let ids = chunk.iter().filter_map(|event| event["event_id"].as_str().map(str::to_owned)).collect();
        Ok((ids, answer["end"].as_str().map(str::to_owned)))
    }

    /// One `/sync`; returns the raw answer.
    pub(crate) async fn sync(
        &self,
        since: Option<&str>,
        wait: Duration,
        filter: Option<&str>,
    ) -> Result<Bytes> {
        let mut path = format!("/_matrix/client/v3/sync?timeout={}", wait.as_millis());
        if let Some(since) = since {
            path.push_str("&since=");
            path.push_str(&escape(since));
        }
        if let Some(filter) = filter {
            path.push_str("&filter=");
            path.push_str(&escape(filter));
        }
        self.call(Method::GET, &path, None).await
    }
}

/// A first answer to `/sync`, with when it came.
#[derive(Debug)]
pub(crate) struct TimedAnswer {
    /// Until its first byte.
    pub(crate) first_byte: Duration,
    /// Until its last one.
    pub(crate) whole: Duration,
    /// How large it is.
    pub(crate) bytes: usize,
}

impl User {
    /// A first `/sync`, read as it comes and dropped.
    pub(crate) async fn sync_timed(&self) -> Result<TimedAnswer> {
        let begun = Instant::now();
        let request = Request::builder()
            .uri(format!("{}/_matrix/client/v3/sync?timeout=0", self.server.base))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .body(Full::default())?;
        let answer = self.server.http.request(request).await?;
        ensure!(answer.status().is_success(), "GET /sync: {}", answer.status());
        let mut body = answer.into_body();
        let (mut first_byte, mut bytes) = (None, 0);
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                first_byte.get_or_insert_with(|| begun.elapsed());
                bytes += data.len();
            }
        }
        let whole = begun.elapsed();
        Ok(TimedAnswer { first_byte: first_byte.unwrap_or(whole), whole, bytes })
    }

    /// One request of sliding sync that waits for nothing; returns the raw answer.
    pub(crate) async fn slide(&self, pos: Option<&str>, body: &Value) -> Result<Bytes> {
        let mut path = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync?timeout=0".to_owned();
        if let Some(pos) = pos {
            path.push_str("&pos=");
            path.push_str(&escape(pos));
        }
        self.call(Method::POST, &path, Some(body)).await
    }
}

/// The token for the next sync, cut out without parsing the rest.
pub(crate) fn next_batch(answer: &[u8]) -> Result<String> {
    #[derive(serde::Deserialize)]
    struct Next {
        next_batch: String,
    }
    Ok(serde_json::from_slice::<Next>(answer)?.next_batch)
}

/// Percent-encodes what may not stand in a path segment or query value.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
