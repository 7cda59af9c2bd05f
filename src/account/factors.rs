//! What users do to their own second factors on our pages.
//!
//! It is done a moment after signing in, with a factor where the account has one: a browser that was left open adds and removes
//! none. Adding takes two steps, and nothing has changed before a code of the new app was shown.

use audit::{Action, Actor, Deed};
use base::{Address, Attempts};
use factor::{Factors, Kind};
use room::FactorRule;
use ruma::UserId;
use store::Batch;

use crate::{
    Accounts, Browser, BrowserSecret, Error, InBrowser, NewFactor, Unfinished,
    own::is_fresh,
    second_step::For,
    signing_in::Proof,
    tables::{self, UserRow},
    users::refuse_closed,
};

impl Accounts {
    /// Whether whoever is signed in in a browser has done so a moment ago, as changing factors demands.
    #[must_use]
    pub fn is_fresh(&self, browser: &Browser) -> bool {
        is_fresh(self.now_ms(), browser)
    }

    /// Begins to set up a factor: what is shown for it, and a ticket that goes with the answer. Nothing is kept.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for who has not signed in a moment ago, [`Error::Deactivated`], [`Error::Store`].
    pub async fn begin_factor(&self, browser: &Browser, way: &InBrowser<'_>) -> Result<Unfinished, Error> {
        let (row, factors) = self.own_factors(browser).await?;
        let account = (&row, &factors);
        let ticket = self.seal(For::Another, &browser.user_id, account, Proof::default(), way)?;
        Ok(self.unfinished_of(ticket, &factors))
    }

    /// Sets up a factor, by the first code of an app or by what an authenticator has made. With the first factor come codes for once, to be shown; all other browsers are
    /// signed out, and this one has another secret.
    ///
    /// # Errors
    /// [`Error::Factor`], [`Error::Stale`], [`Error::Deactivated`], [`Error::Contended`], [`Error::Store`].
    pub async fn add_factor(
        &self,
        browser: &Browser,
        ticket: &str,
        (name, new): (&str, NewFactor<'_>),
        way: &InBrowser<'_>,
    ) -> Result<(Option<BrowserSecret>, Vec<String>), Error> {
        let (user, authority) = (&browser.user_id, browser.user_id.server_name());
        let mut attempts = Attempts::default();
        loop {
            let named = (ticket, For::Another);
            let (ticket, row, factors) = self.account_of_ticket(authority, named, user, &way.key).await?;
            if factors.is_any() && !browser.strong {
                return Err(Error::Stale);
            }
            let (change, codes) = self.with_new(&factors, &ticket, name, new).await?;
            let deed = self.deed_of_new(user, &row, (name, new.kind()), way.from);
            let put = |batch: &mut Batch| {
                self.put_factors(batch, user, &change);
                deed.write(batch, authority);
            };
            let done = if factors.is_any() {
                let mut batch = Batch::new();
                batch.require(&tables::USERS, user.as_str(), Some(&row));
                self.put_answered(&mut batch, user, &ticket).await?;
                put(&mut batch);
                self.commit(batch).await.map(|()| None)
            } else {
                // Whatever this browser may: others may have come by a password alone, and would be hidden only, to come back
                // once the factor is removed.
                let mut ends = Batch::new();
                self.put_answered(&mut ends, user, &ticket).await?;
                self.put_browsers_end(&mut ends, user).await?;
                self.put_unproved(&mut ends, user).await?;
                let factor = new.kind().word().to_owned();
                // It is in the same login at a provider as before, which ends it.
                let proof = Proof { factor, login: browser.login.clone(), ..Proof::by("browser") };
                self.put_browser_over(ends, user, &row, &proof, true, put, way).await.map(Some)
            };
            match done {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return Ok((done?, codes)),
            }
        }
    }

    /// Gives a factor another name.
    ///
    /// # Errors
    /// As [`Accounts::remove_factor`].
    pub async fn rename_factor(
        &self,
        browser: &Browser,
        id: u32,
        name: &str,
        from: Option<Address>,
    ) -> Result<(), Error> {
        let change = |factors: &Factors| {
            let before = factors.list().into_iter().find(|factor| factor.id == id);
            let before = before.map(|factor| factor.name).unwrap_or_default();
            Ok((factors.renamed(id, name).map_err(Error::Factor)?, (before, name.to_owned(), ())))
        };
        self.change_factors(browser, Action::RenameFactor, from, change).await
    }

    /// Removes a factor.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for who has not signed in a moment ago, [`Error::FactorNeeded`] for the last one of somebody who has
    /// to have one, [`Error::Factor`] where there is none of that number, [`Error::Contended`], [`Error::Store`].
    pub async fn remove_factor(
        &self,
        browser: &Browser,
        id: u32,
        from: Option<Address>,
    ) -> Result<(), Error> {
        let user = &browser.user_id;
        // From nowhere: what he has to have at any place he keeps.
        let must = self.factor_rule(user, &self.get_user_row(user).await?, None).await? != FactorRule::Free;
        let change = |factors: &Factors| {
            let (change, removed) = factors.without(id).map_err(Error::Factor)?;
            if must && factors.list().len() == 1 {
                return Err(Error::FactorNeeded { page: None });
            }
            Ok((change, (removed.name, String::new(), ())))
        };
        self.change_factors(browser, Action::RemoveFactor, from, change).await
    }

    /// Other codes for once in the place of those that there are, to be shown.
    ///
    /// # Errors
    /// As [`Accounts::remove_factor`].
    pub async fn renew_codes(&self, browser: &Browser, from: Option<Address>) -> Result<Vec<String>, Error> {
        let change = |factors: &Factors| {
            let (change, codes) = factors.with_new_codes(&self.inner.random).map_err(Error::Factor)?;
            Ok((change, (String::new(), String::new(), codes)))
        };
        self.change_factors(browser, Action::RenewCodes, from, change).await
    }

    async fn change_factors<T>(
        &self,
        browser: &Browser,
        what: Action,
        from: Option<Address>,
        change: impl Fn(&Factors) -> Result<(factor::Change, (String, String, T)), Error>,
    ) -> Result<T, Error> {
        let user = &browser.user_id;
        let mut attempts = Attempts::default();
        loop {
            let (row, factors) = self.own_factors(browser).await?;
            let (change, (before, after, told)) = change(&factors)?;
            let mut batch = Batch::new();
            batch.require(&tables::USERS, user.as_str(), Some(&row));
            self.put_factors(&mut batch, user, &change);
            let by = Actor::user(user, row.admin, from);
            let mut deed = self.deed(what, &by, user);
            if !before.is_empty() {
                deed = deed.before("name", before);
            }
            if !after.is_empty() {
                deed = deed.after("name", after);
            }
            deed.write(&mut batch, user.server_name());
            match self.commit(batch).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done.map(|()| told),
            }
        }
    }

    /// The account and its factors, of whoever has signed in a moment ago.
    pub(crate) async fn own_factors(&self, browser: &Browser) -> Result<(UserRow, Factors), Error> {
        let user = &browser.user_id;
        let row = self.get_user_row(user).await?;
        refuse_closed(user, Some(&row))?;
        let factors = self.factors(user).await?;
        // What a browser without a factor may is over once the account has one, also between two reads.
        if !self.is_fresh(browser) || (factors.is_any() && !browser.strong) {
            return Err(Error::Forbidden("sign in again, and do this within five minutes"));
        }
        Ok((row, factors))
    }

    pub(crate) fn deed_of_new(
        &self,
        user: &UserId,
        row: &UserRow,
        (name, kind): (&str, Kind),
        from: Option<Address>,
    ) -> Deed {
        let by = Actor::user(user, row.admin, from);
        self.deed(Action::AddFactor, &by, user).after("kind", kind.word()).after("name", name)
    }
}
