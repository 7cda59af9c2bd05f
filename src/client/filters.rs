//! Filters that clients leave here.

use std::sync::Arc;

use ruma::{OwnedUserId, api::client::filter::FilterDefinition};
use serde_json::{json, value::RawValue};
use web::{ApiError, RawCall, Response, StatusCode, User, json_response};

use crate::ClientApi;

/// `POST /_matrix/client/v3/user/{userId}/filter`: keeps a filter.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3useruseridfilter>
pub(crate) async fn create(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let user: OwnedUserId = call.args.get(0)?;
    call.caller.must_be(&user)?;
    // Checked, and kept as sent: it may have parts that only `/sync` knows.
    call.json::<FilterDefinition>()?;

    let id = api.accounts.put_filter(&user, call.body).await?;

    Ok(json_response(StatusCode::OK, &json!({ "filter_id": id })))
}

/// `GET /_matrix/client/v3/user/{userId}/filter/{filterId}`: a filter that was kept.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3useruseridfilterfilterid>
pub(crate) async fn get(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let user: OwnedUserId = call.args.get(0)?;
    let id: String = call.args.get(1)?;
    call.caller.must_be(&user)?;
    let filter = api.accounts.filter(&user, &id).await?;
    let filter: Box<RawValue> = serde_json::from_slice(&filter).map_err(ApiError::internal)?;
    Ok(json_response(StatusCode::OK, &filter))
}
