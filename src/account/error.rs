//! Why an account operation did not happen.

use std::time::Duration;

use ruma::{OwnedUserId, api::client::uiaa::UiaaInfo};

/// Why an account operation did not happen. Each variant is something a caller answers differently.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody has, or had, this user name.
    #[error("the user name is taken")]
    UserInUse,
    /// An application service keeps the name for itself; or a service asks for one that it does not keep.
    #[error("the name belongs to an application service")]
    Exclusive,
    /// The user has no such device, on which an application service wants to act.
    #[error("the device is not known")]
    UnknownDevice,
    /// The localpart breaks the rules for user names; the text says which.
    #[error("the user name is not valid: {0}")]
    InvalidUsername(&'static str),
    /// The password does not meet the rules; the text says which.
    #[error("the password is too weak: {0}")]
    WeakPassword(&'static str),
    /// This authority registers nobody over its client interface.
    #[error("registration is closed")]
    RegistrationClosed,
    /// More steps of user-interactive authentication are needed; the value is the answer's body.
    #[error("user-interactive authentication is needed")]
    Interactive(Box<UiaaInfo>),
    /// The user name or the password is wrong, or the account has no password.
    #[error("the user name or the password is wrong")]
    WrongCredentials,
    /// The account is asked for a second factor, and this way in has no place for one.
    #[error("the account needs a second factor")]
    FactorNeeded {
        /// A page of ours where its user signs in.
        page: Option<String>,
    },
    /// The account has to have a second factor here, and its user sets up his first one elsewhere.
    #[error("the account needs a second factor, which is not set up from here")]
    FactorElsewhere,
    /// The user is signed in on as many devices as he may be.
    #[error("too many devices: {}", denial.private)]
    TooManyDevices {
        /// Why.
        denial: room::Denial,
        /// A page of ours where its user ends the session of another one.
        page: Option<String>,
    },
    /// The second factor that was shown is not taken, or cannot be changed so.
    #[error("the second factor: {0:?}")]
    Factor(factor::Refused),
    /// A sign-in or another thing of several steps took too long, or the account has changed since it was begun.
    #[error("begun too long ago, or for an account that has changed since")]
    Stale,
    /// The account has been deactivated.
    #[error("{0} is deactivated")]
    Deactivated(OwnedUserId),
    /// The account is locked.
    #[error("the account is locked")]
    Locked,
    /// The login was ended at the identity provider since it was begun; whoever wishes signs in once more.
    #[error("the login was ended at the identity provider")]
    EndedAtProvider,
    /// The access or refresh token is unknown here or has run out.
    #[error("the token is not known")]
    UnknownToken {
        /// Whether the device still exists, so that the client may refresh or log in again to it.
        soft_logout: bool,
    },
    /// The caller may not do this; the text is public.
    #[error("forbidden: {0}")]
    Forbidden(&'static str),
    /// A guest may not do this, or there are no guests here; the text is public.
    #[error("no guests: {0}")]
    NoGuests(&'static str),
    /// No such user, device, filter or entry; the text is public.
    #[error("not found: {0}")]
    NotFound(&'static str),
    /// A needed value is absent; the text is public.
    #[error("missing: {0}")]
    MissingParam(&'static str),
    /// A value cannot be used; the text is public.
    #[error("invalid: {0}")]
    InvalidParam(String),
    /// The request has not the shape that it must have; the text is public.
    #[error("bad request: {0}")]
    BadRequest(String),
    /// A client would subscribe its user to a thread by itself, which he has left since.
    #[error("the user has left the thread since")]
    UnsubscribedSince,
    /// A value is larger than is kept; the text is public.
    #[error("too large: {0}")]
    TooLarge(&'static str),
    /// The profile would be larger than the 64 KiB that one may have.
    #[error("the profile would be too large")]
    ProfileTooLarge,
    /// The name of a profile's field is longer than 255 bytes.
    #[error("the name of a profile's field is too long")]
    KeyTooLarge,
    /// This type of account data is kept by the server and not set through account data (405).
    #[error("{0} is not set through account data")]
    Managed(&'static str),
    /// Too often, or too many at once; worth another try after the wait.
    #[error("over the limit {limit}")]
    Limited {
        /// Which limit; the name is public.
        limit: &'static str,
        /// How long to wait.
        retry_after: Duration,
    },
    /// An e-mail address cannot be used so.
    #[error("the address: {0}")]
    Contact(#[from] ContactError),
    /// The rooms did not do their part.
    #[error("the rooms could not be used")]
    Room(#[from] room::Error),
    /// The account was changed by somebody else at the same time, again and again.
    #[error("the account changed under every attempt")]
    Contended,
    /// The store could not be read.
    #[error("the store could not be read: {0}")]
    Store(#[from] store::Error),
    /// The store could not be written.
    #[error("the store could not be written: {0}")]
    Commit(store::CommitError),
}

/// Why an e-mail address, or another way to reach somebody, cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContactError {
    /// It is an account's already.
    #[error("it is in use")]
    InUse,
    /// It is no account's.
    #[error("nobody has it")]
    NotFound,
    /// This authority does not take it.
    #[error("it is not taken here")]
    Denied,
    /// This authority takes none of its kind.
    #[error("its kind is not taken here")]
    NotSupported,
    /// It was not proved, or not for this.
    #[error("it was not proved")]
    NotProved,
    /// Others are not asked about it.
    #[error("identity servers are not asked")]
    NotTrusted,
}

impl Error {
    /// Whether somebody tried too often, and not only when too many others did.
    pub(crate) fn is_too_often(&self) -> bool {
        matches!(self, Self::Limited { limit, .. } if *limit != crate::password::PASSWORD_CHECKS)
    }
}

impl From<store::CommitError> for Error {
    fn from(cause: store::CommitError) -> Self {
        match cause {
            store::CommitError::Conflict { .. } => Self::Contended,
            store::CommitError::Unknown | store::CommitError::Busy | store::CommitError::Store(_) => {
                Self::Commit(cause)
            }
        }
    }
}
