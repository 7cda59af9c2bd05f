//! Who makes the rooms of an authority's organisation: a user of the server's own, whom nobody can register or log in as.

use audit::Actor;
use ruma::{OwnedUserId, ServerName, UserId};

use crate::{Accounts, Error, register::NewUser, reserved, tables};

/// What people read as his name in the rooms.
const NAME: &str = "組織のルーム管理 / Rooms of the organisation";

impl Accounts {
    /// Whether a user is the server's own: the steward of rooms, or who writes its notices. One who had the name before it was
    /// kept for this is none.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn is_own(&self, user: &UserId) -> Result<bool, Error> {
        if !reserved::may_be_own(user) {
            return Ok(false);
        }
        let row = self.inner.store.get(&tables::NOTICES, user.as_str()).await?;
        Ok(row.is_some_and(|row| row.room.is_none()))
    }

    /// Refuses what would take a user of the server's own from it: rooms by rule would have nobody who may change them, and
    /// somebody would speak in the authority's name.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::Store`].
    pub async fn refuse_own(&self, user: &UserId) -> Result<(), Error> {
        match self.is_own(user).await? {
            true => Err(Error::Forbidden("This is the server's own user, and nobody's to change")),
            false => Ok(()),
        }
    }

    /// Who makes the rooms of an authority's organisation: an account without a password that is made with the first of them.
    ///
    /// # Errors
    /// [`Error::InvalidParam`] where somebody has had the name since before it was kept for this; [`Error::Store`].
    pub async fn steward(&self, authority: &ServerName) -> Result<OwnedUserId, Error> {
        let steward = reserved::steward_of(authority)
            .ok_or_else(|| Error::InvalidParam("the server name is too long for user ids".to_owned()))?;
        if self.inner.store.get(&tables::NOTICES, steward.as_str()).await?.is_some() {
            return Ok(steward);
        }
        let new = NewUser {
            localpart: reserved::STEWARD.to_owned(),
            password: None,
            display_name: Some(NAME.to_owned()),
            admin: false,
        };
        match self.create_own(&steward, &new, &Actor::server()).await {
            Ok(()) => Ok(steward),
            // Another process was faster; or somebody had the name before it was kept for this.
            Err(Error::UserInUse) => match self.inner.store.get(&tables::NOTICES, steward.as_str()).await? {
                Some(_) => Ok(steward),
                None => Err(Error::InvalidParam("somebody has the user name `_rooms`".to_owned())),
            },
            Err(error) => Err(error),
        }
    }
}
