//! Subscriptions to threads (MSC4306).
//!
//! Proposal: <https://github.com/matrix-org/matrix-spec-proposals/pull/4306>

use std::sync::Arc;

use account::ThreadSubscription;
use ruma::{OwnedEventId, OwnedRoomId};
use serde::Deserialize;
use serde_json::json;
use web::{ApiError, RawCall, Response, StatusCode, User, json_response};

use crate::ClientApi;

#[derive(Deserialize)]
struct Subscribe {
    /// The event for which the client does this by itself.
    automatic: Option<OwnedEventId>,
}

/// `PUT /_matrix/client/unstable/io.element.msc4306/rooms/{roomId}/thread/{eventId}/subscription`: subscribes the caller to
/// a thread.
pub(crate) async fn subscribe(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let (room, thread) = named(&call)?;
    let Subscribe { automatic } = call.json()?;
    let eyes = api.eyes(&call.caller).await?;
    api.push.subscribe(&eyes.viewer(), &room, &thread, automatic.as_deref()).await?;
    Ok(json_response(StatusCode::OK, &json!({})))
}

/// `DELETE /_matrix/client/unstable/io.element.msc4306/rooms/{roomId}/thread/{eventId}/subscription`: ends that.
pub(crate) async fn unsubscribe(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let (room, thread) = named(&call)?;
    let eyes = api.eyes(&call.caller).await?;
    api.push.unsubscribe(&eyes.viewer(), &room, &thread).await?;
    Ok(json_response(StatusCode::OK, &json!({})))
}

/// `GET /_matrix/client/unstable/io.element.msc4306/rooms/{roomId}/thread/{eventId}/subscription`: whether the caller is
/// subscribed to a thread.
pub(crate) async fn subscription(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let (room, thread) = named(&call)?;
    let eyes = api.eyes(&call.caller).await?;
    match api.push.subscription(&eyes.viewer(), &room, &thread).await? {
        Some(subscription) => {
            let automatic = subscription == ThreadSubscription::Automatic;
            Ok(json_response(StatusCode::OK, &json!({ "automatic": automatic })))
        }
        None => Err(ApiError::not_found("You are not subscribed to this thread")),
    }
}

fn named(call: &RawCall<User>) -> Result<(OwnedRoomId, OwnedEventId), ApiError> {
    Ok((call.args.get(0)?, call.args.get(1)?))
}
