//! Users as such: looking them up, changing the password, closing the account.

use std::collections::BTreeSet;

use audit::{Action, Actor};
use base::{Attempts, Timestamp};
use ruma::{DeviceId, OwnedServerName, ServerName, UserId};
use serde::Deserialize;
use store::{Batch, Order, Range, Store};

use crate::{
    AccountChange, Accounts, Asked, Error, NewSecret,
    chores::Chore,
    new_password::NewPassword,
    password::DEAR_ATTEMPTS,
    password::LONGEST_PASSWORD,
    profile::{DISPLAY_NAME, shown_as},
    service,
    sessions::Ended,
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
pub(crate) enum Remains {
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

    /// Whether users of ours have accounts that are not closed, in the order of `users`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn have_open_accounts(&self, users: &[&UserId]) -> Result<Vec<bool>, Error> {
        let keys: Vec<&str> = users.iter().map(|user| user.as_str()).collect();
        let rows = self.inner.store.get_many(&tables::USERS, &keys).await?;
        Ok(rows.into_iter().map(|row| row.is_some_and(|row| !row.deactivated)).collect())
    }

    /// Changes a user's password, after the user has proved to know the old one. What is asked has a
    /// `new_password`, and `logout_devices`, with which (and by default) all devices but `device` are
    /// logged out in the same commit. Where the account changed since the old password was looked at, it is
    /// looked at again: another change counts from its commit on, whatever was confirmed before it.
    ///
    /// # Errors
    /// [`Error::Interactive`] until the old password was given, [`Error::WeakPassword`],
    /// [`Error::BadRequest`], [`Error::Forbidden`], [`Error::Deactivated`], [`Error::Contended`],
    /// [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountpassword>
    pub async fn change_password(&self, user: &UserId, device: &DeviceId, asked: Asked) -> Result<(), Error> {
        let settled = self.settle(user.as_str(), "password", NewPassword::KEYS, asked).await?;
        if settled.only_looks() {
            return self.confirm_with_password(user, device, &settled).await.map(drop);
        }
        let wish: NewPassword = settled.parse()?;
        self.check_password_rules(user.server_name(), &wish.new_password)?;
        let mut hash = None;
        let mut attempts = Attempts::at_most(DEAR_ATTEMPTS);
        loop {
            let row = self.confirm_with_password(user, device, &settled).await?;
            if hash.is_none() {
                hash = Some(self.inner.passwords.hash(&wish.new_password, &user).await?);
            }
            let mut batch = Batch::new();
            settled.end(&mut batch);
            replace_password(&mut batch, user, &row, hash.clone());
            let ended = if wish.logout_devices {
                self.end_devices(&mut batch, user, |other| other != device.as_str()).await?
            } else {
                Ended::default()
            };
            let by = Actor::user(user, row.admin, settled.from).on(device);
            let deed = self.deed(Action::ChangePassword, &by, user).before("devices", ended.names());
            deed.write(&mut batch, user.server_name());
            match self.commit_end(batch, &ended).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }

    /// Closes a user's account for good: no log-in, no sessions, no devices, no profile; its
    /// name stays taken. The user leaves the rooms in the background. Where what is asked says `erase`,
    /// what the user's clients kept here goes as well: account data and filters; and who comes later into a room gets
    /// redacted copies of what the user sent there. Other servers are told nothing and have the events too.
    ///
    /// # Errors
    /// [`Error::Interactive`] until the password was given, [`Error::BadRequest`],
    /// [`Error::Forbidden`], [`Error::Deactivated`], [`Error::Contended`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountdeactivate>
    pub async fn deactivate(&self, user: &UserId, device: &DeviceId, asked: Asked) -> Result<(), Error> {
        let settled = self.settle(user.as_str(), "deactivate", &["erase"], asked).await?;
        let remains = settled.parse::<Closing>()?.remains();
        let mut attempts = Attempts::at_most(DEAR_ATTEMPTS);
        loop {
            let row = self.confirm_with_password(user, device, &settled).await?;
            let by = Actor::user(user, row.admin, settled.from).on(device);
            match self.try_to_close(user, &row, remains, &by).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }

    /// Closes an account without asking its owner: for administrators, as `by` is one.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`] for the server's own, [`Error::Contended`], [`Error::Store`].
    pub async fn close_account(&self, user: &UserId, by: &Actor) -> Result<(), Error> {
        self.close_leaving(user, Remains::Data, by).await
    }

    /// As [`Accounts::close_account`]; and what the user's clients kept here goes as well, as where its owner asks for that.
    ///
    /// # Errors
    /// As [`Accounts::close_account`].
    pub async fn erase_account(&self, user: &UserId, by: &Actor) -> Result<(), Error> {
        self.close_leaving(user, Remains::Nothing, by).await
    }

    async fn close_leaving(&self, user: &UserId, remains: Remains, by: &Actor) -> Result<(), Error> {
        self.refuse_own(user).await?;
        let mut attempts = Attempts::default();
        loop {
            let row = self.get_user_row(user).await?;
            match self.try_to_close(user, &row, remains, by).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }

    /// Closes the account of this row; one that is another by now stays as it is.
    pub(crate) async fn try_to_close(
        &self,
        user: &UserId,
        row: &UserRow,
        remains: Remains,
        by: &Actor,
    ) -> Result<(), Error> {
        let closed = UserRow { password: None, deactivated: true, ..row.clone() };

        let mut batch = Batch::new();
        self.put_still_administers(&mut batch, user, by).await?;
        batch.replace(&tables::USERS, user.as_str(), row, &closed);
        service::touch_acting(&mut batch, user);
        self.put_closed(&mut batch, user, row, remains).await?;
        let key = (user.as_str(), DISPLAY_NAME);
        let name = self.inner.store.get(&tables::PROFILES, &key).await?;
        batch.require(&tables::PROFILES, &key, name.as_ref());
        room::note_account(&mut batch, user, Some(&shown_as(name.as_ref())), None);
        batch.delete_prefix(&tables::PROFILES, user.as_str());
        // How he is called is in it as well.
        batch.delete(&tables::GIVEN, &tables::given_key(user));
        batch.delete_prefix(&tables::INTERACTIVE, user.as_str());
        batch.delete(&tables::MODERATION, user.as_str());
        batch.delete(&tables::RESETS, user.as_str());
        let factors = self.factors(user).await?;
        factors.require(&mut batch);
        factors.put_none(&mut batch);
        self.put_no_emails(&mut batch, user).await?;
        let ended = self.end_every(&mut batch, user, |_| true).await?;
        self.put_browsers_end(&mut batch, user).await?;
        if remains == Remains::Nothing {
            // After what ends with the devices, which writes some of it.
            batch.delete_prefix(&tables::DATA, user.as_str());
            batch.delete_prefix(&tables::ROOM_DATA, user.as_str());
            batch.delete_prefix(&tables::DATA_LOG, user.as_str());
            batch.delete_prefix(&tables::THREAD_SUBSCRIPTIONS, user.as_str());
            batch.delete_prefix(&tables::THREAD_LOG, user.as_str());
            batch.delete_prefix(&tables::FILTERS, user.as_str());
            batch.delete_prefix(&tables::DATA_USE, user.as_str());
            self.inner.rooms.put_erasure(&mut batch, user);
        }
        batch.delete(&tables::LOG_INS, user.as_str());
        batch.delete(&tables::LAST_USED, user.as_str());
        for ends in self.device_ends() {
            ends.put_close(&mut batch, user).await?;
        }
        self.put_chore(&mut batch, user, Chore::LeaveRooms);
        let data = if remains == Remains::Nothing { "erased" } else { "kept" };
        let deed = self.deed(Action::CloseAccount, by, user).before("devices", ended.names());
        let was = if row.deactivated { "closed" } else { "open" };
        deed.before("account", was)
            .after("account", "closed")
            .after("data", data)
            .write(&mut batch, user.server_name());
        self.commit_end(batch, &ended).await?;
        self.presence().close(user);
        self.start_chore(user, Chore::LeaveRooms);
        Ok(())
    }

    /// Sets a user's password without asking for the old one: for administrators, as `by` is one. Whoever is
    /// logged in to the account is so no more, since it may be somebody who should not be.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Deactivated`] for a closed account, which no password opens again,
    /// [`Error::WeakPassword`], [`Error::Contended`], [`Error::Store`].
    pub async fn set_password(&self, user: &UserId, new_password: &str, by: &Actor) -> Result<(), Error> {
        let password = Some(NewSecret { text: new_password.to_owned(), keeps_devices: false });
        self.change_account(user, &AccountChange { password, ..AccountChange::default() }, by).await
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

    pub(crate) async fn commit(&self, batch: Batch) -> Result<(), Error> {
        self.inner.store.commit(batch).await?;
        Ok(())
    }
}

/// What is asked with the end of an account.
#[derive(Deserialize)]
pub(crate) struct Closing {
    #[serde(default)]
    erase: bool,
}

impl Closing {
    pub(crate) fn remains(&self) -> Remains {
        if self.erase { Remains::Nothing } else { Remains::Data }
    }
}

/// Refuses what a closed account may do no more. Whoever writes for a session also requires the row that was
/// looked at in the batch, so that nothing lands after the account was closed.
pub(crate) fn refuse_closed(user: &UserId, row: Option<&UserRow>) -> Result<(), Error> {
    match row {
        Some(row) if row.deactivated => Err(Error::Deactivated(user.to_owned())),
        _ => Ok(()),
    }
}

/// Adds another password to a batch, for an account that must still be as `row` says.
pub(crate) fn replace_password(batch: &mut Batch, user: &UserId, row: &UserRow, hash: Option<String>) {
    let changed = UserRow { password: hash, ..row.clone() };
    batch.replace(&tables::USERS, user.as_str(), row, &changed);
    // What was agreed to with the password before, perhaps by whoever had stolen it.
    batch.delete(&tables::RESETS, user.as_str());
}
