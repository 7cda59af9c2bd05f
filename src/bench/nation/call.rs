//! [`Line`]: the way of peers to the server under test.

use std::{net::SocketAddr, sync::atomic::Ordering, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpSocket;
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

use super::{identity::now_ms, names::SUBJECT, peer::Peer};

/// No single request of a peer may take longer than this.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);

/// Where the server under test takes requests of others. Cheap to clone.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) address: SocketAddr,
    pub(super) tls: TlsConnector,
}

impl Line {
    /// A signed request of a peer, over the one connection that it keeps; `content` is canonical JSON.
    pub(super) async fn ask(
        &self,
        peer: &Peer,
        method: Method,
        uri: &str,
        content: Option<&str>,
    ) -> Result<(StatusCode, Bytes)> {
        let authorization = peer.identity.authorization(SUBJECT, method.as_str(), uri, content);
        let request = || {
            Request::builder()
                .method(method.clone())
                .uri(uri)
                .header(header::HOST, SUBJECT)
                .header(header::AUTHORIZATION, &authorization)
                .header(header::CONTENT_TYPE, "application/json")
                .body(Full::new(Bytes::copy_from_slice(content.unwrap_or_default().as_bytes())))
        };
        let asked = async {
            let mut line = peer.line.lock().await;
            // The other side closes what is idle; then the request did not come to it and is made again.
            if let Some(mut open) = line.take()
                && open.ready().await.is_ok()
                && let Ok(answer) = open.send_request(request()?).await
            {
                let status = answer.status();
                let body = answer.into_body().collect().await?.to_bytes();
                *line = Some(open);
                return Ok((status, body));
            }
            let mut open = self.connect(peer).await?;
            let answer = open.send_request(request()?).await?;
            let status = answer.status();
            let body = answer.into_body().collect().await?.to_bytes();
            *line = Some(open);
            Ok((status, body))
        };
        tokio::time::timeout(REQUEST_LIMIT, asked).await.with_context(|| format!("no answer to {uri}"))?
    }

    /// The same with an answer that must be a success.
    pub(super) async fn get(
        &self,
        peer: &Peer,
        method: Method,
        uri: &str,
        content: Option<&str>,
    ) -> Result<Bytes> {
        let (status, body) = self.ask(peer, method, uri, content).await?;
        if !status.is_success() {
            bail!("{uri}: {status} {}", String::from_utf8_lossy(&body[..body.len().min(300)]));
        }
        Ok(body)
    }

    /// Sends events in a transaction; each must be taken. One that is to come again (429) comes again.
    pub(super) async fn send(&self, peer: &Peer, events: &[Bytes]) -> Result<()> {
        let number = peer.sent.fetch_add(1, Ordering::Relaxed);
        let uri = format!("/_matrix/federation/v1/send/nation{number}");
        let events: Vec<&str> =
            events.iter().map(|event| std::str::from_utf8(event)).collect::<Result<_, _>>()?;
        let (name, now) = (&peer.identity.name, now_ms());
        let content =
            format!("{{\"origin\":\"{name}\",\"origin_server_ts\":{now},\"pdus\":[{}]}}", events.join(","));
        let answer = loop {
            let (status, answer) = self.ask(peer, Method::PUT, &uri, Some(&content)).await?;
            match status {
                StatusCode::TOO_MANY_REQUESTS => tokio::time::sleep(Duration::from_millis(200)).await,
                StatusCode::OK => break answer,
                _ => bail!("{uri}: {status} {}", String::from_utf8_lossy(&answer[..answer.len().min(300)])),
            }
        };
        let answer: serde_json::Value = serde_json::from_slice(&answer)?;
        let refused: Vec<String> = answer["pdus"]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, verdict)| verdict.get("error").is_some())
            .map(|(id, verdict)| format!("{id}: {verdict}"))
            .collect();
        ensure!(refused.is_empty(), "events were refused: {refused:?}");
        Ok(())
    }

    async fn connect(&self, peer: &Peer) -> Result<SendRequest<Full<Bytes>>> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(peer.address.ip(), 0))?;
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        let stream = self.tls.connect(ServerName::try_from(SUBJECT)?, stream).await?;
        let (open, connection) = handshake(TokioIo::new(stream)).await?;
        // Its end shows in the request that is made on it.
        tokio::spawn(connection);
        Ok(open)
    }
}
