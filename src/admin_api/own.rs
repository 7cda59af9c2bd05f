//! What is an authority's own, and what is answered of all else.

use std::sync::Arc;

use account::Account;
use room::read::room::RoomInfo;
use ruma::{OwnedRoomAliasId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, UserId};
use web::{ApiError, RawCall};

use crate::{AdminApi, Administrator};

/// The user whom a path names, at this place of it.
pub(crate) fn user_in(call: &RawCall<Administrator>, place: usize) -> Result<OwnedUserId, ApiError> {
    let user: OwnedUserId = call.args.get(place)?;
    must_be_short(user.as_str())?;
    call.caller.must_have(&user)?;
    Ok(user)
}

/// Longest name of anything, in bytes: none that is longer is anybody's.
///
/// Spec: <https://spec.matrix.org/v1.19/appendices/#identifier-grammar>
const LONGEST: usize = 255;

/// Refuses names that are too long to be kept.
fn must_be_short(name: &str) -> Result<(), ApiError> {
    match name.len() > LONGEST {
        true => Err(ApiError::invalid_param("The name is too long")),
        false => Ok(()),
    }
}

/// The id of a room that a path names.
pub(crate) fn room_id_in(call: &RawCall<Administrator>, place: usize) -> Result<OwnedRoomId, ApiError> {
    let room_id: OwnedRoomId = call.args.get(place)?;
    must_be_short(room_id.as_str())?;
    Ok(room_id)
}

/// The server that a path names.
pub(crate) fn server_in(call: &RawCall<Administrator>, place: usize) -> Result<OwnedServerName, ApiError> {
    let server: OwnedServerName = call.args.get(place)?;
    must_be_short(server.as_str())?;
    Ok(server)
}

/// A word that a path names.
pub(crate) fn word_in(call: &RawCall<Administrator>, place: usize) -> Result<String, ApiError> {
    let word: String = call.args.get(place)?;
    must_be_short(&word)?;
    if word.is_empty() {
        return Err(ApiError::invalid_param("The name is empty"));
    }
    Ok(word)
}

fn no_room() -> ApiError {
    ApiError::not_found("Room not found")
}

impl AdminApi {
    /// An account of the administrator's authority.
    ///
    /// # Errors
    /// 404 `M_NOT_FOUND`.
    pub(crate) async fn account(&self, user: &UserId) -> Result<Account, ApiError> {
        let account = self.accounts.find_account(user).await?;
        account.ok_or_else(|| ApiError::not_found("User not found"))
    }

    /// A room in which the administrator's authority has members, and how many; or had, and nobody else of this process has or
    /// had any, so that what is stored of it is its own. Any other is as one that is not there.
    ///
    /// # Errors
    /// 404 `M_NOT_FOUND`.
    pub(crate) async fn room(
        &self,
        caller: &Administrator,
        room_id: &RoomId,
    ) -> Result<(Arc<RoomInfo>, u64), ApiError> {
        if let Some(known) = self.rooms.members_of_authority(caller.authority(), room_id).await? {
            return Ok(known);
        }
        let room = self.rooms.room(room_id).await?.ok_or_else(no_room)?;
        match self.engine.is_left_by(caller.authority(), &room).await? {
            true => Ok((room, 0)),
            false => Err(no_room()),
        }
    }

    /// The same by its id or an alias, as a path names it.
    ///
    /// # Errors
    /// As [`AdminApi::room`].
    pub(crate) async fn room_or_alias(
        &self,
        caller: &Administrator,
        named: &str,
    ) -> Result<(Arc<RoomInfo>, u64), ApiError> {
        if let Ok(room_id) = OwnedRoomId::try_from(named) {
            return self.room(caller, &room_id).await;
        }
        let alias = OwnedRoomAliasId::try_from(named)
            .map_err(|_| ApiError::invalid_param("This is neither a room id nor an alias"))?;
        let room_id = self.rooms.find_alias(&alias).await?.ok_or_else(no_room)?;
        self.room(caller, &room_id).await
    }
}
