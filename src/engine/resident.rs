//! Helping users of other servers to join, leave and knock at rooms that we are in.
//!
//! We propose an event that fits the room ([`Engine::make_member_template`]), and take it back
//! completed and signed; then it is the room's, and we send it to the others.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#joining-rooms>

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use pdu::{Pdu, RoomVersion};
use room::{
    Error, EventSerial, Root,
    read::{event::StoredEvent, room::RoomInfo},
    tables::{Membership, Verdict},
};
use ruma::{EventId, OwnedServerName, RoomId, RoomVersionId, ServerName, UserId, events::StateEventType};
use serde_json::{Value, value::RawValue};

use crate::{
    Engine,
    draft::draft,
    inbound::receive::Arrival,
    pipeline::Stage,
    profile::{GRANTING, Profile, member_content},
};

/// A proposal for a member event.
#[derive(Debug)]
pub struct MemberTemplate {
    /// The room's version.
    pub version: RoomVersion,
    /// The event, without hashes and signatures.
    pub event: Box<RawValue>,
}

/// The answer to `send_join`.
#[derive(Debug)]
pub struct AcceptedJoin {
    /// The join, with our signature where a restricted room needs it.
    pub event: Box<RawValue>,
    /// The state before it: texts of events.
    pub state: Vec<Bytes>,
    /// The auth chain of state and join; what is in a state without members is not in it again.
    pub auth_chain: Vec<Bytes>,
    /// Whether member events were left out.
    pub members_omitted: bool,
    /// The servers in the room, when members were left out.
    pub servers_in_room: Vec<OwnedServerName>,
}

impl Engine {
    /// A join, leave or knock event that a user of another server may complete and sign.
    ///
    /// # Errors
    /// [`Error::NoRoom`] when we are not in the room; [`Error::IncompatibleVersion`] when its version
    /// is not among `versions` (for a leave, pass none); [`Error::Forbidden`]; [`Error::AclDenied`];
    /// [`Error::UnableToAuthoriseJoin`] and [`Error::UnableToGrantJoin`] for restricted rooms.
    pub async fn make_member_template(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        user: &UserId,
        membership: Membership,
        versions: &[RoomVersionId],
    ) -> Result<MemberTemplate, Error> {
        if user.server_name() != origin {
            return Err(Error::NotAllowed("the user is not of the asking server".to_owned()));
        }
        let room = self.open_to(origin, room_id).await?;
        if !versions.is_empty() && !versions.iter().any(|version| version.as_str() == room.version.as_str()) {
            return Err(Error::IncompatibleVersion(room.version.id()));
        }
        let guard = self.lock_current(&room).await?;
        guard.head()?;
        let mut stage = Stage::new(self, &room, guard.live()?);
        let mut content = member_content(membership, &Profile::default(), None);
        if membership == Membership::Join {
            let before = stage.membership(user).await?;
            if !matches!(before, Some(Membership::Invite | Membership::Join))
                && let Some(granting) = self.find_granting(&mut stage, user).await?
            {
                content.insert(GRANTING.to_owned(), granting.as_str().into());
            }
        }
        let draft = draft(user, StateEventType::RoomMember, user.as_str(), &Value::Object(content));
        let built = stage.build(&draft, None).await?;
        // Signed for the check only; the one who completes it signs anew.
        let authority =
            self.authorities().iter().next().ok_or(Error::Inconsistent("a process without an authority"))?;
        let event = pdu::sign_part(built.event, authority)?;
        stage.authorise(&event, &built.state)?;
        Ok(MemberTemplate { version: room.version, event: unsigned(&event) })
    }

    /// Takes a completed join, makes it the room's and gives the room's state.
    ///
    /// # Errors
    /// [`Error::NoRoom`], [`Error::Invalid`], [`Error::Format`], [`Error::NotAllowed`],
    /// [`Error::AclDenied`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2send_joinroomideventid>
    pub async fn accept_join(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
        event: &RawValue,
        omit_members: bool,
    ) -> Result<AcceptedJoin, Error> {
        let (room, stored) = self.accept_member(origin, room_id, event_id, event, Membership::Join).await?;
        let before = stored.meta().before;
        let state: Vec<EventSerial> = if omit_members {
            self.without_members(&room, before, stored.sender()).await?
        } else {
            let entries = self.snapshots().all(room.serial, before).await?;
            entries.into_iter().map(|(_, event)| event).collect()
        };
        let mut start = state.clone();
        start.push(stored.serial());
        let mut chain = self.auth_chain_of(&room, &start).await?;
        if omit_members {
            // In a short answer nothing stands twice.
            let given: HashSet<EventSerial> = state.iter().copied().collect();
            chain.retain(|event| !given.contains(event));
        }
        Ok(AcceptedJoin {
            event: stored.pdu().to_raw(),
            // With members left out, the auth chain still explains the events that are given.
            auth_chain: self.texts_for_server(origin, &room, &chain).await?,
            state: self.texts_for_server(origin, &room, &state).await?,
            members_omitted: omit_members,
            servers_in_room: if omit_members { self.servers_in(&room).await? } else { Vec::new() },
        })
    }

    /// A state without its members, but for those that a room without a name is named after for this user.
    async fn without_members(
        &self,
        room: &Arc<RoomInfo>,
        root: Root,
        user: &UserId,
    ) -> Result<Vec<EventSerial>, Error> {
        let keys = self.rooms().keys_without_members(&[room.serial]).await?.pop().unwrap_or_default();
        let found = self.snapshots().get(room.serial, root, &keys).await?;
        let mut state: Vec<EventSerial> = found.into_iter().flatten().collect();
        let all = self.rooms().all_members(room).await?;
        let naming = self.rooms().namings(&[(room.clone(), all)]).await?.pop();
        let Some(naming) = naming else { return Ok(state) };
        let heroes: Vec<_> = naming.heroes(user).map(|(hero, _)| ("m.room.member", hero.as_str())).collect();
        let members = self.rooms().state_in(room.serial, root, &heroes).await?;
        state.extend(members.into_iter().flatten().map(|event| event.serial()));
        Ok(state)
    }

    /// Takes a completed leave.
    ///
    /// # Errors
    /// As [`Engine::accept_join`].
    pub async fn accept_leave(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
        event: &RawValue,
    ) -> Result<(), Error> {
        self.accept_member(origin, room_id, event_id, event, Membership::Leave).await?;
        Ok(())
    }

    /// Takes a completed knock, and gives the state that tells the knocking user what the room is.
    ///
    /// # Errors
    /// As [`Engine::accept_join`].
    pub async fn accept_knock(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
        event: &RawValue,
    ) -> Result<Vec<Box<RawValue>>, Error> {
        let (room, stored) = self.accept_member(origin, room_id, event_id, event, Membership::Knock).await?;
        let guard = self.lock_current(&room).await?;
        let mut stage = Stage::new(self, &room, guard.live()?);
        stage.invite_state(stored.sender()).await
    }

    /// A room that we are in and that a server may have to do with.
    async fn open_to(&self, origin: &ServerName, room_id: &RoomId) -> Result<Arc<RoomInfo>, Error> {
        let room = self.rooms().get_room(room_id).await?;
        if !self.rooms().is_resident(&room).await? {
            return Err(Error::NoRoom(room_id.to_owned()));
        }
        if !self.rooms().is_admitted(origin, &room).await? {
            return Err(Error::AclDenied(origin.to_owned()));
        }
        self.0.policy.admit(origin, room_id)?;
        // Who is allowed what is not known without the members, nor could they be told. It is answered as if we were not
        // in the room: whoever asks tries another server then.
        match self.rooms().all_members(&room).await {
            Err(Error::MembersLacking(_)) => {
                Err(Error::NotFound(format!("this server does not know all members of {room_id} yet")))
            }
            known => known.map(|_| room),
        }
    }

    async fn accept_member(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
        raw: &RawValue,
        membership: Membership,
    ) -> Result<(Arc<RoomInfo>, Arc<StoredEvent>), Error> {
        let room = self.open_to(origin, room_id).await?;
        let pdu = Pdu::parse_raw(room.version, raw)?;
        check_member(origin, &room, event_id, &pdu, membership)?;
        let pdu = self.grant(&room, pdu, membership).await?;
        let event = self.verify_all(vec![pdu]).await?.pop().flatten();
        let event =
            event.ok_or_else(|| Error::NotAllowed("the event's signature is not right".to_owned()))?;

        let mut arrival = Arrival::new(event, origin.to_owned());
        arrival.outgoing = true;
        let arrivals = self.complete(&room, vec![arrival]).await?;
        let received = self.place_arrivals(&room, &arrivals).await?.pop();
        let stored = received.as_ref().and_then(|received| received.event()).cloned();
        match stored {
            Some(stored) if stored.meta().verdict == Verdict::Accepted => Ok((room, stored)),
            _ => Err(Error::NotAllowed("the room does not allow it".to_owned())),
        }
    }

    /// Adds our signature to a restricted join that names a user of ours, if the join is allowed.
    async fn grant(&self, room: &Arc<RoomInfo>, pdu: Pdu, membership: Membership) -> Result<Pdu, Error> {
        #[derive(serde::Deserialize)]
        struct Content {
            join_authorised_via_users_server: ruma::OwnedUserId,
        }
        let Ok(content) = pdu.content_as::<Content>() else { return Ok(pdu) };
        let granting = content.join_authorised_via_users_server;
        if membership != Membership::Join || !room.version.rules().authorization.restricted_join_rule {
            return Ok(pdu);
        }
        // A user of another server: that server's signature is there, or the event fails.
        let Some(authority) = self.0.authorities.find(granting.server_name()) else { return Ok(pdu) };
        let guard = self.lock_current(room).await?;
        let mut stage = Stage::new(self, room, guard.live()?);
        let before = stage.membership(pdu.sender()).await?;
        if !matches!(before, Some(Membership::Invite | Membership::Join))
            && self.find_granting(&mut stage, pdu.sender()).await?.is_none()
        {
            return Err(Error::NotAllowed("the user is in none of the rooms that allow the join".to_owned()));
        }
        // The event can be verified only with this signature, and goes nowhere before it is.
        Ok(pdu::add_signature(&pdu, authority)?)
    }
}

/// Checks a member event against the request that brought it.
fn check_member(
    origin: &ServerName,
    room: &RoomInfo,
    event_id: &EventId,
    pdu: &Pdu,
    membership: Membership,
) -> Result<(), Error> {
    let bad = |what: &str| Err(Error::Invalid(what.to_owned()));
    if pdu.event_id() != event_id {
        return bad("the event has another id than the request says");
    }
    if pdu.room_id() != room.room_id {
        return bad("the event is of another room than the request says");
    }
    match crate::pipeline::member_change(pdu) {
        Some((user, found)) if found == membership && user == pdu.sender() => {}
        _ => return bad("the event is not the sender's own member event of this kind"),
    }
    if pdu.sender().server_name() != origin {
        return Err(Error::NotAllowed("the sender is not of the asking server".to_owned()));
    }
    Ok(())
}

/// An event without hashes and signatures.
fn unsigned(event: &Pdu) -> Box<RawValue> {
    // Values as they are written: what is nested deeply would not come through as values.
    let mut object: BTreeMap<String, &RawValue> = serde_json::from_str(event.json_str()).unwrap_or_default();
    object.remove("hashes");
    object.remove("signatures");
    serde_json::value::to_raw_value(&object).unwrap_or_default()
}
