//! The way to a directory: a connection of which every message is looked at on its way.
//!
//! The library has one end of a pair of sockets, the directory is at the other side of us. So it meets nothing that
//! [`ber`](crate::ber) has not gone through, no answer to what it has not asked, and no more bytes than a reading may have. A
//! connection serves one reading. Whatever goes wrong on it ends it: an answer that comes too late finds nobody.

use std::{
    convert::Infallible,
    io,
    os::unix::net::UnixStream as Pair,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};

use crate::{
    ber::{self, Malformed, Message, Shape},
    fault::Fault,
    settings::{Bounds, Place, Security},
};

/// Bytes that are read at once.
const BITE: usize = 64 << 10;
/// Largest request of ours.
const LARGEST_REQUEST: usize = 256 << 10;

/// A request for TLS, number 1 (RFC 4511, section 4.14.1).
const START_TLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
/// The number that no question has: the notice has it by which a directory says that it leaves (RFC 4511, section 4.4).
const NOTHING: u32 = 0;

/// A connection, whatever is below it.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects, with TLS where that is set.
///
/// # Errors
/// [`Fault::Unreachable`], [`Fault::Tls`], [`Fault::NoStartTls`], [`Fault::Silent`].
pub(crate) async fn connect(
    place: &Place,
    tls: &Arc<ClientConfig>,
    bounds: &Bounds,
) -> Result<Box<dyn Stream>, Fault> {
    let connecting = async {
        let address = (place.host.as_str(), place.port);
        let mut stream =
            TcpStream::connect(address).await.map_err(|error| Fault::Unreachable(told(&error)))?;
        stream.set_nodelay(true).map_err(|error| Fault::Unreachable(told(&error)))?;
        match place.security {
            Security::Clear => return Ok(Box::new(stream) as Box<dyn Stream>),
            Security::Tls => {}
            Security::StartTls => start_tls(&mut stream).await?,
        }
        let name = ServerName::try_from(place.host.clone()).map_err(|error| Fault::Tls(error.to_string()))?;
        let connector = TlsConnector::from(tls.clone());
        let stream = connector.connect(name, stream).await.map_err(|error| Fault::Tls(told(&error)))?;
        Ok(Box::new(stream) as Box<dyn Stream>)
    };
    timeout(bounds.connecting, connecting).await.map_err(|_| Fault::Silent)?
}

fn told(error: &io::Error) -> String {
    crate::words::short(&error.to_string())
}

/// Asks for TLS. Nothing but the answer is read before it begins: what somebody on the way puts behind the answer is no part
/// of what is said afterwards, and TLS fails over it.
async fn start_tls(stream: &mut TcpStream) -> Result<(), Fault> {
    stream.write_all(START_TLS).await.map_err(|_| Fault::Closed)?;
    let mut message = Vec::new();
    let message = loop {
        message.push(stream.read_u8().await.map_err(|_| Fault::Closed)?);
        match ber::length(&message).map_err(malformed)? {
            Some(length) if length > BITE => return Err(Fault::TooMuch("message")),
            Some(length) if length == message.len() => break ber::check(&message).map_err(malformed)?,
            _ => {}
        }
    };
    match message {
        Message { id: 1, shape: Shape::Extended, code: Some(0) } => Ok(()),
        Message { id: 1, shape: Shape::Extended, code: Some(code) } => Err(Fault::NoStartTls(code)),
        _ => Err(Fault::Malformed("no answer to StartTLS")),
    }
}

fn malformed(Malformed(what): Malformed) -> Fault {
    Fault::Malformed(what)
}

/// A pair of sockets: ours, and the library's.
///
/// # Errors
/// [`Fault::Broken`] where the system has none.
pub(crate) fn pair() -> Result<(UnixStream, Pair), Fault> {
    let broken = |error: io::Error| Fault::Broken(error.to_string());
    let (ours, theirs) = Pair::pair().map_err(broken)?;
    ours.set_nonblocking(true).map_err(broken)?;
    Ok((UnixStream::from_std(ours).map_err(broken)?, theirs))
}

/// Carries messages between the library and the directory until something is wrong, or one of them ends.
pub(crate) async fn carry(net: Box<dyn Stream>, library: UnixStream, bounds: &Bounds) -> Fault {
    let (from_net, to_net) = tokio::io::split(net);
    let (from_library, to_library) = library.into_split();
    let asked = AtomicU32::new(NOTHING);
    let carried = tokio::try_join!(
        carry_questions(from_library, to_net, &asked),
        carry_answers(from_net, to_library, &asked, bounds)
    );
    match carried {
        Err(fault) => fault,
        Ok((never, _)) => match never {},
    }
}

/// Notes of each question which it is, and passes it on.
async fn carry_questions(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    asked: &AtomicU32,
) -> Result<Infallible, Fault> {
    let mut messages = Messages::new(LARGEST_REQUEST, usize::MAX);
    loop {
        let message = messages.next(&mut from).await?;
        // Before it is sent: the answer may be there at once.
        asked.store(ber::request(message).unwrap_or(NOTHING), Ordering::Release);
        to.write_all(message).await.map_err(|_| Fault::Closed)?;
        to.flush().await.map_err(|_| Fault::Closed)?;
    }
}

/// Passes on what answers the question that is under way.
async fn carry_answers(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    asked: &AtomicU32,
    bounds: &Bounds,
) -> Result<Infallible, Fault> {
    let mut messages = Messages::new(bounds.message, bounds.bytes);
    loop {
        let bytes = messages.next(&mut from).await?;
        let message = ber::check(bytes).map_err(malformed)?;
        if message.id == NOTHING {
            return Err(Fault::Closed);
        }
        if message.id != asked.load(Ordering::Acquire) || message.shape == Shape::Extended {
            return Err(Fault::Malformed("an answer to nothing that was asked"));
        }
        if message.shape.is_last() {
            asked.store(NOTHING, Ordering::Release);
        }
        to.write_all(bytes).await.map_err(|_| Fault::Closed)?;
    }
}

/// Whole messages out of a stream of bytes.
struct Messages {
    bytes: Vec<u8>,
    /// Length of the message that was handed out last, which is still in front.
    given: usize,
    largest: usize,
    left: usize,
}

impl Messages {
    /// Of messages that are not larger than this, and so many bytes altogether.
    fn new(largest: usize, most: usize) -> Self {
        Self { bytes: Vec::new(), given: 0, largest, left: most }
    }

    /// The next one.
    async fn next(&mut self, from: &mut (impl AsyncRead + Unpin)) -> Result<&[u8], Fault> {
        self.bytes.drain(..self.given);
        self.given = 0;
        loop {
            if let Some(length) = ber::length(&self.bytes).map_err(malformed)? {
                if length > self.largest {
                    return Err(Fault::TooMuch("message"));
                }
                if self.bytes.len() >= length {
                    self.given = length;
                    return self.bytes.get(..length).ok_or(Fault::Closed);
                }
            }
            let mut bite = [0; BITE / 8];
            let count = from.read(&mut bite).await.map_err(|_| Fault::Closed)?;
            if count == 0 {
                return Err(Fault::Closed);
            }
            self.left = self.left.checked_sub(count).ok_or(Fault::TooMuch("bytes"))?;
            self.bytes.extend_from_slice(bite.get(..count).unwrap_or_default());
        }
    }
}
