//! Redactions: who may redact what, and what happens to the redacted event.
//!
//! The event's stored bytes become what the redaction leaves of them: what was said is gone from the
//! store, not just hidden. From room version 3 on a redaction is not an auth rule: the event itself
//! is accepted, and takes effect if its sender may redact the other one. Clients see it when it does.
//!
//! Spec: <https://spec.matrix.org/v1.19/rooms/v3/#handling-redactions>

use std::sync::Arc;

use pdu::{Pdu, RoomPower};
use room::{
    Error,
    ids::EventSerial,
    read::event::StoredEvent,
    tables::{EVENT_META, EVENTS, EventMeta, Membership, Place, RELATIONS, THREAD_SENDERS, THREADS, Verdict},
};
use ruma::{
    EventId, OwnedEventId, UserId,
    events::{StateEventType, TimelineEventType},
};
use store::{Position, Stamped};

use crate::{
    change::StateChange,
    pipeline::{Stage, name},
    projections,
    send::single,
    tables::{AWAITED, Awaited},
};

/// So many redactions by people without power wait for one event.
const MAX_WAITING: usize = 20;

/// Whether the room stands on this event, whoever sent it.
fn keeps_the_room(event: &Pdu) -> bool {
    let is = |kind| event.is_state(&kind, "");
    is(TimelineEventType::RoomCreate) || is(TimelineEventType::RoomServerAcl)
}

impl Stage<'_> {
    /// Checks that a user of ours may redact an event: his own, or everybody's if he has the power for that.
    /// That other servers let users of one server redact each other's events is their trust in a server,
    /// not a right of its users. An event that we lack may be anybody's; it is emptied when it comes.
    ///
    /// The create event and the server ACL are not redacted at all: what would be left of them opens a
    /// closed room, or shuts every server out.
    pub(crate) async fn check_redaction(&mut self, sender: &UserId, target: &EventId) -> Result<(), Error> {
        let power = self.power().await?;
        let Some(target) = self.find_event(target).await? else {
            if power.may_redact(sender) {
                return Ok(());
            }
            return Err(Error::NoEvent(target.to_owned()));
        };
        if keeps_the_room(target.pdu()) {
            return Err(Error::NotAllowed(format!("an `{}` event is not redacted", target.kind())));
        }
        if target.sender() == sender || power.may_redact(sender) {
            return Ok(());
        }
        Err(Error::Forbidden(pdu::AuthFailure::NotEnoughPower { kind: "m.room.redaction".to_owned() }))
    }

    /// Whether a redaction by this sender takes effect on that event, by the current state: for all servers
    /// of the room alike.
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

    /// Whether a redaction of another server may be shown: the event that it redacts is of this room, and its
    /// sender may redact it. Until that event comes nobody can tell.
    pub(crate) async fn is_valid_redaction(&mut self, redaction: &Pdu) -> Result<bool, Error> {
        let Some(target) = redaction.redacts() else { return Ok(false) };
        match self.find_event(target).await? {
            Some(target) if target.meta().verdict != Verdict::Rejected => {
                self.may_redact(redaction.sender(), &target).await
            }
            _ => Ok(false),
        }
    }

    /// Whether a redaction would take effect by the power of somebody of whom it is not known that he is in the room, as
    /// one may be who has been put out of it. It could not be undone.
    pub(crate) async fn is_by_unknown_power(&mut self, redaction: &Pdu) -> Result<bool, Error> {
        let Some(target) = redaction.redacts() else { return Ok(false) };
        let sender = redaction.sender();
        let target = self.find_event(target).await?;
        // Whoever it is there, his server empties what its own users say.
        if target.is_some_and(|target| target.sender().server_name() == sender.server_name()) {
            return Ok(false);
        }
        Ok(self.power().await?.may_redact(sender) && self.membership(sender).await? != Some(Membership::Join))
    }

    /// Lets an accepted redaction take effect, or waits for the event that it redacts.
    ///
    /// The event to redact must be on disk or unknown: its place is needed.
    pub(crate) async fn apply_redaction(&mut self, redaction: &Arc<StoredEvent>) -> Result<(), Error> {
        let Some(target_id) = redaction.pdu().redacts().map(ToOwned::to_owned) else { return Ok(()) };
        match self.find_event(&target_id).await? {
            Some(target) => self.redact(&target, redaction).await,
            None => self.await_target(redaction, &target_id).await,
        }
    }

    /// Notes that a redaction waits for its event. Whether it may redact that shows when it comes; so each
    /// server has one that waits, and one by somebody who may redact everybody's is enough for all.
    async fn await_target(&mut self, redaction: &Arc<StoredEvent>, target: &EventId) -> Result<(), Error> {
        let key = (redaction.room(), target.as_str());
        let power = self.power().await?;
        let stored = self.engine.store().get(&AWAITED, &key).await?.unwrap_or_default();
        let mut waiting: Vec<Arc<StoredEvent>> =
            self.view().events(&stored.redactions).await?.into_iter().flatten().collect();
        waiting.extend(self.fresh_redactions(target));
        waiting.retain(|waiting| waiting.serial() != redaction.serial());
        if waiting.iter().any(|waiting| power.may_redact(waiting.sender())) {
            return Ok(());
        }
        let mut redactions: Vec<EventSerial> = Vec::new();
        if !power.may_redact(redaction.sender()) {
            let server = redaction.sender().server_name();
            let is_served = waiting.iter().any(|waiting| waiting.sender().server_name() == server);
            if is_served || waiting.len() >= MAX_WAITING {
                return Ok(());
            }
            redactions.extend(waiting.iter().map(|waiting| waiting.serial()));
        }
        redactions.push(redaction.serial());
        self.batch().put(&AWAITED, &key, &Awaited { redactions });
        Ok(())
    }

    /// Accepted redactions of an event that are not on disk yet.
    fn fresh_redactions(&self, target: &EventId) -> Vec<Arc<StoredEvent>> {
        let view = self.view();
        let fresh = view.layers.iter().flat_map(|layer| layer.events());
        fresh
            .filter(|event| {
                event.meta().verdict == Verdict::Accepted && event.pdu().redacts() == Some(target)
            })
            .cloned()
            .collect()
    }

    /// Whether a redaction of this event is on its way to disk: what it waits for must not come before it
    /// is there.
    pub(crate) fn is_awaited_fresh(&self, target: &EventId) -> bool {
        !self.fresh_redactions(target).is_empty()
    }

    /// The redaction that waits for this event and may redact it.
    pub(crate) async fn find_waiting(
        &mut self,
        target: &Pdu,
        awaited: Awaited,
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        let power = self.power().await?;
        let waiting = self.view().events(&awaited.redactions).await?;
        Ok(waiting.into_iter().flatten().find(|redaction| {
            let sender = redaction.sender();
            sender.server_name() == target.sender().server_name() || power.may_redact(sender)
        }))
    }

    /// Shows a redaction that was withheld until its event came.
    pub(crate) async fn show_redaction(&mut self, redaction: &Arc<StoredEvent>) -> Result<(), Error> {
        if redaction.meta().place != Place::None {
            return Ok(());
        }
        let (room, serial) = (redaction.room(), redaction.serial());
        let meta = EventMeta { place: Place::Live, ..redaction.meta().clone() };
        let unstamped = Stamped { position: Position::START, value: meta };
        let shown = Arc::new(StoredEvent::new(room, serial, redaction.pdu().clone(), unstamped.clone()));
        let slot = self.log(&shown, false);
        self.batch().put_stamped(&EVENT_META, &(room, serial), slot, &unstamped.value);
        self.note_changed(serial);
        self.add_fresh(shown.clone());
        self.placed.push((shown.clone(), Some(slot)));
        self.show(&shown, Some(slot), false).await
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
        self.unrelate(target);
        self.note_changed(target.serial());
        let emptied = Arc::new(StoredEvent::new(target.room(), target.serial(), redacted, meta));
        self.add_fresh(emptied.clone());
        let (engine, room) = (self.engine, self.room);
        projections::empty(&engine.0.projections, room, target, &emptied, self.batch());
        self.refresh_state(target, emptied).await
    }

    /// Takes an event out of the relations of its parent, and out of its thread.
    pub(crate) fn unrelate(&mut self, event: &StoredEvent) {
        let (Some(relation), Some(order)) = (event.relation(), event.order()) else { return };
        let (room, parent) = (event.room(), relation.event_id.to_string());
        if relation.is_thread() {
            self.batch().delete(&THREADS, &(room, order));
            let sender = (room, parent.as_str(), event.sender().as_str());
            self.batch().add(&THREAD_SENDERS, &sender, -1);
        }
        self.batch().delete(&RELATIONS, &(room, parent, order));
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
        let took_guests = self.summary_mut().takes_guests();
        projections::follow_summary(self.summary_mut(), &change);
        if took_guests && !self.summary_mut().takes_guests() {
            self.batch().touch([store::Topic::guest_access()]);
        }
        Ok(())
    }
}

impl crate::Engine {
    /// Takes the content of an event out of a room.
    ///
    /// # Errors
    /// [`Error::NoEvent`]; [`Error::Forbidden`]; as [`crate::Engine::send`].
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
            kind: TimelineEventType::RoomRedaction,
            state_key: None,
            content: crate::draft::raw(&serde_json::Value::Object(content)),
            sender: sender.to_owned(),
            redacts: Some(target.to_owned()),
        };
        self.send(room_id, draft, txn).await
    }
}
