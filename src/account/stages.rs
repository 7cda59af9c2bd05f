//! Steps of user-interactive authentication on pages of ours, for clients that do not know them.
//!
//! Whoever has the id of a session may show there what the session lacks; the client then asks again with the bare id. Of
//! sessions of strangers the authority is the owner; a session of a user is found once his name is said with the password,
//! so no row leads from an id alone to somebody.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#fallback>

use audit::{Action, Actor};
use base::Address;
use ruma::{ServerName, UserId};
use sha2::{Digest, Sha256};

use crate::{
    Accounts, AuthStage, EmailPurpose, EmailRequest, Error, Terms, failures::Attempt, guesses::Guesser,
    interactive::stamp_of, tables::DoneRow, uia::parse_login_name,
};

/// What somebody shows on a page.
#[derive(Clone, Copy)]
pub enum StageProof<'a> {
    /// Nothing, where nothing is asked for.
    Dummy,
    /// That the terms are accepted.
    Terms,
    /// A registration token.
    RegistrationToken(&'a str),
    /// The word of a mail, with the id that [`Accounts::mail_for_stage`] gave.
    Word {
        /// The id.
        sid: &'a str,
        /// The word.
        word: &'a str,
    },
    /// Name and password.
    Password {
        /// Localpart or full id.
        name: &'a str,
        /// The password.
        password: &'a str,
    },
}

impl std::fmt::Debug for StageProof<'_> {
    /// Passwords do not belong in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StageProof").finish_non_exhaustive()
    }
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageOutcome {
    /// The session has it now.
    Done,
    /// It does not do; another attempt may.
    Wrong,
    /// There is no such session, or not any more.
    Over,
}

impl Accounts {
    /// Whether a stranger's session lives in which this stage may be shown. Sessions of users are not known by their id
    /// alone, so for [`AuthStage::Password`] it is always said that there may be one.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn may_show_stage(
        &self,
        authority: &ServerName,
        session: &str,
        stage: AuthStage,
    ) -> Result<bool, Error> {
        match stage {
            AuthStage::Password => Ok(true),
            AuthStage::Email => Ok(self.purpose_of(authority, session).await?.is_some()),
            AuthStage::Dummy | AuthStage::RegistrationToken | AuthStage::Terms => {
                Ok(self.purpose_of(authority, session).await? == Some(EmailPurpose::Register))
            }
        }
    }

    /// The terms of an authority, for the page that asks to accept them.
    pub fn terms(&self, authority: &ServerName) -> &[Terms] {
        &self.settings(authority).terms
    }

    /// Shows something in a session.
    ///
    /// # Errors
    /// [`Error::Limited`] after too many wrong passwords; [`Error::Contended`], [`Error::Store`].
    pub async fn show_stage(
        &self,
        authority: &ServerName,
        session: &str,
        proof: StageProof<'_>,
        from: Option<Address>,
    ) -> Result<StageOutcome, Error> {
        if let StageProof::Password { name, password } = proof {
            return self.show_password(authority, session, name, password, from).await;
        }
        let Some(purpose) = self.purpose_of(authority, session).await? else { return Ok(StageOutcome::Over) };
        let done = match proof {
            StageProof::Dummy => DoneRow::Dummy,
            StageProof::Terms => DoneRow::Terms,
            StageProof::RegistrationToken(token) => {
                if self.check_registration_token(authority, token, from).await?.is_err() {
                    return Ok(StageOutcome::Wrong);
                }
                DoneRow::RegistrationToken { token: token.to_owned() }
            }
            StageProof::Word { sid, word } => {
                // Of this session and no other: whoever brings a mail's word here has not begun another one.
                let is_proved = self.confirm_email(authority, sid, word).await?.is_ok()
                    && self.find_proved(authority, purpose, sid, &secret_of(session)).await?.is_some();
                if !is_proved {
                    return Ok(StageOutcome::Wrong);
                }
                DoneRow::Email { sid: sid.to_owned() }
            }
            StageProof::Password { .. } => return Ok(StageOutcome::Wrong),
        };
        self.note(authority.as_str(), session, done).await
    }

    /// Sends a mail with a word for a session; answers with the id that goes with the word. Nothing if the session is over.
    ///
    /// # Errors
    /// As [`Accounts::request_email_token`].
    pub async fn mail_for_stage(
        &self,
        authority: &ServerName,
        session: &str,
        email: &str,
        from: Option<Address>,
    ) -> Result<Option<String>, Error> {
        let Some(purpose) = self.purpose_of(authority, session).await? else { return Ok(None) };
        let request = EmailRequest {
            purpose,
            email: email.to_owned(),
            client_secret: secret_of(session),
            // Whoever asks once more on the page wants another mail.
            send_attempt: self.now_ms(),
            next_link: None,
            from,
        };
        self.request_email_token(authority, request).await.map(Some)
    }

    async fn show_password(
        &self,
        authority: &ServerName,
        session: &str,
        name: &str,
        password: &str,
        from: Option<Address>,
    ) -> Result<StageOutcome, Error> {
        let Ok(user) = parse_login_name(name, authority) else { return Ok(StageOutcome::Wrong) };
        if user.server_name() != authority || self.find_interactive(user.as_str(), session).await?.is_none() {
            return Ok(StageOutcome::Wrong);
        }
        let row = self.get_user_row(&user).await?;
        let checked =
            self.check_password(&user, password, row.password.as_deref(), Guesser::LogIn(from)).await;
        match checked {
            Ok(true) if !row.deactivated => {}
            Ok(_) => {
                self.note_wrong_password(&user, row.admin, from, "wrong_password");
                return Ok(StageOutcome::Wrong);
            }
            Err(error) => {
                if error.is_too_often() {
                    self.note_wrong_password(&user, row.admin, from, "too_often");
                }
                return Err(error);
            }
        }
        let stamp = stamp_of(&row, None, false);
        self.note(user.as_str(), session, DoneRow::Password { stamp }).await
    }

    fn note_wrong_password(
        &self,
        user: &UserId,
        administers: bool,
        from: Option<Address>,
        reason: &'static str,
    ) {
        let (authority, by) = (user.server_name().to_owned(), Actor::user(user, administers, from));
        let whom = Some(user.to_owned());
        self.note_failure(Attempt { authority, what: Action::ConfirmFailed, by, whom, reason });
    }

    async fn note(&self, owner: &str, session: &str, done: DoneRow) -> Result<StageOutcome, Error> {
        match self.note_done(owner, session, done).await? {
            true => Ok(StageOutcome::Done),
            false => Ok(StageOutcome::Over),
        }
    }

    /// What an address is proved for in a stranger's session.
    async fn purpose_of(&self, authority: &ServerName, session: &str) -> Result<Option<EmailPurpose>, Error> {
        let row = self.find_interactive(authority.as_str(), session).await?;
        Ok(row.and_then(|row| match row.operation.as_str() {
            "register" => Some(EmailPurpose::Register),
            "reset_password" => Some(EmailPurpose::ResetPassword),
            _ => None,
        }))
    }
}

/// The secret of a session in the place of a client's, for mails that a page asks for.
fn secret_of(session: &str) -> String {
    let mut hash = Sha256::new_with_prefix(b"mails of the session ");
    hash.update(session.as_bytes());
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
