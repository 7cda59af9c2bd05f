//! Invites of people who had no user id when they were invited.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#third-party-invites>

use std::sync::Arc;

use engine::ThirdPartyInvite;
use futures_util::{StreamExt, stream};
use pdu::lenient;
use ruma::{OwnedRoomId, OwnedUserId};
use serde::Deserialize;
use serde_json::value::RawValue;
use tracing::info;
use web::{ApiError, Open, Origin, RawCall, Response};

use super::{
    FederationApi,
    json::{json_answer, object_body},
};

/// Of what an identity server says of one id, so many invites are taken up: it shows no key by which we know it.
const MOST_INVITES: usize = 10;

/// `PUT /exchange_third_party_invite/{roomId}`
///
/// Spec: <https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv1exchange_third_party_inviteroomid>
pub(super) async fn exchange(api: Arc<FederationApi>, call: RawCall<Origin>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Body {
        room_id: OwnedRoomId,
        sender: OwnedUserId,
        state_key: OwnedUserId,
        content: Content,
    }
    #[derive(Deserialize)]
    struct Content {
        third_party_invite: Invite,
    }
    #[derive(Deserialize)]
    struct Invite {
        #[serde(default, deserialize_with = "lenient::field")]
        display_name: Option<String>,
        signed: Box<RawValue>,
    }

    let room_id: OwnedRoomId = call.args.get(0)?;
    let body: Body = object_body(&call)?;
    if body.room_id != room_id {
        return Err(ApiError::invalid_param("The event is of another room than the request says"));
    }
    let Invite { display_name, signed } = body.content.third_party_invite;
    let display_name = display_name.filter(|name| !name.is_empty());
    let invite =
        ThirdPartyInvite { room_id, sender: body.sender, target: body.state_key, display_name, signed };
    api.engine.exchange_third_party_invite(&call.caller.server, &invite).await?;
    Ok(json_answer("{}"))
}

/// `PUT /3pid/onbind`: an identity server says that a third-party id is a user's of ours now, and which invites wait for
/// that. Anybody may say it, and the rooms judge it; so it is taken up for people who are there, few at a time, and the
/// answer tells nothing of what became of it.
///
/// Spec: <https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv13pidonbind>
pub(super) async fn on_bind(api: Arc<FederationApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Body {
        mxid: OwnedUserId,
        #[serde(default, deserialize_with = "lenient::list")]
        invites: Vec<Bound>,
    }
    #[derive(Deserialize)]
    struct Bound {
        room_id: OwnedRoomId,
        sender: OwnedUserId,
        signed: Box<RawValue>,
    }

    let Body { mxid, invites } = object_body(&call)?;
    let Ok(_place) = api.binding.try_acquire() else {
        return Err(ApiError::over("third_party_binds", std::time::Duration::from_secs(5)));
    };
    let is_ours = api.authorities.is_ours(mxid.server_name());
    if !is_ours || !api.accounts.have_open_accounts(&[&*mxid]).await?.contains(&true) {
        return Ok(json_answer("{}"));
    }
    let profile = api.accounts.member_profiles(&[&*mxid]).await?.pop().unwrap_or_default();
    let take_up = async |Bound { room_id, sender, signed }: Bound| {
        let invite = ThirdPartyInvite { room_id, sender, target: mxid.clone(), display_name: None, signed };
        if let Err(error) = api.engine.accept_third_party_invite(&invite, &profile).await {
            info!(room_id = %invite.room_id, user_id = %mxid, %error, "a third-party invite was not taken up");
        }
    };
    stream::iter(invites.into_iter().take(MOST_INVITES)).for_each_concurrent(MOST_INVITES, take_up).await;
    Ok(json_answer("{}"))
}
