//! A small HTTP client for the commands: JSON over plain HTTP to a server of ours.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{HeaderName, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

/// Nothing that the commands ask takes longer.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Asks one server; cheap to clone.
#[derive(Clone)]
pub(crate) struct Asker {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
    operator: Option<String>,
}

/// Who asks at the command line, for the audit log.
pub(crate) const OPERATOR: HeaderName = HeaderName::from_static("yakuba-operator");

/// Who runs this command, for the audit log: the user of this process, and who became it by `sudo`.
pub(crate) fn operator() -> String {
    let uid = rustix::process::getuid().as_raw();
    let before: String = std::env::var("SUDO_USER").unwrap_or_default();
    // A request carries it in a header.
    let before: String = before.chars().filter(char::is_ascii_graphic).take(64).collect();
    if before.is_empty() { format!("uid {uid}") } else { format!("uid {uid} (sudo {before})") }
}

impl Asker {
    /// Asks the server at this URL, `http://` with host and port.
    pub(crate) fn new(base: impl Into<String>) -> Asker {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Asker { client, base: base.into(), operator: None }
    }

    /// Says with each request who asks.
    pub(crate) fn by(self, operator: String) -> Asker {
        Asker { operator: Some(operator), ..self }
    }

    /// Asks, and gives status and body whatever they are. A body that is no JSON is null.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(operator) = &self.operator {
            request = request.header(OPERATOR, operator);
        }
        let bytes = match body {
            Some(body) => Bytes::from(serde_json::to_vec(body)?),
            None => Bytes::new(),
        };
        let request = request.header(header::CONTENT_TYPE, "application/json").body(Full::new(bytes))?;
        let response = async {
            let response = self.client.request(request).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            anyhow::Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
        };
        tokio::time::timeout(TIMEOUT, response)
            .await
            .with_context(|| crate::texts::tr!("時間内に答えがありません", "no answer in time"))?
    }

    /// Asks, and takes nothing but a success.
    pub(crate) async fn must(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let name = format!("{method} {path}");
        let (status, body) = self.ask(method, path, token, body).await.with_context(|| name.clone())?;
        if !status.is_success() {
            bail!(crate::texts::tr!("{name} が断られました: {status}: {body}", "{name}: {status}: {body}"));
        }
        Ok(body)
    }
}
