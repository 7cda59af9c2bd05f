//! Answers for other servers that are as large as a state: states before events, and auth chains.
//!
//! Which events go into an answer is found out by their serials. Of an answer of ids no event is read; of one of
//! events their texts go into it as they are stored, and nothing is parsed that need not be.

use bytes::Bytes;
use room::{
    Error, EventSerial, Root,
    read::room::RoomInfo,
    tables::{EVENTS, Verdict},
};
use ruma::{EventId, OwnedEventId, RoomId, ServerName};

use crate::{Engine, graph::AuthGraph, inbound::receive::implied_create, ports::StateIds, view::Fresh};

/// How many rows are read at a time.
const AT_ONCE: usize = 1_000;

/// State before an event, with its auth chain: texts of events.
#[derive(Clone, Debug, Default)]
pub struct StateBefore {
    /// The state.
    pub state: Vec<Bytes>,
    /// The auth chain of the state.
    pub auth_chain: Vec<Bytes>,
}

impl Engine {
    /// The state before an event, with its auth chain.
    ///
    /// # Errors
    /// [`Error::NoEvent`] when we do not know the state there; as [`Rooms::room_for_server`](room::Rooms::room_for_server).
    ///
    /// Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1stateroomid>
    pub async fn state_for_server(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<StateBefore, Error> {
        let room = self.rooms().room_for_server(server, room_id).await?;
        let state = self.state_serials_at(room_id, event_id).await?;
        let chain = self.auth_chain_of(&room, &state).await?;
        Ok(StateBefore {
            state: self.texts_for_server(server, &room, &state).await?,
            auth_chain: self.texts_for_server(server, &room, &chain).await?,
        })
    }

    /// The ids of the state before an event, and of its auth chain.
    ///
    /// # Errors
    /// As [`Engine::state_for_server`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1state_idsroomid>
    pub async fn state_ids_for_server(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<StateIds, Error> {
        let room = self.rooms().room_for_server(server, room_id).await?;
        let state = self.state_serials_at(room_id, event_id).await?;
        let chain = self.auth_chain_of(&room, &state).await?;
        Ok(StateIds {
            state: self.ids_of(&room, &state).await?,
            auth_chain: self.ids_of(&room, &chain).await?,
        })
    }

    /// The auth chain of an event: texts of events.
    ///
    /// # Errors
    /// [`Error::NoEvent`]; as [`Rooms::room_for_hearer`](room::Rooms::room_for_hearer).
    pub async fn auth_chain_for_server(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<Vec<Bytes>, Error> {
        let room = self.rooms().room_for_hearer(server, room_id).await?;
        let event = self.rooms().get_event(room_id, event_id).await?;
        if event.meta().verdict == Verdict::Rejected {
            return Err(Error::NoEvent(event_id.to_owned()));
        }
        let chain = self.auth_chain_of(&room, &[event.serial()]).await?;
        self.texts_for_server(server, &room, &chain).await
    }

    /// The state before an event of a room.
    ///
    /// # Errors
    /// [`Error::NoEvent`] when we lack the event, do not know the state before it, or the room rejected it:
    /// then it has no place in the room, whatever we made of that.
    pub(crate) async fn root_before(&self, room_id: &RoomId, event_id: &EventId) -> Result<Root, Error> {
        let event = self.rooms().get_event(room_id, event_id).await?;
        match event.meta().verdict {
            Verdict::Outlier | Verdict::Rejected => Err(Error::NoEvent(event_id.to_owned())),
            Verdict::Accepted | Verdict::SoftFailed => Ok(event.meta().before),
        }
    }

    async fn state_serials_at(
        &self,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<Vec<EventSerial>, Error> {
        let root = self.root_before(room_id, event_id).await?;
        let room = self.rooms().get_room(room_id).await?;
        let entries = self.snapshots().all(room.serial, root).await?;
        Ok(entries.into_iter().map(|(_, event)| event).collect())
    }

    /// The auth chain of events of a room: their auth events, the auth events of those, and so on. From
    /// version 12 no event names the create event, but none can be judged without it, so it is given too.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub(crate) async fn auth_chain_of(
        &self,
        room: &RoomInfo,
        events: &[EventSerial],
    ) -> Result<Vec<EventSerial>, Error> {
        let nothing = Fresh::default();
        let view = self.stored_view(room, &nothing);
        let mut chain = view.auth_chain(&mut AuthGraph::default(), events).await?;
        if let Some(create) = implied_create(room.version, &room.room_id)
            && let Some(create) = view.find_serials(&[create]).await?.pop().flatten()
            && events.iter().any(|event| *event != create)
        {
            chain.insert(create);
        }
        let mut chain: Vec<EventSerial> = chain.into_iter().collect();
        chain.sort_unstable();
        Ok(chain)
    }

    /// The ids of events of a room, in their order.
    ///
    /// # Errors
    /// [`Error::Inconsistent`] when one is not here: others would take an answer without it for the whole.
    async fn ids_of(&self, room: &RoomInfo, events: &[EventSerial]) -> Result<Vec<OwnedEventId>, Error> {
        let mut ids = Vec::with_capacity(events.len());
        for part in events.chunks(AT_ONCE) {
            let keys: Vec<_> = part.iter().map(|event| (room.serial, *event)).collect();
            for meta in self.rooms().metas(&keys).await? {
                ids.push(meta.ok_or_else(hole)?.event_id);
            }
        }
        Ok(ids)
    }

    /// The texts of events of a room, in their order, as a server may be given them.
    ///
    /// # Errors
    /// As [`Engine::ids_of`].
    pub(crate) async fn texts_for_server(
        &self,
        server: &ServerName,
        room: &RoomInfo,
        events: &[EventSerial],
    ) -> Result<Vec<Bytes>, Error> {
        let mut texts: Vec<Option<Bytes>> = Vec::with_capacity(events.len());
        for part in events.chunks(AT_ONCE) {
            let keys: Vec<_> = part.iter().map(|event| (room.serial, *event)).collect();
            texts.extend(self.store().get_many(&EVENTS, &keys).await?);
        }
        // Only those of which a redacted copy might have to be given are looked at as events.
        let erased = self.rooms().places_of_erased(&texts).await?;
        let serials: Vec<EventSerial> = erased.iter().map(|place| events[*place]).collect();
        let said = self.rooms().load_all(room.serial, &serials).await?;
        for (place, event) in erased.into_iter().zip(self.rooms().shown_to_server(server, said).await?) {
            texts[place] = Some(event.pdu().json().clone());
        }
        texts.into_iter().map(|text| text.ok_or_else(hole)).collect()
    }
}

fn hole() -> Error {
    Error::Inconsistent("an event of a state or an auth chain is not there")
}
