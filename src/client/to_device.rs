//! Messages to devices.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;
use to_device::{Messages, Sending};
use web::{ApiError, RawCall, Response, StatusCode, User, json_response};

use crate::ClientApi;

/// `PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}`: sends messages to devices, here and elsewhere.
///
/// Content is taken as it was sent, as that of messages in rooms.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3sendtodeviceeventtypetxnid>
pub(crate) async fn send(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Request {
        messages: Messages,
    }
    let kind: String = call.args.get(0)?;
    let txn: String = call.args.get(1)?;
    let Request { messages } = call.json()?;
    let User { user_id, device_id, .. } = &call.caller;

    let sending = Sending { user: user_id, device: device_id, kind: &kind, txn: &txn, messages: &messages };
    api.to_device.send(sending).await?;

    Ok(json_response(StatusCode::OK, &json!({})))
}
