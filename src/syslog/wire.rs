//! The way to a log server.

#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::{io, sync::Arc, time::Duration};

use base::Clock;
use socket2::{SockRef, Socket};
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

/// Octets that the system keeps for a connection at most, about. A slow log server makes room bit by bit: with more, what it
/// reads in half a minute would seem nothing. Enough for some megabytes a second.
const KEPT_BY_SYSTEM: usize = 128 * 1024;

/// A connection, and what its network knows of it.
pub(crate) struct Way {
    pub(crate) stream: Box<dyn Stream>,
    pub(crate) socket: Socket,
}

/// Connects, with TLS where that is set.
///
/// # Errors
/// [`Fault::Unreachable`], [`Fault::Tls`], [`Fault::Silent`].
pub(crate) async fn connect(settings: &Settings, clock: &Clock) -> Result<Way, Fault> {
    let Settings { place, tls, bounds, .. } = settings;
    let connecting = open(place, tls.as_ref(), bounds.confirming);
    clock.timeout(bounds.connecting, connecting).await.map_err(|_| Fault::Silent)?
}

async fn open(place: &Place, tls: Option<&Arc<ClientConfig>>, confirming: Duration) -> Result<Way, Fault> {
    let unreachable = |error: io::Error| Fault::Unreachable(told(&error));
    let stream = TcpStream::connect((place.host.as_str(), place.port)).await.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let known = SockRef::from(&stream);
    known.set_send_buffer_size(KEPT_BY_SYSTEM).map_err(unreachable)?;
    let socket = known.try_clone().map_err(unreachable)?;
    // Without it a peer that has lost its power is noticed after a quarter of an hour, and what was written meanwhile is lost.
    #[cfg(target_os = "linux")]
    known.set_tcp_user_timeout(Some(confirming)).map_err(unreachable)?;
    #[cfg(not(target_os = "linux"))]
    let _: Duration = confirming;
    let Some(tls) = tls else { return Ok(Way { stream: Box::new(stream), socket }) };
    let name = ServerName::try_from(place.host.clone()).map_err(|error| Fault::Tls(error.to_string()))?;
    let connector = TlsConnector::from(tls.clone());
    let stream = connector.connect(name, stream).await.map_err(|error| Fault::Tls(told(&error)))?;
    Ok(Way { stream: Box::new(stream), socket })
}

/// Octets that were written to a connection and that the other system has not confirmed yet: they are here still, whoever
/// thinks that they are sent.
///
/// # Errors
/// When the system does not say.
pub(crate) fn unconfirmed(socket: &Socket) -> io::Result<u64> {
    #[cfg(target_os = "linux")]
    {
        let mut octets: libc::c_int = 0;
        #[expect(unsafe_code, reason = "the system has no other way to ask")]
        // SAFETY: the socket is open as long as it is lent, and the system writes one number to where there is one.
        let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut octets) };
        match done {
            0 => Ok(u64::try_from(octets).unwrap_or(0)),
            _ => Err(io::Error::last_os_error()),
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _: &Socket = socket;
        Ok(0)
    }
}

/// How long a log server has to refuse us after the handshake, where somebody only looks.
const LOOKED: Duration = Duration::from_secs(1);

/// Whether a log server takes a connection of ours; nothing is sent.
///
/// # Errors
/// Why not.
pub async fn look(settings: &Settings, clock: &Clock) -> Result<(), Fault> {
    let Way { mut stream, .. } = connect(settings, clock).await?;
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
