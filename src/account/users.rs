//! Users as such: looking them up, changing the password, closing the account.

use std::collections::BTreeSet;

use base::Timestamp;
use ruma::{DeviceId, OwnedServerName, ServerName, UserId};
use serde::Deserialize;
use store::{Batch, Order, Range, Store};

use crate::{
    Accounts, Asked, Error,
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

/// Users that are read at a time, where all of them are.
const PAGE: usize = 1_000;

/// The server names of all accounts in a store, whoever it is opened for. Reads every user.
///
/// # Errors
/// When the store cannot be read.
pub async fn names_with_accounts(store: &Store) -> Result<BTreeSet<OwnedServerName>, store::Error> {
    let mut names = BTreeSet::new();
    let mut rest = Range::all();
    loop {
        let page = store.scan(&tables::USERS, rest, Order::Ascending, PAGE).await?;
        let ids = page.iter().filter_map(|(id, _)| <&UserId>::try_from(id.as_str()).ok());
        names.extend(ids.map(|id| id.server_name().to_owned()));
        match page.last() {
            Some((last, _)) if page.len() == PAGE => rest = Range::all().after(last.as_str()),
            _ => return Ok(names),
        }
    }
}

/// What a closed account leaves behind besides its name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Remains {
    /// What the user's clients kept here.
    Data,
    /// Nothing.
    Nothing,
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

    /// Changes a user's password, after the user has proved to know the old one. What is asked has a
    /// `new_password`, and `logout_devices`, with which (and by default) all devices but `device` are
    /// logged out in the same commit.
    ///
    /// # Errors
    /// [`Error::Interactive`] until the old password was given, [`Error::WeakPassword`],
    /// [`Error::BadRequest`], [`Error::Forbidden`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountpassword>
    pub async fn change_password(&self, user: &UserId, device: &DeviceId, asked: Asked) -> Result<(), Error> {
        #[derive(Deserialize)]
        struct Wish {
            new_password: String,
            #[serde(default = "yes")]
            logout_devices: bool,
        }
        fn yes() -> bool {
            true
        }
        let settled = self.settle(user.as_str(), "password", asked).await?;
        if settled.only_looks() {
            return self.confirm_with_password(user, device, &settled).await;
        }
        let wish: Wish = settled.parse()?;
        self.check_password_rules(user.server_name(), &wish.new_password)?;
        self.confirm_with_password(user, device, &settled).await?;

        let hash = self.inner.passwords.hash(&wish.new_password, &user).await?;
        let mut batch = Batch::new();
        settled.end(&mut batch);
        self.put_password(&mut batch, user, Some(hash)).await?;
        let ended = if wish.logout_devices {
            self.end_devices(&mut batch, user, |other| other != device.as_str()).await?
        } else {
            Vec::new()
        };
        self.commit(batch).await?;
        self.forget_tokens(&ended);
        Ok(())
    }

    /// Closes a user's account for good: no log-in, no sessions, no devices, no profile; its
    /// name stays taken. The user leaves the rooms in the background. Where what is asked says `erase`,
    /// what the user's clients kept here goes as well: account data and filters; and who comes later into a room gets
    /// redacted copies of what the user sent there. Other servers are told nothing and have the events too.
    ///
    /// # Errors
    /// [`Error::Interactive`] until the password was given, [`Error::BadRequest`],
    /// [`Error::Forbidden`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountdeactivate>
    pub async fn deactivate(&self, user: &UserId, device: &DeviceId, asked: Asked) -> Result<(), Error> {
        #[derive(Deserialize)]
        struct Wish {
            #[serde(default)]
            erase: bool,
        }
        let settled = self.settle(user.as_str(), "deactivate", asked).await?;
        let wish: Wish = settled.parse()?;
        self.confirm_with_password(user, device, &settled).await?;
        self.close(user, if wish.erase { Remains::Nothing } else { Remains::Data }).await
    }

    /// Closes an account without asking its owner: for administrators.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub async fn close_account(&self, user: &UserId) -> Result<(), Error> {
        self.close(user, Remains::Data).await
    }

    async fn close(&self, user: &UserId, remains: Remains) -> Result<(), Error> {
        let row = self.get_user_row(user).await?;
        let closed = UserRow { password: None, deactivated: true, ..row.clone() };

        let mut batch = Batch::new();
        batch.replace(&tables::USERS, user.as_str(), &row, &closed);
        batch.delete_prefix(&tables::PROFILES, user.as_str());
        batch.delete_prefix(&tables::INTERACTIVE, user.as_str());
        if remains == Remains::Nothing {
            batch.delete_prefix(&tables::DATA, user.as_str());
            batch.delete_prefix(&tables::ROOM_DATA, user.as_str());
            batch.delete_prefix(&tables::FILTERS, user.as_str());
            batch.delete_prefix(&tables::DATA_USE, user.as_str());
            self.inner.rooms.put_erasure(&mut batch, user);
        }
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
