//! Accounts that are locked or suspended.
//!
//! Whoever is *locked* does nothing but sign out; sessions stay, and go on where they were once the account is unlocked.
//! Whoever is *suspended* reads on and speaks no more. What that means for each endpoint is the edge's to know; here is
//! only that it is so, since when every session knows it: the change touches all devices of the user, so that no
//! session that was looked up before holds.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#account-moderation>

use audit::{Action, Actor};
use base::Attempts;
use ruma::UserId;
use store::{Batch, Order, Range, Reads, Ticket, Topic};

use crate::{
    Accounts, Error,
    chores::Chore,
    service,
    tables::{self, Moderation, UserRow},
};

/// A change of what an account is kept from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Lock(bool),
    Suspend(bool),
}

impl Change {
    fn of(self, before: Moderation) -> Moderation {
        match self {
            Self::Lock(locked) => Moderation { locked, by_source: false, ..before },
            Self::Suspend(suspended) => Moderation { suspended, ..before },
        }
    }

    fn silences(self) -> bool {
        matches!(self, Self::Lock(true) | Self::Suspend(true))
    }

    fn action(self) -> Action {
        match self {
            Self::Lock(true) => Action::LockAccount,
            Self::Lock(false) => Action::UnlockAccount,
            Self::Suspend(true) => Action::SuspendAccount,
            Self::Suspend(false) => Action::ResumeAccount,
        }
    }
}

impl Accounts {
    /// What an account is kept from.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such account, or none any more; [`Error::Store`].
    pub async fn moderation(&self, user: &UserId) -> Result<Moderation, Error> {
        self.open_account(user).await?;
        self.kept_from(user).await
    }

    /// What users of ours are kept from, in the order of `users`; nothing is said of accounts that are closed or not there.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn open_accounts(&self, users: &[&UserId]) -> Result<Vec<Option<Moderation>>, Error> {
        let open = self.have_open_accounts(users).await?;
        let keys: Vec<&str> = users.iter().map(|user| user.as_str()).collect();
        let kept = self.inner.store.get_many(&tables::MODERATION, &keys).await?;
        let both = open.into_iter().zip(kept);
        Ok(both.map(|(is_open, kept)| is_open.then(|| kept.unwrap_or_default())).collect())
    }

    /// Asks with others what an account is kept from, whether or not there is such an account: nothing, if nothing is found.
    pub fn read_moderation(&self, reads: &mut Reads, user: &str) -> Ticket<Moderation> {
        reads.get(&tables::MODERATION, user)
    }

    /// Locks an account, or unlocks it.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Forbidden`] for an administrator's account; [`Error::Contended`], [`Error::Store`].
    pub async fn set_locked(&self, user: &UserId, locked: bool, by: &Actor) -> Result<(), Error> {
        self.moderate(user, Change::Lock(locked), by).await
    }

    /// Suspends an account, or lets it speak again.
    ///
    /// # Errors
    /// As [`Accounts::set_locked`].
    pub async fn set_suspended(&self, user: &UserId, suspended: bool, by: &Actor) -> Result<(), Error> {
        self.moderate(user, Change::Suspend(suspended), by).await
    }

    /// What a user is kept from, whether or not there is such an account.
    pub(crate) async fn kept_from(&self, user: &UserId) -> Result<Moderation, Error> {
        Ok(self.inner.store.get(&tables::MODERATION, user.as_str()).await?.unwrap_or_default())
    }

    async fn open_account(&self, user: &UserId) -> Result<UserRow, Error> {
        let row = self.find_user_row(user).await?.filter(|row| !row.deactivated);
        row.ok_or(Error::NotFound("no such account"))
    }

    async fn moderate(&self, user: &UserId, change: Change, by: &Actor) -> Result<(), Error> {
        let key = user.as_str();
        let mut attempts = Attempts::default();
        loop {
            let account = self.open_account(user).await?;
            if account.admin {
                return Err(Error::Forbidden("Administrators are not locked or suspended"));
            }
            let stored = self.inner.store.get(&tables::MODERATION, key).await?;
            let before = stored.unwrap_or_default();
            let after = change.of(before);
            if after == before {
                return Ok(());
            }
            // Before the scan: who logs in after this may be missed by it.
            let log_ins = self.inner.store.get(&tables::LOG_INS, key).await?;
            let devices =
                self.inner.store.scan(&tables::DEVICES, Range::prefix(key), Order::Ascending, usize::MAX);
            let mut batch = Batch::new();
            // Who waits on one of them looks again whether he may.
            batch.touch([Topic::devices(key)]);
            for ((_, device), _) in devices.await? {
                batch.touch([Topic::device(key, &device)]);
            }
            service::touch_acting(&mut batch, user);
            batch.require(&tables::USERS, key, Some(&account));
            batch.require(&tables::LOG_INS, key, log_ins.as_ref());
            batch.require(&tables::MODERATION, key, stored.as_ref());
            match after == Moderation::default() {
                true => batch.delete(&tables::MODERATION, key),
                false => batch.put(&tables::MODERATION, key, &after),
            }
            let is_silenced = change.silences();
            if is_silenced {
                self.put_chore(&mut batch, user, Chore::Silence);
            }
            self.deed(change.action(), by, user).write(&mut batch, user.server_name());
            match self.commit(batch).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                Ok(()) if is_silenced => {
                    self.start_chore(user, Chore::Silence);
                    return Ok(());
                }
                done => return done,
            }
        }
    }
}
