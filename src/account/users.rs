//! Users as such: looking them up, changing the password, closing the account.

use base::Timestamp;
use ruma::{DeviceId, ServerName, UserId, api::client::uiaa::AuthData};
use store::Batch;

use crate::{
    Accounts, Error, Operation,
    chores::Chore,
    password::LONGEST_PASSWORD,
    tables::{self, UserRow},
};

/// What others may know of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserInfo {
    /// When the account was made.
    pub created: Timestamp,
    /// Whether the user administers the server.
    pub admin: bool,
    /// Whether the account is closed for good.
    pub deactivated: bool,
}

impl Accounts {
    /// Looks up a user of ours.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn find_user(&self, user: &UserId) -> Result<Option<UserInfo>, Error> {
        Ok(self.find_user_row(user).await?.map(|row| UserInfo {
            created: Timestamp(row.created_ms),
            admin: row.admin,
            deactivated: row.deactivated,
        }))
    }

    /// Changes a user's password, after the user has proved to know the old one.
    ///
    /// With `end_other_sessions` all devices but `device` are logged out in the same commit.
    ///
    /// # Errors
    /// [`Error::Interactive`] until the old password was given, [`Error::WeakPassword`],
    /// [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountpassword>
    pub async fn change_password(
        &self,
        user: &UserId,
        device: &DeviceId,
        new_password: &str,
        end_other_sessions: bool,
        auth: Option<&AuthData>,
    ) -> Result<(), Error> {
        self.check_password_rules(user.server_name(), new_password)?;
        self.confirm_with_password(user, device, Operation::ChangePassword, auth).await?;

        let hash = self.inner.passwords.hash(new_password, &user).await?;
        let mut batch = Batch::new();
        self.put_password(&mut batch, user, Some(hash)).await?;
        let ended = if end_other_sessions {
            self.end_devices(&mut batch, user, |other| other != device.as_str()).await?
        } else {
            Vec::new()
        };
        self.commit(batch).await?;
        self.forget_tokens(&ended);
        Ok(())
    }

    /// Closes a user's account for good: no log-in, no sessions, no devices, no profile; its
    /// name stays taken. The user leaves the rooms in the background.
    ///
    /// # Errors
    /// [`Error::Interactive`] until the password was given, [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountdeactivate>
    pub async fn deactivate(
        &self,
        user: &UserId,
        device: &DeviceId,
        auth: Option<&AuthData>,
    ) -> Result<(), Error> {
        self.confirm_with_password(user, device, Operation::Deactivate, auth).await?;
        self.close_account(user).await
    }

    /// Closes an account without asking its owner: for administrators.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub async fn close_account(&self, user: &UserId) -> Result<(), Error> {
        let row = self.get_user_row(user).await?;
        let closed = UserRow { password: None, deactivated: true, ..row.clone() };

        let mut batch = Batch::new();
        batch.replace(&tables::USERS, user.as_str(), &row, &closed);
        batch.delete_prefix(&tables::PROFILES, user.as_str());
        let ended = self.end_devices(&mut batch, user, |_| true).await?;
        self.put_chore(&mut batch, user, Chore::LeaveRooms);
        self.commit(batch).await?;
        self.forget_tokens(&ended);
        self.start_chore(user, Chore::LeaveRooms);
        Ok(())
    }

    /// Sets a user's password without asking for the old one: for administrators. Whoever is logged in
    /// to the account is so no more, since it may be somebody who should not be.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::WeakPassword`], [`Error::Store`].
    pub async fn set_password(&self, user: &UserId, new_password: &str) -> Result<(), Error> {
        self.check_password_rules(user.server_name(), new_password)?;
        let hash = self.inner.passwords.hash(new_password, &user).await?;
        let mut batch = Batch::new();
        self.put_password(&mut batch, user, Some(hash)).await?;
        let ended = self.end_devices(&mut batch, user, |_| true).await?;
        self.commit(batch).await?;
        self.forget_tokens(&ended);
        Ok(())
    }

    pub(crate) fn check_password_rules(&self, authority: &ServerName, password: &str) -> Result<(), Error> {
        if password.chars().count() < self.settings(authority).min_password_chars {
            return Err(Error::WeakPassword("the password is too short"));
        }
        if password.len() > LONGEST_PASSWORD {
            return Err(Error::WeakPassword("the password is too long"));
        }
        Ok(())
    }

    pub(crate) async fn find_user_row(&self, user: &UserId) -> Result<Option<UserRow>, Error> {
        Ok(self.inner.store.get(&tables::USERS, user.as_str()).await?)
    }

    pub(crate) async fn get_user_row(&self, user: &UserId) -> Result<UserRow, Error> {
        self.find_user_row(user).await?.ok_or(Error::NotFound("no such user"))
    }

    async fn put_password(
        &self,
        batch: &mut Batch,
        user: &UserId,
        hash: Option<String>,
    ) -> Result<(), Error> {
        let row = self.get_user_row(user).await?;
        let changed = UserRow { password: hash, ..row.clone() };
        batch.replace(&tables::USERS, user.as_str(), &row, &changed);
        Ok(())
    }

    pub(crate) async fn commit(&self, batch: Batch) -> Result<(), Error> {
        self.inner.store.commit(batch).await?;
        Ok(())
    }
}
