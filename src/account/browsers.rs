//! Sessions of browsers at our own pages, so that who has signed in need not for each page.
//!
//! A browser shows a secret, of which a hash is kept, as of an access token. It opens pages and no
//! endpoint of the client interface, and it is of no device. It ends by itself, with another
//! password, when the account is closed or locked, and when its user signs out everywhere.

use std::time::Duration;

use audit::{Action, Actor};
use base::{Address, Attempts, Timestamp};
use room::FactorRule;
use ruma::{OwnedUserId, ServerName, UserId};
use sha2::{Digest, Sha256};
use store::{Batch, Order, Range, Reads, Value};

use crate::{
    Accounts, Credentials, Error, ProviderLogin,
    browser_rows::BrowserRow,
    interactive::stamp_with,
    password::DEAR_ATTEMPTS,
    provider_tables::{BROWSER, LOGINS, SessionName},
    sessions::parse_user,
    signing_in::{BrowserSecret, InBrowser, Proof, SignedIn},
    tables::{self, TokenHash, UserRow, millis},
    tokens,
};

/// How long a browser stays signed in, whether or not it is used: a working day.
const LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);

/// Browsers in which a user is signed in at once; another one takes the place of the oldest.
pub const MOST_BROWSERS: usize = 20;

/// A browser in which a user is signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Browser {
    /// The user.
    pub user_id: OwnedUserId,
    /// Whether the user administers the server.
    pub admin: bool,
    /// Whether the user reads only: what others would see of it is refused.
    pub suspended: bool,
    /// When the user proved who it is.
    pub began: Timestamp,
    /// By which login at a provider, if by one.
    pub login: Option<ProviderLogin>,
    /// Whether a second factor was shown, here or at an identity provider of which that is demanded.
    pub strong: bool,
    /// The account as it was when the browser was looked up, as [`Accounts::stamp`] tells it.
    pub stamp: [u8; 32],
}

impl Accounts {
    /// Signs a user in to our pages with a password, as far as that goes. It is counted, refused and noted as
    /// [`Accounts::log_in`] is; the session is on disk when this returns.
    ///
    /// # Errors
    /// As [`Accounts::log_in`].
    pub async fn sign_in_browser(
        &self,
        authority: &ServerName,
        credentials: &Credentials,
        browser: &InBrowser<'_>,
    ) -> Result<SignedIn, Error> {
        let mut attempts = Attempts::at_most(DEAR_ATTEMPTS);
        loop {
            let (user_id, row) = self.check_credentials(authority, credentials, browser.from).await?;
            match self.go_on(&user_id, &row, Proof::by("password"), false, browser).await {
                // A password that is changed or an account that is closed meanwhile must not let this in.
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }

    /// Signs a user in to our pages who has proved elsewhere who it is, as far as that goes; `proof` is a word for the audit log.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Deactivated`], [`Error::Locked`], a refusal of the policy, [`Error::Contended`],
    /// [`Error::Store`].
    pub async fn begin_browser(
        &self,
        user: &UserId,
        proof: &'static str,
        browser: &InBrowser<'_>,
    ) -> Result<SignedIn, Error> {
        self.begin_proved_browser(user, &Proof::by(proof), false, browser).await
    }

    /// Signs whoever is signed in in a browser in once more, after what has ended all his sessions of browsers and left the account
    /// with this stamp.
    ///
    /// # Errors
    /// [`Error::Stale`] where the account is another one by now: a recovery that comes between ends this browser too; the others of
    /// [`Accounts::begin_browser`].
    pub async fn renew_browser(
        &self,
        (before, stamp): (&Browser, [u8; 32]),
        proof: &'static str,
        browser: &InBrowser<'_>,
    ) -> Result<SignedIn, Error> {
        let (user, proof) = (&before.user_id, Proof { login: before.login.clone(), ..Proof::by(proof) });
        let mut attempts = Attempts::default();
        loop {
            let row = self.who_may_come_in(user, browser).await?;
            let factors = self.factors(user).await?;
            if stamp_with(&row, &factors) != stamp {
                return Err(Error::Stale);
            }
            match self.go_on_as(user, (&row, &factors), proof.clone(), before.strong, browser).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }

    /// The same with more than one word for the audit log; `strong` is that no factor need be shown.
    pub(crate) async fn begin_proved_browser(
        &self,
        user: &UserId,
        proof: &Proof,
        strong: bool,
        browser: &InBrowser<'_>,
    ) -> Result<SignedIn, Error> {
        let mut attempts = Attempts::default();
        loop {
            let row = self.who_may_come_in(user, browser).await?;
            match self.go_on(user, &row, proof.clone(), strong, browser).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }

    /// The account of somebody who may sign in.
    async fn who_may_come_in(&self, user: &UserId, browser: &InBrowser<'_>) -> Result<UserRow, Error> {
        let row = self.get_user_row(user).await?;
        crate::users::refuse_closed(user, Some(&row))?;
        if self.kept_from(user).await?.locked {
            return Err(Error::Locked);
        }
        self.inner.rooms.policy().sign_in(user, browser.from).map_err(room::Error::from)?;
        Ok(row)
    }

    /// Begins a session of the account of this row, with what else is `put` into its batch.
    pub(crate) async fn put_browser(
        &self,
        user: &UserId,
        row: &UserRow,
        proof: &Proof,
        strong: bool,
        put: impl Fn(&mut Batch),
        browser: &InBrowser<'_>,
    ) -> Result<BrowserSecret, Error> {
        let mut batch = Batch::new();
        self.put_fewer_browsers(&mut batch, user).await?;
        self.put_browser_over(batch, user, row, proof, strong, put, browser).await
    }

    /// Adds to a batch that those of a user's sessions end that are over, or for which one more would be too many.
    pub(crate) async fn put_fewer_browsers(&self, batch: &mut Batch, user: &UserId) -> Result<(), Error> {
        let (now, user_key) = (self.now_ms(), user.as_str());
        let mut others = self.browsers_of(user).await?;
        others.sort_by_key(|(_, ends_ms)| *ends_ms);
        let too_many = (others.len() + 1).saturating_sub(MOST_BROWSERS);
        for (place, (hash, ends_ms)) in others.iter().enumerate() {
            if place < too_many || *ends_ms <= now {
                delete_browser(batch, user_key, *hash);
                let gone = SessionName::Browser(hash).key();
                self.put_no_logins(batch, user, |session| session == gone).await?;
            }
        }
        Ok(())
    }

    /// The same over a batch that has seen to the other browsers.
    #[expect(clippy::too_many_arguments, reason = "two callers, and each part is one of the batch")]
    pub(crate) async fn put_browser_over(
        &self,
        mut batch: Batch,
        user: &UserId,
        row: &UserRow,
        proof: &Proof,
        strong: bool,
        put: impl Fn(&mut Batch),
        browser: &InBrowser<'_>,
    ) -> Result<BrowserSecret, Error> {
        let (now, user_key) = (self.now_ms(), user.as_str());
        batch.require(&tables::USERS, user_key, Some(row));
        // So that who ends all sessions meanwhile notices this one.
        batch.add(&tables::LOG_INS, user_key, 1);
        put(&mut batch);
        let secret = tokens::new_token(&self.inner.random, "ybs");
        let hash = tokens::hash(&secret);
        let ends_ms = now.saturating_add(millis(LIFETIME));
        let kept =
            BrowserRow { user: user.to_string(), began_ms: now, ends_ms, stamp: stamp_of(row), strong };
        batch.put(&tables::BROWSERS, &hash, &kept);
        batch.put(&tables::BROWSERS_OF, &(user_key, hash), &ends_ms);
        batch.put(&tables::LAST_USED, user_key, &now);
        if let Some(login) = &proof.login {
            self.put_provider_login(&mut batch, user, SessionName::Browser(&hash), login).await?;
        }
        let by = Actor::user(user, row.admin, browser.from);
        let mut deed = self.deed(Action::SignIn, &by, user).after("session", "browser");
        for (name, word) in proof.words().into_iter().filter(|(_, word)| !word.is_empty()) {
            deed = deed.after(name, word);
        }
        if let Some(agent) = browser.agent {
            deed = deed.after("user_agent", agent);
        }
        deed.write(&mut batch, user.server_name());
        self.commit(batch).await?;
        Ok(BrowserSecret(secret))
    }

    /// Who is signed in in the browser that shows this secret at this authority, where that may be used.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn find_browser(
        &self,
        authority: &ServerName,
        secret: &str,
        from: Option<Address>,
    ) -> Result<Option<Browser>, Error> {
        let store = &self.inner.store;
        let hash = tokens::hash(secret);
        let Some(row) = store.get(&tables::BROWSERS, &hash).await? else { return Ok(None) };
        let user_id = parse_user(&row.user)?;
        // In either direction: a calendar that was set back must not keep a session for years.
        let age = self.now_ms().abs_diff(row.began_ms);
        if user_id.server_name() != authority || age >= millis(LIFETIME) {
            return Ok(None);
        }
        let mut reads = Reads::new();
        let user = reads.get(&tables::USERS, row.user.as_str());
        let moderation = reads.get(&tables::MODERATION, row.user.as_str());
        let session = SessionName::Browser(&hash).key();
        let login = reads.get(&LOGINS, &(row.user.as_str(), session.as_str()));
        let factors = factor::Shown::ask(&mut reads, &user_id);
        let mut found = store.read(reads).await?;
        let Some(user) = found.take(user)? else { return Ok(None) };
        let factors = factors.take(&mut found)?;
        let kept_from = found.take(moderation)?.unwrap_or_default();
        if user.deactivated || kept_from.locked || stamp_of(&user) != row.stamp {
            return Ok(None);
        }
        // Whoever has come by a factor, or has to have one by now, signs in with it.
        if !row.strong
            && (factors.is_any() || self.factor_rule(&user_id, &user, from).await? != FactorRule::Free)
        {
            return Ok(None);
        }
        // Where he signs in once more he is told why.
        if self.inner.rooms.policy().use_session(&user_id, from).is_err() {
            return Ok(None);
        }
        Ok(Some(Browser {
            user_id,
            strong: row.strong,
            stamp: stamp_with(&user, &factors),
            admin: user.admin,
            suspended: kept_from.suspended,
            began: Timestamp(row.began_ms),
            login: found.take(login)?,
        }))
    }

    /// What a batch demands that is to be written only while this account is as it is now: open, and of as much power.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub async fn demand_account(
        &self,
        user: &UserId,
    ) -> Result<impl Fn(&mut Batch) + Send + Sync + use<>, Error> {
        let row = self.get_user_row(user).await?;
        let moderation = self.inner.store.get(&tables::MODERATION, user.as_str()).await?;
        let user = user.to_owned();
        Ok(move |batch: &mut Batch| {
            batch.require(&tables::USERS, user.as_str(), Some(&row));
            batch.require(&tables::MODERATION, user.as_str(), moderation.as_ref());
        })
    }

    /// Ends the session of the browser that shows this secret at this authority, if there is one.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn end_browser(
        &self,
        authority: &ServerName,
        secret: &str,
        from: Option<Address>,
    ) -> Result<(), Error> {
        let hash = tokens::hash(secret);
        let Some(row) = self.inner.store.get(&tables::BROWSERS, &hash).await? else { return Ok(()) };
        let user = parse_user(&row.user)?;
        // One of another authority is nothing here, as it opens no page here.
        if user.server_name() != authority {
            return Ok(());
        }
        let mut batch = Batch::new();
        delete_browser(&mut batch, &row.user, hash);
        let gone = SessionName::Browser(&hash).key();
        self.put_no_logins(&mut batch, &user, |session| session == gone).await?;
        let by = Actor::user(&user, false, from);
        let deed = self.deed(Action::SignOut, &by, &user).before("session", "browser");
        deed.write(&mut batch, user.server_name());
        self.commit(batch).await
    }

    /// Adds to a batch that a user is signed in in no browser any more.
    pub(crate) async fn put_browsers_end(&self, batch: &mut Batch, user: &UserId) -> Result<(), Error> {
        for (hash, _) in self.browsers_of(user).await? {
            delete_browser(batch, user.as_str(), hash);
        }
        self.put_no_logins(batch, user, |session| session.starts_with(BROWSER)).await?;
        // Nor holds what was agreed to in one.
        batch.delete(&tables::RESETS, user.as_str());
        Ok(())
    }

    pub(crate) async fn browsers_of(&self, user: &UserId) -> Result<Vec<(TokenHash, u64)>, Error> {
        let range = Range::prefix(user.as_str());
        // A few more than may be, since two may begin at once.
        let most = 4 * MOST_BROWSERS;
        let rows = self.inner.store.scan(&tables::BROWSERS_OF, range, Order::Ascending, most).await?;
        Ok(rows.into_iter().map(|((_, hash), ends_ms)| (hash, ends_ms)).collect())
    }
}

/// Adds to a batch that a browser is signed in no more; of which login it came, the caller sees to.
pub(crate) fn delete_browser(batch: &mut Batch, user: &str, hash: TokenHash) {
    batch.delete(&tables::BROWSERS, &hash);
    batch.delete(&tables::BROWSERS_OF, &(user, hash));
}

fn stamp_of(row: &UserRow) -> [u8; 32] {
    Sha256::digest(row.encode()).into()
}
