//! Recovery of an account whose owner has lost every factor: one administrator asks for it, another person agrees, and a code is
//! handed over.
//!
//! It ends all that the account had: factors, codes, sessions, browsers, tokens that would begin one. What it leaves is a
//! password and one code that the second person was shown and gives to the owner: whoever has stolen the password with the
//! telephone must not be the first to set up a factor anew. At the command line the operator does it alone, who could
//! write into the store as well.

use audit::{Action, Actor};
use base::Attempts;
use factor::Recovery;
use ruma::{ServerName, UserId};
use store::{Batch, Order, Range};

use crate::{
    Accounts, Error,
    second_step::of_duties,
    sessions::Ended,
    tables::{self, UserRow, guest_key},
};

impl Accounts {
    /// The recovery of a user that was asked for and that nobody has agreed to.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn find_recovery(&self, user: &UserId) -> Result<Option<Recovery>, Error> {
        Ok(factor::find_recovery(&self.inner.store, user, self.inner.clock.now()).await?)
    }

    /// The users of an authority whose recovery waits for somebody to agree: the first hundred.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn recoveries(&self, authority: &ServerName) -> Result<Vec<String>, Error> {
        Ok(factor::list_recoveries(&self.inner.store, authority, self.inner.clock.now()).await?)
    }

    /// Forgets recoveries that nobody agreed to in time.
    pub(crate) async fn sweep_recoveries(&self) -> Result<(), Error> {
        factor::sweep_recoveries(&self.inner.store, self.inner.clock.now()).await?;
        Ok(())
    }

    /// Asks for the recovery of a user, as `by` is an administrator, `asker`; nothing is done yet.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such account or it has no factors; [`Error::Forbidden`] for oneself, for users of the
    /// server's own and for whoever has a duty, whose ways in are the operator's to change; [`Error::Contended`],
    /// [`Error::Store`].
    pub async fn ask_for_recovery(&self, user: &UserId, asker: &UserId, by: &Actor) -> Result<(), Error> {
        let mut attempts = Attempts::default();
        loop {
            let mut batch = Batch::new();
            self.put_recoverable(&mut batch, user, asker).await?;
            self.put_still_administers(&mut batch, user, by).await?;
            factor::put_recovery(&mut batch, user, asker, self.inner.clock.now());
            self.deed(Action::AskRecovery, by, user).write(&mut batch, user.server_name());
            match self.commit(batch).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }

    /// Takes back that the recovery of a user was asked for; where it was not, nothing is done.
    ///
    /// # Errors
    /// [`Error::Contended`], [`Error::Store`].
    pub async fn withdraw_recovery(&self, user: &UserId, by: &Actor) -> Result<(), Error> {
        let Some(recovery) = self.find_recovery(user).await? else { return Ok(()) };
        let mut batch = Batch::new();
        self.put_still_administers(&mut batch, user, by).await?;
        factor::put_no_recovery(&mut batch, user, Some(&recovery));
        self.deed(Action::WithdrawRecovery, by, user).write(&mut batch, user.server_name());
        self.commit(batch).await
    }

    /// Agrees to the recovery of a user that somebody else has asked for, and has it done. Whoever calls has made sure that
    /// `agrees` may, and `demand` puts into the batch that this stands. The code to hand over.
    ///
    /// # Errors
    /// As [`Accounts::ask_for_recovery`]; [`Error::NotFound`] where nothing was asked for, or whoever asked administers no more;
    /// [`Error::Forbidden`] for who asked himself.
    pub async fn agree_to_recovery(
        &self,
        user: &UserId,
        agrees: &UserId,
        by: &Actor,
        demand: &(dyn Fn(&mut Batch) + Send + Sync),
    ) -> Result<String, Error> {
        let mut attempts = Attempts::default();
        loop {
            let recovery = self.find_recovery(user).await?;
            let recovery = recovery.ok_or(Error::NotFound("nobody has asked for this"))?;
            if recovery.asked_by == agrees.as_str() {
                return Err(Error::Forbidden("whoever asked for it does not agree to it as well"));
            }
            let mut batch = Batch::new();
            demand(&mut batch);
            self.put_recoverable(&mut batch, user, agrees).await?;
            let asker = self.inner.store.get(&tables::USERS, recovery.asked_by.as_str()).await?;
            let asker = asker.filter(|row| row.admin && !row.deactivated);
            let asker = asker.ok_or(Error::NotFound("whoever asked for this administers no more"))?;
            batch.require(&tables::USERS, recovery.asked_by.as_str(), Some(&asker));
            match self.recover(batch, user, by, Some(&recovery)).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }

    /// Recovers an account at the command line. The code to hand over.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such account or it has no factors; [`Error::Contended`], [`Error::Store`].
    pub async fn reset_factors(&self, user: &UserId, by: &Actor) -> Result<String, Error> {
        let mut attempts = Attempts::default();
        loop {
            let mut batch = Batch::new();
            self.put_has_factors(&mut batch, user).await?;
            match self.recover(batch, user, by, None).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }

    /// Ends all that an account had, and gives it a code to begin anew.
    async fn recover(
        &self,
        mut batch: Batch,
        user: &UserId,
        by: &Actor,
        recovery: Option<&Recovery>,
    ) -> Result<String, Error> {
        // What was read before the factors is demanded by them: they change with every recovery.
        let (change, code) = self.factors(user).await?.recovered(self.inner.clock.now(), &self.inner.random);
        change.put(&mut batch);
        factor::put_no_recovery(&mut batch, user, recovery);
        let ended = self.end_devices(&mut batch, user, |_| true).await?;
        self.put_browsers_end(&mut batch, user).await?;
        self.put_login_tokens_end(&mut batch, user).await?;
        self.put_deed(&mut batch, user, by, recovery, &ended);
        self.commit_end(batch, &ended).await?;
        Ok(code)
    }

    fn put_deed(
        &self,
        batch: &mut Batch,
        user: &UserId,
        by: &Actor,
        recovery: Option<&Recovery>,
        ended: &Ended,
    ) {
        let mut deed = self.deed(Action::Recover, by, user).before("devices", ended.names());
        if let Some(recovery) = recovery {
            deed = deed.before("asked_by", &recovery.asked_by);
        }
        deed.write(batch, user.server_name());
    }

    async fn put_login_tokens_end(&self, batch: &mut Batch, user: &UserId) -> Result<(), Error> {
        let (table, all) = (&tables::LOGIN_TOKENS, Range::all());
        let rows = self.inner.store.scan(table, all, Order::Ascending, usize::MAX).await?;
        for (hash, _) in rows.into_iter().filter(|(_, row)| row.user == user.as_str()) {
            batch.delete(table, &hash);
        }
        Ok(())
    }

    /// An account that somebody may recover; the batch fails where it is another by then.
    async fn put_recoverable(&self, batch: &mut Batch, user: &UserId, who: &UserId) -> Result<(), Error> {
        if who == user {
            return Err(Error::Forbidden("nobody recovers his own account"));
        }
        self.refuse_own(user).await?;
        self.put_has_factors(batch, user).await?;
        if !duties::has_none(&self.inner.store, batch, user).await.map_err(of_duties)? {
            return Err(Error::Forbidden(
                "the ways into the account of somebody with a duty are changed at the command line only",
            ));
        }
        Ok(())
    }

    async fn put_has_factors(&self, batch: &mut Batch, user: &UserId) -> Result<UserRow, Error> {
        let row = self.find_user_row(user).await?.filter(|row| !row.deactivated);
        let row = row.ok_or(Error::NotFound("no such account"))?;
        let guest = self.inner.store.get(&tables::GUESTS, &guest_key(user)).await?;
        if guest.is_some() || !self.factors(user).await?.is_any() {
            return Err(Error::NotFound("the account has no second factor"));
        }
        batch.require(&tables::USERS, user.as_str(), Some(&row));
        Ok(row)
    }
}
