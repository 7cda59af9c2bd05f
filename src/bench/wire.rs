//! One connection to a homeserver, kept open, for callers of any authority.
//!
//! The client shares the processor with the server that it measures, so it does nothing that is not needed: a
//! caller's headers are made once, an answer is not parsed here, and a reader has a connection of its own instead
//! of a place in a pool.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// No single request may take longer than this, however long it may wait for news.
const REQUEST_LIMIT: Duration = Duration::from_secs(120);

/// Who asks: the authority whose face is asked, and the token.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) host: HeaderValue,
    pub(crate) bearer: Option<HeaderValue>,
}

/// A connection. One request at a time; it is made anew when the server has ended it meanwhile.
#[derive(Debug)]
pub(crate) struct Wire {
    address: SocketAddr,
    open: Option<SendRequest<Full<Bytes>>>,
}

impl Wire {
    /// A connection to this address, which is made with the first request.
    pub(crate) fn to(address: SocketAddr) -> Self {
        Self { address, open: None }
    }

    /// Asks and reads the whole answer; a status of 400 or more is an error.
    pub(crate) async fn ask(
        &mut self,
        caller: &Caller,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Bytes> {
        let mut request = Request::builder().method(&method).uri(path).header(header::HOST, &caller.host);
        if let Some(bearer) = &caller.bearer {
            request = request.header(header::AUTHORIZATION, bearer);
        }
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(body))?;
        let answer = tokio::time::timeout(REQUEST_LIMIT, async {
            let answer = self.connection().await?.send_request(request).await?;
            let status = answer.status();
            anyhow::Ok((status, answer.into_body().collect().await?.to_bytes()))
        });
        let answered = answer.await.context("no answer within 120 s").flatten();
        let (status, body) = match answered {
            Ok(answered) => answered,
            Err(error) => {
                self.open = None;
                return Err(error.context(format!("{method} {path}")));
            }
        };
        if status.is_client_error() || status.is_server_error() {
            bail!("{method} {path}: {status} {}", String::from_utf8_lossy(&body[..body.len().min(300)]));
        }
        Ok(body)
    }

    async fn connection(&mut self) -> Result<&mut SendRequest<Full<Bytes>>> {
        // The server ends connections on which nobody has asked for a minute; nothing was sent on such a one.
        let usable = match &mut self.open {
            Some(open) => open.ready().await.is_ok(),
            None => false,
        };
        if !usable {
            self.open = None;
        }
        match &mut self.open {
            Some(open) => Ok(open),
            none => Ok(none.insert(connect(self.address).await?)),
        }
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (open, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with its last handle; what goes wrong on it is told to whoever waits for the answer.
    tokio::spawn(async move { connection.await.ok() });
    Ok(open)
}
