//! Invites of people who had no user id when they were invited.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#third-party-invites>

use std::{hash::BuildHasher, sync::Arc};

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
/// that. Anybody may say it, and the rooms judge it; so it is taken up for people who are there, few at a time, behind an
/// answer that tells nothing of what becomes of it.
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
    let lane = api.lanes.hash_one(call.address);
    let tasks = api.tasks.clone();
    // Behind the answer, which would else tell by its time whether there is such a user, and wait for whomever is named.
    tasks.spawn("third-party invites", async move {
        let stop = api.tasks.shutdown_token();
        let taken_up = async {
            let Ok(_turn) = api.binding.wait(lane).await else {
                info!("a report of an identity server found no place");
                return;
            };
            let invites = invites.into_iter().take(MOST_INVITES).map(|Bound { room_id, sender, signed }| {
                ThirdPartyInvite { room_id, sender, target: mxid.clone(), display_name: None, signed }
            });
            if let Err(error) = take_up(&api, &mxid, invites.collect()).await {
                info!(user_id = %mxid, %error, "third-party invites were not taken up");
            }
        };
        stop.run_until_cancelled(taken_up).await;
    });
    Ok(json_answer("{}"))
}

/// Takes up invites of a user of ours, each as far as it goes.
async fn take_up(
    api: &FederationApi,
    user: &OwnedUserId,
    invites: Vec<ThirdPartyInvite>,
) -> Result<(), account::Error> {
    let is_ours = api.authorities.is_ours(user.server_name());
    if !is_ours || !api.accounts.have_open_accounts(&[user]).await?.contains(&true) {
        return Ok(());
    }
    let profile = api.accounts.member_profiles(&[user]).await?.pop().unwrap_or_default();
    let take_up = async |invite: ThirdPartyInvite| {
        if let Err(error) = api.engine.accept_third_party_invite(&invite, &profile).await {
            info!(room_id = %invite.room_id, user_id = %user, %error, "a third-party invite was not taken up");
        }
    };
    stream::iter(invites).for_each_concurrent(MOST_INVITES, take_up).await;
    Ok(())
}
