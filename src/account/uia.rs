//! User-interactive authentication: asking for proof before something grave.
//!
//! Every flow that we offer has one stage, and a request that carries the stage's proof is complete.
//! So the session id that the protocol wants ties nothing together, and nothing is kept between
//! requests: an attacker cannot fill a table of sessions, and any process may answer any request.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#user-interactive-authentication-api>

use ruma::{
    DeviceId, ServerName, UserId,
    api::{
        client::uiaa::{AuthData, AuthFlow, AuthType, UiaaInfo, UserIdentifier},
        error::{ErrorKind, StandardErrorBody},
    },
};
use serde_json::value::RawValue;

use crate::{Accounts, Error, Registration, guesses::Guesser, registration_tokens::TokenUse};

/// What the caller has to prove before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Changing the password.
    ChangePassword,
    /// Closing the account.
    Deactivate,
    /// Removing devices.
    RemoveDevices,
}

/// What somebody who registers has proved.
pub(crate) enum Admission {
    /// Nothing is asked for.
    Open,
    /// A registration token, whose use is to be counted in the batch that makes the account.
    Token(TokenUse),
}

impl Accounts {
    /// Asks for the user's password, on a device where the user is logged in.
    ///
    /// # Errors
    /// [`Error::Interactive`] when it is not there or wrong, [`Error::Forbidden`] when it is somebody
    /// else's, [`Error::Store`].
    pub async fn confirm_with_password(
        &self,
        user: &UserId,
        device: &DeviceId,
        operation: Operation,
        auth: Option<&AuthData>,
    ) -> Result<(), Error> {
        let stage = || vec![AuthType::Password];
        let Some(auth) = auth else {
            return Err(self.challenge(stage(), None, None));
        };
        let AuthData::Password(given) = auth else {
            return Err(self.challenge(stage(), Some(auth), unknown_stage(auth)));
        };
        if self.identify(user.server_name(), &given.identifier)? != user {
            tracing::info!(user_id = %user, ?operation, "tried to confirm as somebody else");
            return Err(Error::Forbidden("this has to be confirmed by the user who asks for it"));
        }
        let row = self.get_user_row(user).await?;
        let by = Guesser::Session(device);
        if self.check_password(user, &given.password, row.password.as_deref(), by).await? {
            return Ok(());
        }
        Err(self.challenge(stage(), Some(auth), Some("the password is wrong")))
    }

    /// Asks for what an authority wants from those who register.
    pub(crate) async fn admit(
        &self,
        authority: &ServerName,
        auth: Option<&AuthData>,
    ) -> Result<Admission, Error> {
        match self.settings(authority).registration {
            Registration::Closed => Err(Error::RegistrationClosed),
            Registration::Open => match auth {
                Some(AuthData::Dummy(_)) => Ok(Admission::Open),
                Some(other) => Err(self.challenge(vec![AuthType::Dummy], Some(other), unknown_stage(other))),
                None => Err(self.challenge(vec![AuthType::Dummy], None, None)),
            },
            Registration::Token => {
                let stage = || vec![AuthType::RegistrationToken];
                let Some(auth) = auth else {
                    return Err(self.challenge(stage(), None, None));
                };
                let AuthData::RegistrationToken(given) = auth else {
                    return Err(self.challenge(stage(), Some(auth), unknown_stage(auth)));
                };
                match self.find_usable_registration_token(authority, &given.token).await? {
                    Some(token) => Ok(Admission::Token(token)),
                    None => {
                        Err(self.challenge(stage(), Some(auth), Some("the registration token is not valid")))
                    }
                }
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

    /// The answer that asks for a stage, with the error of the attempt before.
    fn challenge(&self, stages: Vec<AuthType>, attempt: Option<&AuthData>, error: Option<&str>) -> Error {
        let mut info = UiaaInfo::new(vec![AuthFlow::new(stages)]);
        // Clients read `params` even when it is empty.
        info.params = RawValue::from_string("{}".to_owned()).ok();
        let session = attempt.and_then(AuthData::session).filter(|session| session.len() <= 64);
        info.session = Some(session.map_or_else(|| self.inner.random.token(24), str::to_owned));
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
