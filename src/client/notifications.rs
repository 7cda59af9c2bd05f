//! What the caller was notified of, and where his devices want to be told of it.

use std::{collections::BTreeMap, sync::Arc};

use push::{NotificationQuery, NotificationToken};
use room::tables::Membership;
use ruma::{
    MilliSecondsSinceUnixEpoch,
    api::client::push::{
        get_notifications::{self, v3::Notification},
        get_pushers,
        set_pusher::v3::PusherAction,
    },
};
use serde::de::IgnoredAny;
use serde_json::json;
use web::{ApiError, Call, RawCall, Response, StatusCode, User, json_response};

use crate::ClientApi;

/// Notifications on a page when the client does not say.
const LIMIT: usize = 20;

/// `GET /_matrix/client/v3/notifications`: what the caller was notified of, newest first.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3notifications>
pub(crate) async fn notifications(
    api: Arc<ClientApi>,
    call: Call<get_notifications::v3::Request, User>,
) -> Result<get_notifications::v3::Response, ApiError> {
    let get_notifications::v3::Request { from, limit, only, .. } = call.request;
    let from = from.filter(|from| !from.is_empty());
    let query = NotificationQuery {
        from: from.map(|from| from.parse::<NotificationToken>()).transpose()?,
        limit: limit.map_or(LIMIT, |limit| usize::try_from(u64::from(limit)).unwrap_or(usize::MAX)),
        only_highlights: only.is_some_and(|only| only == "highlight"),
    };
    let eyes = api.eyes(&call.caller).await?;
    let viewer = eyes.viewer();
    let page = api.push.notifications(&call.caller.user_id, eyes.ignored(), &query).await?;

    let events: Vec<_> = page.notified.iter().map(|notified| notified.event.clone()).collect();
    let memberships = vec![Some(Membership::Join); events.len()];
    let looks = api.rooms.looks(&viewer, events, &memberships).await?;
    let now = api.clock.now();
    let told = page.notified.into_iter().zip(looks).map(|(notified, look)| {
        let (room_id, event) = (look.event.room_id().to_owned(), look.to_raw(now));
        let ts = MilliSecondsSinceUnixEpoch(look.event.pdu().origin_server_ts().get());
        Notification::new(notified.actions, event, notified.read, room_id, ts)
    });
    let mut response = get_notifications::v3::Response::new(told.collect());
    response.next_token = page.next.map(|next| next.to_string());
    Ok(response)
}

/// `GET /_matrix/client/v3/pushers`: the caller's pushers.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushers>
pub(crate) async fn pushers(
    api: Arc<ClientApi>,
    call: Call<get_pushers::v3::Request, User>,
) -> Result<get_pushers::v3::Response, ApiError> {
    Ok(get_pushers::v3::Response::new(api.push.pushers(&call.caller.user_id).await?))
}

/// `POST /_matrix/client/v3/pushers/set`: sets or removes a pusher of the caller. Only a `kind` that is `null` removes one:
/// who has forgotten it means to be told of things.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3pushersset>
pub(crate) async fn set_pusher(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let given: BTreeMap<String, IgnoredAny> = call.json()?;
    if let Some(missing) = ["kind", "app_id", "pushkey"].iter().find(|key| !given.contains_key(**key)) {
        return Err(ApiError::missing_param(format!("`{missing}` is missing")));
    }
    let User { user_id, device_id, .. } = &call.caller;
    match call.json()? {
        PusherAction::Post(post) => {
            api.push.set_pusher(user_id, device_id, &post.pusher, post.append).await?;
        }
        PusherAction::Delete(ids) => api.push.remove_pusher(user_id, &ids).await?,
        _ => return Err(ApiError::invalid_param("`kind` is `http`, `email` or null")),
    }
    Ok(json_response(StatusCode::OK, &json!({})))
}
