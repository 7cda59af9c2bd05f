//! Connections to servers that the configuration names, in whatever network they are.

use std::sync::Arc;

use http::Uri;
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
