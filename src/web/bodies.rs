//! Bodies of requests: how they are read, and how much of them may be in memory at once.
//!
//! A body is charged, byte by byte as it arrives, to the process and to whoever sends it, and stays
//! charged until its request is answered. Who would go over a bound is refused before more is taken.
//! Those who have not proved who they are share a part of the whole, so that strangers cannot keep
//! users out; a server's signature covers its body, so a server is a stranger until its body is here.
//!
//! A file that a user uploads is never in memory: its handler takes it part by part ([`BodyStream`]), and it is charged to
//! nobody.

use std::{collections::HashMap, sync::Arc, time::Duration};

use base::{ByteSize, Clock, Gauge, Instant, Metrics};
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use parking_lot::Mutex;
use ruma::{OwnedServerName, OwnedUserId, UserId};

use crate::{Address, ApiError, Body, Kit};

/// A body that takes longer to arrive is given up.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// A streamed one has besides the time that what has come of it takes at so many bytes a second. So whoever sends next to
/// nothing keeps no place of those who upload, however large he says his file to be.
const SLOWEST_STREAM: u64 = 32 << 10;

/// So is one of which nothing has come for so long.
pub(crate) const BODY_PAUSE: Duration = Duration::from_secs(15);

/// How many bytes of bodies are held at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyBounds {
    /// Of all requests together.
    pub all: ByteSize,
    /// Of requests whose callers have not proved who they are.
    pub strangers: ByteSize,
    /// Of strangers from one address.
    pub address: ByteSize,
    /// Of one other server.
    pub peer: ByteSize,
    /// Of one user.
    pub user: ByteSize,
}

impl BodyBounds {
    /// Bounds for a process that spends so much on bodies. The parts are never less than what the
    /// largest request needs.
    pub fn of(all: ByteSize) -> BodyBounds {
        let part =
            |eighths: u64| ByteSize::bytes((all.as_u64() / 8 * eighths).max(ByteSize::mib(17).as_u64()));
        BodyBounds { all, strangers: part(6), address: part(2), peer: part(2), user: part(2) }
    }
}

impl Default for BodyBounds {
    fn default() -> BodyBounds {
        BodyBounds::of(ByteSize::mib(192))
    }
}

/// To whom bytes are charged.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// The process.
    All,
    /// All who have not proved who they are.
    Strangers,
    /// A stranger's address.
    Address(Address),
    /// Another server.
    Peer(OwnedServerName),
    /// A user of ours.
    User(OwnedUserId),
    /// The identity systems of an authority.
    Source(OwnedServerName),
}

/// The bytes of all bodies that are in memory.
pub(crate) struct Bodies {
    bounds: BodyBounds,
    /// Whoever holds nothing is not in it.
    held: Mutex<HashMap<Holder, usize>>,
    gauge: Gauge,
}

impl Bodies {
    pub(crate) fn new(bounds: BodyBounds, metrics: &Metrics) -> Arc<Bodies> {
        let gauge = metrics.gauge("yakuba_web_body_bytes", "Bytes of requests' bodies that are in memory");
        Arc::new(Bodies { bounds, held: Mutex::default(), gauge })
    }

    fn bound(&self, holder: &Holder) -> usize {
        match holder {
            Holder::All => self.bounds.all,
            Holder::Strangers => self.bounds.strangers,
            Holder::Address(_) => self.bounds.address,
            Holder::Peer(_) => self.bounds.peer,
            Holder::User(_) => self.bounds.user,
            Holder::Source(_) => self.bounds.peer,
        }
        .as_usize()
    }

    /// Charges all of these or none.
    fn charge(&self, holders: &[Holder], bytes: usize) -> Result<(), Full> {
        let mut held = self.held.lock();
        for holder in holders {
            let already = held.get(holder).copied().unwrap_or_default();
            if already.saturating_add(bytes) > self.bound(holder) {
                return Err(Full(holder.clone()));
            }
        }
        for holder in holders {
            *held.entry(holder.clone()).or_default() += bytes;
        }
        Ok(())
    }

    fn give_back(&self, holders: &[Holder], bytes: usize) {
        let mut held = self.held.lock();
        for holder in holders {
            if let Some(charged) = held.get_mut(holder) {
                *charged = charged.saturating_sub(bytes);
                if *charged == 0 {
                    held.remove(holder);
                }
            }
        }
    }
}

/// A bound is reached.
#[derive(Debug)]
struct Full(Holder);

impl From<Full> for ApiError {
    fn from(full: Full) -> ApiError {
        match full.0 {
            Holder::All | Holder::Strangers => {
                ApiError::unavailable("the bound on bodies in memory is reached")
            }
            Holder::Address(_) => ApiError::over("bodies_per_address", Duration::from_secs(1)),
            Holder::Peer(_) => ApiError::over("bodies_per_peer", Duration::from_secs(1)),
            Holder::User(_) => ApiError::over("bodies_per_user", Duration::from_secs(1)),
            Holder::Source(_) => ApiError::over("bodies_per_source", Duration::from_secs(1)),
        }
    }
}

/// The bytes of one body, charged for as long as this lives.
pub(crate) struct Held {
    bodies: Arc<Bodies>,
    holders: Vec<Holder>,
    bytes: usize,
}

impl Held {
    /// Nothing yet, to be charged to the process and to these.
    pub(crate) fn nothing(bodies: &Arc<Bodies>, mut holders: Vec<Holder>) -> Held {
        holders.push(Holder::All);
        Held { bodies: bodies.clone(), holders, bytes: 0 }
    }

    /// Charges bytes that have arrived.
    ///
    /// # Errors
    /// 429 or 503 when a bound would be passed; then they are not to be kept.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), ApiError> {
        self.bodies.charge(&self.holders, bytes)?;
        self.bytes += bytes;
        self.bodies.gauge.inc_by(i64::try_from(bytes).unwrap_or(i64::MAX));
        Ok(())
    }

    /// The sender has proved who it is: from now on the bytes are its own and no stranger's.
    ///
    /// # Errors
    /// 429 when it holds too many already.
    pub(crate) fn belongs_to(&mut self, holder: Holder) -> Result<(), ApiError> {
        if self.bytes == 0 {
            return Ok(());
        }
        let strange = |holder: &Holder| matches!(holder, Holder::Strangers | Holder::Address(_));
        let (given_back, mut kept): (Vec<Holder>, Vec<Holder>) =
            std::mem::take(&mut self.holders).into_iter().partition(strange);
        self.bodies.give_back(&given_back, self.bytes);
        let charged = self.bodies.charge(std::slice::from_ref(&holder), self.bytes);
        if charged.is_ok() {
            kept.push(holder);
        }
        self.holders = kept;
        Ok(charged?)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.bodies.give_back(&self.holders, self.bytes);
            self.bodies.gauge.dec_by(i64::try_from(self.bytes).unwrap_or(i64::MAX));
        }
    }
}

/// A body that is read part by part and not kept, so that it is charged to nobody.
///
/// Its parts are to be waited for one after the other: what was read and not asked for is in the connection's buffers
/// alone. One that comes too slowly is given up.
pub struct BodyStream {
    body: Limited<Body>,
    clock: Clock,
    pause: Duration,
    /// When it would have to be whole if nothing had come of it.
    end: Instant,
    received: u64,
    limit: ByteSize,
}

impl BodyStream {
    pub(crate) fn new(kit: &Kit, body: Body, limit: ByteSize) -> BodyStream {
        BodyStream {
            body: Limited::new(body, limit.as_usize()),
            clock: kit.clock.clone(),
            pause: kit.body_pause,
            end: kit.clock.instant() + kit.body_timeout,
            received: 0,
            limit,
        }
    }

    /// The next part; none at the end.
    ///
    /// # Errors
    /// 413, 408, 400. Then it is over.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        loop {
            let end = self.end + Duration::from_secs(self.received / SLOWEST_STREAM);
            let left = end.since(self.clock.instant()).min(self.pause);
            if left.is_zero() {
                return Err(too_slow());
            }
            let frame = self.clock.timeout(left, self.body.frame()).await.map_err(|_| too_slow())?;
            match frame {
                None => return Ok(None),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => {
                        let more = u64::try_from(data.len()).unwrap_or(u64::MAX);
                        self.received = self.received.saturating_add(more);
                        return Ok(Some(data));
                    }
                    // Nothing, or trailers.
                    Ok(_) | Err(_) => {}
                },
                Some(Err(error)) => return Err(broken(&error, self.limit)),
            }
        }
    }
}

/// A body that nobody has read yet: the handler finds out first who calls, by what the head shows.
///
/// So a page takes a large file of somebody who may send one, and of a stranger nothing.
pub struct LateBody {
    kit: Arc<Kit>,
    body: Body,
    limit: ByteSize,
}

/// A body that was read as somebody's, to whom it is charged for as long as this lives.
pub struct OwnBody {
    /// The body as sent.
    pub bytes: Bytes,
    _held: Held,
}

impl LateBody {
    pub(crate) fn new(kit: Arc<Kit>, body: Body, limit: ByteSize) -> LateBody {
        LateBody { kit, body, limit }
    }

    /// Reads it whole, within the route's limit, as that of this user.
    ///
    /// # Errors
    /// 413, 408, 400, and 429 or 503 where a bound is reached.
    pub async fn read_as(self, user: &UserId) -> Result<OwnBody, ApiError> {
        let mut held = Held::nothing(&self.kit.bodies, vec![Holder::User(user.to_owned())]);
        let bytes = read(&self.kit, self.body, self.limit, &mut held).await?;
        Ok(OwnBody { bytes, _held: held })
    }
}

fn too_slow() -> ApiError {
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "M_UNKNOWN", "The body took too long to arrive")
}

fn broken(error: &axum::BoxError, limit: ByteSize) -> ApiError {
    if error.is::<LengthLimitError>() {
        return ApiError::too_large(format!("The body is larger than {limit}"));
    }
    ApiError::bad_request("The body could not be read")
}

/// Reads a body of at most `limit`, charging what arrives.
///
/// # Errors
/// 413, 408, 400, and 429 or 503 where a bound is reached.
pub(crate) async fn read(kit: &Kit, body: Body, limit: ByteSize, held: &mut Held) -> Result<Bytes, ApiError> {
    let whole = read_frames(kit, Limited::new(body, limit.as_usize()), limit, held);
    match kit.clock.timeout(kit.body_timeout, whole).await {
        Ok(Ok(Some(body))) => Ok(body),
        Ok(Ok(None)) | Err(_) => Err(too_slow()),
        Ok(Err(error)) => Err(error),
    }
}

/// `None` when nothing came for too long.
async fn read_frames(
    kit: &Kit,
    mut body: Limited<Body>,
    limit: ByteSize,
    held: &mut Held,
) -> Result<Option<Bytes>, ApiError> {
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    loop {
        let Ok(frame) = kit.clock.timeout(kit.body_pause, body.frame()).await else { return Ok(None) };
        let data = match frame {
            None if more.is_empty() => return Ok(Some(first)),
            None => return Ok(Some(more.freeze())),
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(error)) => return Err(broken(&error, limit)),
        };
        if data.is_empty() {
            continue;
        }
        held.grow(data.len())?;
        // Most bodies come in one piece, which needs no copy.
        if first.is_empty() && more.is_empty() {
            first = data;
            continue;
        }
        if more.is_empty() {
            more.reserve(first.len() + data.len());
            more.extend_from_slice(&std::mem::take(&mut first));
        }
        more.extend_from_slice(&data);
    }
}
