//! Sending events from here: [`Engine::send`].

use std::sync::Arc;

use audit::Deed;
use pdu::Draft;
use room::{
    Error,
    attempts::Attempts,
    read::{event::Relation, view::Viewer},
    tables::{EVENT_IDS, Membership},
};
use ruma::{
    OwnedEventId, RoomId, ServerName,
    events::{StateEventType, TimelineEventType},
};
use store::CommitError;

use crate::{
    Engine,
    annotations::Annotation,
    canonical_alias,
    head::Landing,
    pipeline::{Sending, Stage, name},
    profile::GRANTING,
    request::{Txn, TxnKey},
    tables::TXNS,
};

impl Engine {
    /// Says something in a room, for a user of ours: a message or a state event.
    ///
    /// When it returns, the event is on stable storage. A repeated `txn` gets the id of the first
    /// event, also after a restart. A state event equal to the current one is not sent again: the
    /// id of the current one is the answer.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::Denied`], [`Error::NoRoom`], [`Error::NotOurs`],
    /// [`Error::Format`]; [`Error::BadAlias`], [`Error::BadThread`],
    /// [`Error::DuplicateAnnotation`]; [`Error::Invalid`] for what no room can accept; [`Error::NoEvent`] for a redaction
    /// of an event we lack, by one who may redact his own events only.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#sending-events-to-a-room>
    pub async fn send(
        &self,
        room_id: &RoomId,
        draft: Draft,
        txn: Option<&Txn>,
    ) -> Result<OwnedEventId, Error> {
        self.send_at(room_id, draft, txn, None).await
    }

    /// As [`Engine::send`], with the time that the event is to claim, in milliseconds since 1970: for who may say what was
    /// said elsewhere, at another time. Its place in the room is the newest all the same.
    ///
    /// # Errors
    /// As [`Engine::send`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/application-service-api/#timestamp-massaging>
    pub async fn send_at(
        &self,
        room_id: &RoomId,
        mut draft: Draft,
        txn: Option<&Txn>,
        at: Option<u64>,
    ) -> Result<OwnedEventId, Error> {
        if draft.kind == TimelineEventType::RoomRedaction && draft.redacts.is_none() {
            draft.redacts = redacts_in(&draft);
        }
        if let Err(error) = self.check_draft(room_id, &mut draft).await {
            // What was served before is answered as it was then, whatever a policy says or is known by now.
            return self.answer_again(room_id, &draft, txn).await?.ok_or(error);
        }
        match self.foreign_invitee(&draft) {
            Some(target) => self.invite_foreign(room_id, draft, &target, at).await,
            None => self.send_placed(room_id, &draft, txn, None, at).await,
        }
    }

    /// As [`Engine::send`], with a row in the audit log of an authority: for what somebody has said by another user.
    /// It is no event about a member.
    ///
    /// # Errors
    /// As [`Engine::send`].
    pub async fn send_noted(
        &self,
        room_id: &RoomId,
        mut draft: Draft,
        txn: Option<&Txn>,
        deed: (&Deed, &ServerName),
    ) -> Result<OwnedEventId, Error> {
        if let Err(error) = self.check_draft(room_id, &mut draft).await {
            return self.answer_again(room_id, &draft, txn).await?.ok_or(error);
        }
        self.send_unchecked(room_id, &draft, txn, Some(deed)).await
    }

    /// What can be said of a draft without the room's lock.
    pub(crate) async fn check_draft(&self, room_id: &RoomId, draft: &mut Draft) -> Result<(), Error> {
        self.may_say(Some(room_id), draft)?;
        if draft.kind == TimelineEventType::RoomCreate {
            return Err(Error::Invalid("a room has one create event, and it is there".to_owned()));
        }
        self.may_say_as_guest(draft).await?;
        if draft.kind == TimelineEventType::RoomMember {
            // Whoever changes his name sends along who granted an earlier join, but that would need that
            // server's signature anew. Where a join has to be granted, the server does that.
            let mut content = member_object(draft)?;
            content.remove(GRANTING);
            draft.content = crate::draft::raw(&serde_json::Value::Object(content));
            self.check_member_draft(room_id, draft).await?;
        }
        if canonical_alias::names_room(draft) {
            self.check_canonical_alias(room_id, draft).await?;
        }
        self.check_thread(room_id, draft).await
    }

    /// Guests join, leave and change their name by verbs; that state says the same, or invites, is open to none of them. (They
    /// may take back by it that they are there.)
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#guest-access>
    async fn may_say_as_guest(&self, draft: &Draft) -> Result<(), Error> {
        let is_listed = match &draft.kind {
            TimelineEventType::RoomMember => {
                draft.state_key.as_deref() == Some(draft.sender.as_str())
                    && room::read::event::membership_in(&draft.content) == Some(Membership::Leave)
            }
            TimelineEventType::RoomThirdPartyInvite => false,
            _ => true,
        };
        match draft.state_key.is_none() || is_listed || !self.is_guest(&draft.sender).await? {
            true => Ok(()),
            false => Err(Error::NotForGuests),
        }
    }

    /// A thread cannot begin with an event that relates to another one itself.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#validation-of-mthread-relationships>
    async fn check_thread(&self, room_id: &RoomId, draft: &Draft) -> Result<(), Error> {
        #[derive(serde::Deserialize)]
        struct Content {
            #[serde(rename = "m.relates_to")]
            relates_to: Relation,
        }
        // Most events relate to none: looking for the name, or for escapes that may spell it, is cheaper than parsing.
        let text = draft.content.get();
        if draft.state_key.is_some() || !(text.contains("m.relates_to") || text.contains("\\u")) {
            return Ok(());
        }
        let Ok(Content { relates_to }) = serde_json::from_str::<Content>(draft.content.get()) else {
            return Ok(());
        };
        if !relates_to.is_thread() {
            return Ok(());
        }
        match self.rooms().event_for(&Viewer::user(&draft.sender), room_id, &relates_to.event_id).await {
            Ok(root) if root.event.relation().is_some() => Err(Error::BadThread),
            // What we do not know may be right.
            Ok(_) | Err(Error::NoEvent(_) | Error::NoRoom(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// As [`Engine::send`], after policy was asked; with a deed's row in the log of an authority.
    pub(crate) async fn send_unchecked(
        &self,
        room_id: &RoomId,
        draft: &Draft,
        txn: Option<&Txn>,
        deed: Option<(&Deed, &ServerName)>,
    ) -> Result<OwnedEventId, Error> {
        self.send_placed(room_id, draft, txn, deed, None).await
    }

    async fn send_placed(
        &self,
        room_id: &RoomId,
        draft: &Draft,
        txn: Option<&Txn>,
        deed: Option<(&Deed, &ServerName)>,
        at: Option<u64>,
    ) -> Result<OwnedEventId, Error> {
        let room = self.rooms().get_room(room_id).await?;
        let key = txn.map(|txn| txn.key(room.serial, draft));
        let annotation = Annotation::of_draft(draft);
        let mut looked = None;
        if let Some(annotation) = &annotation {
            looked =
                match annotation.refuse_same((self.rooms(), self.store()), room.serial, draft, None).await {
                    Ok(looked) => looked,
                    Err(error) => return self.answer_without_event(key.as_ref(), Err(error)).await,
                };
        }
        let mut attempts = Attempts::default();
        loop {
            let mut guard = self.lock(&room).await?;
            if let Some(key) = &key {
                if let Some(landing) = guard.find_flight(key) {
                    drop(guard);
                    // However it landed: its row tells, or its absence.
                    landing.await.ok();
                    if let Some(event_id) = self.find_txn(key).await? {
                        return Ok(event_id);
                    }
                    attempts.again(self.rooms()).await?;
                    continue;
                }
                // On the first try the batch itself demands that the row is absent, which spares a read.
                if attempts.is_repeat()
                    && let Some(event_id) = self.find_txn(key).await?
                {
                    return Ok(event_id);
                }
            }
            guard.head()?;
            if let Some(redacts) = &draft.redacts
                && guard.live()?.fresh.holds(redacts)
                && guard.land(self).await.is_err()
            {
                attempts.again(self.rooms()).await?;
                continue;
            }

            if let Some(annotation) = &annotation {
                let is_on_its_way = annotation.is_among(draft, guard.live()?.fresh.events());
                if is_on_its_way && guard.land(self).await.is_err() {
                    attempts.again(self.rooms()).await?;
                    continue;
                }
                looked = match annotation
                    .refuse_same((self.rooms(), self.store()), room.serial, draft, looked)
                    .await
                {
                    Ok(looked) => looked,
                    Err(error) => return self.answer_without_event(key.as_ref(), Err(error)).await,
                };
            }

            if draft.state_key.is_none() {
                guard.look_for_others(self).await?;
            }
            let mut stage = Stage::new(self, &room, guard.live()?);
            let sending = Sending { txn, at, ..Sending::default() };
            let outcome = stage_draft(&mut stage, draft, sending).await;
            let Ok(Outcome::Placed(event_id)) = outcome else {
                if !guard.is_current(self).await? {
                    attempts.again(self.rooms()).await?;
                    continue;
                }
                return self.answer_without_event(key.as_ref(), outcome).await;
            };
            if let Some(key) = &key {
                stage.serve(key, &event_id);
            }
            if let Some((deed, authority)) = deed {
                deed.write(stage.batch(), authority);
            }
            let staged = stage.finish();
            let landing = guard.submit(self, staged, key.clone());
            drop(guard);
            if self.landed(landing, &event_id, &mut attempts).await? {
                self.0.metrics.sent.inc();
                return Ok(event_id);
            }
        }
    }

    /// The answer when a draft made no event. A request that was served before is answered as it was
    /// then, whatever the room says now.
    async fn answer_without_event(
        &self,
        key: Option<&TxnKey>,
        outcome: Result<Outcome, Error>,
    ) -> Result<OwnedEventId, Error> {
        let served = match key {
            Some(key) => self.find_txn(key).await?,
            None => None,
        };
        match (served, outcome) {
            (Some(event_id), _) => Ok(event_id),
            (None, Ok(Outcome::Placed(event_id) | Outcome::Unchanged(event_id))) => Ok(event_id),
            (None, Err(error)) => Err(error),
        }
    }

    /// Waits for a batch that holds this event. False: it was not written, try again.
    pub(crate) async fn landed(
        &self,
        landing: Landing,
        event_id: &OwnedEventId,
        attempts: &mut Attempts,
    ) -> Result<bool, Error> {
        let landed = landing.await;
        if matches!(landed, Err(CommitError::Unknown))
            && self.store().get(&EVENT_IDS, event_id.as_str()).await?.is_some()
        {
            return Ok(true);
        }
        Ok(attempts.judge(self.rooms(), landed).await?.is_some())
    }

    /// The event that the same request made before.
    async fn answer_again(
        &self,
        room_id: &RoomId,
        draft: &Draft,
        txn: Option<&Txn>,
    ) -> Result<Option<OwnedEventId>, Error> {
        match (txn, self.rooms().room(room_id).await?) {
            (Some(txn), Some(room)) => self.find_txn(&txn.key(room.serial, draft)).await,
            _ => Ok(None),
        }
    }

    /// The event that this request made, if it was served.
    async fn find_txn(&self, key: &TxnKey) -> Result<Option<OwnedEventId>, Error> {
        Ok(self.store().get(&TXNS, key).await?.map(|row| row.event_id))
    }

    /// Member events sent as plain state must not go around the verbs that they stand for.
    async fn check_member_draft(&self, room_id: &RoomId, draft: &Draft) -> Result<(), Error> {
        let target = draft.state_key.as_deref().map(<&ruma::UserId>::try_from);
        let Some(Ok(target)) = target else {
            return Err(Error::Invalid("a member event needs a user id as its state key".to_owned()));
        };
        match room::read::event::membership_in(&draft.content) {
            Some(Membership::Invite) => {
                self.0.policy.invite(&draft.sender, target, room_id)?;
                self.check_invite_not_blocked(&draft.sender, target, room_id).await?;
                self.must_take_invite(target, &draft.sender).await
            }
            Some(Membership::Join) => {
                self.0.policy.join(target, room_id)?;
                self.check_not_blocked(target, room_id).await
            }
            Some(Membership::Leave) if target == draft.sender => self.must_not_refuse(target, room_id).await,
            Some(_) => Ok(()),
            None => Err(Error::Invalid("`membership` is missing or unknown".to_owned())),
        }
    }

    /// The user of another server whom this draft invites.
    pub(crate) fn foreign_invitee(&self, draft: &Draft) -> Option<ruma::OwnedUserId> {
        if draft.kind != TimelineEventType::RoomMember {
            return None;
        }
        let target = <&ruma::UserId>::try_from(draft.state_key.as_deref()?).ok()?;
        let invites = room::read::event::membership_in(&draft.content) == Some(Membership::Invite);
        (invites && !self.is_local(target)).then(|| target.to_owned())
    }
}

/// What became of a draft.
pub(crate) enum Outcome {
    /// It is in the batch.
    Placed(OwnedEventId),
    /// The room's state says so already, by this event.
    Unchanged(OwnedEventId),
}

/// Puts a draft into a batch, unless it says what the state says already.
pub(crate) async fn stage_draft(
    stage: &mut Stage<'_>,
    draft: &Draft,
    sending: Sending<'_>,
) -> Result<Outcome, Error> {
    match place_draft(stage, draft, sending).await {
        Err(error) => Err(stage.veil(draft, error).await?),
        done => done,
    }
}

async fn place_draft(stage: &mut Stage<'_>, draft: &Draft, sending: Sending<'_>) -> Result<Outcome, Error> {
    if let Some(state_key) = &draft.state_key
        && draft.kind != TimelineEventType::RoomCreate
    {
        let current = stage.current_one(name(&draft.kind, state_key.as_str())).await?;
        if let Some(current) = current
            && current.sender() == draft.sender
            && same_json(current.pdu().content_str(), draft.content.get())
        {
            // Not for those who may not send: they must hear that.
            stage.author(draft, sending.at, sending.cosigner.as_deref()).await?;
            return Ok(Outcome::Unchanged(current.event_id().to_owned()));
        }
    }
    if let Some(redacts) = &draft.redacts {
        stage.check_redaction(&draft.sender, redacts).await?;
    }
    check_levels(stage, draft).await?;
    let event = match grant_join(stage, draft).await? {
        Some((granted, cosigner)) => stage.send(&granted, Sending { cosigner, ..sending }).await?,
        None => stage.send(draft, sending).await?,
    };
    Ok(Outcome::Placed(event.event_id().to_owned()))
}

/// Makes a draft of one's own join a granted one, where the room asks for that: a join sent as plain state is
/// a join like any other. Returns it with the other authority of ours that has to sign it.
async fn grant_join(
    stage: &mut Stage<'_>,
    draft: &Draft,
) -> Result<Option<(Draft, Option<Arc<pdu::Authority>>)>, Error> {
    let is_own = draft.kind == TimelineEventType::RoomMember
        && draft.state_key.as_deref() == Some(draft.sender.as_str());
    let membership = room::read::event::membership_in(&draft.content).filter(|_| is_own);
    if matches!(membership, Some(Membership::Join | Membership::Knock)) {
        stage.engine.must_take_guest(stage, &draft.sender).await?;
    }
    if membership != Some(Membership::Join) {
        return Ok(None);
    }
    let mut content = member_object(draft)?;
    let engine = stage.engine;
    let Some(cosigner) = engine.grant_here(stage, &draft.sender, &mut content).await? else {
        return Ok(None);
    };
    let content = crate::draft::raw(&serde_json::Value::Object(content));
    Ok(Some((Draft { content, ..draft.clone() }, cosigner)))
}

/// The content of a member event, as JSON reads it and not as it is spelled.
fn member_object(draft: &Draft) -> Result<serde_json::Map<String, serde_json::Value>, Error> {
    serde_json::from_str(draft.content.get())
        .map_err(|_| Error::Invalid("the content of a member event is an object".to_owned()))
}

/// From version 12 the room's creators have all power, and power levels may not name them. The sender hears
/// that this is a fault of the request; for the auth rules it is a refusal like others.
async fn check_levels(stage: &mut Stage<'_>, draft: &Draft) -> Result<(), Error> {
    #[derive(serde::Deserialize)]
    struct Content {
        #[serde(default)]
        users: std::collections::BTreeMap<String, serde::de::IgnoredAny>,
    }
    if draft.kind != TimelineEventType::RoomPowerLevels
        || !stage.room.version.rules().authorization.explicitly_privilege_room_creators
    {
        return Ok(());
    }
    let Ok(content) = serde_json::from_str::<Content>(draft.content.get()) else { return Ok(()) };
    if stage.power().await?.creators().iter().any(|creator| content.users.contains_key(creator.as_str())) {
        return Err(Error::Invalid("creators of a version 12 room have no power level".to_owned()));
    }
    Ok(())
}

/// Whether two texts are the same JSON value.
fn same_json(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    let parse = serde_json::from_str::<serde_json::Value>;
    matches!((parse(one), parse(other)), (Ok(one), Ok(other)) if one == other)
}

/// What a redaction sent as an ordinary event redacts: from room version 11 its content says it.
fn redacts_in(draft: &Draft) -> Option<OwnedEventId> {
    #[derive(serde::Deserialize)]
    struct Content {
        redacts: OwnedEventId,
    }
    serde_json::from_str::<Content>(draft.content.get()).ok().map(|content| content.redacts)
}

/// The name of a state event type that has the empty state key.
pub(crate) fn single(kind: StateEventType) -> room::tables::StateKeyName {
    name(kind, "")
}
