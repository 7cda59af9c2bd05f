//! Backups of the caller's keys.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc};

use bytes::Bytes;
use encryption::{BackupKey, BackupKeys, BackupPage, BackupState, BackupVersion, Encryption, Removed};
use futures_util::stream;
use ruma::OwnedUserId;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};
use tracing::warn;
use web::{ApiError, RawCall, Response, StatusCode, User, json_response, json_stream, parse_json};

use crate::ClientApi;

#[derive(Deserialize)]
struct Description {
    algorithm: String,
    auth_data: Box<RawValue>,
    version: Option<String>,
}

#[derive(Deserialize)]
struct Query {
    version: String,
}

#[derive(Deserialize)]
struct Sessions {
    sessions: BTreeMap<String, BackupKey>,
}

/// The number of a version; one that is none of ours is none of the caller's.
fn number(version: &str) -> Result<u64, ApiError> {
    version.parse().map_err(|_| ApiError::not_found("There is no such version of a backup"))
}

fn version_of(call: &RawCall<User>) -> Result<u64, ApiError> {
    let Query { version } = call.query()?;
    number(&version)
}

fn shown(state: BackupState) -> Response {
    json_response(StatusCode::OK, &json!({ "etag": state.etag.to_string(), "count": state.count }))
}

fn shown_version(backup: &BackupVersion) -> Response {
    // No `json!`: it would read again what the client wrote, and panics over what it cannot.
    #[derive(Serialize)]
    struct Shown<'a> {
        version: String,
        algorithm: &'a str,
        auth_data: &'a RawValue,
        etag: String,
        count: u64,
    }
    let BackupVersion { version, algorithm, auth_data, state } = backup;
    let (version, etag) = (version.to_string(), state.etag.to_string());
    json_response(StatusCode::OK, &Shown { version, algorithm, auth_data, etag, count: state.count })
}

/// `POST /_matrix/client/v3/room_keys/version`: begins a version of the caller's backup.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3room_keysversion>
pub(crate) async fn create(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let Description { algorithm, auth_data, .. } = parse_json(&call.body)?;
    let version = api.encryption.create_backup(&call.caller.user_id, &algorithm, &auth_data).await?;
    Ok(json_response(StatusCode::OK, &json!({ "version": version.to_string() })))
}

/// `GET /_matrix/client/v3/room_keys/version`: the version that takes keys.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3room_keysversion>
pub(crate) async fn latest(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    Ok(shown_version(&api.encryption.backup(&call.caller.user_id, None).await?))
}

/// `GET /_matrix/client/v3/room_keys/version/{version}`: one version.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3room_keysversionversion>
pub(crate) async fn get(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let version = number(&call.args.get::<String>(0)?)?;
    Ok(shown_version(&api.encryption.backup(&call.caller.user_id, Some(version)).await?))
}

/// `PUT /_matrix/client/v3/room_keys/version/{version}`: describes a version anew.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3room_keysversionversion>
pub(crate) async fn update(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let name: String = call.args.get(0)?;
    let version = number(&name)?;
    let description: Description = parse_json(&call.body)?;
    if description.version.is_some_and(|other| other != name) {
        return Err(ApiError::invalid_param("`version` is another one than in the path"));
    }
    let Description { algorithm, auth_data, .. } = description;
    api.encryption.update_backup(&call.caller.user_id, version, &algorithm, &auth_data).await?;
    Ok(json_response(StatusCode::OK, &json!({})))
}

/// `DELETE /_matrix/client/v3/room_keys/version/{version}`: deletes a version with its keys.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3room_keysversionversion>
pub(crate) async fn delete(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let version = number(&call.args.get::<String>(0)?)?;
    api.encryption.delete_backup(&call.caller.user_id, version).await?;
    Ok(json_response(StatusCode::OK, &json!({})))
}

/// `PUT /_matrix/client/v3/room_keys/keys`: stores keys of several rooms.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3room_keyskeys>
pub(crate) async fn put_all(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Rooms {
        rooms: BTreeMap<String, Sessions>,
    }
    let version = version_of(&call)?;
    let Rooms { rooms } = parse_json(&call.body)?;
    let keys = rooms.into_iter().map(|(room, it)| (room, it.sessions)).collect();
    put(&api, &call.caller, version, keys).await
}

/// `PUT /_matrix/client/v3/room_keys/keys/{roomId}`: stores keys of a room.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3room_keyskeysroomid>
pub(crate) async fn put_of_room(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let version = version_of(&call)?;
    let Sessions { sessions } = parse_json(&call.body)?;
    put(&api, &call.caller, version, BTreeMap::from([(call.args.get(0)?, sessions)])).await
}

/// `PUT /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}`: stores the key of a session.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3room_keyskeysroomidsessionid>
pub(crate) async fn put_one(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let version = version_of(&call)?;
    let key: BackupKey = parse_json(&call.body)?;
    let sessions = BTreeMap::from([(call.args.get(1)?, key)]);
    put(&api, &call.caller, version, BTreeMap::from([(call.args.get(0)?, sessions)])).await
}

async fn put(api: &ClientApi, caller: &User, version: u64, keys: BackupKeys) -> Result<Response, ApiError> {
    Ok(shown(api.encryption.put_backup_keys(&caller.user_id, version, &keys).await?))
}

/// `GET /_matrix/client/v3/room_keys/keys`: all keys of a version, which may be very many.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3room_keyskeys>
pub(crate) async fn get_all(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    listed(&api, &call, None).await
}

/// `GET /_matrix/client/v3/room_keys/keys/{roomId}`: the keys of a room.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3room_keyskeysroomid>
pub(crate) async fn get_of_room(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let room: String = call.args.get(0)?;
    listed(&api, &call, Some(room)).await
}

/// `GET /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}`: the key of a session.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3room_keyskeysroomidsessionid>
pub(crate) async fn get_one(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let version = version_of(&call)?;
    let (room, session): (String, String) = (call.args.get(0)?, call.args.get(1)?);
    let key = api.encryption.backup_key(&call.caller.user_id, version, &room, &session).await?;
    Ok(json_response(StatusCode::OK, &key))
}

/// `DELETE /_matrix/client/v3/room_keys/keys`: removes all keys of a version.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3room_keyskeys>
pub(crate) async fn delete_all(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    remove(&api, &call, Removed::All).await
}

/// `DELETE /_matrix/client/v3/room_keys/keys/{roomId}`: removes the keys of a room.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3room_keyskeysroomid>
pub(crate) async fn delete_of_room(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let room: String = call.args.get(0)?;
    remove(&api, &call, Removed::Room(&room)).await
}

/// `DELETE /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}`: removes the key of a session.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3room_keyskeysroomidsessionid>
pub(crate) async fn delete_one(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let (room, session): (String, String) = (call.args.get(0)?, call.args.get(1)?);
    remove(&api, &call, Removed::Session(&room, &session)).await
}

async fn remove(api: &ClientApi, call: &RawCall<User>, removed: Removed<'_>) -> Result<Response, ApiError> {
    let version = version_of(call)?;
    Ok(shown(api.encryption.remove_backup_keys(&call.caller.user_id, version, removed).await?))
}

/// Keys of a version as they are read, page by page.
struct Listing {
    encryption: Encryption,
    user: OwnedUserId,
    version: u64,
    room: Option<String>,
    last: Option<(String, String)>,
    is_over: bool,
}

async fn listed(api: &ClientApi, call: &RawCall<User>, room: Option<String>) -> Result<Response, ApiError> {
    let version = version_of(call)?;
    // Whether there is such a version.
    api.encryption.backup(&call.caller.user_id, Some(version)).await?;
    let listing = Listing {
        encryption: api.encryption.clone(),
        user: call.caller.user_id.clone(),
        version,
        room,
        last: None,
        is_over: false,
    };
    let parts = stream::unfold(listing, |mut listing| async move {
        if listing.is_over {
            return None;
        }
        let (room, last) = (listing.room.as_deref(), listing.last.as_ref());
        let after = last.map(|(room, session)| (room.as_str(), session.as_str()));
        let page = listing.encryption.backup_page(&listing.user, listing.version, room, after).await;
        match page {
            Ok(page) => {
                let part = written(&mut listing, page);
                Some((Ok::<_, Infallible>(part), listing))
            }
            Err(error) => {
                // What ends before its end is no JSON, so the client asks again.
                warn!(%error, "a list of keys is broken off");
                None
            }
        }
    });
    Ok(json_stream(parts))
}

/// A page as it follows what was written before.
fn written(listing: &mut Listing, page: BackupPage) -> Bytes {
    let mut out = String::new();
    let of_room = listing.room.is_some();
    if listing.last.is_none() {
        out.push_str(if of_room { "{\"sessions\":{" } else { "{\"rooms\":{" });
    }
    if page.is_empty() {
        listing.is_over = true;
        out.push_str(match (of_room, &listing.last) {
            (false, Some(_)) => "}}}}",
            _ => "}}",
        });
    }
    for (room, session, key) in page {
        let is_same = listing.last.as_ref().map(|(last, _)| *last == room);
        match (of_room, is_same) {
            (_, Some(true)) => out.push(','),
            (true, _) => {}
            (false, None) => open_room(&mut out, &room),
            (false, Some(false)) => {
                out.push_str("}},");
                open_room(&mut out, &room);
            }
        }
        out.push_str(&json!(session).to_string());
        out.push(':');
        out.push_str(&serde_json::to_string(&key).unwrap_or_else(|_| "{}".to_owned()));
        listing.last = Some((room, session));
    }
    Bytes::from(out)
}

fn open_room(out: &mut String, room: &str) {
    out.push_str(&json!(room).to_string());
    out.push_str(":{\"sessions\":{");
}
