//! What application services ask of us as such, and what users ask of the networks to which they lead.

use std::{collections::BTreeMap, sync::Arc};

use account::AppService;
use appservice::{PingError, Sought, instance_id};
use ruma::{
    OwnedRoomAliasId, OwnedUserId,
    api::client::{
        appservice::{request_ping, set_room_visibility},
        room::Visibility,
    },
};
use serde::Deserialize;
use serde_json::Value;
use web::{ApiError, Call, RawCall, Response, StatusCode, User, json_response};

use crate::{ClientApi, api::actor, send::hide_room};

fn service(caller: &User) -> Result<&AppService, ApiError> {
    caller.service().ok_or_else(|| ApiError::forbidden("Only an application service may do this"))
}

/// `POST /_matrix/client/v1/appservice/{appserviceId}/ping`: asks the service that calls whether it is reached.
///
/// Spec: <https://spec.matrix.org/v1.19/application-service-api/#post_matrixclientv1appserviceappserviceidping>
pub(crate) async fn ping(
    api: Arc<ClientApi>,
    call: Call<request_ping::v1::Request, User>,
) -> Result<request_ping::v1::Response, ApiError> {
    let service = service(&call.caller)?;
    let request_ping::v1::Request { appservice_id, transaction_id, .. } = &call.request;
    if service.id() != appservice_id {
        return Err(ApiError::forbidden("This is the id of another application service"));
    }
    let taken = api.services.ping(service, transaction_id.as_deref().map(|id| id.as_str())).await;
    let duration = taken.map_err(|error| match error {
        PingError::NoAddress => ApiError::new(
            StatusCode::BAD_REQUEST,
            "M_URL_NOT_SET",
            "The registration of the application service has no URL",
        ),
        PingError::Failed(cause) => ApiError::new(
            StatusCode::BAD_GATEWAY,
            "M_CONNECTION_FAILED",
            format!("The application service was not reached: {cause}"),
        ),
        PingError::Late => ApiError::new(
            StatusCode::GATEWAY_TIMEOUT,
            "M_CONNECTION_TIMEOUT",
            "The application service did not answer in time",
        ),
        PingError::BadStatus { status, body } => ApiError::new(
            StatusCode::BAD_GATEWAY,
            "M_BAD_STATUS",
            format!("The application service answered with status {status}"),
        )
        .with("status", status)
        .with("body", body),
    })?;
    Ok(request_ping::v1::Response::new(duration))
}

/// `PUT /_matrix/client/v3/directory/list/appservice/{networkId}/{roomId}`: shows a room in the directory of a network, or
/// takes it out.
///
/// Spec: <https://spec.matrix.org/v1.19/application-service-api/#put_matrixclientv3directorylistappservicenetworkidroomid>
pub(crate) async fn set_visibility(
    api: Arc<ClientApi>,
    call: Call<set_room_visibility::v3::Request, User>,
) -> Result<set_room_visibility::v3::Response, ApiError> {
    let service = service(&call.caller)?;
    let set_room_visibility::v3::Request { network_id, room_id, visibility, .. } = &call.request;
    let published = match visibility {
        Visibility::Public => true,
        Visibility::Private => false,
        _ => return Err(ApiError::bad_json("The visibility is `public` or `private`")),
    };
    let instance = instance_id(service, network_id);
    let by = actor(&call.caller, call.address);
    let is_own = |user: &ruma::UserId| service.covers_user(user);
    let user = &call.caller.user_id;
    api.rooms.set_published_at(user, room_id, &instance, published, &is_own, &by).await.map_err(hide_room)?;
    Ok(set_room_visibility::v3::Response::new())
}

/// `GET /_matrix/client/v3/thirdparty/protocols`: the networks that are bridged.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3thirdpartyprotocols>
pub(crate) async fn protocols(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let found = api.services.protocols(call.face.server_name()).await;
    Ok(json_response(StatusCode::OK, &Value::Object(found)))
}

/// `GET /_matrix/client/v3/thirdparty/protocol/{protocol}`: what is known of a network.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3thirdpartyprotocolprotocol>
pub(crate) async fn protocol(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let name: String = call.args.get(0)?;
    let found = api.services.protocol(call.face.server_name(), &name).await.ok_or_else(no_network)?;
    Ok(json_response(StatusCode::OK, &found))
}

/// `GET /_matrix/client/v3/thirdparty/user/{protocol}`: people at a network.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3thirdpartyuserprotocol>
pub(crate) async fn users(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    at_network(&api, &call, Sought::User).await
}

/// `GET /_matrix/client/v3/thirdparty/location/{protocol}`: places at a network.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3thirdpartylocationprotocol>
pub(crate) async fn locations(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    at_network(&api, &call, Sought::Location).await
}

async fn at_network(api: &ClientApi, call: &RawCall<User>, sought: Sought) -> Result<Response, ApiError> {
    let name: String = call.args.get(0)?;
    let mut fields: BTreeMap<String, String> = call.query()?;
    // What concerns us and not the network.
    for own in ["access_token", "user_id", "device_id", "org.matrix.msc3202.device_id"] {
        fields.remove(own);
    }
    let fields: Vec<(&str, &str)> =
        fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let found = api.services.at_network(call.face.server_name(), sought, &name, &fields).await;
    Ok(json_response(StatusCode::OK, &found.ok_or_else(no_network)?))
}

/// `GET /_matrix/client/v3/thirdparty/user`: whom at a network a user stands for.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3thirdpartyuser>
pub(crate) async fn user(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Query {
        userid: OwnedUserId,
    }
    let Query { userid } = call.query()?;
    behind(&api, &call, Sought::User, ("userid", userid.as_str())).await
}

/// `GET /_matrix/client/v3/thirdparty/location`: what at a network an alias stands for.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3thirdpartylocation>
pub(crate) async fn location(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Query {
        alias: OwnedRoomAliasId,
    }
    let Query { alias } = call.query()?;
    behind(&api, &call, Sought::Location, ("alias", alias.as_str())).await
}

async fn behind(
    api: &ClientApi,
    call: &RawCall<User>,
    sought: Sought,
    field: (&str, &str),
) -> Result<Response, ApiError> {
    let found = api.services.behind(call.face.server_name(), sought, field).await;
    match found.is_empty() {
        true => Err(ApiError::not_found("Nothing is known of this at third-party networks")),
        false => Ok(json_response(StatusCode::OK, &found)),
    }
}

fn no_network() -> ApiError {
    ApiError::not_found("No application service leads to this network")
}
