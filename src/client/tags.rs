//! Tags of rooms.

use std::sync::Arc;

use ruma::api::client::tag::{create_tag, delete_tag, get_tags};
use web::{ApiError, Call, User};

use crate::ClientApi;

/// `PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}`: tags a room for the caller.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3useruseridroomsroomidtagstag>
pub(crate) async fn create_tag(
    api: Arc<ClientApi>,
    call: Call<create_tag::v3::Request, User>,
) -> Result<create_tag::v3::Response, ApiError> {
    let create_tag::v3::Request { user_id, room_id, tag, tag_info, .. } = call.request;
    call.caller.must_be(&user_id)?;

    api.accounts.set_room_tag(&user_id, &room_id, tag.into(), tag_info).await?;

    Ok(create_tag::v3::Response::new())
}

/// `DELETE /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}`: takes a tag off a room.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3useruseridroomsroomidtagstag>
pub(crate) async fn delete_tag(
    api: Arc<ClientApi>,
    call: Call<delete_tag::v3::Request, User>,
) -> Result<delete_tag::v3::Response, ApiError> {
    let delete_tag::v3::Request { user_id, room_id, tag, .. } = call.request;
    call.caller.must_be(&user_id)?;

    api.accounts.remove_room_tag(&user_id, &room_id, &tag.into()).await?;

    Ok(delete_tag::v3::Response::new())
}

/// `GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags`: the caller's tags of a room.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3useruseridroomsroomidtags>
pub(crate) async fn get_tags(
    api: Arc<ClientApi>,
    call: Call<get_tags::v3::Request, User>,
) -> Result<get_tags::v3::Response, ApiError> {
    let get_tags::v3::Request { user_id, room_id, .. } = call.request;
    call.caller.must_be(&user_id)?;

    let tags = api.accounts.room_tags(&user_id, &room_id).await?;

    Ok(get_tags::v3::Response::new(tags))
}
