//! How far users have read, and who is typing.

use std::{sync::Arc, time::Duration};

use room::read::receipts::ReceiptKind;
use ruma::{
    OwnedRoomId, OwnedUserId,
    api::client::{
        read_marker::set_read_marker,
        receipt::create_receipt::{self, v3::ReceiptType},
    },
    events::receipt::ReceiptThread,
};
use serde::Deserialize;
use serde_json::json;
use web::{ApiError, Call, RawCall, Response, StatusCode, User, json_response};

use crate::{ClientApi, membership::must_be_joined, send::hide_room};

/// How long somebody types when the client does not say.
const DEFAULT_TYPING: Duration = Duration::from_secs(30);
/// How long somebody types at most before the client has to say so again.
const MAX_TYPING: Duration = Duration::from_secs(120);

/// `POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}`: notes how far the caller has read.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidreceiptreceipttypeeventid>
pub(crate) async fn receipt(
    api: Arc<ClientApi>,
    call: Call<create_receipt::v3::Request, User>,
) -> Result<create_receipt::v3::Response, ApiError> {
    let create_receipt::v3::Request { room_id, receipt_type, event_id, thread, .. } = call.request;
    let user = &call.caller.user_id;
    let kind = match receipt_type {
        ReceiptType::Read => ReceiptKind::Public,
        ReceiptType::ReadPrivate => ReceiptKind::Private,
        ReceiptType::FullyRead => {
            if thread != ReceiptThread::Unthreaded {
                return Err(ApiError::invalid_param("`m.fully_read` is of the room, not of a thread"));
            }
            must_be_joined(&api, user, &room_id).await?;
            api.accounts.set_fully_read(user, &room_id, &event_id).await?;
            return Ok(create_receipt::v3::Response::new());
        }
        _ => return Err(ApiError::invalid_param("There is no such type of receipt")),
    };
    let thread = thread_name(&thread)?;
    api.accounts.presence().act(user);

    api.rooms.set_receipt(user, &room_id, kind, thread, &event_id).await.map_err(hide_room)?;

    Ok(create_receipt::v3::Response::new())
}

fn thread_name(thread: &ReceiptThread) -> Result<Option<&str>, ApiError> {
    match thread {
        ReceiptThread::Unthreaded => Ok(None),
        ReceiptThread::Main => Ok(Some("main")),
        ReceiptThread::Thread(root) => Ok(Some(root.as_str())),
        _ => Err(ApiError::invalid_param("`thread_id` is `main` or an event id")),
    }
}

/// `POST /_matrix/client/v3/rooms/{roomId}/read_markers`: moves the read marker and receipts at once.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidread_markers>
pub(crate) async fn read_markers(
    api: Arc<ClientApi>,
    call: Call<set_read_marker::v3::Request, User>,
) -> Result<set_read_marker::v3::Response, ApiError> {
    let set_read_marker::v3::Request { room_id, fully_read, read_receipt, private_read_receipt, .. } =
        call.request;
    let user = &call.caller.user_id;
    must_be_joined(&api, user, &room_id).await?;
    api.accounts.presence().act(user);
    if let Some(event) = fully_read {
        api.accounts.set_fully_read(user, &room_id, &event).await?;
    }
    let receipts = [(ReceiptKind::Public, read_receipt), (ReceiptKind::Private, private_read_receipt)];
    for (kind, event) in receipts {
        if let Some(event) = event {
            api.rooms.set_receipt(user, &room_id, kind, None, &event).await.map_err(hide_room)?;
        }
    }
    Ok(set_read_marker::v3::Response::new())
}

#[derive(Deserialize)]
struct TypingBody {
    typing: bool,
    timeout: Option<u64>,
}

/// `PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId}`: tells the room that the caller types.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidtypinguserid>
pub(crate) async fn typing(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let room_id: OwnedRoomId = call.args.get(0)?;
    let user: OwnedUserId = call.args.get(1)?;
    call.caller.must_be(&user)?;
    let body: TypingBody = call.json()?;
    let timeout = body.timeout.map_or(DEFAULT_TYPING, Duration::from_millis).min(MAX_TYPING);
    api.accounts.presence().act(&user);

    api.rooms.set_typing(&user, &room_id, body.typing.then_some(timeout)).await.map_err(hide_room)?;

    Ok(json_response(StatusCode::OK, &json!({})))
}
