//! Other servers in the authority's rooms, and how we get along with them.
//!
//! Format: <https://element-hq.github.io/synapse/latest/usage/administration/admin_api/federation.html>

use std::{cmp::Ordering, sync::Arc};

use base::Timestamp;
use oversight::Beside;
use ruma::{OwnedRoomId, OwnedServerName, ServerName};
use serde::Deserialize;
use serde_json::{Value, json};
use web::{ApiError, RawCall, Response, StatusCode, json_response};

use crate::{
    AdminApi, Administrator,
    list::{Dir, Part},
    own::server_in,
};

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum By {
    #[default]
    Destination,
    /// These follow from when it began to fail.
    #[serde(alias = "retry_last_ts", alias = "retry_interval")]
    FailureTs,
    /// Nobody has one.
    LastSuccessfulStreamOrdering,
}

#[derive(Deserialize)]
struct ListQuery {
    from: Option<usize>,
    limit: Option<usize>,
    #[serde(default)]
    order_by: By,
    #[serde(default)]
    dir: Dir,
    destination: Option<String>,
}

/// When the last attempt was, and how long is waited, is not told; that it fails is.
fn told(server: &ServerName, failing: Option<Timestamp>) -> Value {
    let since = failing.map(Timestamp::millis);
    json!({
        "destination": server,
        "retry_last_ts": since.unwrap_or_default(),
        "retry_interval": 0,
        "failure_ts": since,
        "last_successful_stream_ordering": null,
    })
}

/// `GET /_synapse/admin/v1/federation/destinations`: the servers in the authority's rooms.
pub(crate) async fn list(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    let query: ListQuery = call.query()?;
    let part = Part::of(query.from, query.limit);
    let servers = {
        let _turn = api.turn(call.caller.authority()).await?;
        api.oversight.servers(call.caller.authority()).await?
    };
    let wanted = query.destination.filter(|part| !part.is_empty());
    let mut found: Vec<(OwnedServerName, Option<Timestamp>)> = servers
        .into_iter()
        .map(|beside| (beside.server, beside.standing.failing_since))
        .filter(|(server, _)| wanted.as_ref().is_none_or(|part| server.as_str().contains(part.as_str())))
        .collect();
    found.sort_by(|(one, since), (other, others)| {
        let order = match query.order_by {
            By::Destination => one.cmp(other),
            By::FailureTs => since.map(Timestamp::millis).cmp(&others.map(Timestamp::millis)),
            By::LastSuccessfulStreamOrdering => Ordering::Equal,
        };
        let order = if query.dir.is_backward() { order.reverse() } else { order };
        order.then_with(|| one.cmp(other))
    });
    let total = found.len();
    let shown = part.of_list(found);
    let shown = shown.iter().map(|(server, since)| told(server, *since)).collect();
    Ok(json_response(StatusCode::OK, &part.answer("destinations", shown, total)))
}

impl AdminApi {
    /// A server in rooms of the authority, and those; one that is in none is not known here.
    async fn beside(
        &self,
        authority: &ServerName,
        server: &ServerName,
    ) -> Result<(Beside, Vec<OwnedRoomId>), ApiError> {
        let _turn = self.turn(authority).await?;
        Ok(self.oversight.server(authority, server).await?)
    }
}

/// `GET /_synapse/admin/v1/federation/destinations/{destination}`
pub(crate) async fn get(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    let server = server_in(&call, 0)?;
    let (beside, _) = api.beside(call.caller.authority(), &server).await?;
    Ok(json_response(StatusCode::OK, &told(&server, beside.standing.failing_since)))
}

/// `GET /_synapse/admin/v1/federation/destinations/{destination}/rooms`
pub(crate) async fn rooms(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Query {
        from: Option<usize>,
        limit: Option<usize>,
        #[serde(default)]
        dir: Dir,
    }
    let server = server_in(&call, 0)?;
    let Query { from, limit, dir } = call.query()?;
    let part = Part::of(from, limit);
    let (_, mut rooms) = api.beside(call.caller.authority(), &server).await?;
    if dir.is_backward() {
        rooms.reverse();
    }
    let total = rooms.len();
    let shown = part.of_list(rooms);
    // Up to where a server has been told of a room is not told.
    let shown = shown.iter().map(|room| json!({ "room_id": room, "stream_ordering": 0 })).collect();
    Ok(json_response(StatusCode::OK, &part.answer("rooms", shown, total)))
}

/// `POST /_synapse/admin/v1/federation/destinations/{destination}/reset_connection`: tries a server again that does not answer.
pub(crate) async fn retry(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    let server = server_in(&call, 0)?;
    let by = call.caller.actor(call.address);
    let _turn = api.turn(call.caller.authority()).await?;
    api.oversight.retry(call.caller.authority(), &server, &by).await?;
    Ok(json_response(StatusCode::OK, &json!({})))
}
