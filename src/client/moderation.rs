//! Accounts as their administrators see them: where somebody is signed in, locking, suspending.
//!
//! An administrator answers for the accounts of its own authority. Who is none is told so before anything is looked up.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#account-moderation>

use std::sync::Arc;

use ruma::{
    MilliSecondsSinceUnixEpoch, UInt, UserId,
    api::client::admin::{
        get_user_info::v3::{self as whois, ConnectionInfo, DeviceInfo, SessionInfo},
        is_user_locked::v1 as is_locked,
        is_user_suspended::v1 as is_suspended,
        lock_user::v1 as lock,
        suspend_user::v1 as suspend,
    },
};
use web::{ApiError, Call, User};

use crate::{ClientApi, api::actor};

/// `GET /_matrix/client/v3/admin/whois/{userId}`: where a user is signed in.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3adminwhoisuserid>
pub(crate) async fn whois(
    api: Arc<ClientApi>,
    call: Call<whois::Request, User>,
) -> Result<whois::Response, ApiError> {
    let user = call.request.user_id;
    if user != call.caller.user_id {
        may_moderate(&call.caller, &user)?;
    }
    if api.accounts.find_user(&user).await?.is_none() {
        return Err(ApiError::not_found("There is no such account"));
    }
    let mut response = whois::Response::new();
    for device in api.accounts.devices(&user).await? {
        let mut connection = ConnectionInfo::default();
        connection.ip = device.last_seen_ip;
        let seen = device.last_seen.and_then(|at| UInt::try_from(at.millis()).ok());
        connection.last_seen = seen.map(MilliSecondsSinceUnixEpoch);
        let (mut session, mut info) = (SessionInfo::new(), DeviceInfo::new());
        session.connections.push(connection);
        info.sessions.push(session);
        response.devices.insert(device.device_id.to_string(), info);
    }
    response.user_id = Some(user);
    Ok(response)
}

/// `GET /_matrix/client/v1/admin/lock/{userId}`: whether an account is locked.
pub(crate) async fn is_locked(
    api: Arc<ClientApi>,
    call: Call<is_locked::Request, User>,
) -> Result<is_locked::Response, ApiError> {
    may_moderate(&call.caller, &call.request.user_id)?;
    let moderation = api.accounts.moderation(&call.request.user_id).await?;
    Ok(is_locked::Response::new(moderation.locked))
}

/// `PUT /_matrix/client/v1/admin/lock/{userId}`: locks an account, or unlocks it.
pub(crate) async fn lock(
    api: Arc<ClientApi>,
    call: Call<lock::Request, User>,
) -> Result<lock::Response, ApiError> {
    let (user, locked) = (&call.request.user_id, call.request.locked);
    may_do(&api, &call, user, "PUT /_matrix/client/v1/admin/lock/{userId}").await?;
    api.accounts.set_locked(user, locked, &actor(&call.caller, call.address)).await?;
    Ok(lock::Response::new(locked))
}

/// `GET /_matrix/client/v1/admin/suspend/{userId}`: whether an account is suspended.
pub(crate) async fn is_suspended(
    api: Arc<ClientApi>,
    call: Call<is_suspended::Request, User>,
) -> Result<is_suspended::Response, ApiError> {
    may_moderate(&call.caller, &call.request.user_id)?;
    let moderation = api.accounts.moderation(&call.request.user_id).await?;
    Ok(is_suspended::Response::new(moderation.suspended))
}

/// `PUT /_matrix/client/v1/admin/suspend/{userId}`: suspends an account, or lets it speak again.
pub(crate) async fn suspend(
    api: Arc<ClientApi>,
    call: Call<suspend::Request, User>,
) -> Result<suspend::Response, ApiError> {
    let (user, suspended) = (&call.request.user_id, call.request.suspended);
    may_do(&api, &call, user, "PUT /_matrix/client/v1/admin/suspend/{userId}").await?;
    api.accounts.set_suspended(user, suspended, &actor(&call.caller, call.address)).await?;
    Ok(suspend::Response::new(suspended))
}

/// Refuses unless the caller administers the authority of that user, whom he wants to do something to: a try in vain is told
/// of in the audit log.
async fn may_do<R>(
    api: &ClientApi,
    call: &Call<R, User>,
    user: &UserId,
    tried: &str,
) -> Result<(), ApiError> {
    if !call.caller.is_admin {
        let by = actor(&call.caller, call.address);
        api.accounts.note_refusal(&call.caller.user_id, &by, tried).await?;
    }
    may_moderate(&call.caller, user)
}

/// Refuses unless the caller is an administrator.
pub(crate) fn must_administer(caller: &User) -> Result<(), ApiError> {
    match caller.is_admin {
        true => Ok(()),
        false => Err(ApiError::forbidden("Only administrators can do this")),
    }
}

/// Refuses unless the caller administers the authority of that user.
pub(crate) fn may_moderate(caller: &User, user: &UserId) -> Result<(), ApiError> {
    must_administer(caller)?;
    if caller.user_id.server_name() != user.server_name() {
        return Err(ApiError::invalid_param("This is not a user of this server"));
    }
    Ok(())
}
