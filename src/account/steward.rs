//! Who makes the rooms of an authority's organisation: a user of the server's own, whom nobody can register or log in as.

use std::collections::BTreeSet;

use audit::Actor;
use ruma::{OwnedUserId, ServerName, UserId};
use store::Reads;

use crate::{Accounts, Error, register::NewUser, reserved, tables};

/// What people read as his name in the rooms.
const NAME: &str = "組織のルーム管理 / Rooms of the organisation";

impl Accounts {
    /// Whether a user is the server's own: the steward of rooms, who writes its notices, or the address of a post. One who had
    /// the name before it was kept for this is none.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn is_own(&self, user: &UserId) -> Result<bool, Error> {
        let row = self.inner.store.get(&tables::NOTICES, user.as_str()).await?;
        Ok(row.is_some_and(|row| row.room.is_none()))
    }

    /// Whether a user keeps rooms for the server: the steward of rooms, or who writes its notices. The address of a post does not:
    /// it is in rooms of others, as anybody.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn keeps_rooms(&self, user: &UserId) -> Result<bool, Error> {
        Ok([reserved::NOTICES, reserved::STEWARD].contains(&user.localpart()) && self.is_own(user).await?)
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

    /// Which of these localparts no address can have: somebody has, or has had, the name, or a service keeps it. Those that no
    /// user can have are not among them.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn taken_names(
        &self,
        authority: &ServerName,
        names: &[&str],
    ) -> Result<BTreeSet<String>, Error> {
        let parsed = names
            .iter()
            .filter_map(|name| Some((*name, UserId::parse_with_server_name(*name, authority).ok()?)));
        let users: Vec<(&str, OwnedUserId)> = parsed.collect();
        let keys: Vec<&str> = users.iter().map(|(_, user)| user.as_str()).collect();
        let mut reads = Reads::new();
        let rows: Vec<_> = keys
            .iter()
            .map(|key| (reads.get(&tables::USERS, *key), reads.get(&tables::NOTICES, *key)))
            .collect();
        let mut found = self.inner.store.read(reads).await?;
        let mut taken = BTreeSet::new();
        for ((name, user), (row, own)) in users.iter().zip(rows) {
            let is_own = found.take(own)?.is_some_and(|row| row.room.is_none());
            if !is_own && (found.take(row)?.is_some() || self.is_exclusive(user)) {
                taken.insert((*name).to_owned());
            }
        }
        Ok(taken)
    }

    /// The user of an address by which a post or a unit is reached: an account without a password, that is made where it is
    /// wanted and has a name to show. Nothing where somebody else has the name of the user, or it was never wanted.
    ///
    /// # Errors
    /// [`Error::InvalidParam`] where no user can have the name; others of profiles; [`Error::Store`].
    pub async fn address(
        &self,
        authority: &ServerName,
        address: &str,
        shown: &str,
    ) -> Result<Option<OwnedUserId>, Error> {
        let user = UserId::parse_with_server_name(address, authority)
            .map_err(|error| Error::InvalidParam(error.to_string()))?;
        let (is_ours, is_there) = (self.is_own(&user).await?, self.find_account(&user).await?.is_some());
        if is_there && !is_ours {
            return Ok(None);
        }
        if !is_there {
            if shown.is_empty() || self.is_exclusive(&user) {
                return Ok(None);
            }
            let new = NewUser {
                localpart: address.to_owned(),
                password: None,
                display_name: Some(shown.to_owned()),
                admin: false,
            };
            return match self.create_own(&user, &new, &Actor::server()).await {
                Ok(()) => Ok(Some(user)),
                // Another process was faster, or somebody took the name.
                Err(Error::UserInUse) => Ok(self.is_own(&user).await?.then_some(user)),
                Err(error) => Err(error),
            };
        }
        if !shown.is_empty() && self.member_profile(&user).await?.displayname.as_deref() != Some(shown) {
            let name = serde_json::value::to_raw_value(shown)
                .map_err(|error| Error::InvalidParam(error.to_string()))?;
            self.set_profile_field(&user, "displayname", &name).await?;
        }
        Ok(Some(user))
    }
}
