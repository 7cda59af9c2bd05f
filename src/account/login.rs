//! Logging in.

use audit::{Action, Actor, Deed};
use base::{Address, Attempts};
use factor::Used;
use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, ServerName, UserId, api::client::uiaa::UserIdentifier};
use store::Batch;

use crate::{
    Accounts, AppService, Error, SessionTokens,
    devices::check_device_id,
    failures::Attempt,
    guesses::Guesser,
    password::DEAR_ATTEMPTS,
    provider_tables::SessionName,
    service,
    spending::Spending,
    tables::{self, DeviceRow, LoginTokenRow, UserRow},
    uia::{nobody_of, parse_login_name},
};

/// What somebody shows to log in.
#[derive(Debug)]
pub enum Credentials {
    /// An identifier and a password.
    Password {
        /// Who it is.
        identifier: UserIdentifier,
        /// The password.
        password: String,
    },
    /// A user name, as clients before r0.4 send it, and a password.
    NameAndPassword {
        /// Localpart or full user id.
        name: String,
        /// The password.
        password: String,
    },
}

/// A request to log in.
#[derive(Debug)]
pub struct LogIn {
    /// The proof.
    pub credentials: Credentials,
    /// The device to log in to; a new one is made up without it.
    pub device_id: Option<OwnedDeviceId>,
    /// Name of the device if it is new.
    pub device_name: Option<String>,
    /// Whether the client can refresh tokens.
    pub refresh: bool,
    /// Where the client is, if that is known.
    pub from: Option<Address>,
    /// What the client calls itself.
    pub agent: Option<String>,
}

/// A session that somebody wishes who shows a token.
#[derive(Debug, Default)]
pub struct NewSession {
    /// The device to log in to; a new one is made up without it.
    pub device_id: Option<OwnedDeviceId>,
    /// Name of the device if it is new.
    pub device_name: Option<String>,
    /// Whether the client can refresh tokens.
    pub refresh: bool,
    /// Where the client is, if that is known.
    pub from: Option<Address>,
    /// What the client calls itself.
    pub agent: Option<String>,
}

/// By what a session is begun.
#[derive(Clone, Copy)]
pub(crate) enum By<'a> {
    /// The user's password.
    Password,
    /// A login token, which is spent by it.
    Token(&'a Spending),
    /// The application service that has this user for itself.
    Service(&'a AppService),
}

impl Accounts {
    /// Logs in. Sessions that the device had so far end; a device of that id keeps its name.
    ///
    /// Whether the user exists, has a password or gave the wrong one takes the same time and gives
    /// the same answer; only closed accounts are told apart.
    ///
    /// # Errors
    /// [`Error::WrongCredentials`]; [`Error::FactorNeeded`]; [`Error::Deactivated`] for a closed account, which no password
    /// opens; [`Error::Limited`] after too many wrong passwords, or when too many wait; [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3login>
    pub async fn log_in(
        &self,
        authority: &ServerName,
        request: LogIn,
    ) -> Result<(OwnedUserId, OwnedDeviceId, SessionTokens), Error> {
        let LogIn { credentials, device_id, device_name, refresh, from, agent } = request;
        let session = self.with_device(NewSession { device_id, device_name, refresh, from, agent })?;
        let mut attempts = Attempts::at_most(DEAR_ATTEMPTS);
        loop {
            let (user_id, row) = self.check_credentials(authority, &credentials, session.from).await?;
            match self.try_to_begin(&user_id, &row, &session, By::Password).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                Err(error) => {
                    self.note_no_session(&user_id, &error, session.from);
                    return Err(error);
                }
                Ok((device, tokens)) => return Ok((user_id, device, tokens)),
            }
        }
    }

    /// Logs in with a login token, as [`Accounts::log_in`] does with a password. The token is spent by it.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for a token that is not good, or not any more; [`Error::EndedAtProvider`] for one of a login that
    /// its user has ended there; [`Error::Deactivated`], [`Error::Locked`], a refusal of the policy, [`Error::Contended`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#token-based-user-login>
    pub async fn log_in_with_token(
        &self,
        authority: &ServerName,
        token: &str,
        session: NewSession,
    ) -> Result<(OwnedUserId, OwnedDeviceId, SessionTokens), Error> {
        let session = self.with_device(session)?;
        let by = Actor::stranger(session.from);
        let mut attempts = Attempts::default();
        loop {
            let (user_id, row, spending) = self.check_login_token(authority, token, &by).await?;
            self.may_sign_in(&user_id, session.from).await?;
            match self.try_to_begin(&user_id, &row, &session, By::Token(&spending)).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                Err(error @ Error::EndedAtProvider) => {
                    let (authority, whom) = (authority.to_owned(), Some(user_id));
                    let (what, reason) = (Action::SignInFailed, "login_token_of_ended_login");
                    self.note_failure(Attempt { authority, what, by, whom, reason });
                    return Err(error);
                }
                Err(error) => {
                    self.note_no_session(&user_id, &error, session.from);
                    return Err(error);
                }
                Ok((device, tokens)) => return Ok((user_id, device, tokens)),
            }
        }
    }

    /// Notes for the audit log that somebody had the password, or a token, and got no session all the same.
    fn note_no_session(&self, user: &UserId, error: &Error, from: Option<Address>) {
        let reason = match error {
            Error::FactorNeeded { .. } | Error::FactorElsewhere => "factor_needed",
            Error::TooManyDevices { .. } => "too_many_devices",
            _ => return,
        };
        let (authority, by) = (user.server_name().to_owned(), Actor::stranger(from));
        let (what, whom) = (Action::SignInFailed, Some(user.to_owned()));
        self.note_failure(Attempt { authority, what, by, whom, reason });
    }

    /// Whose name and password these are, and the code of a factor where the account has one: for who confirms something without
    /// a session. What is wrong counts, and is in the audit log, as at a login.
    ///
    /// # Errors
    /// As those of [`Accounts::log_in`] and [`Accounts::show_code`].
    pub async fn prove(
        &self,
        authority: &ServerName,
        (name, password): (&str, &str),
        code: Option<&str>,
    ) -> Result<OwnedUserId, Error> {
        let (name, password) = (name.to_owned(), password.to_owned());
        let credentials = Credentials::NameAndPassword { name, password };
        let (user_id, row) = self.check_credentials(authority, &credentials, None).await?;
        let mut attempts = Attempts::default();
        loop {
            let mut batch = Batch::new();
            let Some(code) = code else {
                self.refuse_with_factor(&mut batch, &user_id, &row, None).await?;
                return Ok(user_id);
            };
            let factors = self.factors(&user_id).await?;
            let (used, change) = self.check_code(&user_id, &factors, code, None).await?;
            if used == Used::Handed {
                // That is for whoever sets up a factor with it, on a page.
                return self.refuse_with_factor(&mut batch, &user_id, &row, None).await.map(|_| user_id);
            }
            change.put(&mut batch);
            match self.commit(batch).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done.map(|()| user_id),
            }
        }
    }

    /// The session with a device: a new one where none is wished.
    pub(crate) fn with_device(&self, mut session: NewSession) -> Result<NewSession, Error> {
        let device = session.device_id.get_or_insert_with(|| self.new_device_id());
        check_device_id(device)?;
        Ok(session)
    }

    /// Whether a user who has proved who he is may sign in.
    pub(crate) async fn may_sign_in(&self, user: &UserId, from: Option<Address>) -> Result<(), Error> {
        let failed = |reason| {
            let (authority, by) = (user.server_name().to_owned(), Actor::stranger(from));
            let whom = Some(user.to_owned());
            self.note_failure(Attempt { authority, what: Action::SignInFailed, by, whom, reason });
        };
        if self.kept_from(user).await?.locked {
            failed("account_locked");
            return Err(Error::Locked);
        }
        self.inner.rooms.policy().sign_in(user, from).map_err(|denial| {
            failed("policy");
            room::Error::from(denial).into()
        })
    }

    /// Begins a session of the account of this row; one that is another by now gets none.
    pub(crate) async fn try_to_begin(
        &self,
        user_id: &UserId,
        row: &UserRow,
        session: &NewSession,
        by: By<'_>,
    ) -> Result<(OwnedDeviceId, SessionTokens), Error> {
        let authority = user_id.server_name();
        let device = session.device_id.clone().unwrap_or_else(|| self.new_device_id());
        let mut batch = Batch::new();
        // A password that is changed or an account that is closed meanwhile must not let this in.
        batch.require(&tables::USERS, user_id.as_str(), Some(row));
        if let By::Token(spending) = by {
            spending.put(&mut batch);
        }
        batch.add(&tables::LOG_INS, user_id.as_str(), 1);
        let ended = self.end_tokens(&mut batch, user_id, |ended| ended == device.as_str()).await?;
        if let By::Token(Spending { row: LoginTokenRow { login: Some(login), .. }, .. }) = by {
            let session = SessionName::Device(device.as_str());
            self.put_provider_login(&mut batch, user_id, session, login).await?;
        }
        let service = match by {
            By::Service(service) => Some(service),
            By::Password | By::Token(_) => None,
        };
        match by {
            // Clients have no place to ask for it.
            By::Password => {
                self.refuse_with_factor(&mut batch, user_id, row, session.from).await.map(drop)?
            }
            // Whoever brings a token has been asked when it was made.
            By::Token(Spending { row: LoginTokenRow { login, .. }, .. }) => {
                self.refuse_without_factor(&mut batch, (user_id, row), login.as_ref(), session.from).await?;
            }
            By::Service(_) => {}
        }
        let name = session.device_name.clone();
        let known = self.put_device(&mut batch, user_id, &device, name, service).await?;
        let (user, device_key) = (user_id.as_str(), device.as_str());
        let issued = self.put_log_in(&mut batch, user_id, device_key, session.refresh);
        batch.touch([store::Topic::device(user, device_key)]);
        let (actor, proof) = match by {
            By::Password => (Actor::user(user_id, row.admin, session.from), None),
            By::Token(_) => (Actor::user(user_id, row.admin, session.from), Some("login_token")),
            By::Service(service) => {
                (Actor::user(service.sender(), false, session.from), Some(service::PROOF))
            }
        };
        let mut deed = self.deed(Action::SignIn, &actor, user_id);
        if let Some(proof) = proof {
            deed = deed.after("proof", proof);
        }
        signed_in(deed, &device, &known, session.agent.as_deref()).write(&mut batch, authority);
        self.commit(batch).await?;
        self.forget_tokens(&ended);
        Ok((device, issued))
    }

    /// Whether this is the user's password; only so many wrong ones may be tried.
    pub(crate) async fn check_password(
        &self,
        user: &UserId,
        password: &str,
        hash: Option<&str>,
        by: Guesser<'_>,
    ) -> Result<bool, Error> {
        let guesses = &self.inner.guesses;
        let guess = guesses.begin(user, by)?;
        let checked = match by {
            Guesser::LogIn(Some(address)) => self.inner.passwords.check(password, hash, &address).await,
            Guesser::LogIn(None) | Guesser::Session(_) => {
                self.inner.passwords.check(password, hash, &user).await
            }
        };
        match checked {
            Ok(true) => guesses.right(&guess),
            Ok(false) => {}
            Err(_) => guesses.undone(&guess),
        }
        checked
    }

    pub(crate) async fn check_credentials(
        &self,
        authority: &ServerName,
        credentials: &Credentials,
        from: Option<Address>,
    ) -> Result<(OwnedUserId, UserRow), Error> {
        if !self.settings(authority).passwords {
            return Err(Error::Forbidden("nobody signs in with a password here"));
        }
        let (user_id, password) = match credentials {
            Credentials::Password { identifier, password } => {
                let user = match (self.identify(authority, identifier).await?, identifier) {
                    (Some(user), _) => user,
                    (None, UserIdentifier::Email(id)) => nobody_of(authority, &id.address)?,
                    (None, _) => nobody_of(authority, "")?,
                };
                (user, password)
            }
            Credentials::NameAndPassword { name, password } => {
                // Who signs in on a page may write his address instead of his name.
                let email = crate::emails::typed(name).filter(|_| !name.starts_with('@'));
                let user = match email {
                    Some(email) => match self.find_email_owner(authority, email.as_str()).await? {
                        Some(user) => user,
                        None => nobody_of(authority, email.as_str())?,
                    },
                    None => parse_login_name(name, authority)?,
                };
                (user, password)
            }
        };
        // A user of another authority of this process does not exist here.
        let row = match user_id.server_name() == authority {
            true => self.find_user_row(&user_id).await?,
            false => None,
        };
        let hash = row.as_ref().and_then(|row| row.password.as_deref());
        let failed = |reason| {
            let (authority, by) = (authority.to_owned(), Actor::stranger(from));
            let whom = row.is_some().then(|| user_id.clone());
            self.note_failure(Attempt { authority, what: Action::SignInFailed, by, whom, reason });
        };
        let checked = self.check_password(&user_id, password, hash, Guesser::LogIn(from)).await;
        if checked.as_ref().is_err_and(Error::is_too_often) {
            failed("too_often");
        }
        match (checked?, &row) {
            (_, Some(row)) if row.deactivated => {
                failed("account_closed");
                Err(Error::Deactivated(user_id))
            }
            (true, Some(row)) => {
                self.may_sign_in(&user_id, from).await?;
                Ok((user_id, row.clone()))
            }
            (_, known) => {
                failed(if known.is_some() { "wrong_password" } else { "no_such_user" });
                Err(Error::WrongCredentials)
            }
        }
    }
}

/// Adds to a deed which device a session is on, and what the client calls itself.
pub(crate) fn signed_in(deed: Deed, device: &DeviceId, row: &DeviceRow, agent: Option<&str>) -> Deed {
    let mut deed = deed.after("device", device);
    if let Some(name) = &row.display_name {
        deed = deed.after("device_name", name);
    }
    if let Some(agent) = agent {
        deed = deed.after("user_agent", agent);
    }
    deed
}
