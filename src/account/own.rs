//! What users do to their own accounts on our pages.
//!
//! A page does nothing grave for a browser alone, which may be left open: the password is asked for again. Who has none
//! must have signed in a moment ago.
//!
//! Who has signed in to a client by OAuth 2.0 shows that client no password. So what a client may do only with
//! one, to replace cross-signing keys, is agreed to here, and the client asks again within minutes.

use std::time::Duration;

use audit::{Action, Actor};
use base::{Address, Attempts};
use factor::Factors;
use ruma::{
    ServerName, UserId,
    api::client::uiaa::{AuthFlow, AuthType, UiaaInfo},
};
use serde_json::{json, value::RawValue};
use store::Batch;

use crate::{
    Accounts, Browser, Error,
    failures::Attempt,
    guesses::Guesser,
    interactive::{Settled, stamp_with},
    password::DEAR_ATTEMPTS,
    sessions::Ended,
    tables::{self, UserRow, millis},
    users::{Remains, refuse_closed, replace_password},
};

/// How long ago somebody without a password may have signed in.
const A_MOMENT: Duration = Duration::from_secs(5 * 60);

/// How long a client has to do what was agreed to.
const AGREED_FOR: Duration = Duration::from_secs(10 * 60);

/// The stage by which a client sends its user to our pages, and its name before it had this one.
const STAGES: [&str; 2] = ["m.oauth", "org.matrix.cross_signing_reset"];

/// Whether whoever is signed in in a browser has done so a moment ago.
pub(crate) fn is_fresh(now_ms: u64, browser: &Browser) -> bool {
    now_ms.abs_diff(browser.began.millis()) < millis(A_MOMENT)
}

/// Where on our pages a user agrees to what his client asks.
fn page_to_agree(account_page: &str) -> String {
    format!("{account_page}?action=org.matrix.cross_signing_reset")
}

impl Accounts {
    /// The page of ours to which a stage of this name sends users; nothing for all other stages, and where the authority
    /// has no page for accounts.
    pub fn page_of_stage(&self, authority: &ServerName, stage: &str) -> Option<String> {
        let page = self.settings(authority).account_page.as_deref()?;
        STAGES.contains(&stage).then(|| page_to_agree(page))
    }

    /// Whether a user has a password to show.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub async fn has_password(&self, user: &UserId) -> Result<bool, Error> {
        Ok(self.get_user_row(user).await?.password.is_some())
    }

    /// Closes the account of whoever is signed in in a browser, as [`Accounts::deactivate`] does; `erase` takes away what
    /// its clients kept here.
    ///
    /// # Errors
    /// [`Error::WrongCredentials`], [`Error::Limited`], [`Error::Forbidden`], [`Error::Contended`], [`Error::Store`].
    pub async fn close_own(
        &self,
        browser: &Browser,
        password: &str,
        erase: bool,
        from: Option<Address>,
    ) -> Result<(), Error> {
        let remains = if erase { Remains::Nothing } else { Remains::Data };
        let by = Actor::user(&browser.user_id, browser.admin, from);
        let mut attempts = Attempts::at_most(DEAR_ATTEMPTS);
        loop {
            let (row, _) = self.confirm_in_browser(browser, password, from).await?;
            match self.try_to_close(&browser.user_id, &row, remains, &by).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }

    /// Gives whoever is signed in in a browser another password, by the old one. All browsers are signed out, this one too;
    /// with `sign_out` all devices as well, in the same commit. The stamp of the account from then on.
    ///
    /// # Errors
    /// [`Error::WeakPassword`], [`Error::Forbidden`] for somebody who has no password, and as [`Accounts::close_own`].
    pub async fn change_own_password(
        &self,
        browser: &Browser,
        password: &str,
        new_password: &str,
        sign_out: bool,
        from: Option<Address>,
    ) -> Result<[u8; 32], Error> {
        let user = &browser.user_id;
        self.check_password_rules(user.server_name(), new_password)?;
        let mut hash = None;
        let mut attempts = Attempts::at_most(DEAR_ATTEMPTS);
        loop {
            let (row, factors) = self.confirm_in_browser(browser, password, from).await?;
            if row.password.is_none() {
                return Err(Error::Forbidden("this account has no password"));
            }
            if hash.is_none() {
                hash = Some(self.inner.passwords.hash(new_password, &user).await?);
            }
            let mut batch = Batch::new();
            replace_password(&mut batch, user, &row, hash.clone());
            factors.require(&mut batch);
            let stamp = stamp_with(&UserRow { password: hash.clone(), ..row.clone() }, &factors);
            let ended = match sign_out {
                true => self.end_devices(&mut batch, user, |_| true).await?,
                false => Ended::default(),
            };
            let by = Actor::user(user, row.admin, from);
            let deed = self.deed(Action::ChangePassword, &by, user).before("devices", ended.names());
            deed.write(&mut batch, user.server_name());
            match self.commit_end(batch, &ended).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done.map(|()| stamp),
            }
        }
    }

    /// Whoever is signed in in a browser agrees that a client of his replaces his cross-signing keys: once, within ten
    /// minutes.
    ///
    /// # Errors
    /// As [`Accounts::close_own`].
    pub async fn agree_to_reset(
        &self,
        browser: &Browser,
        password: &str,
        from: Option<Address>,
    ) -> Result<(), Error> {
        let mut attempts = Attempts::at_most(DEAR_ATTEMPTS);
        loop {
            let (row, factors) = self.confirm_in_browser(browser, password, from).await?;
            let (user, now) = (&browser.user_id, self.now_ms());
            let mut batch = Batch::new();
            batch.require(&tables::USERS, user.as_str(), Some(&row));
            factors.require(&mut batch);
            batch.put(&tables::RESETS, user.as_str(), &now);
            let by = Actor::user(user, browser.admin, from);
            self.deed(Action::AgreeToReset, &by, user).write(&mut batch, user.server_name());
            match self.commit(batch).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }

    /// Whether whoever is signed in in a browser may do something grave: the password again, or having signed in a moment ago.
    ///
    /// # Errors
    /// [`Error::Stale`] where the account is another one than when the browser was looked up, as after a recovery; else as [`Accounts::close_own`].
    pub async fn confirm_own(
        &self,
        browser: &Browser,
        password: &str,
        from: Option<Address>,
    ) -> Result<(), Error> {
        self.confirm_in_browser(browser, password, from).await.map(drop)
    }

    async fn confirm_in_browser(
        &self,
        browser: &Browser,
        password: &str,
        from: Option<Address>,
    ) -> Result<(UserRow, Factors), Error> {
        let user = &browser.user_id;
        let row = self.get_user_row(user).await?;
        refuse_closed(user, Some(&row))?;
        let factors = self.factors(user).await?;
        if stamp_with(&row, &factors) != browser.stamp {
            // A recovery has ended it since, or another password.
            return Err(Error::Stale);
        }
        let Some(hash) = row.password.as_deref() else {
            return match self.is_fresh(browser) {
                true => Ok((row, factors)),
                false => Err(Error::Forbidden("sign in again, and confirm this within five minutes")),
            };
        };
        let checked = self.check_password(user, password, Some(hash), Guesser::LogIn(from)).await;
        let reason = match &checked {
            Ok(true) => return Ok((row, factors)),
            Ok(false) => "wrong_password",
            Err(error) if error.is_too_often() => "too_often",
            Err(_) => {
                checked?;
                return Err(Error::WrongCredentials);
            }
        };
        self.note_failure(Attempt {
            authority: user.server_name().to_owned(),
            what: Action::ConfirmFailed,
            by: Actor::user(user, row.admin, from),
            whom: Some(user.clone()),
            reason,
        });
        checked?;
        Err(Error::WrongCredentials)
    }

    /// Whether a user has agreed on our pages to what a client asks; if not, the client is told to send it to `page`.
    /// Answers with the account and when the user agreed.
    ///
    /// # Errors
    /// [`Error::Interactive`], [`Error::Deactivated`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#oauth-authentication>
    pub(crate) async fn confirm_on_page(
        &self,
        user: &UserId,
        settled: &Settled,
        page: &str,
    ) -> Result<(UserRow, u64), Error> {
        let row = self.get_user_row(user).await?;
        refuse_closed(user, Some(&row))?;
        let agreed = self.inner.store.get(&tables::RESETS, user.as_str()).await?;
        // In either direction: a calendar may be set back.
        let is_fresh = |agreed: &u64| self.now_ms().abs_diff(*agreed) < millis(AGREED_FOR);
        if let Some(agreed) = agreed.filter(is_fresh) {
            return Ok((row, agreed));
        }
        let session = self.keep_interactive(settled, &[]).await?;
        // By its former name it is offered where this is written.
        let mut info = UiaaInfo::new(vec![AuthFlow::new(vec![AuthType::from(STAGES[0])])]);
        let to = json!({ "url": page_to_agree(page) });
        let params = json!({ STAGES[0]: to, STAGES[1]: to });
        info.params = RawValue::from_string(params.to_string()).ok();
        info.session = Some(session);
        Err(Error::Interactive(Box::new(info)))
    }
}
