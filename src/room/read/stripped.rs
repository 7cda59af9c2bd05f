//! Stripped state: what one who is invited, or knocks, is told of a room.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#stripped-state>

use std::sync::Arc;

use bytes::Bytes;
use ruma::UserId;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    Error, RoomSerial, Rooms, Root,
    read::{event::StoredEvent, lookup::StateQuery, membership::UserRoom},
    tables::INVITES,
};

/// The state events that help to recognise a room.
pub const TELLING: [&str; 8] = [
    "m.room.create",
    "m.room.join_rules",
    "m.room.canonical_alias",
    "m.room.avatar",
    "m.room.name",
    "m.room.encryption",
    "m.room.topic",
    "m.room.tombstone",
];

impl Rooms {
    /// The stripped state that a user is shown of rooms that he is invited to or knocks at, in the
    /// order of `rooms`: JSON arrays.
    ///
    /// Of a room that we are in, it is made from the state at the invite; of others it is what the
    /// inviting server sent along.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub async fn stripped_states(&self, user: &UserId, rooms: &[&UserRoom]) -> Result<Vec<Bytes>, Error> {
        let keys: Vec<_> = rooms.iter().map(|row| (row.room, user.as_str())).collect();
        let invites = self.store().get_many(&INVITES, &keys).await?;
        let mut answers = Vec::with_capacity(rooms.len());
        for (row, invite) in rooms.iter().zip(invites) {
            let own = match row.event {
                Some(event) => self.load_events(&[(row.room, event)]).await?.pop().flatten(),
                None => None,
            };
            let own = match (own, &invite) {
                (Some(own), _) => Some(pdu::stripped(own.pdu())),
                (None, Some(invite)) => strip(&invite.event),
                (None, None) => None,
            };
            let others = if row.current == Root::EMPTY {
                invite.map(|invite| invite.stripped).unwrap_or_default()
            } else {
                let state = self.telling_state(row.room, row.current, &row.sender).await?;
                array(&self.shown_to(user, state).await?)
            };
            answers.push(with_own(&others, user, own.as_deref()));
        }
        Ok(answers)
    }

    /// Stripped state of a snapshot for one whom `sender` invites.
    async fn telling_state(
        &self,
        room: RoomSerial,
        root: Root,
        sender: &UserId,
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        let mut queries: Vec<_> =
            TELLING.iter().map(|kind| StateQuery { room, root, kind, key: "" }).collect();
        queries.push(StateQuery { room, root, kind: "m.room.member", key: sender.as_str() });
        Ok(self.state_events(&queries).await?.into_iter().flatten().collect())
    }

    /// The state events of a snapshot that go along with an invite by `sender`, or a knock.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub async fn invite_state(
        &self,
        room: RoomSerial,
        root: Root,
        sender: &UserId,
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        self.telling_state(room, root, sender).await
    }
}

fn array(events: &[Arc<StoredEvent>]) -> Bytes {
    let stripped: Vec<Box<RawValue>> = events.iter().map(|event| pdu::stripped(event.pdu())).collect();
    let mut out = vec![b'['];
    for (index, event) in stripped.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(event.get().as_bytes());
    }
    out.push(b']');
    Bytes::from(out)
}

/// The stripped form of an event in federation format; none if it is not one.
fn strip(event: &[u8]) -> Option<Box<RawValue>> {
    #[derive(Deserialize, Serialize)]
    struct Stripped<'a> {
        #[serde(borrow)]
        content: &'a RawValue,
        #[serde(borrow)]
        sender: &'a RawValue,
        #[serde(borrow)]
        state_key: &'a RawValue,
        #[serde(borrow, rename = "type")]
        kind: &'a RawValue,
    }
    let event: Stripped<'_> = serde_json::from_slice(event).ok()?;
    serde_json::value::to_raw_value(&event).ok()
}

/// A JSON array with the stripped form of the user's own member event at the end, and there alone: who knocks is also
/// the one who brings the room's state along, and other servers send his knock back to him.
fn with_own(others: &[u8], user: &UserId, own: Option<&RawValue>) -> Bytes {
    let mut shown: Vec<&RawValue> = serde_json::from_slice(others).unwrap_or_default();
    if let Some(own) = own {
        shown.retain(|event| !is_member(event, user));
        shown.push(own);
    }
    Bytes::from(serde_json::to_vec(&shown).unwrap_or_else(|_| b"[]".to_vec()))
}

/// Whether this is the stripped member event of a user.
fn is_member(event: &RawValue, user: &UserId) -> bool {
    #[derive(Deserialize)]
    struct Named {
        #[serde(rename = "type")]
        kind: String,
        state_key: String,
    }
    serde_json::from_str(event.get())
        .is_ok_and(|Named { kind, state_key }| kind == "m.room.member" && state_key == user.as_str())
}
