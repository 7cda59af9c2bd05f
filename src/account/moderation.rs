//! Accounts that are locked or suspended.
//!
//! Whoever is *locked* does nothing but sign out; sessions stay, and go on where they were once the account is unlocked.
//! Whoever is *suspended* reads on and speaks no more. What that means for each endpoint is the edge's to know; here is
//! only that it is so, since when every session knows it: the change touches all devices of the user, so that no
//! session that was looked up before holds.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#account-moderation>

use audit::{Action, Actor, Deed};
use ruma::UserId;
use store::{Batch, Reads, Ticket};

use crate::{
    AccountChange, Accounts, Error,
    tables::{self, Moderation, UserRow},
};

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
        let change = AccountChange { locked: Some(locked), ..AccountChange::default() };
        self.change_account(user, &change, by).await
    }

    /// Suspends an account, or lets it speak again.
    ///
    /// # Errors
    /// As [`Accounts::set_locked`].
    pub async fn set_suspended(&self, user: &UserId, suspended: bool, by: &Actor) -> Result<(), Error> {
        let change = AccountChange { suspended: Some(suspended), ..AccountChange::default() };
        self.change_account(user, &change, by).await
    }

    /// What a user is kept from, whether or not there is such an account.
    pub(crate) async fn kept_from(&self, user: &UserId) -> Result<Moderation, Error> {
        Ok(self.inner.store.get(&tables::MODERATION, user.as_str()).await?.unwrap_or_default())
    }

    async fn open_account(&self, user: &UserId) -> Result<UserRow, Error> {
        let row = self.find_user_row(user).await?.filter(|row| !row.deactivated);
        row.ok_or(Error::NotFound("no such account"))
    }

    /// Notes in the audit log that a user was refused what changes something and is for others: `tried` is the route, which
    /// nobody chooses.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn note_refusal(&self, user: &UserId, by: &Actor, tried: &str) -> Result<(), Error> {
        let Some(times) = self.inner.refusals.count(user) else { return Ok(()) };
        let mut batch = Batch::new();
        Deed::new(Action::TryInVain, by, "", self.inner.clock.now())
            .after("tried", tried)
            .after("times", times.to_string())
            .write(&mut batch, user.server_name());
        self.commit(batch).await
    }
}
