//! Invites, out and in, and what happens in rooms that we are not in.
//!
//! An invite of a user of another server goes to that server for its signature first, and into the
//! room only when it came back. An invite from another server to a room we are not in has no place in
//! a graph of ours: it lives in [`INVITES`] and [`MEMBERSHIPS`] until it is accepted or refused.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#inviting-to-a-room>

use std::sync::Arc;

use bytes::Bytes;
use pdu::{Draft, Pdu, RoomVersion};
use ruma::{
    OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, ServerName, UserId,
    events::{StateEventType, TimelineEventType},
};
use serde_json::{Map, Value, value::RawValue};
use store::{Batch, Topic};
use tracing::{info, warn};

use crate::{
    Error, Rooms,
    create::draft,
    inbound::receive::{Arrival, Received},
    join::open_template,
    log::{Entry, MembershipEntry},
    membership::{Profile, member_content},
    pipeline::{MAX_DEPTH, Stage, name},
    read::{event::StoredEvent, room::RoomInfo},
    send::Attempts,
    tables::{INVITES, InviteRow, MEMBERSHIPS, Membership, MembershipRow, StateKeyName, Verdict},
    view::Fresh,
};

/// State that tells an invited user what the room is, besides the inviter's own member event.
const INVITE_STATE: [&str; 8] = [
    "m.room.create",
    "m.room.join_rules",
    "m.room.name",
    "m.room.canonical_alias",
    "m.room.avatar",
    "m.room.topic",
    "m.room.encryption",
    "m.room.power_levels",
];

/// An invite as another server sends it.
#[derive(Debug)]
pub struct ReceivedInvite {
    /// The room.
    pub room_id: OwnedRoomId,
    /// The event's id by the request.
    pub event_id: OwnedEventId,
    /// The room's version.
    pub version: String,
    /// The member event.
    pub event: Box<RawValue>,
    /// State of the room for the invited user: PDUs or stripped events.
    pub invite_room_state: Vec<Box<RawValue>>,
}

/// A user's out-of-room membership that is to be written.
pub(crate) struct OutsideChange<'a> {
    pub(crate) user: &'a UserId,
    pub(crate) membership: Membership,
    pub(crate) sender: &'a UserId,
    pub(crate) event: Option<&'a Pdu>,
    /// What to keep for the user; nothing: what was kept goes.
    pub(crate) kept: Option<InviteRow>,
}

impl Rooms {
    /// Invites somebody, of ours or of another server.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::Denied`]; [`Error::Remote`] when the user's server refuses or
    /// cannot be reached: then the room knows nothing of it.
    pub async fn invite(
        &self,
        sender: &UserId,
        room_id: &RoomId,
        target: &UserId,
        profile: &Profile,
        reason: Option<&str>,
    ) -> Result<(), Error> {
        let content = member_content(Membership::Invite, profile, reason);
        self.invite_with(sender, room_id, target, Value::Object(content)).await
    }

    /// Invites somebody with this content of the member event.
    pub(crate) async fn invite_with(
        &self,
        sender: &UserId,
        room_id: &RoomId,
        target: &UserId,
        content: Value,
    ) -> Result<(), Error> {
        self.0.policy.invite(sender, target, room_id)?;
        let draft = draft(sender, StateEventType::RoomMember, target.as_str(), &content);
        if self.is_local(target) {
            self.send_unchecked(room_id, &draft, None, None).await?;
        } else {
            self.invite_foreign(room_id, draft, target).await?;
        }
        Ok(())
    }

    /// Invites a user of another server.
    pub(crate) async fn invite_foreign(
        &self,
        room_id: &RoomId,
        draft: Draft,
        target: &UserId,
    ) -> Result<OwnedEventId, Error> {
        let room = self.get_room(room_id).await?;
        let (event, state) = {
            let guard = self.lock_current(&room).await?;
            guard.head()?;
            let mut stage = Stage::new(self, &room, guard.live()?);
            let event = stage.author(&draft, None, None).await?.event;
            (event, stage.invite_state(&draft.sender).await?)
        };
        let pdu = event.pdu();
        let version = room.version.id();
        let (from, to) = (draft.sender.server_name(), target.server_name());
        let signed =
            self.0.remote.invite(from, to, room_id, pdu.event_id(), &version, &pdu.to_raw(), &state).await?;
        let signed = self.verify_returned(&room, to, to, pdu, &signed).await?;

        let event_id = pdu.event_id().to_owned();
        let mut arrival = Arrival::new(signed, from.to_owned());
        arrival.outgoing = true;
        match self.place_arrival(&room, arrival).await? {
            Received::Placed(event) | Received::Known(event) if event.meta().verdict == Verdict::Accepted => {
                Ok(event_id)
            }
            // The room moved on while the other server was asked, and does not want the invite any more.
            _ => Err(Error::NotAllowed("the room has changed meanwhile".to_owned())),
        }
    }

    /// Takes an invite of another server for a user of ours, and signs it.
    ///
    /// When it returns, the invite is on stable storage.
    ///
    /// # Errors
    /// [`Error::UnsupportedVersion`]; [`Error::Invalid`] and [`Error::Format`] for what is no such
    /// invite; [`Error::Unverified`]; [`Error::Denied`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2inviteroomideventid>
    pub async fn receive_invite(
        &self,
        origin: &ServerName,
        invite: ReceivedInvite,
    ) -> Result<Box<RawValue>, Error> {
        let version = RoomVersion::parse(&invite.version)
            .map_err(|unsupported| Error::UnsupportedVersion(unsupported.0))?;
        let pdu = Pdu::parse_raw(version, &invite.event)?;
        let target = check_invite(origin, &invite, &pdu)?;
        let authority = self.authority_of(&target)?.clone();
        check_invite_state(version, &invite)?;
        let event = self.verify_all(vec![pdu]).await?.pop().flatten();
        let event =
            event.ok_or_else(|| Error::NotAllowed("the invite's signature is not right".to_owned()))?;
        self.0.policy.invite(event.pdu().sender(), &target, &invite.room_id)?;
        let signed = pdu::countersign(&event, &authority)?;

        if let Some(room) = self.room(&invite.room_id).await?
            && self.is_resident(&room).await?
        {
            if !self.is_admitted(origin, &room).await? {
                return Err(Error::AclDenied(origin.to_owned()));
            }
            // The room's servers, us among them, get the event itself.
            return Ok(signed.pdu().to_raw());
        }
        let room = self.ensure_room(&invite.room_id, version).await?;
        let kept = InviteRow {
            event: signed.pdu().json().clone(),
            stripped: Bytes::from(stripped_list(&invite.invite_room_state)),
        };
        let change = OutsideChange {
            user: &target,
            membership: Membership::Invite,
            sender: signed.pdu().sender(),
            event: Some(signed.pdu()),
            kept: Some(kept),
        };
        self.write_outside(&room, change).await?;
        Ok(signed.pdu().to_raw())
    }

    /// Refuses an invite (or takes back a knock) to a room that we are not in.
    pub(crate) async fn leave_from_outside(
        &self,
        user: &UserId,
        room: &Arc<RoomInfo>,
        reason: Option<&str>,
    ) -> Result<(), Error> {
        let mut told = None;
        for server in self.helpers(user, &room.room_id, &[]).await? {
            match self.leave_by(user, room, &server, reason).await {
                Ok(event) => {
                    told = Some(event);
                    break;
                }
                Err(error) => {
                    info!(room_id = %room.room_id, destination = %server, %error, "an invite could not be refused there");
                }
            }
        }
        // The user's other devices learn of it by an event, also where no other server knows that.
        let event = match told {
            Some(told) => Some(told),
            None => self.leave_alone(user, room, reason).await?,
        };
        let event = event.as_ref();
        let change = OutsideChange { user, membership: Membership::Leave, sender: user, event, kept: None };
        self.write_outside(room, change).await
    }

    /// A leave after an invite (or knock) that is known to us only. It is shown to the user and sent to nobody.
    async fn leave_alone(
        &self,
        user: &UserId,
        room: &RoomInfo,
        reason: Option<&str>,
    ) -> Result<Option<Pdu>, Error> {
        let Some(kept) = self.store().get(&INVITES, &(room.serial, user.as_str())).await? else {
            return Ok(None);
        };
        let Ok(before) = Pdu::parse(room.version, &kept.event) else { return Ok(None) };
        let mut auth = before.auth_events().to_vec();
        auth.truncate(pdu::MAX_AUTH_EVENTS - 1);
        auth.push(before.event_id().to_owned());
        let content = member_content(Membership::Leave, &Profile::default(), reason);
        let template = pdu::Template {
            draft: draft(user, StateEventType::RoomMember, user.as_str(), &Value::Object(content)),
            room_id: room.room_id.clone(),
            prev_events: vec![before.event_id().to_owned()],
            auth_events: auth,
            depth: before.depth().saturating_add(1).min(MAX_DEPTH),
        };
        self.complete_template(room.version, &template, self.authority_of(user)?).map(Some)
    }

    async fn leave_by(
        &self,
        user: &UserId,
        room: &RoomInfo,
        server: &ServerName,
        reason: Option<&str>,
    ) -> Result<Pdu, Error> {
        let authority = self.authority_of(user)?.clone();
        let template = self.0.remote.make_leave(authority.name(), server, &room.room_id, user).await?;
        let (version, mut template) =
            open_template(server, template, &room.room_id, user, Membership::Leave)?;
        // The place is theirs to propose; what we sign as said by our user is our word only.
        let content = member_content(Membership::Leave, &Profile::default(), reason);
        template.draft.content = crate::create::raw(&Value::Object(content));
        let pdu = self.complete_template(version, &template, &authority)?;
        self.0
            .remote
            .send_leave(authority.name(), server, &room.room_id, pdu.event_id(), &pdu.to_raw())
            .await?;
        Ok(pdu)
    }

    /// Takes an event of a room that we are not in: only one that ends the invite or knock of a user of
    /// ours means anything to us.
    pub(crate) async fn receive_from_outside(
        &self,
        origin: &ServerName,
        room: &Arc<RoomInfo>,
        pdu: Pdu,
    ) -> Result<(), Error> {
        let refused = || Error::NoRoom(room.room_id.clone());
        let Some((user, membership)) = crate::pipeline::member_change(&pdu) else { return Err(refused()) };
        let waits = self.store().get(&INVITES, &(room.serial, user.as_str())).await?.is_some();
        let ends = matches!(membership, Membership::Leave | Membership::Ban);
        if !waits || !ends || !self.is_local(&user) || pdu.sender().server_name() != origin {
            return Err(refused());
        }
        // We cannot see what power others have in the room: who invited may take that back, nobody else.
        let outside = self.store().get(&MEMBERSHIPS, &(user.as_str(), room.serial)).await?;
        let outside = outside.map(|row| row.value);
        if outside.is_some_and(|row| row.membership == Membership::Invite && row.sender != pdu.sender()) {
            return Err(refused());
        }
        let event = self.verify_all(vec![pdu]).await?.pop().flatten().ok_or_else(refused)?;
        let change = OutsideChange {
            user: &user,
            membership,
            sender: event.pdu().sender(),
            event: Some(event.pdu()),
            kept: None,
        };
        self.write_outside(room, change).await
    }

    /// Writes the membership of a user of ours in a room that we are not in.
    pub(crate) async fn write_outside(
        &self,
        room: &Arc<RoomInfo>,
        change: OutsideChange<'_>,
    ) -> Result<(), Error> {
        let key = (change.user.as_str(), room.serial);
        let mut attempts = Attempts::default();
        loop {
            let old = self.store().get(&MEMBERSHIPS, &key).await?;
            let mut batch = Batch::new();
            let serial = match change.event {
                None => None,
                Some(pdu) => Some(self.keep_outside(&mut batch, room, pdu).await?.serial()),
            };
            let row = MembershipRow {
                room_id: room.room_id.clone(),
                membership: change.membership,
                previous: old.as_ref().map(|old| old.value.membership),
                event: serial,
                sender: change.sender.to_owned(),
                forgotten: false,
                current: crate::Root::EMPTY,
            };
            let entry = Entry::Membership(MembershipEntry {
                room: room.serial,
                room_id: room.room_id.clone(),
                user_id: change.user.to_owned(),
                membership: change.membership,
            });
            let (kind, payload) = entry.encode();
            let slot = batch.log(kind, payload, [Topic::user(change.user.as_str())]);
            batch.require(&MEMBERSHIPS, &key, old.as_ref());
            batch.put_stamped(&MEMBERSHIPS, &key, slot, &row);
            let kept_key = (room.serial, change.user.as_str());
            match &change.kept {
                Some(kept) => batch.put(&INVITES, &kept_key, kept),
                None => batch.delete(&INVITES, &kept_key),
            }
            if attempts.judge(self, self.store().commit(batch).await).await?.is_some() {
                return Ok(());
            }
        }
    }

    /// The stored form of a member event from outside, added to the batch if it is not there yet.
    async fn keep_outside(
        &self,
        batch: &mut Batch,
        room: &RoomInfo,
        pdu: &Pdu,
    ) -> Result<Arc<StoredEvent>, Error> {
        let nothing = Fresh::default();
        let view = self.stored_view(room, &nothing);
        if let Some(known) = view.events_by_id(&[pdu.event_id().to_owned()]).await?.pop().flatten() {
            return Ok(known);
        }
        self.stage_outlier(batch, room, pdu, Verdict::Outlier, Vec::new()).await
    }

    /// Whether the room's server ACL lets a server in.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub async fn is_admitted(&self, server: &ServerName, room: &RoomInfo) -> Result<bool, Error> {
        let acl = self.current_event(room, "m.room.server_acl", "").await?;
        Ok(acl.is_none_or(|acl| crate::acl::admits(acl.pdu().content_str(), server)))
    }

    /// A state event of the room's current state, as of the last commit.
    pub(crate) async fn current_event(
        &self,
        room: &RoomInfo,
        kind: &str,
        key: &str,
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        let Some(head) = self.store().get(&crate::tables::HEADS, &room.serial).await? else {
            return Ok(None);
        };
        let nothing = Fresh::default();
        let names = [StateKeyName { kind: kind.to_owned(), key: key.to_owned() }];
        let events = self.stored_view(room, &nothing).state(head.current, &names).await?;
        Ok(events.into_iter().next().flatten())
    }
}

impl Stage<'_> {
    /// The state that goes with an invite: full PDUs.
    pub(crate) async fn invite_state(&mut self, inviter: &UserId) -> Result<Vec<Box<RawValue>>, Error> {
        let mut names: Vec<StateKeyName> = INVITE_STATE.iter().map(|kind| name(kind, "")).collect();
        names.push(name(StateEventType::RoomMember, inviter.as_str()));
        let events = self.current(&names).await?;
        Ok(events.into_iter().flatten().map(|event| event.pdu().to_raw()).collect())
    }
}

/// Checks an invite against the request that brought it; returns who is invited.
fn check_invite(origin: &ServerName, invite: &ReceivedInvite, pdu: &Pdu) -> Result<OwnedUserId, Error> {
    let bad = |what: &str| Error::Invalid(what.to_owned());
    if pdu.event_id() != invite.event_id {
        return Err(bad("the event has another id than the request says"));
    }
    if pdu.room_id() != invite.room_id {
        return Err(bad("the event is of another room than the request says"));
    }
    if *pdu.kind() != TimelineEventType::RoomMember {
        return Err(bad("the event is no member event"));
    }
    if pdu.sender().server_name() != origin {
        return Err(Error::NotAllowed("the sender is not of the server that sent the invite".to_owned()));
    }
    match crate::pipeline::member_change(pdu) {
        Some((target, Membership::Invite)) => Ok(target),
        _ => Err(bad("the event is no invite")),
    }
}

/// The state that came along must be of this room, where it is given as PDUs with a create event.
fn check_invite_state(version: RoomVersion, invite: &ReceivedInvite) -> Result<(), Error> {
    if !version.has_hashed_room_id() {
        return Ok(());
    }
    // From version 12 the create event is the room's id, so a wrong one shows.
    for raw in &invite.invite_room_state {
        let Ok(pdu) = Pdu::parse_raw(version, raw) else { continue };
        if pdu.is_state(&TimelineEventType::RoomCreate, "") && pdu.room_id() != invite.room_id {
            return Err(Error::Invalid("the create event is that of another room".to_owned()));
        }
    }
    Ok(())
}

/// State events cut down to what invited users are shown, as a JSON array.
pub(crate) fn stripped_list(events: &[Box<RawValue>]) -> String {
    const KEPT: [&str; 4] = ["content", "sender", "state_key", "type"];
    let mut list = Vec::with_capacity(events.len());
    for raw in events {
        match serde_json::from_str::<Map<String, Value>>(raw.get()) {
            Ok(mut event) => {
                event.retain(|key, _| KEPT.contains(&key.as_str()));
                list.push(Value::Object(event));
            }
            Err(error) => warn!(%error, "an event of an invite's state is no object"),
        }
    }
    Value::Array(list).to_string()
}
