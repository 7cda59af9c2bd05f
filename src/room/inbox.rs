//! The inbox: PDUs of other servers, stored and answered for at once, worked on room by room.
//!
//! A transaction is answered when its PDUs are on disk. One worker per active room takes them in the
//! order of arrival; rooms do not wait for each other. A PDU leaves the inbox in the batch that
//! stores its event, so a crash at any point loses nothing and doubles nothing; one that cannot be
//! judged leaves it too, so that it does not stall the room.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use pdu::{Pdu, Verified};
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, ServerName};
use serde::Deserialize;
use serde_json::value::RawValue;
use store::{Batch, Order, Range};
use tokio::sync::Semaphore;
use tracing::{debug, error, warn};

use crate::{
    Error, Rooms,
    ids::{InboxSerial, RoomSerial},
    read::room::RoomInfo,
    receive::{Arrival, Received},
    tables::{INBOX, InboxRow},
};

/// How many PDUs a worker takes at a time.
const BITE: usize = 50;

/// How long a worker waits after a failure of the store before it goes on.
const PAUSE: Duration = Duration::from_secs(2);

/// The answer for one PDU of a transaction.
#[derive(Debug)]
pub struct PduAnswer {
    /// Its id.
    pub event_id: OwnedEventId,
    /// `Ok`: we have it now. Whether its room accepts it is another question.
    pub result: Result<(), Error>,
}

/// Who works on which room's inbox.
pub(crate) struct Workers {
    /// Rooms with a worker; true: something arrived since it looked last.
    active: Mutex<HashMap<RoomSerial, bool>>,
    /// Rooms that are being joined: their PDUs wait until we are in.
    joining: Mutex<HashMap<OwnedRoomId, usize>>,
    seats: Arc<Semaphore>,
}

impl Workers {
    pub(crate) fn new(seats: usize) -> Self {
        Self {
            active: Mutex::default(),
            joining: Mutex::default(),
            seats: Arc::new(Semaphore::new(seats.max(1))),
        }
    }

    /// Notes that a room is being joined, until the mark is dropped.
    pub(crate) fn mark_joining(&self, room_id: &OwnedRoomId) -> JoinMark<'_> {
        *self.joining.lock().entry(room_id.clone()).or_default() += 1;
        JoinMark { workers: self, room_id: room_id.clone() }
    }

    fn is_joining(&self, room_id: &OwnedRoomId) -> bool {
        self.joining.lock().contains_key(room_id)
    }

    /// Whether the caller has to start a worker.
    fn claim(&self, room: RoomSerial) -> bool {
        let mut active = self.active.lock();
        match active.get_mut(&room) {
            Some(again) => {
                *again = true;
                false
            }
            None => {
                active.insert(room, false);
                true
            }
        }
    }

    /// A worker found nothing. True: it may go; false: something arrived meanwhile.
    fn release(&self, room: RoomSerial) -> bool {
        let mut active = self.active.lock();
        match active.get_mut(&room) {
            Some(again) if *again => {
                *again = false;
                false
            }
            _ => {
                active.remove(&room);
                true
            }
        }
    }
}

/// A room is being joined while this lives.
pub(crate) struct JoinMark<'a> {
    workers: &'a Workers,
    room_id: OwnedRoomId,
}

impl Drop for JoinMark<'_> {
    fn drop(&mut self) {
        let mut joining = self.workers.joining.lock();
        if let Some(count) = joining.get_mut(&self.room_id) {
            *count -= 1;
            if *count == 0 {
                joining.remove(&self.room_id);
            }
        }
    }
}

/// Frees a room for the next worker, also when this one panics.
struct Seat<'a> {
    workers: &'a Workers,
    room: RoomSerial,
    left: bool,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if !self.left {
            self.workers.active.lock().remove(&self.room);
        }
    }
}

impl Rooms {
    /// Takes the PDUs of a transaction: when it returns, those answered with `Ok` are on stable storage.
    ///
    /// A PDU that has not the form of an event of its room's version has no id, and no answer.
    ///
    /// # Errors
    /// [`Error::Commit`] when they could not be stored; the sender must repeat the transaction.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/server-server-api/#transactions>
    pub async fn receive_transaction(
        &self,
        origin: &ServerName,
        pdus: &[Box<RawValue>],
    ) -> Result<Vec<PduAnswer>, Error> {
        let mut answers = Vec::with_capacity(pdus.len());
        let mut batch = Batch::new();
        let mut rooms: HashMap<RoomSerial, Arc<RoomInfo>> = HashMap::new();
        let mut refusals: HashMap<RoomSerial, Option<Refusal>> = HashMap::new();
        for raw in pdus {
            let (room, pdu) = match self.read_pdu(raw).await {
                Ok(found) => found,
                Err(error) => {
                    debug!(%origin, %error, "a PDU of a transaction was dropped");
                    continue;
                }
            };
            let event_id = pdu.event_id().to_owned();
            if let std::collections::hash_map::Entry::Vacant(entry) = refusals.entry(room.serial) {
                entry.insert(self.refusal(origin, &room).await?);
            }
            let refusal = refusals.get(&room.serial).and_then(Option::as_ref);
            let result = match refusal {
                Some(Refusal::NotResident) => self.receive_from_outside(origin, &room, pdu).await,
                Some(Refusal::Acl) => Err(Error::AclDenied(origin.to_owned())),
                Some(Refusal::Full) => Err(Error::Busy),
                None => {
                    let row = InboxRow { origin: origin.to_string(), pdu: pdu.json().clone() };
                    batch.put(&INBOX, &(room.serial, self.new_inbox_serial().await?), &row);
                    rooms.insert(room.serial, room);
                    Ok(())
                }
            };
            answers.push(PduAnswer { event_id, result });
        }
        if !batch.is_empty() {
            self.store().commit(batch).await.map_err(Error::Commit)?;
        }
        for room in rooms.into_values() {
            self.wake_worker(room);
        }
        Ok(answers)
    }

    /// Which room a PDU is of, and the PDU.
    async fn read_pdu(&self, raw: &RawValue) -> Result<(Arc<RoomInfo>, Pdu), Error> {
        #[derive(Deserialize)]
        struct Head {
            room_id: OwnedRoomId,
        }
        let head: Head =
            serde_json::from_str(raw.get()).map_err(|_| Error::Invalid("no `room_id`".to_owned()))?;
        let room = self.get_room(&head.room_id).await?;
        let pdu = Pdu::parse_raw(room.version, raw)?;
        Ok((room, pdu))
    }

    /// Why PDUs for this room are not taken from this server.
    async fn refusal(&self, origin: &ServerName, room: &RoomInfo) -> Result<Option<Refusal>, Error> {
        if !self.is_resident(room).await? && !self.0.workers.is_joining(&room.room_id) {
            return Ok(Some(Refusal::NotResident));
        }
        if !self.is_admitted(origin, room).await? {
            return Ok(Some(Refusal::Acl));
        }
        let limit = self.0.config.inbox_limit;
        let waiting = self.store().scan(&INBOX, Range::prefix(&room.serial), Order::Ascending, limit).await?;
        Ok((waiting.len() >= limit).then_some(Refusal::Full))
    }

    /// Starts a worker for a room, unless it has one.
    pub(crate) fn wake_worker(&self, room: Arc<RoomInfo>) {
        if !self.0.workers.claim(room.serial) {
            return;
        }
        let rooms = self.clone();
        self.0.tasks.spawn("room inbox", async move {
            let mut seat = Seat { workers: &rooms.0.workers, room: room.serial, left: false };
            rooms.work(&room, &mut seat).await;
        });
    }

    /// Starts workers for all rooms with waiting PDUs.
    pub(crate) async fn resume_inbox(&self) -> Result<(), Error> {
        let mut range = Range::all();
        let mut serials = Vec::new();
        loop {
            let rows = self.store().scan(&INBOX, range, Order::Ascending, 1).await?;
            let Some(((room, _), _)) = rows.into_iter().next() else { break };
            serials.push(room);
            range = Range::all().after(&(room, InboxSerial(u64::MAX)));
        }
        for room in self.room_infos(&serials).await?.into_iter().flatten() {
            self.wake_worker(room);
        }
        Ok(())
    }

    async fn work(&self, room: &Arc<RoomInfo>, seat: &mut Seat<'_>) {
        let shutdown = self.0.tasks.shutdown_token();
        let Ok(_permit) = self.0.workers.seats.clone().acquire_owned().await else { return };
        while !shutdown.is_cancelled() {
            if self.0.workers.is_joining(&room.room_id) {
                // The join wakes a worker when it is done.
                return;
            }
            match self.work_off(room).await {
                Ok(0) => {
                    if self.0.workers.release(room.serial) {
                        seat.left = true;
                        return;
                    }
                }
                Ok(_) => {}
                Err(cause) => {
                    error!(room_id = %room.room_id, error = %cause, "the inbox could not be worked on");
                    self.0.clock.sleep(PAUSE).await;
                }
            }
        }
    }

    /// Works on the next PDUs of a room's inbox; answers how many there were.
    async fn work_off(&self, room: &Arc<RoomInfo>) -> Result<usize, Error> {
        let rows = self.store().scan(&INBOX, Range::prefix(&room.serial), Order::Ascending, BITE).await?;
        if rows.is_empty() {
            return Ok(0);
        }
        let count = rows.len();
        let mut left: HashSet<InboxSerial> = rows.iter().map(|((_, serial), _)| *serial).collect();
        let arrivals = self.open_rows(room, rows).await?;
        let arrivals = self.complete(room, arrivals).await?;
        let placed: Vec<InboxSerial> = arrivals.iter().filter_map(|arrival| arrival.inbox).collect();
        match self.place_arrivals(room, &arrivals).await {
            Ok(received) => {
                for serial in placed {
                    left.remove(&serial);
                }
                let unjudged = received.iter().filter(|one| matches!(one, Received::Unjudged)).count();
                if unjudged > 0 {
                    warn!(room_id = %room.room_id, count = unjudged, "PDUs could not be judged and were dropped");
                }
            }
            Err(cause) if is_passing(&cause) => return Err(cause),
            // Something about one of these events: it must not stall the room, nor take others with it.
            Err(_) => self.place_singly(room, &arrivals).await?,
        }
        if !left.is_empty() {
            let mut batch = Batch::new();
            for serial in left {
                batch.delete(&INBOX, &(room.serial, serial));
            }
            self.store().commit(batch).await.map_err(Error::Commit)?;
        }
        Ok(count)
    }

    /// Places events one by one, leaving out those that fail.
    async fn place_singly(&self, room: &Arc<RoomInfo>, arrivals: &[Arrival]) -> Result<(), Error> {
        for arrival in arrivals {
            match self.place_arrivals(room, std::slice::from_ref(arrival)).await {
                Ok(_) => {}
                Err(cause) if is_passing(&cause) => return Err(cause),
                Err(cause) => {
                    error!(room_id = %room.room_id, event_id = %arrival.id(), error = %cause, "a PDU was dropped");
                }
            }
        }
        Ok(())
    }

    /// Parses and verifies rows of the inbox; those that fail are left out.
    async fn open_rows(
        &self,
        room: &RoomInfo,
        rows: Vec<((RoomSerial, InboxSerial), InboxRow)>,
    ) -> Result<Vec<Arrival>, Error> {
        let mut waiting = Vec::with_capacity(rows.len());
        for ((_, serial), row) in rows {
            let (Ok(pdu), Ok(origin)) =
                (Pdu::parse(room.version, &row.pdu), OwnedServerName::try_from(row.origin))
            else {
                continue;
            };
            // Several of one id are all looked at: the id does not cover the signatures, so a bad copy
            // must not keep the good one out.
            waiting.push((serial, origin, pdu));
        }
        let (places, pdus): (Vec<(InboxSerial, OwnedServerName)>, Vec<Pdu>) =
            waiting.into_iter().map(|(serial, origin, pdu)| ((serial, origin), pdu)).unzip();
        let verified = self.verify_all(pdus).await?;
        Ok(places
            .into_iter()
            .zip(verified)
            .filter_map(|((serial, origin), event)| {
                let mut arrival = Arrival::new(event?, origin);
                arrival.inbox = Some(serial);
                Some(arrival)
            })
            .collect())
    }

    /// Verifies events, in the order given; `None` for one that fails.
    pub(crate) async fn verify_all(&self, pdus: Vec<Pdu>) -> Result<Vec<Option<Verified>>, Error> {
        let wanted = pdus.iter().flat_map(pdu::required_keys).collect();
        let ring = self.key_ring(wanted).await;
        if pdus.len() < 8 {
            return Ok(pdus.into_iter().map(|pdu| verify_one(pdu, &ring)).collect());
        }
        // Two batches at a time: a signature takes some 50 µs.
        let ring = Arc::new(ring);
        let half = pdus.len().div_ceil(2);
        let mut pdus = pdus;
        let second = pdus.split_off(half);
        let run = |part: Vec<Pdu>| {
            let ring = ring.clone();
            let work = move || part.into_iter().map(|pdu| verify_one(pdu, &ring)).collect::<Vec<_>>();
            self.0.tasks.spawn_blocking("verify events", work)
        };
        let (first, second) = tokio::try_join!(run(pdus), run(second)).map_err(|_| Error::Interrupted)?;
        Ok(first.into_iter().chain(second).collect())
    }
}

/// Why PDUs are not taken.
enum Refusal {
    NotResident,
    Acl,
    Full,
}

fn verify_one(pdu: Pdu, ring: &pdu::KeyRing) -> Option<Verified> {
    let event_id = pdu.event_id().to_owned();
    match pdu::verify(pdu, ring) {
        Ok(verified) => Some(verified),
        Err(error) => {
            warn!(%event_id, %error, "an event cannot be verified");
            None
        }
    }
}

/// Whether the same may succeed later.
fn is_passing(error: &Error) -> bool {
    matches!(error, Error::Store(_) | Error::Commit(_) | Error::Contended | Error::Interrupted | Error::Busy)
}
