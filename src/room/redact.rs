//! Redactions: who may redact what, and what happens to the redacted event.
//!
//! The event's stored bytes become what the redaction leaves of them: what was said is gone from the
//! store, not just hidden. From room version 3 on a redaction is not an auth rule: the event itself
//! is accepted, and takes effect if its sender may redact the other one.
//!
//! Spec: <https://spec.matrix.org/v1.19/rooms/v3/#handling-redactions>

use std::sync::Arc;

use pdu::RoomPower;
use ruma::{EventId, OwnedEventId, UserId, events::StateEventType};
use store::{Position, Stamped};

use crate::{
    Error,
    pipeline::{Stage, name},
    place::StateChange,
    projections,
    read::event::StoredEvent,
    send::single,
    tables::{AWAITED, EVENT_META, EVENTS, Membership, Place, RELATIONS, THREAD_SENDERS, THREADS},
};

impl Stage<'_> {
    /// Checks that a user of ours may redact an event. One that we lack may be anybody's, so only who may
    /// redact everybody's can redact it; it is emptied when it comes.
    pub(crate) async fn check_redaction(&mut self, sender: &UserId, target: &EventId) -> Result<(), Error> {
        let Some(target) = self.find_event(target).await? else {
            if self.power().await?.may_redact(sender) {
                return Ok(());
            }
            return Err(Error::NoEvent(target.to_owned()));
        };
        if self.may_redact(sender, &target).await? {
            return Ok(());
        }
        Err(Error::Forbidden(pdu::AuthFailure::NotEnoughPower { kind: "m.room.redaction".to_owned() }))
    }

    /// Whether a redaction by this sender takes effect on that event, by the current state.
    pub(crate) async fn may_redact(&mut self, sender: &UserId, target: &StoredEvent) -> Result<bool, Error> {
        if target.sender().server_name() == sender.server_name() {
            return Ok(true);
        }
        Ok(self.power().await?.may_redact(sender))
    }

    /// The powers by the current state.
    pub(crate) async fn power(&mut self) -> Result<RoomPower, Error> {
        let names = [single(StateEventType::RoomCreate), single(StateEventType::RoomPowerLevels)];
        let mut events = self.current(&names).await?.into_iter();
        let create = events.next().flatten().ok_or(Error::Inconsistent("a room without a create event"))?;
        let levels = events.next().flatten().map(|event| event.pdu().clone());
        Ok(RoomPower::new(create.pdu().clone(), levels)?)
    }

    /// What a user is by the current state.
    pub(crate) async fn membership(&mut self, user: &UserId) -> Result<Option<Membership>, Error> {
        let event = self.current_one(name(StateEventType::RoomMember, user.as_str())).await?;
        Ok(event.and_then(|event| event.membership()))
    }

    async fn find_event(&self, id: &EventId) -> Result<Option<Arc<StoredEvent>>, Error> {
        Ok(self.view().events_by_id(&[id.to_owned()]).await?.pop().flatten())
    }

    /// Lets an accepted redaction take effect, or waits for the event that it redacts.
    ///
    /// The event to redact must be on disk or unknown: its place is needed.
    pub(crate) async fn apply_redaction(&mut self, redaction: &Arc<StoredEvent>) -> Result<(), Error> {
        let Some(target_id) = redaction.pdu().redacts().map(ToOwned::to_owned) else { return Ok(()) };
        match self.find_event(&target_id).await? {
            Some(target) => self.redact(&target, redaction).await,
            None => {
                let key = (redaction.room(), target_id.as_str());
                self.batch().put(&AWAITED, &key, &redaction.serial());
                Ok(())
            }
        }
    }

    /// Empties an event, if the redaction's sender may do that.
    pub(crate) async fn redact(
        &mut self,
        target: &Arc<StoredEvent>,
        redaction: &Arc<StoredEvent>,
    ) -> Result<(), Error> {
        if target.meta().redacted_by.is_some() || !self.may_redact(redaction.sender(), target).await? {
            return Ok(());
        }
        let key = (target.room(), target.serial());
        let redacted = pdu::redact(target.pdu())?;
        let mut meta = target.meta().clone();
        meta.redacted_by = Some(redaction.serial());
        let position = match meta.place {
            Place::Live => target.order().and_then(|order| order.position()).unwrap_or(Position::START),
            Place::None | Place::History(_) => Position::START,
        };
        let meta = Stamped { position, value: meta };

        self.batch().put(&EVENTS, &key, redacted.json());
        self.batch().put(&EVENT_META, &key, &meta);
        self.batch().delete(&AWAITED, &(target.room(), target.event_id().as_str()));
        if let (Some(relation), Some(order)) = (target.relation(), target.order()) {
            let (room, parent) = (target.room(), relation.event_id.to_string());
            if relation.is_thread() {
                self.batch().delete(&THREADS, &(room, order));
                let sender = (room, parent.as_str(), target.sender().as_str());
                self.batch().add(&THREAD_SENDERS, &sender, -1);
            }
            self.batch().delete(&RELATIONS, &(room, parent, order));
        }
        self.note_changed(target.serial());
        let emptied = Arc::new(StoredEvent::new(target.room(), target.serial(), redacted, meta));
        self.add_fresh(emptied.clone());
        self.refresh_state(target, emptied).await
    }

    /// The current state holds the same event as before, but the event says less now.
    async fn refresh_state(
        &mut self,
        target: &Arc<StoredEvent>,
        emptied: Arc<StoredEvent>,
    ) -> Result<(), Error> {
        let Some(key) = target.state_key() else { return Ok(()) };
        let name = name(target.kind(), key);
        let current = self.current_one(name.clone()).await?;
        if current.is_none_or(|current| current.serial() != target.serial()) {
            return Ok(());
        }
        self.set_known(name.clone(), emptied.clone());
        let change = StateChange { name, old: Some(target.clone()), new: Some(emptied) };
        projections::follow_summary(self.summary_mut(), &change);
        Ok(())
    }
}

impl crate::Rooms {
    /// Takes the content of an event out of a room.
    ///
    /// # Errors
    /// [`Error::NoEvent`]; [`Error::Forbidden`]; as [`crate::Rooms::send`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#redactions>
    pub async fn redact(
        &self,
        sender: &UserId,
        room_id: &ruma::RoomId,
        target: &EventId,
        reason: Option<&str>,
        txn: Option<&crate::Txn>,
    ) -> Result<OwnedEventId, Error> {
        let mut content = serde_json::Map::new();
        if let Some(reason) = reason {
            content.insert("reason".to_owned(), reason.into());
        }
        let draft = pdu::Draft {
            kind: ruma::events::TimelineEventType::RoomRedaction,
            state_key: None,
            content: crate::create::raw(&serde_json::Value::Object(content)),
            sender: sender.to_owned(),
            redacts: Some(target.to_owned()),
        };
        self.send(room_id, draft, txn).await
    }
}
