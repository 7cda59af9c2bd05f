//! Knocking: asking to be let into a room.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#knocking-on-rooms>

use std::sync::Arc;

use pdu::RoomVersion;
use room::{
    Error,
    read::room::RoomInfo,
    tables::{InviteRow, Membership},
};
use ruma::{OwnedServerName, RoomId, RoomVersionId, ServerName, UserId, events::StateEventType};
use serde_json::Value;
use tracing::info;

use crate::{
    Engine, Profile,
    draft::{draft, raw},
    join::open_template,
    membership::{Refusals, nobody},
    outside::OutsideChange,
    profile::member_content,
    tables::HalfWay,
    told::Told,
    under_way::ASKING,
};

impl Engine {
    /// Lets a user of ours knock at a room: here if the room is here, else through one of `via`.
    ///
    /// # Errors
    /// [`Error::Forbidden`] when the room does not let anybody knock, or the user may come in
    /// already; [`Error::NoRoom`]; [`Error::Remote`] with the last server's answer when none helped.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3knockroomidoralias>
    pub async fn knock(
        &self,
        user: &UserId,
        room_id: &RoomId,
        via: &[OwnedServerName],
        profile: &Profile,
        reason: Option<&str>,
    ) -> Result<(), Error> {
        self.authority_of(user)?;
        self.0.policy.join(user, room_id)?;
        self.check_not_blocked(user, room_id).await?;
        self.may_say_of_member(room_id, user, user, &member_content(Membership::Knock, profile, reason))?;
        if let Some(room) = self.rooms().room(room_id).await?
            && self.rooms().is_resident(&room).await?
        {
            let content = Value::Object(member_content(Membership::Knock, profile, reason));
            let draft = draft(user, StateEventType::RoomMember, user.as_str(), &content);
            self.send_unchecked(room_id, &draft, None, None).await?;
            return Ok(());
        }
        let mut half_way = HalfWay::default();
        let mut outcome = Err(nobody(room_id));
        let mut refusals = Refusals::default();
        let began = self.0.clock.instant();
        for server in self.helpers(user, room_id, via).await?.iter().take(self.0.config.join_attempts) {
            if self.0.clock.instant().since(began) > ASKING {
                break;
            }
            outcome = self.knock_by(user, room_id, server, (profile, reason), &mut half_way).await;
            match &outcome {
                Ok(()) => break,
                Err(Error::Remote(error)) if refusals.is_final(error) => break,
                Err(error) => {
                    info!(%room_id, destination = %server, %error, "a server did not help to knock");
                }
            }
        }
        if outcome.is_err() {
            self.void_half_way(user, half_way).await?;
        }
        refusals.conclude(outcome)
    }

    async fn knock_by(
        &self,
        user: &UserId,
        room_id: &RoomId,
        server: &ServerName,
        (profile, reason): (&Profile, Option<&str>),
        half_way: &mut HalfWay,
    ) -> Result<(), Error> {
        let authority = self.authority_of(user)?.clone();
        let versions: Vec<RoomVersionId> =
            RoomVersion::SUPPORTED.iter().map(|version| version.id()).collect();
        let template = self.0.remote.make_knock(authority.name(), server, room_id, user, &versions).await?;
        let (version, mut template) = open_template(server, template, room_id, user, Membership::Knock)?;
        template.draft.content = raw(&Value::Object(member_content(Membership::Knock, profile, reason)));
        let pdu = &self.complete_template(version, &template, &authority)?;
        let room: Arc<RoomInfo> = self.ensure_room(room_id, version).await?;
        self.wait_for_telling(&room, user).await?;
        self.note_half_way(&room, server, pdu, half_way).await?;
        let state =
            self.0.remote.send_knock(authority.name(), server, room_id, pdu.event_id(), &pdu.to_raw()).await;
        let state = match state {
            Ok(state) => state,
            Err(error) => {
                self.note_refusal(user, &error, half_way).await?;
                return Err(error.into());
            }
        };
        let told = Told { room_id, version, users: &[user] };
        let kept = InviteRow { event: pdu.json().clone(), stripped: told.by_knock(&state) };
        let change = OutsideChange {
            user,
            membership: Membership::Knock,
            sender: user,
            event: Some(pdu),
            kept: Some(kept),
            // Who let us knock is who can be told that we do not want to come in any more.
            helper: Some(server),
            farewell: None,
        };
        self.write_outside(&room, change).await?;
        self.end_half_way(&room, user).await
    }
}
