//! The door: which PDUs of a transaction are taken, and their answers.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use pdu::Pdu;
use room::{Error, ids::RoomSerial, read::room::RoomInfo};
use ruma::{OwnedEventId, OwnedRoomId, ServerName};
use serde::Deserialize;
use serde_json::value::RawValue;
use store::Batch;
use tracing::debug;

use super::counts::Space;
use crate::{
    Engine,
    tables::{INBOX, InboxRow},
};

/// The answer for one PDU of a transaction.
#[derive(Debug)]
pub struct PduAnswer {
    /// Its id.
    pub event_id: OwnedEventId,
    /// `Ok`: we have it now. Whether its room accepts it is another question.
    pub result: Result<(), Error>,
}

/// What a server is to a room.
#[derive(Clone, Copy)]
enum Standing {
    /// Nobody of ours is in the room, so it is told us in vain.
    NoRoom,
    /// The room's server ACL keeps it out.
    ShutOut,
    /// A user of it is joined, or would be as far as we know: we are joining, and have yet to be told who is.
    Member,
    /// No user of it is joined, as far as we know.
    Stranger,
}

/// A PDU and where it belongs.
struct Caller {
    room: Arc<RoomInfo>,
    pdu: Pdu,
}

/// What is done with a PDU.
enum Way {
    /// It is here already.
    Known,
    Refused(Error),
    /// It may end the invite or knock of a user of ours.
    FromOutside,
    /// Into the inbox.
    In,
}

/// Places in the inbox that were counted and have no rows yet.
struct Reserved<'a> {
    engine: &'a Engine,
    origin: &'a ServerName,
    places: Vec<RoomSerial>,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        for room in self.places.drain(..) {
            self.engine.0.workers.counts.release(room, self.origin);
        }
    }
}

impl Engine {
    /// Takes the PDUs of a transaction: when it returns, those answered with `Ok` are on stable storage.
    ///
    /// A PDU that has not the form of an event of its room's version has no id, and no answer.
    ///
    /// # Errors
    /// [`Error::Busy`] when too much of the server waits here, [`Error::Commit`] when the PDUs could not be
    /// stored: the sender must repeat the transaction then.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/server-server-api/#transactions>
    pub async fn receive_transaction(
        &self,
        origin: &ServerName,
        pdus: &[Box<RawValue>],
    ) -> Result<Vec<PduAnswer>, Error> {
        let callers = self.read_pdus(origin, pdus).await?;
        let standings = self.standings(origin, &callers).await?;
        let known = self.known_among(&callers).await?;

        let counts = &self.0.workers.counts;
        let mut reserved = Reserved { engine: self, origin, places: Vec::new() };
        let mut ways = Vec::with_capacity(callers.len());
        for Caller { room, pdu } in &callers {
            let standing = standings.get(&room.serial).copied().unwrap_or(Standing::NoRoom);
            ways.push(match standing {
                Standing::NoRoom => Way::FromOutside,
                Standing::ShutOut => Way::Refused(Error::AclDenied(origin.to_owned())),
                _ if known.contains(pdu.event_id()) => Way::Known,
                Standing::Member => {
                    if counts.take(room.serial, origin, true) == Space::Full {
                        return Err(Error::Busy);
                    }
                    reserved.places.push(room.serial);
                    Way::In
                }
                Standing::Stranger => {
                    if counts.take(room.serial, origin, false) == Space::Full {
                        Way::Refused(Error::NotAllowed(format!("{origin} is not in the room")))
                    } else {
                        reserved.places.push(room.serial);
                        Way::In
                    }
                }
            });
        }

        let mut answers = Vec::with_capacity(callers.len());
        let mut batch = Batch::new();
        let mut woken: HashMap<RoomSerial, Arc<RoomInfo>> = HashMap::new();
        for (Caller { room, pdu }, way) in callers.into_iter().zip(ways) {
            let event_id = pdu.event_id().to_owned();
            let result = match way {
                Way::Known => Ok(()),
                Way::Refused(error) => Err(error),
                Way::FromOutside => match self.receive_from_outside(origin, &room, pdu).await {
                    // All of it comes again; what was taken so far is known then.
                    Err(error) if error.is_passing() => return Err(error),
                    result => result,
                },
                Way::In => {
                    let row = InboxRow { origin: origin.to_string(), pdu: pdu.json().clone() };
                    batch.put(&INBOX, &(room.serial, self.new_inbox_serial().await?), &row);
                    woken.insert(room.serial, room);
                    Ok(())
                }
            };
            answers.push(PduAnswer { event_id, result });
        }
        if !batch.is_empty() {
            self.store().commit(batch).await.map_err(Error::Commit)?;
        }
        reserved.places.clear();
        for room in woken.into_values() {
            self.wake_worker(room);
        }
        Ok(answers)
    }

    /// The PDUs of rooms that we know.
    async fn read_pdus(&self, origin: &ServerName, pdus: &[Box<RawValue>]) -> Result<Vec<Caller>, Error> {
        #[derive(Deserialize)]
        struct Head {
            room_id: OwnedRoomId,
        }
        let mut callers = Vec::with_capacity(pdus.len());
        let mut rooms: HashMap<OwnedRoomId, Option<Arc<RoomInfo>>> = HashMap::new();
        for raw in pdus {
            let Ok(Head { room_id }) = serde_json::from_str::<Head>(raw.get()) else {
                debug!(%origin, "a PDU without a room was dropped");
                continue;
            };
            let room = match rooms.get(&room_id) {
                Some(room) => room.clone(),
                None => {
                    let room = self.rooms().room(&room_id).await?;
                    rooms.insert(room_id.clone(), room.clone());
                    room
                }
            };
            let Some(room) = room else {
                debug!(%origin, %room_id, "a PDU of an unknown room was dropped");
                continue;
            };
            match Pdu::parse_raw(room.version, raw) {
                Ok(pdu) => callers.push(Caller { room, pdu }),
                Err(error) => debug!(%origin, %room_id, %error, "a malformed PDU was dropped"),
            }
        }
        Ok(callers)
    }

    /// What a server is to each of these rooms.
    async fn standings(
        &self,
        origin: &ServerName,
        callers: &[Caller],
    ) -> Result<HashMap<RoomSerial, Standing>, Error> {
        let mut rooms: HashMap<RoomSerial, &Arc<RoomInfo>> = HashMap::new();
        for caller in callers {
            rooms.entry(caller.room.serial).or_insert(&caller.room);
        }
        let rooms: Vec<&Arc<RoomInfo>> = rooms.into_values().collect();
        let mut here = Vec::with_capacity(rooms.len());
        for room in &rooms {
            // In this order, and before who is in the room is read: a join may end in between.
            let is_joining = self.0.workers.is_joining(&room.room_id);
            let is_resident = self.rooms().is_resident(room).await?;
            here.push((is_joining, is_resident));
        }
        let pairs: Vec<_> = rooms.iter().map(|room| (room.serial, origin.as_str())).collect();
        let present = self.rooms().are_present(&pairs).await?;
        let mut standings = HashMap::with_capacity(rooms.len());
        for ((room, (is_joining, is_resident)), present) in rooms.into_iter().zip(here).zip(present) {
            let standing = if !is_resident && !is_joining {
                Standing::NoRoom
            } else if !self.rooms().is_admitted(origin, room).await? {
                Standing::ShutOut
            } else if !is_resident || present {
                Standing::Member
            } else {
                Standing::Stranger
            };
            standings.insert(room.serial, standing);
        }
        Ok(standings)
    }

    /// Those that have their place already. The id covers neither signatures nor what redaction removes, so
    /// this is said only of what was verified and placed before, never of a copy that waits.
    async fn known_among(&self, callers: &[Caller]) -> Result<HashSet<OwnedEventId>, Error> {
        let mut by_room: HashMap<RoomSerial, (&Arc<RoomInfo>, Vec<OwnedEventId>)> = HashMap::new();
        for Caller { room, pdu } in callers {
            let of_room = by_room.entry(room.serial).or_insert_with(|| (room, Vec::new()));
            of_room.1.push(pdu.event_id().to_owned());
        }
        let mut known = HashSet::new();
        for (room, ids) in by_room.into_values() {
            let stored = self.stored(room, &ids).await?;
            known.extend(stored.into_iter().filter(|(_, placed)| *placed).map(|(id, _)| id));
        }
        Ok(known)
    }
}

/// A row's PDU again; only what was parsed at the door is stored, so a failure is another version's row.
pub(super) fn reopen(room: &RoomInfo, json: &Bytes) -> Option<Pdu> {
    Pdu::parse(room.version, json).ok()
}
