//! `/_synapse/admin/v1/send_server_notice`: what an administrator tells a user in the name of the authority.
//!
//! Format: <https://element-hq.github.io/synapse/latest/admin_api/server_notices.html>

use std::sync::Arc;

use account::Notice;
use ruma::{OwnedTransactionId, OwnedUserId, events::TimelineEventType};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use web::{ApiError, RawCall, Response, StatusCode, User, json_response};

use crate::{
    ClientApi,
    api::actor,
    moderation::{may_moderate, must_administer},
};

/// `POST /_synapse/admin/v1/send_server_notice`
pub(crate) async fn send(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    tell(&api, &call, None).await
}

/// `PUT /_synapse/admin/v1/send_server_notice/{txnId}`: the same, once.
pub(crate) async fn send_once(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let txn: OwnedTransactionId = call.args.get(0)?;
    tell(&api, &call, Some(txn)).await
}

async fn tell(
    api: &ClientApi,
    call: &RawCall<User>,
    txn: Option<OwnedTransactionId>,
) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Body {
        user_id: OwnedUserId,
        content: Box<RawValue>,
        #[serde(rename = "type")]
        kind: Option<TimelineEventType>,
        state_key: Option<String>,
    }
    must_administer(&call.caller)?;
    let Body { user_id, content, kind, state_key } = call.json()?;
    may_moderate(&call.caller, &user_id)?;
    if state_key.is_some() {
        return Err(ApiError::invalid_param("A notice is a message and no state"));
    }
    let notice = Notice { kind: kind.unwrap_or(TimelineEventType::RoomMessage), content, txn };
    let event_id = api.accounts.send_notice(&user_id, notice, &actor(&call.caller, call.address)).await?;
    Ok(json_response(StatusCode::OK, &json!({ "event_id": event_id })))
}
