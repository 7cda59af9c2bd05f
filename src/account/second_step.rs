//! The second step of signing in to our pages: what is asked for once a password was right, or an identity provider has said
//! who it is.
//!
//! Between the steps nothing is kept. The browser holds a ticket, sealed with a key of ours, which no other browser
//! can use: it says whose password was right, and when. So nobody uses up places of anybody, and any process takes the second
//! step. What makes it good once is the answer to it: a code is taken once.
//!
//! Whoever has to have a factor and has none sets one up in this step, and can do nothing else before he has. The secret of
//! that app is in the ticket too: whoever closes the page has changed nothing.

use std::time::Duration;

use audit::{Action, Actor};
use base::Attempts;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit,
    aead::{Aead, Payload},
};
use factor::{Asserted, CHALLENGE, Challenge, Factors, Party, Refused, Secret, Used};
use room::FactorRule;
use ruma::{OwnedUserId, ServerName, UserId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use store::Batch;

use crate::{
    Accounts, Error,
    failures::Attempt,
    guesses::{Guess, Guesser},
    interactive::stamp_with,
    signing_in::{BrowserSecret, InBrowser, NewFactor, Proof, SignedIn, Unfinished, Wants},
    tables::{UserRow, millis},
    users::refuse_closed,
};

/// How long the second step may take, and setting up an app.
const LIFETIME: Duration = Duration::from_secs(15 * 60);

/// Longest ticket that is opened; ours are shorter.
const LONGEST: usize = 8 << 10;

/// Bytes of what makes each sealing another one.
const NONCE: usize = 12;

/// What a ticket is for: one of one kind is none of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum For {
    /// Showing a factor.
    Factor,
    /// Setting one up to get in.
    First,
    /// Setting up one more, by who is in.
    Another,
    /// Showing a passkey and nothing else.
    PasskeyAlone,
}

/// What a ticket says.
#[derive(Serialize, Deserialize)]
pub(crate) struct Ticket {
    pub(crate) what: For,
    pub(crate) user: OwnedUserId,
    /// The account as it was.
    stamp: [u8; 32],
    began_ms: u64,
    pub(crate) proof: Proof,
    pub(crate) secret: Option<Secret>,
    pub(crate) challenge: Challenge,
}

impl Accounts {
    /// What an account is asked for beside its password, as it is now.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn factors(&self, user: &UserId) -> Result<Factors, Error> {
        Ok(Factors::read(&self.inner.store, user).await?)
    }

    /// Lets somebody in who has shown who he is, or says what is missing; `strong` is that a provider has asked him for a factor.
    pub(crate) async fn go_on(
        &self,
        user: &UserId,
        row: &UserRow,
        proof: Proof,
        strong: bool,
        browser: &InBrowser<'_>,
    ) -> Result<SignedIn, Error> {
        let factors = self.factors(user).await?;
        // Not after a recovery: what the account is known by at the provider may have been linked by whoever it was to shut out.
        let strong = strong && (factors.recoveries() == 0 || !factors.is_any());
        self.go_on_as(user, (row, &factors), proof, strong, browser).await
    }

    /// The same as the account of this row with these factors, or not at all; `strong` is that he need not show one.
    pub(crate) async fn go_on_as(
        &self,
        user: &UserId,
        (row, factors): (&UserRow, &Factors),
        proof: Proof,
        strong: bool,
        browser: &InBrowser<'_>,
    ) -> Result<SignedIn, Error> {
        if strong {
            let secret = self.put_browser(user, row, &proof, true, |batch| factors.require(batch), browser);
            return Ok(SignedIn::Done(user.to_owned(), secret.await?));
        }
        if factors.is_any() {
            let ticket = self.seal(For::Factor, user, (row, factors), proof, browser)?;
            return Ok(SignedIn::Unfinished(self.unfinished_of(ticket, factors)));
        }
        let rule = self.factor_rule(user, row, browser.from).await?;
        if rule == FactorRule::NeededAlready {
            // Somebody has the password.
            self.note_refused(user, "factor_needed", browser.from);
            return Err(Error::FactorElsewhere);
        }
        if rule == FactorRule::Needed {
            let ticket = self.seal(For::First, user, (row, factors), proof, browser)?;
            return Ok(SignedIn::Unfinished(self.unfinished_of(ticket, factors)));
        }
        let secret = self.put_browser(user, row, &proof, false, |batch| factors.require(batch), browser);
        Ok(SignedIn::Done(user.to_owned(), secret.await?))
    }

    /// What is missing by a ticket.
    pub(crate) fn unfinished_of(&self, (ticket, sealed): (Ticket, String), factors: &Factors) -> Unfinished {
        let passkeys = factors.credentials();
        let wants = match ticket.secret {
            Some(secret) => Wants::New { secret, passkeys },
            None => Wants::Factor { recovered: factors.is_recovered(), app: factors.has_app(), passkeys },
        };
        Unfinished { user_id: ticket.user, wants, challenge: ticket.challenge, ticket: sealed }
    }

    /// What is missing, once more: for a page that is shown again.
    ///
    /// # Errors
    /// [`Error::Stale`], [`Error::Store`].
    pub async fn unfinished(
        &self,
        authority: &ServerName,
        sealed: &str,
        browser: &InBrowser<'_>,
    ) -> Result<Unfinished, Error> {
        let ticket = self.open_any(authority, sealed, &browser.key)?;
        if ticket.what == For::PasskeyAlone {
            return Err(Error::Stale);
        }
        let factors = self.factors(&ticket.user).await?;
        Ok(self.unfinished_of((ticket, sealed.to_owned()), &factors))
    }

    /// Begins a sign-in with a passkey alone: what it is to sign, and a ticket that goes with it.
    ///
    /// # Errors
    /// [`Error::Forbidden`] where nobody comes in but by the identity provider.
    pub fn begin_with_passkey(
        &self,
        authority: &ServerName,
        browser: &InBrowser<'_>,
    ) -> Result<(Challenge, String), Error> {
        self.must_let_in_alone(authority)?;
        let nobody = crate::uia::nobody_of(authority, "")?;
        let (ticket, sealed) =
            self.seal_as(For::PasskeyAlone, &nobody, [0; 32], Proof::default(), browser)?;
        Ok((ticket.challenge, sealed))
    }

    /// A passkey alone stands for a password as well, so where nobody has one it is good beside the identity provider only.
    fn must_let_in_alone(&self, authority: &ServerName) -> Result<(), Error> {
        match self.settings(authority).passwords {
            true => Ok(()),
            false => Err(Error::Forbidden("nobody signs in without the identity provider here")),
        }
    }

    /// Lets somebody in by a passkey: beside a password by a ticket for that, or alone, since its authenticator has verified him.
    /// None is good for the other, nor for another challenge.
    ///
    /// # Errors
    /// [`Error::Factor`] for one that is not taken; the others of [`Accounts::show_code`] but for limits: nobody guesses a
    /// signature.
    pub async fn show_passkey(
        &self,
        authority: &ServerName,
        (party, sealed): (&Party, &str),
        shown: &Asserted<'_>,
        browser: &InBrowser<'_>,
    ) -> Result<SignedIn, Error> {
        let ticket = self.open_any(authority, sealed, &browser.key)?;
        let (user, proof) = match ticket.what {
            For::Factor => (ticket.user.clone(), ticket.proof.clone()),
            For::PasskeyAlone => {
                self.must_let_in_alone(authority)?;
                let owner = factor::find_owner(&self.inner.store, authority, shown.credential).await?;
                (owner.ok_or(Error::Factor(Refused::Wrong))?, Proof::by("passkey"))
            }
            For::First | For::Another => return Err(Error::Stale),
        };
        let proof = Proof { factor: Used::Passkey.word().to_owned(), ..proof };
        let mut attempts = Attempts::default();
        loop {
            let (row, factors) = match ticket.what {
                For::PasskeyAlone => {
                    let row = self.get_user_row(&user).await?;
                    refuse_closed(&user, Some(&row))?;
                    (row, self.factors(&user).await?)
                }
                _ => self.account_of(&user, &ticket).await?,
            };
            let change = match factors.try_passkey((party, &ticket.challenge), shown) {
                Ok(change) => change.shown_at(browser.from),
                Err(refused) => {
                    self.note_refused(&user, refused.word(), browser.from);
                    return Err(Error::Factor(refused));
                }
            };
            // Not before: a stranger learns nothing of an account whose passkey he has not.
            self.may_sign_in(&user, browser.from).await?;
            let mut batch = Batch::new();
            self.put_answered(&mut batch, &user, &ticket).await?;
            match self.put_browser_after(batch, &user, &row, &proof, &change, browser).await {
                // The same answer at the same moment? It is judged once more.
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return Ok(SignedIn::Done(user, done?)),
            }
        }
    }

    /// Adds to a batch that the challenge of a ticket is answered.
    pub(crate) async fn put_answered(
        &self,
        batch: &mut Batch,
        user: &UserId,
        ticket: &Ticket,
    ) -> Result<(), Error> {
        let (store, now) = (&self.inner.store, self.inner.clock.now());
        let whose = (user, &ticket.challenge);
        // As old as a ticket is that was made with the clock as far behind as it may be.
        let too_old = millis(LIFETIME).saturating_mul(2);
        match factor::put_answered(store, batch, whose, (now, too_old)).await? {
            true => Ok(()),
            false => Err(Error::Factor(Refused::Again)),
        }
    }

    async fn put_browser_after(
        &self,
        mut batch: Batch,
        user: &UserId,
        row: &UserRow,
        proof: &Proof,
        change: &factor::Change,
        browser: &InBrowser<'_>,
    ) -> Result<BrowserSecret, Error> {
        self.put_fewer_browsers(&mut batch, user).await?;
        self.put_browser_over(batch, user, row, proof, true, |batch| change.put(batch), browser).await
    }

    /// Takes the code of a factor from whoever has a ticket for it. Wrong ones are counted against account and address, as
    /// passwords are, and are in the audit log.
    ///
    /// # Errors
    /// [`Error::Factor`] for a code that is not taken, [`Error::Limited`] after too many; [`Error::Stale`] for a ticket that is
    /// none any more; [`Error::Locked`], [`Error::Deactivated`], a refusal of the policy, [`Error::Contended`],
    /// [`Error::Store`].
    pub async fn show_code(
        &self,
        authority: &ServerName,
        ticket: &str,
        code: &str,
        browser: &InBrowser<'_>,
    ) -> Result<SignedIn, Error> {
        let ticket = self.open_ticket(authority, ticket, For::Factor, &browser.key)?;
        let user = ticket.user.clone();
        let mut attempts = Attempts::default();
        loop {
            let (row, factors) = self.account_of(&user, &ticket).await?;
            self.may_sign_in(&user, browser.from).await?;
            let (used, change) = self.check_code(&user, &factors, code, browser.from).await?;
            let proof = Proof { factor: used.word().to_owned(), ..ticket.proof.clone() };
            if used == Used::Handed {
                let ticket = self.seal(For::First, &user, (&row, &factors), proof, browser)?;
                return Ok(SignedIn::Unfinished(self.unfinished_of(ticket, &factors)));
            }
            let put = self.put_browser(&user, &row, &proof, true, |batch| change.put(batch), browser).await;
            match put {
                // The same code at the same moment? It is judged once more.
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return Ok(SignedIn::Done(user, done?)),
            }
        }
    }

    /// Sets up the factor that whoever signs in has to have, and lets him in. The codes for once are to be shown to him.
    ///
    /// # Errors
    /// As [`Accounts::show_code`].
    pub async fn set_up_first(
        &self,
        authority: &ServerName,
        ticket: &str,
        (name, new): (&str, NewFactor<'_>),
        browser: &InBrowser<'_>,
    ) -> Result<(OwnedUserId, BrowserSecret, Vec<String>), Error> {
        let ticket = self.open_ticket(authority, ticket, For::First, &browser.key)?;
        let user = ticket.user.clone();
        let mut attempts = Attempts::default();
        loop {
            let (row, factors) = self.account_of(&user, &ticket).await?;
            self.may_sign_in(&user, browser.from).await?;
            // Where a recovery has handed a code over, two others have vouched for him.
            if !factors.is_any()
                && self.factor_rule(&user, &row, browser.from).await? == FactorRule::NeededAlready
            {
                return Err(Error::FactorElsewhere);
            }
            if factors.has_one() {
                // He has set one up in another window, and shows it now.
                return Err(Error::Stale);
            }
            let (change, codes) = self.with_new(&factors, &ticket, name, new).await?;
            let deed = self.deed_of_new(&user, &row, (name, new.kind()), browser.from);
            let put = |batch: &mut Batch| {
                self.put_factors(batch, &user, &change);
                deed.write(batch, authority);
            };
            let mut batch = Batch::new();
            self.put_answered(&mut batch, &user, &ticket).await?;
            // Those that came without a factor would be hidden only, to come back once it is removed.
            self.put_browsers_end(&mut batch, &user).await?;
            self.put_unproved(&mut batch, &user).await?;
            match self.put_browser_over(batch, &user, &row, &ticket.proof, true, put, browser).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return Ok((user, done?, codes)),
            }
        }
    }

    /// The factors with a new one, and codes to be shown.
    pub(crate) async fn with_new(
        &self,
        factors: &Factors,
        ticket: &Ticket,
        name: &str,
        new: NewFactor<'_>,
    ) -> Result<(factor::Change, Vec<String>), Error> {
        let (now, random) = (self.inner.clock.now(), &self.inner.random);
        let made = match new {
            NewFactor::App { code } => {
                let secret = ticket.secret.ok_or(Error::Stale)?;
                factors.with_app(name, &secret, code, now, random)
            }
            NewFactor::Passkey { party, made } => {
                factors.with_passkey(name, (party, &ticket.challenge), &made, now, random)
            }
        };
        let (change, codes) = made.map_err(Error::Factor)?;
        match change.is_free(&self.inner.store).await? {
            true => Ok((change, codes)),
            false => Err(Error::Factor(Refused::Known)),
        }
    }

    /// Judges a code that somebody types who has shown that he is this user; only so many wrong ones may be tried.
    pub(crate) async fn check_code(
        &self,
        user: &UserId,
        factors: &Factors,
        code: &str,
        from: Option<base::Address>,
    ) -> Result<(Used, factor::Change), Error> {
        let failed = |reason| self.note_refused(user, reason, from);
        let guess = match self.begin_code_guess((user, factors), from).await {
            Err(error) if error.is_too_often() => {
                failed("too_often");
                return Err(error);
            }
            begun => begun?,
        };
        let now = self.inner.clock.now();
        let (refused, kept) = match factors.try_code(code, now) {
            Ok((used, change)) => {
                self.inner.code_guesses.right(&guess);
                return Ok((used, change.shown_at(from)));
            }
            Err(refused) => refused,
        };
        failed(refused.word());
        if refused == Refused::Again && factors.are_ahead_of(now) {
            tracing::warn!(user_id = %user, "a code is of later than now: was the clock of this machine set back?");
        }
        if let Some(kept) = kept {
            let mut batch = Batch::new();
            kept.put(&mut batch);
            match self.commit(batch).await {
                // Something else was shown at the same moment, and this is not worth another look.
                Ok(()) | Err(Error::Contended) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Factor(refused))
    }

    fn note_refused(&self, user: &UserId, reason: &'static str, from: Option<base::Address>) {
        let (authority, by) = (user.server_name().to_owned(), Actor::stranger(from));
        let whom = Some(user.to_owned());
        self.note_failure(Attempt { authority, what: Action::SignInFailed, by, whom, reason });
    }

    /// Counts a guess of a code. Where strangers have used up all that there are, an address where a factor of the user's was right
    /// lately is the user's, whatever process it was at.
    async fn begin_code_guess<'a>(
        &'a self,
        (user, factors): (&'a UserId, &Factors),
        from: Option<base::Address>,
    ) -> Result<Guess<'a>, Error> {
        let guesses = &self.inner.code_guesses;
        let by = Guesser::LogIn(from);
        let error = match guesses.begin(user, by) {
            Ok(guess) => return Ok(guess),
            Err(error) => error,
        };
        let is_strangers = matches!(error, Error::Limited { limit: "wrong_passwords_of_account", .. });
        let Some(address) = from.filter(|_| is_strangers) else { return Err(error) };
        if !factors.were_shown_at(address) {
            return Err(error);
        }
        guesses.learn(user, address);
        guesses.begin(user, by)
    }

    /// The account of a ticket, as long as it is what it was.
    async fn account_of(&self, user: &UserId, ticket: &Ticket) -> Result<(UserRow, Factors), Error> {
        let row = self.get_user_row(user).await?;
        refuse_closed(user, Some(&row))?;
        let factors = self.factors(user).await?;
        if stamp_with(&row, &factors) != ticket.stamp {
            return Err(Error::Stale);
        }
        Ok((row, factors))
    }

    /// The same for who is signed in in a browser.
    pub(crate) async fn account_of_ticket(
        &self,
        authority: &ServerName,
        (ticket, what): (&str, For),
        user: &UserId,
        key: &[u8; 32],
    ) -> Result<(Ticket, UserRow, Factors), Error> {
        let ticket = self.open_ticket(authority, ticket, what, key)?;
        if ticket.user != user {
            return Err(Error::Stale);
        }
        let (row, factors) = self.account_of(user, &ticket).await?;
        Ok((ticket, row, factors))
    }

    /// Makes a ticket for a browser, and seals it.
    pub(crate) fn seal(
        &self,
        what: For,
        user: &UserId,
        (row, factors): (&UserRow, &Factors),
        proof: Proof,
        browser: &InBrowser<'_>,
    ) -> Result<(Ticket, String), Error> {
        self.seal_as(what, user, stamp_with(row, factors), proof, browser)
    }

    fn seal_as(
        &self,
        what: For,
        user: &UserId,
        stamp: [u8; 32],
        proof: Proof,
        browser: &InBrowser<'_>,
    ) -> Result<(Ticket, String), Error> {
        let random = &self.inner.random;
        let secret = matches!(what, For::First | For::Another).then(|| Factors::new_secret(random));
        let mut challenge = [0; CHALLENGE];
        random.fill(&mut challenge);
        let (user, began_ms) = (user.to_owned(), self.now_ms());
        let ticket = Ticket { what, user, stamp, began_ms, proof, secret, challenge };
        let text = serde_json::to_vec(&ticket).map_err(|_| Error::Stale)?;
        let mut nonce = [0; NONCE];
        random.fill(&mut nonce);
        let payload = Payload { msg: &text, aad: &browser.key };
        let sealed = self.ticket_cipher().encrypt(&nonce.into(), payload).map_err(|_| Error::Stale)?;
        Ok((ticket, BASE64_URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat())))
    }

    fn open_ticket(
        &self,
        authority: &ServerName,
        ticket: &str,
        what: For,
        key: &[u8; 32],
    ) -> Result<Ticket, Error> {
        let opened = self.open_any(authority, ticket, key)?;
        if opened.what == what { Ok(opened) } else { Err(Error::Stale) }
    }

    fn open_any(&self, authority: &ServerName, ticket: &str, key: &[u8; 32]) -> Result<Ticket, Error> {
        if ticket.len() > LONGEST {
            return Err(Error::Stale);
        }
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(ticket).map_err(|_| Error::Stale)?;
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>().ok_or(Error::Stale)?;
        let payload = Payload { msg: sealed, aad: key };
        let text = self.ticket_cipher().decrypt(&(*nonce).into(), payload).map_err(|_| Error::Stale)?;
        let ticket: Ticket = serde_json::from_slice(&text).map_err(|_| Error::Stale)?;
        // In either direction: a calendar that was set back must not keep a ticket for years.
        let is_over = self.now_ms().abs_diff(ticket.began_ms) >= millis(LIFETIME);
        if is_over || ticket.user.server_name() != authority {
            return Err(Error::Stale);
        }
        Ok(ticket)
    }

    fn ticket_cipher(&self) -> ChaCha20Poly1305 {
        let mut key = Sha256::new_with_prefix(b"tickets of second steps");
        key.update(self.inner.token_key);
        let key: [u8; 32] = key.finalize().into();
        ChaCha20Poly1305::new(&key.into())
    }

    /// Whether a user has a duty, or sees to a part of the organisation.
    pub(crate) async fn has_duty(&self, user: &UserId) -> Result<bool, Error> {
        duties::has_any(&self.inner.store, user).await.map_err(of_duties)
    }
}

pub(crate) fn of_duties(error: duties::Error) -> Error {
    match error {
        duties::Error::Store(error) => Error::from(error),
        duties::Error::TooMany(_) | duties::Error::TooManyParts(_) | duties::Error::Commit(_) => {
            Error::Contended
        }
    }
}
