//! Login tokens: words that let somebody in once, within two minutes.
//!
//! A session gives one to another client of the same user (after the password was given), and whoever signed in on a
//! page brings one to his client. It is spent in the batch that logs in, so that it is never good twice, and good for
//! the account only as that was when it was made: with another password, or none, it is worth nothing.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv1loginget_token>

use std::time::Duration;

use audit::{Action, Actor};
use base::{Address, Attempts};
use factor::Factors;
use room::FactorRule;
use ruma::{DeviceId, OwnedUserId, ServerName, UserId};
use store::Batch;

use crate::{
    Accounts, Asked, Browser, Credentials, Error, InBrowser, ProviderLogin, Unfinished,
    failures::Attempt,
    interactive::stamp_with,
    password::DEAR_ATTEMPTS,
    sessions::parse_user,
    signing_in::{Proof, SignedIn},
    spending::Spending,
    tables::{self, LoginTokenRow, TokenHash, UserRow, millis},
    tokens,
    users::refuse_closed,
};

/// How long a login token is good that goes from device to device.
const LIFETIME: Duration = Duration::from_secs(2 * 60);

/// The same where a browser brings it to its app at once.
const LIFETIME_OF_REDIRECT: Duration = Duration::from_secs(30);

/// Longest login token that is looked up; ours are shorter.
const LONGEST: usize = 128;

/// Tokens that a batch removes at once.
const SWEPT_AT_ONCE: usize = 1_000;

/// A login token.
#[derive(Clone)]
pub struct LoginToken {
    /// The token.
    pub token: String,
    /// How long it is good.
    pub expires_in: Duration,
}

impl std::fmt::Debug for LoginToken {
    /// Tokens do not belong in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginToken").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

impl Accounts {
    /// Gives a user a token with which another client of his logs in, once the user has given the password on `device`.
    ///
    /// # Errors
    /// [`Error::Interactive`] until the password was given, [`Error::Forbidden`], [`Error::Deactivated`],
    /// [`Error::Limited`], [`Error::Contended`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv1loginget_token>
    pub async fn request_login_token(
        &self,
        user: &UserId,
        device: &DeviceId,
        asked: Asked,
    ) -> Result<LoginToken, Error> {
        let settled = self.settle(user.as_str(), "login_token", &[], asked).await?;
        let row = self.confirm_with_password(user, device, &settled).await?;
        let mut batch = Batch::new();
        batch.require(&tables::USERS, user.as_str(), Some(&row));
        // A session and a password are no factor; his other client signs in by itself, or by a code that this one shows.
        let factors = self.refuse_with_factor(&mut batch, user, &row, settled.from).await?;
        settled.end(&mut batch);
        let login = self.provider_login(user, device).await?;
        let token = self.put_login_token(&mut batch, user, (&row, &factors), login, LIFETIME);
        let by = Actor::user(user, row.admin, settled.from).on(device);
        self.deed(Action::GiveLoginToken, &by, user).write(&mut batch, user.server_name());
        self.commit(batch).await?;
        Ok(token)
    }

    /// Signs a user in on a page with a password, for an app: it gets a token with which it logs in. It is counted, refused
    /// and noted as [`Accounts::log_in`] is.
    ///
    /// # Errors
    /// As [`Accounts::log_in`].
    pub async fn sign_in_for_token(
        &self,
        authority: &ServerName,
        credentials: &Credentials,
        browser: &InBrowser<'_>,
    ) -> Result<Result<LoginToken, Unfinished>, Error> {
        let mut attempts = Attempts::at_most(DEAR_ATTEMPTS);
        loop {
            let (user, row) = self.check_credentials(authority, credentials, browser.from).await?;
            let mut batch = Batch::new();
            // A password that is changed or an account that is closed meanwhile must not let this in.
            batch.require(&tables::USERS, user.as_str(), Some(&row));
            let factors = self.factors(&user).await?;
            let rule = self.factor_rule(&user, &row, browser.from).await?;
            if factors.is_any() || rule != FactorRule::Free {
                // He is asked for it on our other pages, from where he comes back to the app.
                match self.go_on(&user, &row, Proof::by("password"), false, browser).await {
                    Err(Error::Contended) => {
                        self.again(&mut attempts).await?;
                        continue;
                    }
                    done => match done? {
                        SignedIn::Unfinished(unfinished) => return Ok(Err(unfinished)),
                        // It was taken away between two reads.
                        SignedIn::Done(..) => return Err(Error::Stale),
                    },
                }
            }
            factors.require(&mut batch);
            let token = self.put_login_token(&mut batch, &user, (&row, &factors), None, LIFETIME_OF_REDIRECT);
            let by = Actor::user(&user, row.admin, browser.from);
            let mut deed = self.deed(Action::GiveLoginToken, &by, &user).after("proof", "password");
            if let Some(agent) = browser.agent {
                deed = deed.after("user_agent", agent);
            }
            deed.write(&mut batch, authority);
            match self.commit(batch).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done.map(|()| Ok(token)),
            }
        }
    }

    /// Gives whoever is signed in in a browser a token with which an app of his logs in.
    ///
    /// # Errors
    /// [`Error::Deactivated`], [`Error::Locked`], [`Error::Contended`], [`Error::Store`].
    pub async fn token_for_browser(
        &self,
        browser: &Browser,
        from: Option<Address>,
        agent: Option<&str>,
    ) -> Result<LoginToken, Error> {
        let user = &browser.user_id;
        let mut attempts = Attempts::default();
        loop {
            let row = self.get_user_row(user).await?;
            refuse_closed(user, Some(&row))?;
            if self.kept_from(user).await?.locked {
                return Err(Error::Locked);
            }
            let mut batch = Batch::new();
            batch.require(&tables::USERS, user.as_str(), Some(&row));
            let factors = self.factors(user).await?;
            factors.require(&mut batch);
            if stamp_with(&row, &factors) != browser.stamp {
                // A recovery, or another password, since the browser was looked up: it is signed in no more.
                return Err(Error::Stale);
            }
            let login = browser.login.clone();
            let token = self.put_login_token(&mut batch, user, (&row, &factors), login, LIFETIME_OF_REDIRECT);
            let by = Actor::user(user, row.admin, from);
            let mut deed = self.deed(Action::GiveLoginToken, &by, user).after("proof", "browser");
            if let Some(agent) = agent {
                deed = deed.after("user_agent", agent);
            }
            deed.write(&mut batch, user.server_name());
            match self.commit(batch).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done.map(|()| token),
            }
        }
    }

    /// Adds a login token for the account of this row to a batch; whoever shows it is in the same login at a provider as who gave it.
    pub(crate) fn put_login_token(
        &self,
        batch: &mut Batch,
        user: &UserId,
        (row, factors): (&UserRow, &Factors),
        login: Option<ProviderLogin>,
        lifetime: Duration,
    ) -> LoginToken {
        let token = tokens::new_token(&self.inner.random, "ylt");
        let expires_ms = self.now_ms().saturating_add(millis(lifetime));
        let stamp = stamp_with(row, factors);
        let made = LoginTokenRow { user: user.to_string(), expires_ms, stamp, login };
        batch.put(&tables::LOGIN_TOKENS, &tokens::hash(&token), &made);
        // So that a recovery, which ends those that there are, notices this one.
        batch.add(&tables::LOG_INS, user.as_str(), 1);
        LoginToken { token, expires_in: lifetime }
    }

    /// Whose login token this is, and his account, for an authority.
    ///
    /// # Errors
    /// [`Error::Forbidden`] when it is none, not any more or another authority's; [`Error::Deactivated`], [`Error::Store`].
    pub(crate) async fn check_login_token(
        &self,
        authority: &ServerName,
        token: &str,
        by: &Actor,
    ) -> Result<(OwnedUserId, UserRow, Spending), Error> {
        let refused = |whom: Option<OwnedUserId>, reason| {
            let (authority, by) = (authority.to_owned(), by.clone());
            self.note_failure(Attempt { authority, what: Action::SignInFailed, by, whom, reason });
            Error::Forbidden("this login token is not good, or not any more")
        };
        let hash = tokens::hash(token);
        let row = match token.len() {
            1..=LONGEST => self.inner.store.get(&tables::LOGIN_TOKENS, &hash).await?,
            _ => None,
        };
        let Some(row) = row else { return Err(refused(None, "login_token")) };
        let user = parse_user(&row.user)?;
        if user.server_name() != authority {
            return Err(refused(None, "login_token"));
        }
        let account = self.find_user_row(&user).await?;
        // With a first factor since, it is one of another time as well.
        let factors = self.factors(&user).await?;
        let Some(account) = account.filter(|account| stamp_with(account, &factors) == row.stamp) else {
            return Err(refused(Some(user), "login_token_of_another_time"));
        };
        // In either direction: a calendar that was set back must not keep a token for years.
        let left = row.expires_ms.checked_sub(self.now_ms());
        if left.is_none_or(|left| left == 0 || left > millis(LIFETIME)) {
            return Err(refused(Some(user), "login_token_too_late"));
        }
        Ok((user, account, Spending { hash, row, factors }))
    }

    /// Removes the login tokens whose time is over; returns how many.
    pub(crate) async fn sweep_login_tokens(&self) -> Result<usize, Error> {
        let now = self.now_ms();
        let (table, all) = (&tables::LOGIN_TOKENS, store::Range::all());
        let rows = self.inner.store.scan(table, all, store::Order::Ascending, usize::MAX).await?;
        let over: Vec<TokenHash> =
            rows.into_iter().filter(|(_, row)| row.expires_ms <= now).map(|(hash, _)| hash).collect();
        for some in over.chunks(SWEPT_AT_ONCE) {
            let mut batch = Batch::new();
            some.iter().for_each(|hash| batch.delete(table, hash));
            self.commit(batch).await?;
        }
        Ok(over.len())
    }
}
