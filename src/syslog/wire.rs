//! The way to a log server.

use std::{io, sync::Arc, time::Duration};

use base::Clock;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};

use crate::{
    fault::Fault,
    settings::{Place, Settings},
};

/// Longest text of the system or the library that is kept of a failure, in letters.
const LONGEST: usize = 200;

/// A connection, whatever is below it.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// Connects, with TLS where that is set.
///
/// # Errors
/// [`Fault::Unreachable`], [`Fault::Tls`], [`Fault::Silent`].
pub(crate) async fn connect(settings: &Settings, clock: &Clock) -> Result<Box<dyn Stream>, Fault> {
    let Settings { place, tls, bounds, .. } = settings;
    let connecting = open(place, tls.as_ref(), bounds.confirming);
    clock.timeout(bounds.connecting, connecting).await.map_err(|_| Fault::Silent)?
}

async fn open(
    place: &Place,
    tls: Option<&Arc<ClientConfig>>,
    confirming: Duration,
) -> Result<Box<dyn Stream>, Fault> {
    let unreachable = |error: io::Error| Fault::Unreachable(told(&error));
    let stream = TcpStream::connect((place.host.as_str(), place.port)).await.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    // Without it a peer that has lost its power is noticed after a quarter of an hour, and what was written meanwhile is lost.
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(confirming)).map_err(unreachable)?;
    #[cfg(not(target_os = "linux"))]
    let _: Duration = confirming;
    let Some(tls) = tls else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from(place.host.clone()).map_err(|error| Fault::Tls(error.to_string()))?;
    let connector = TlsConnector::from(tls.clone());
    let stream = connector.connect(name, stream).await.map_err(|error| Fault::Tls(told(&error)))?;
    Ok(Box::new(stream))
}

/// How long a log server has to refuse us after the handshake, where somebody only looks.
const LOOKED: Duration = Duration::from_secs(1);

/// Whether a log server takes a connection of ours; nothing is sent.
///
/// # Errors
/// Why not.
pub async fn look(settings: &Settings, clock: &Clock) -> Result<(), Fault> {
    let mut stream = connect(settings, clock).await?;
    clock.timeout(LOOKED, listen(&mut stream)).await.map_or(Ok(()), Err)
}

/// Waits until the peer ends the connection, which is all that it may say: also how it refuses our certificate, after the
/// handshake (RFC 8446, section 4.4.2.4).
pub(crate) async fn listen(reader: &mut (impl AsyncRead + Unpin)) -> Fault {
    match reader.read(&mut [0; 64]).await {
        Ok(0) => Fault::Closed("EOF".to_owned()),
        Ok(_) => Fault::Speaks,
        Err(error) => Fault::Closed(told(&error)),
    }
}

pub(crate) fn told(error: &dyn std::error::Error) -> String {
    error.to_string().chars().take(LONGEST).collect()
}
