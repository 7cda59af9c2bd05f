//! User-interactive authentication: asking for proof before something grave.
//!
//! Every flow that we offer has one stage, and a request that carries the stage's proof is complete, with
//! or without a session. What a session ties together is `interactive`'s matter.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#user-interactive-authentication-api>

use audit::{Action, Actor};
use ruma::{
    DeviceId, ServerName, UserId,
    api::{
        client::uiaa::{AuthData, AuthFlow, AuthType, UiaaInfo, UserIdentifier},
        error::{ErrorKind, StandardErrorBody},
    },
};
use serde_json::value::RawValue;

use crate::{
    Accounts, Error, Registration, failures::Attempt, guesses::Guesser, interactive::Settled,
    registration_tokens::TokenUse, tables::UserRow, users::refuse_closed,
};

/// What somebody who registers has proved.
pub(crate) enum Admission {
    /// Nothing is asked for.
    Open,
    /// A registration token, whose use is to be counted in the batch that makes the account.
    Token(TokenUse),
}

impl Admission {
    /// Its word in the audit log.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Open => "none",
            Self::Token(_) => "registration_token",
        }
    }
}

impl Accounts {
    /// Asks for the user's password, on a device where the user is logged in. Answers with the row that the
    /// password is of: what was confirmed is done only as long as that is the account's.
    ///
    /// # Errors
    /// [`Error::Interactive`] when it is not there or wrong, [`Error::Forbidden`] when it is somebody
    /// else's, [`Error::Deactivated`], [`Error::Limited`] after too many wrong ones of this device,
    /// [`Error::Store`].
    pub(crate) async fn confirm_with_password(
        &self,
        user: &UserId,
        device: &DeviceId,
        settled: &Settled,
    ) -> Result<UserRow, Error> {
        let stage = AuthType::Password;
        let given = match &settled.auth {
            Some(AuthData::Password(given)) if settled.lost.is_none() => given,
            auth => return Err(self.challenge(stage, settled, auth.as_ref().and_then(unknown_stage)).await),
        };
        if self.identify(user.server_name(), &given.identifier)? != user {
            tracing::info!(user_id = %user, operation = settled.operation, "tried to confirm as somebody else");
            self.note_unconfirmed(user, false, settled, "somebody_else");
            return Err(Error::Forbidden("this has to be confirmed by the user who asks for it"));
        }
        let row = self.get_user_row(user).await?;
        refuse_closed(user, Some(&row))?;
        let by = Guesser::Session(device);
        let checked = self.check_password(user, &given.password, row.password.as_deref(), by).await;
        match &checked {
            Ok(true) => return Ok(row),
            Ok(false) => self.note_unconfirmed(user, row.admin, settled, "wrong_password"),
            Err(error) if error.is_too_often() => {
                self.note_unconfirmed(user, row.admin, settled, "too_often")
            }
            Err(_) => {}
        }
        checked?;
        Err(self.challenge(stage, settled, Some("the password is wrong")).await)
    }

    /// Notes for the audit log that somebody who is logged in could not confirm what he asked for.
    fn note_unconfirmed(&self, user: &UserId, administers: bool, settled: &Settled, reason: &'static str) {
        let (authority, by) = (user.server_name().to_owned(), Actor::user(user, administers, settled.from));
        let whom = Some(user.to_owned());
        self.note_failure(Attempt { authority, what: Action::ConfirmFailed, by, whom, reason });
    }

    /// Asks for what an authority wants from those who register.
    pub(crate) async fn admit(&self, authority: &ServerName, settled: &Settled) -> Result<Admission, Error> {
        let auth = settled.auth.as_ref().filter(|_| settled.lost.is_none());
        match (self.settings(authority).registration, auth) {
            (Registration::Closed, _) => Err(Error::RegistrationClosed),
            (Registration::Open, Some(AuthData::Dummy(_))) => Ok(Admission::Open),
            (Registration::Open, other) => {
                Err(self.challenge(AuthType::Dummy, settled, other.and_then(unknown_stage)).await)
            }
            (Registration::Token, Some(AuthData::RegistrationToken(given))) => {
                match self.find_usable_registration_token(authority, &given.token).await? {
                    Some(token) => Ok(Admission::Token(token)),
                    None => {
                        let (authority, by) = (authority.to_owned(), Actor::stranger(settled.from));
                        let (what, reason) = (Action::RegisterFailed, "registration_token");
                        self.note_failure(Attempt { authority, what, by, whom: None, reason });
                        let error = Some("the registration token is not valid");
                        Err(self.challenge(AuthType::RegistrationToken, settled, error).await)
                    }
                }
            }
            (Registration::Token, other) => {
                Err(self.challenge(AuthType::RegistrationToken, settled, other.and_then(unknown_stage)).await)
            }
        }
    }

    /// Which user of this authority an identifier means. Somebody else's user is a user as well:
    /// whether it exists, and here, is for the caller to find out.
    pub(crate) fn identify(
        &self,
        authority: &ServerName,
        identifier: &UserIdentifier,
    ) -> Result<ruma::OwnedUserId, Error> {
        match identifier {
            UserIdentifier::Matrix(id) => parse_login_name(&id.user, authority),
            _ => Err(Error::InvalidParam("this kind of user identifier is not supported".to_owned())),
        }
    }

    /// The answer that asks for a stage, with the error of the attempt before. It names the request's
    /// session, which is kept from now on.
    async fn challenge(&self, stage: AuthType, settled: &Settled, error: Option<&str>) -> Error {
        let session = match self.keep_interactive(settled).await {
            Ok(session) => session,
            Err(error) => return error,
        };
        let mut info = UiaaInfo::new(vec![AuthFlow::new(vec![stage])]);
        // Clients read `params` even when it is empty.
        info.params = RawValue::from_string("{}".to_owned()).ok();
        info.session = Some(session);
        let error = settled.lost.or(error);
        info.auth_error =
            error.map(|error| Box::new(StandardErrorBody::new(ErrorKind::Forbidden, error.to_owned())));
        Error::Interactive(Box::new(info))
    }
}

/// What to say to an attempt that is not one of ours; nothing to a bare session id, which asks for
/// the state of things.
fn unknown_stage(attempt: &AuthData) -> Option<&'static str> {
    match attempt {
        AuthData::FallbackAcknowledgement(_) => None,
        _ => Some("this kind of authentication is not offered here"),
    }
}

/// A user name as people type it when they log in: a localpart or a full id, in any case.
pub(crate) fn parse_login_name(name: &str, authority: &ServerName) -> Result<ruma::OwnedUserId, Error> {
    let name = name.trim().to_lowercase();
    UserId::parse_with_server_name(name.as_str(), authority)
        .map_err(|_invalid| Error::InvalidParam("this is not a user name".to_owned()))
}
