//! Invites of people who had no user id when they were invited, but an e-mail address or the like.
//!
//! Whoever invites such a person puts `m.room.third_party_invite` into the room, with the keys by which an identity server
//! proves later who it was. Once the person has a user id, that server tells his homeserver (`onbind`); which has the
//! inviter's server make an ordinary invite of it, with the proof in it. Whether the proof holds is a question of the auth
//! rules, which every server of the room asks.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#third-party-invites>

use room::{Error, tables::Membership};
use ruma::{OwnedRoomId, OwnedUserId, ServerName, UserId, events::StateEventType};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use crate::{
    Engine,
    draft::raw,
    profile::{Profile, member_content},
};

/// Larger proofs are not taken: they hold two ids and a signature or two.
const LARGEST_PROOF: usize = 4 << 10;

/// An invite of a third-party id whose owner is known now.
#[derive(Clone, Debug)]
pub struct ThirdPartyInvite {
    /// The room.
    pub room_id: OwnedRoomId,
    /// Who invited.
    pub sender: OwnedUserId,
    /// Whose the id is now.
    pub target: OwnedUserId,
    /// What the inviter's client called the invited one; as the room's event has it, if nothing is said.
    pub display_name: Option<String>,
    /// The proof, as the identity server signed it: `mxid`, `token`, `sender` of most, and `signatures` over all of it.
    pub signed: Box<RawValue>,
}

#[derive(Deserialize)]
struct Proof {
    mxid: OwnedUserId,
    token: String,
}

impl ThirdPartyInvite {
    fn proof(&self) -> Result<Proof, Error> {
        let bad = |what: &str| Error::Invalid(what.to_owned());
        if self.signed.get().len() > LARGEST_PROOF {
            return Err(Error::TooLarge);
        }
        let proof: Proof =
            serde_json::from_str(self.signed.get()).map_err(|_| bad("`signed` is no proof of an id"))?;
        if proof.mxid != self.target {
            return Err(bad("the proof is of another user"));
        }
        Ok(proof)
    }

    fn content(&self, profile: &Profile, display_name: &str) -> Result<Map<String, Value>, Error> {
        let signed: Value = serde_json::from_str(self.signed.get())
            .map_err(|_| Error::Invalid("`signed` is nested too deeply".to_owned()))?;
        let mut content = member_content(Membership::Invite, profile, None);
        let invite = json!({ "display_name": display_name, "signed": signed });
        content.insert("third_party_invite".to_owned(), invite);
        Ok(content)
    }
}

impl Engine {
    /// Makes an ordinary invite of one that a user of ours sent to a third-party id, for the server whose user has it now.
    ///
    /// # Errors
    /// [`Error::NotOurs`] where the inviter is none of ours, [`Error::NotAllowed`] where the invited one
    /// is not of the server that asks; [`Error::Invalid`], [`Error::TooLarge`]; else as [`Engine::invite`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv1exchange_third_party_inviteroomid>
    pub async fn exchange_third_party_invite(
        &self,
        origin: &ServerName,
        invite: &ThirdPartyInvite,
    ) -> Result<(), Error> {
        if invite.target.server_name() != origin {
            return Err(Error::NotAllowed("the user is not of the asking server".to_owned()));
        }
        // Who was not invited does not hear whether there is such a room.
        let Some(room) = self.rooms().room(&invite.room_id).await? else { return Err(not_invited()) };
        if !self.rooms().is_resident(&room).await? {
            return Err(not_invited());
        }
        if !self.rooms().is_admitted(origin, &room).await? {
            return Err(Error::AclDenied(origin.to_owned()));
        }
        self.invite_by_proof(invite, &Profile::default()).await
    }

    /// Takes up an invite that was sent to a third-party id of a user of ours: here if the inviter is ours too, else by
    /// his server.
    ///
    /// # Errors
    /// As [`Engine::exchange_third_party_invite`]; [`Error::Remote`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv13pidonbind>
    pub async fn accept_third_party_invite(
        &self,
        invite: &ThirdPartyInvite,
        profile: &Profile,
    ) -> Result<(), Error> {
        self.authority_of(&invite.target)?;
        if self.is_local(&invite.sender) {
            return self.invite_by_proof(invite, profile).await;
        }
        invite.proof()?;
        let content = invite.content(profile, invite.display_name.as_deref().unwrap_or_default())?;
        let event = json!({
            "type": StateEventType::RoomMember,
            "room_id": invite.room_id,
            "sender": invite.sender,
            "state_key": invite.target,
            "content": content,
        });
        let (from, to) = (invite.target.server_name(), invite.sender.server_name());
        self.0.remote.exchange_third_party_invite(from, to, &invite.room_id, &raw(&event)).await?;
        Ok(())
    }

    /// Sends the invite of a user of ours that a proof completes.
    async fn invite_by_proof(&self, invite: &ThirdPartyInvite, profile: &Profile) -> Result<(), Error> {
        self.authority_of(&invite.sender)?;
        let proof = invite.proof()?;
        let room = self.rooms().get_room(&invite.room_id).await?;
        let pending =
            self.rooms().current_state_event(&room, "m.room.third_party_invite", &proof.token).await?;
        let pending = pending.ok_or_else(not_invited)?;
        if self.is_in(&invite.target, &invite.room_id).await? {
            return Ok(());
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Content {
            #[serde(deserialize_with = "pdu::lenient::field")]
            display_name: String,
        }
        let Content { display_name } = pdu::lenient::read(pending.pdu().content_str());
        let content = invite.content(profile, invite.display_name.as_deref().unwrap_or(&display_name))?;
        let (sender, target) = (&invite.sender, &invite.target);
        self.invite_with(sender, &invite.room_id, target, Value::Object(content)).await
    }

    /// Whether somebody is in a room, or invited to it already.
    async fn is_in(&self, user: &UserId, room_id: &ruma::RoomId) -> Result<bool, Error> {
        let room = self.rooms().get_room(room_id).await?;
        let membership = self.rooms().membership_in(&room, user).await?;
        Ok(matches!(membership, Some(Membership::Join | Membership::Invite)))
    }
}

fn not_invited() -> Error {
    Error::NotAllowed("nobody was invited to the room so".to_owned())
}
