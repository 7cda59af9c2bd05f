//! Answers for other servers: events and history. States and auth chains are in [`super::state_answers`].
//!
//! Every answer is for a server with a joined member in the room. What history visibility keeps from
//! it is given in redacted form, so that the graph stays whole.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#retrieving-events>

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashSet, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use ruma::{EventId, OwnedEventId, RoomId, ServerName};

use crate::{
    Error, Rooms,
    read::{event::StoredEvent, room::RoomInfo},
    tables::Verdict,
};

/// The most events of an answer of `backfill` or `get_missing_events`.
pub const MAX_EVENTS: usize = 100;

/// A question for the events between two edges of the graph.
#[derive(Clone, Debug)]
pub struct Missing<'a> {
    /// Events that the asker has; nothing behind them is wanted.
    pub earliest: &'a [OwnedEventId],
    /// Events whose ancestors are wanted.
    pub latest: &'a [OwnedEventId],
    /// At most this many, and at most [`MAX_EVENTS`].
    pub limit: usize,
    /// None of less depth.
    pub min_depth: u64,
}

impl Rooms {
    /// The room, if the server takes part in it and no server ACL keeps it out, and all its members are known.
    ///
    /// # Errors
    /// As [`Rooms::room_for_hearer`]; [`Error::MembersLacking`].
    pub async fn room_for_server(
        &self,
        server: &ServerName,
        room_id: &RoomId,
    ) -> Result<Arc<RoomInfo>, Error> {
        let room = self.room_for_hearer(server, room_id).await?;
        self.all_members(&room).await?;
        Ok(room)
    }

    /// The room, if the server takes part in it, as far as that is known, and no server ACL keeps it out: for those who
    /// ask about what we have sent them, which they must be told also while we lack members.
    ///
    /// # Errors
    /// [`Error::NoRoom`]; [`Error::NotAllowed`] when the server has nobody in the room; [`Error::MembersLacking`] when that
    /// is not known; [`Error::AclDenied`].
    pub async fn room_for_hearer(
        &self,
        server: &ServerName,
        room_id: &RoomId,
    ) -> Result<Arc<RoomInfo>, Error> {
        let room = self.get_room(room_id).await?;
        if !self.is_server_in_room(server, room.serial).await? {
            self.all_members(&room).await?;
            return Err(Error::NotAllowed(format!("{server} is not in the room")));
        }
        if !self.is_admitted(server, &room).await? {
            return Err(Error::AclDenied(server.to_owned()));
        }
        Ok(room)
    }

    /// One event, in federation format: whole or redacted.
    ///
    /// # Errors
    /// [`Error::NoEvent`]; as [`Rooms::room_for_server`].
    pub async fn event_for_server(&self, server: &ServerName, event_id: &EventId) -> Result<Bytes, Error> {
        let unknown = || Error::NoEvent(event_id.to_owned());
        let event = self.events_by_id(&[event_id]).await?.pop().flatten().ok_or_else(unknown)?;
        self.room_for_server(server, event.room_id()).await?;
        if event.meta().verdict == Verdict::Rejected {
            return Err(unknown());
        }
        self.copies_for_server(server, &[event]).await?.pop().ok_or_else(unknown)
    }

    /// The named events and those before them, deepest first.
    ///
    /// # Errors
    /// As [`Rooms::room_for_hearer`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1backfillroomid>
    pub async fn backfill_for_server(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        from: &[OwnedEventId],
        limit: usize,
    ) -> Result<Vec<Bytes>, Error> {
        let room = self.room_for_hearer(server, room_id).await?;
        let limit = limit.min(MAX_EVENTS);
        let mut queue: BinaryHeap<ByDepth> = BinaryHeap::new();
        let mut seen: HashSet<OwnedEventId> = from.iter().cloned().collect();
        queue.extend(self.in_graph(&room, from).await?.into_iter().map(ByDepth));
        let mut events = Vec::new();
        // Whole rounds of the deepest: one read per round, not per event.
        while events.len() < limit && !queue.is_empty() {
            let mut round = Vec::new();
            while let Some(ByDepth(event)) = queue.pop() {
                round.push(event);
                if events.len() + round.len() == limit || round.len() == 20 {
                    break;
                }
            }
            let before: Vec<OwnedEventId> = round
                .iter()
                .flat_map(|event| event.pdu().prev_events())
                .map(ToOwned::to_owned)
                .filter(|id| seen.insert(id.clone()))
                .collect();
            queue.extend(self.in_graph(&room, &before).await?.into_iter().map(ByDepth));
            events.extend(round);
        }
        self.copies_for_server(server, &events).await
    }

    /// The ancestors of `latest` back to `earliest`, oldest first.
    ///
    /// # Errors
    /// As [`Rooms::room_for_hearer`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/server-server-api/#post_matrixfederationv1get_missing_eventsroomid>
    pub async fn missing_events_for_server(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        question: &Missing<'_>,
    ) -> Result<Vec<Bytes>, Error> {
        let room = self.room_for_hearer(server, room_id).await?;
        let limit = question.limit.min(MAX_EVENTS);
        let mut seen: HashSet<OwnedEventId> =
            question.earliest.iter().chain(question.latest).cloned().collect();
        let mut round = self.in_graph(&room, question.latest).await?;
        let mut events: VecDeque<Arc<StoredEvent>> = VecDeque::new();
        while !round.is_empty() && events.len() < limit {
            let before: Vec<OwnedEventId> = round
                .iter()
                .flat_map(|event| event.pdu().prev_events())
                .map(ToOwned::to_owned)
                .filter(|id| seen.insert(id.clone()))
                .collect();
            round = self.in_graph(&room, &before).await?;
            round.retain(|event| event.meta().depth >= question.min_depth);
            for event in &round {
                if events.len() < limit {
                    events.push_front(event.clone());
                }
            }
        }
        let mut events: Vec<_> = events.into();
        events.sort_by_key(|event| (event.meta().depth, event.serial()));
        self.copies_for_server(server, &events).await
    }

    /// Copies of events for a server, in federation format: whole, or redacted where it may not see them.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub async fn copies_for_server(
        &self,
        server: &ServerName,
        events: &[Arc<StoredEvent>],
    ) -> Result<Vec<Bytes>, Error> {
        let visible = self.visible_to_server(server, events).await?;
        let shown = self.shown_to_server(server, events.to_vec()).await?;
        shown
            .iter()
            .zip(visible)
            .map(|(event, visible)| match visible || event.state_key().is_some() {
                true => Ok(event.pdu().json().clone()),
                false => Ok(pdu::redact(event.pdu())?.json().clone()),
            })
            .collect()
    }

    /// Those of the named events that have their place in the room's graph.
    async fn in_graph(&self, room: &RoomInfo, ids: &[OwnedEventId]) -> Result<Vec<Arc<StoredEvent>>, Error> {
        let events = self.events_by_id(ids).await?;
        Ok(events
            .into_iter()
            .flatten()
            .filter(|event| {
                event.room() == room.serial
                    && matches!(event.meta().verdict, Verdict::Accepted | Verdict::SoftFailed)
            })
            .collect())
    }

    /// The forward extremities of a room: the events that a new one follows.
    ///
    /// # Errors
    /// [`Error::NoRoom`].
    pub async fn forward_extremities(&self, room: &RoomInfo) -> Result<Vec<OwnedEventId>, Error> {
        let head = self.get_head(room).await?;
        Ok(head.extremities.into_iter().map(|extremity| extremity.event_id).collect())
    }
}

/// Deepest first, then newest.
struct ByDepth(Arc<StoredEvent>);

impl ByDepth {
    fn rank(&self) -> (u64, Reverse<crate::EventSerial>) {
        (self.0.meta().depth, Reverse(self.0.serial()))
    }
}

impl PartialEq for ByDepth {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for ByDepth {}

impl PartialOrd for ByDepth {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByDepth {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}
