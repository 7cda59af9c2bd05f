//! Connections to servers that the configuration names, in whatever network they are, and single questions on them.

use std::{sync::Arc, time::Duration};

use base::Clock;
use bytes::Bytes;
use http::{HeaderName, Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// A connection, with or without TLS.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Connects to the host of an address.
///
/// # Errors
/// Why that was not possible, for the log.
pub(crate) async fn connect(tls: &Arc<ClientConfig>, uri: &Uri) -> Result<Box<dyn Wire>, String> {
    let host = uri.host().ok_or("the address names no host")?;
    // As a socket wants it: without the brackets of an IPv6 address.
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let stream = TcpStream::connect((bare, port)).await.map_err(|error| error.to_string())?;
    if !is_tls {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(bare.to_owned()).map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(tls.clone());
    Ok(Box::new(connector.connect(name, stream).await.map_err(|error| error.to_string())?))
}

/// What is asked of a server.
pub(crate) struct Question {
    pub(crate) method: Method,
    /// The whole address.
    pub(crate) url: String,
    /// Headers besides those that every question has.
    pub(crate) headers: Vec<(HeaderName, String)>,
    pub(crate) body: Bytes,
    /// How large the answer may be, in bytes.
    pub(crate) largest: usize,
}

/// What a server answers.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// How long it wishes to be left alone.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Bytes,
}

/// Asks on a connection of its own, which ends with the question, for an answer in JSON. No redirect is followed, and the time is
/// for the caller to bound.
///
/// # Errors
/// Why there is no answer, for the log.
pub(crate) async fn ask(
    tls: &Arc<ClientConfig>,
    question: Question,
    clock: &Clock,
) -> Result<Answer, String> {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let uri: Uri = question.url.parse().map_err(|error: http::uri::InvalidUri| told(&error))?;
    let wire = connect(tls, &uri).await?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(wire)).await.map_err(|error| told(&error))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let mut request = Request::builder()
        .method(question.method)
        .uri(path)
        .header(header::HOST, host)
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, "Yakuba")
        .header(header::CONNECTION, "close");
    for (name, value) in question.headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(question.body)).map_err(|error| told(&error))?;
    let ask = async {
        let response = sender.send_request(request).await.map_err(|error| told(&error))?;
        let status = response.status().as_u16();
        let text = |name: HeaderName| response.headers().get(name)?.to_str().ok();
        let retry_after = text(header::RETRY_AFTER)
            .and_then(|wish| base::retry_after(wish, text(header::DATE), clock.now()));
        let body = Limited::new(response.into_body(), question.largest).collect().await;
        Ok(Answer { status, retry_after, body: body.map_err(|error| told(&error))?.to_bytes() })
    };
    tokio::pin!(ask, connection);
    // The connection is carried on here and not by a task of its own: it ends with the question.
    tokio::select! {
        answer = &mut ask => answer,
        ended = &mut connection => match ended {
            // What came before its end is there still.
            Ok(()) => ask.await,
            Err(error) => Err(told(&error)),
        },
    }
}
