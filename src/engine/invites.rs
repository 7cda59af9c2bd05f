//! Invites, out and in.
//!
//! An invite of a user of another server goes to that server for its signature first, and into the
//! room only when it came back. An invite from another server to a room we are not in has no place in
//! a graph of ours ([`crate::outside`]).
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#inviting-to-a-room>

use std::sync::Arc;

use pdu::{Draft, Pdu, RoomVersion};
use room::{
    Error,
    tables::{InviteRow, Membership, StateKeyName, Verdict},
};
use ruma::{
    OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, ServerName, UserId,
    events::{StateEventType, TimelineEventType},
};
use serde_json::{Value, value::RawValue};

use crate::{
    Engine,
    draft::draft,
    inbound::receive::{Arrival, Received},
    outside::OutsideChange,
    pipeline::{Stage, name},
    ports::{Invitees, Namesakes},
    profile::{Profile, member_content},
    told::Told,
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

/// Of invites from other servers, so many may be open for one user: in all, and from one server.
const OPEN_INVITES: usize = 500;
const OPEN_INVITES_OF_ONE: usize = 100;
/// Larger invites are not taken: they hold a name, a picture and a reason.
const LARGEST_INVITE: usize = 16 << 10;

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

impl Engine {
    /// Invites somebody, of ours or of another server.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::Denied`], [`Error::InviteBlocked`]; [`Error::Remote`] when the user's server refuses or
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

    /// Has somebody asked before a user of ours is invited, by whomever; he belongs to the floor of accounts, which is
    /// opened later. Who was given first stays.
    pub fn ask_before_invites(&self, invitees: Arc<dyn Invitees>) {
        self.0.invitees.get_or_init(|| invitees);
    }

    /// Has somebody make users and aliases of ours that are looked for. Who was given first stays.
    pub fn ask_for_names(&self, namesakes: Arc<dyn Namesakes>) {
        self.0.namesakes.get_or_init(|| namesakes);
    }

    /// Refuses where the user is one of ours, and takes no invites of that one or has closed his account.
    pub(crate) async fn must_take_invite(&self, target: &UserId, inviter: &UserId) -> Result<(), Error> {
        if let Some(namesakes) = self.0.namesakes.get().filter(|_| self.is_local(target)) {
            namesakes.make_user(target).await;
        }
        let Some(invitees) = self.0.invitees.get().filter(|_| self.is_local(target)) else { return Ok(()) };
        if invitees.is_closed(target).await? {
            // As other servers hear it of us.
            return Err(Error::NotAllowed("There is no such user to invite".to_owned()));
        }
        match invitees.takes_invites(target, inviter).await? {
            true => Ok(()),
            false => Err(Error::InviteBlocked(target.to_owned())),
        }
    }

    /// Refuses where a user of ours has an invite that may not be refused.
    pub(crate) async fn must_not_refuse(&self, user: &UserId, room_id: &RoomId) -> Result<(), Error> {
        let Some(invitees) = self.0.invitees.get() else { return Ok(()) };
        let membership = self.rooms().membership(user, room_id).await?.map(|row| row.membership);
        if membership != Some(Membership::Invite) || invitees.may_refuse(user, room_id).await? {
            return Ok(());
        }
        Err(Error::ServerNotices)
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
        self.must_take_invite(target, sender).await?;
        self.check_invite_not_blocked(sender, target, room_id).await?;
        let draft = draft(sender, StateEventType::RoomMember, target.as_str(), &content);
        self.may_say(Some(room_id), &draft)?;
        if self.is_local(target) {
            self.send_unchecked(room_id, &draft, None, None).await?;
        } else {
            self.invite_foreign(room_id, draft, target, None).await?;
        }
        Ok(())
    }

    /// Invites a user of another server.
    pub(crate) async fn invite_foreign(
        &self,
        room_id: &RoomId,
        draft: Draft,
        target: &UserId,
        at: Option<u64>,
    ) -> Result<OwnedEventId, Error> {
        let room = self.rooms().get_room(room_id).await?;
        let (event, state) = {
            let guard = self.lock_current(&room).await?;
            guard.head()?;
            let mut stage = Stage::new(self, &room, guard.live()?);
            let event = stage.author(&draft, at, None).await?.event;
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
    /// [`Error::UnsupportedVersion`]; [`Error::TooLarge`]; [`Error::Invalid`] and [`Error::Format`] for what is no such
    /// invite; [`Error::Unverified`]; [`Error::Denied`], [`Error::InviteBlocked`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2inviteroomideventid>
    pub async fn receive_invite(
        &self,
        origin: &ServerName,
        invite: ReceivedInvite,
    ) -> Result<Box<RawValue>, Error> {
        let version = RoomVersion::parse(&invite.version)
            .map_err(|unsupported| Error::UnsupportedVersion(unsupported.0))?;
        if invite.event.get().len() > LARGEST_INVITE {
            return Err(Error::TooLarge);
        }
        let pdu = Pdu::parse_raw(version, &invite.event)?;
        let target = check_invite(origin, &invite, &pdu)?;
        let authority = self.authority_of(&target)?.clone();
        self.check_open_invites(origin, &invite.room_id, &target).await?;
        let told = Told { room_id: &invite.room_id, version, users: &[pdu.sender(), &target] };
        let stripped = told.by_invite(&invite.invite_room_state)?;
        let event = self.verify_all(vec![pdu]).await?.pop().flatten();
        let event =
            event.ok_or_else(|| Error::NotAllowed("the invite's signature is not right".to_owned()))?;
        self.0.policy.invite(event.pdu().sender(), &target, &invite.room_id)?;
        self.check_not_blocked(&target, &invite.room_id).await?;
        self.must_take_invite(&target, event.pdu().sender()).await?;
        let signed = pdu::countersign(&event, &authority)?;

        if let Some(room) = self.rooms().room(&invite.room_id).await?
            && self.rooms().is_resident(&room).await?
        {
            if !self.rooms().is_admitted(origin, &room).await? {
                return Err(Error::AclDenied(origin.to_owned()));
            }
            // The room's servers, us among them, get the event itself.
            return Ok(signed.pdu().to_raw());
        }
        let room = self.ensure_room(&invite.room_id, version).await?;
        let known = self.not_stored(&room, vec![signed.pdu().event_id().to_owned()]).await?.is_empty();
        if known {
            // Sent again: it may have been refused since, or taken back.
            return Ok(signed.pdu().to_raw());
        }
        if self.is_invited_by_another(origin, &room, &target).await? {
            self.keep_helper(&room, origin).await?;
            return Ok(signed.pdu().to_raw());
        }
        let kept = InviteRow { event: signed.pdu().json().clone(), stripped };
        let change = OutsideChange {
            user: &target,
            membership: Membership::Invite,
            sender: signed.pdu().sender(),
            event: Some(signed.pdu()),
            kept: Some(kept),
            helper: Some(origin),
            farewell: None,
        };
        self.write_outside(&room, change).await?;
        Ok(signed.pdu().to_raw())
    }

    /// Whether a user of ours may have one more invite from elsewhere: each of them is in every first sync.
    async fn check_open_invites(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        user: &UserId,
    ) -> Result<(), Error> {
        let rooms = self.rooms().memberships(user).await?;
        let is_foreign = |sender: &UserId| !self.is_local(sender);
        let open =
            rooms.with(Membership::Invite).filter(|row| row.room_id != room_id && is_foreign(&row.sender));
        let (mut all, mut of_one) = (0, 0);
        for row in open {
            all += 1;
            of_one += usize::from(row.sender.server_name() == origin);
        }
        if all >= OPEN_INVITES || of_one >= OPEN_INVITES_OF_ONE {
            return Err(Error::NotAllowed(format!("{user} has too many invites that are not answered")));
        }
        Ok(())
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
