//! Who may: an account that administers its authority.

use std::sync::Arc;

use account::Actor;
use base::Address;
use bytes::Bytes;
use http::request::Parts;
use ruma::{OwnedUserId, ServerName, UserId};
use web::{ApiError, Face, Identify, Kit, Reach, Standing, User};

/// A user of ours who administers his authority, and has shown an access token of it. There is one only where
/// [`Identify::prove`] has made it, so no handler can forget to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Administrator(User);

impl Administrator {
    /// Who that is.
    pub(crate) fn user_id(&self) -> &OwnedUserId {
        &self.0.user_id
    }

    /// What he administers.
    pub(crate) fn authority(&self) -> &ServerName {
        self.0.user_id.server_name()
    }

    /// As the audit log names him.
    pub(crate) fn actor(&self, from: Option<Address>) -> Actor {
        Actor::user(&self.0.user_id, true, from).on(&self.0.device_id)
    }

    /// Refuses users who are not of his authority. Whether they are of another one of this process is not looked at.
    ///
    /// # Errors
    /// 400 `M_UNKNOWN`, as Synapse does.
    pub(crate) fn must_have(&self, user: &UserId) -> Result<(), ApiError> {
        match user.server_name() == self.authority() {
            true => Ok(()),
            false => Err(ApiError::bad_request("This is not a user of this server")),
        }
    }
}

fn refuse_others(user: &User) -> Result<(), ApiError> {
    match user.is_admin {
        true => Ok(()),
        false => Err(ApiError::forbidden("You are not a server admin")),
    }
}

impl Identify for Administrator {
    type Shown = User;

    async fn look(
        kit: &Arc<Kit>,
        parts: &Parts,
        face: &Face,
        from: Option<Address>,
    ) -> Result<User, ApiError> {
        User::look(kit, parts, face, from).await
    }

    fn standing(shown: &User) -> Standing {
        User::standing(shown)
    }

    fn may_reach(shown: &User, reach: Reach) -> Result<(), ApiError> {
        User::may_reach(shown, reach)?;
        refuse_others(shown)
    }

    fn find_powerless(shown: &User) -> Option<&User> {
        (!shown.is_admin).then_some(shown)
    }

    fn prove(shown: User, _: &Bytes) -> Result<Self, ApiError> {
        refuse_others(&shown)?;
        Ok(Self(shown))
    }
}
