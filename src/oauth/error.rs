//! What clients are told when they do not get what they ask for.

use std::borrow::Cow;

use crate::rendezvous;

/// Why something was not granted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client is at fault, or has to wait; the text is public.
    #[error("{}: {text}", code.word())]
    Refused {
        /// What the client's program goes by.
        code: Code,
        /// What its programmer reads.
        text: Cow<'static, str>,
    },
    /// There is no such letterbox, or it has run out.
    #[error("no such rendezvous")]
    NoRendezvous,
    /// Somebody else has written into the letterbox meanwhile; the value is its tag now.
    #[error("the rendezvous was written to meanwhile")]
    Overtaken(rendezvous::Letter),
    /// What was sent is larger than is kept; the text is public.
    #[error("too large: {0}")]
    TooLarge(&'static str),
    /// As much as may wait for users is waiting.
    #[error("too many are waiting")]
    Full,
    /// The accounts refused.
    #[error(transparent)]
    Account(#[from] account::Error),
    /// The store could not be read.
    #[error("the store could not be read: {0}")]
    Store(#[from] store::Error),
    /// The store could not be written.
    #[error("the store could not be written: {0}")]
    Commit(store::CommitError),
    /// Others changed the same again and again.
    #[error("it changed under every attempt")]
    Contended,
}

/// The errors of OAuth 2.0 and its relatives that we answer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// A parameter is missing or makes no sense.
    InvalidRequest,
    /// There is no such client.
    InvalidClient,
    /// The code or token is not, or no more, worth anything.
    InvalidGrant,
    /// The client did not register for this.
    UnauthorizedClient,
    /// There is no such way to get tokens.
    UnsupportedGrantType,
    /// There is no such way to get a code.
    UnsupportedResponseType,
    /// The scope lacks something, or has too much.
    InvalidScope,
    /// The user does not want to.
    AccessDenied,
    /// Nobody is signed in, and nobody may be asked to.
    LoginRequired,
    /// The user has not agreed, and may not be asked to.
    ConsentRequired,
    /// Requests by reference are not taken.
    RequestNotSupported,
    /// The device code has run out.
    ExpiredToken,
    /// The user has not decided.
    AuthorizationPending,
    /// The client asks too often.
    SlowDown,
    /// A redirect URI breaks the rules.
    InvalidRedirectUri,
    /// Something else that the client says of itself does.
    InvalidClientMetadata,
}

impl Code {
    /// Its word in answers.
    pub const fn word(self) -> &'static str {
        match self {
            Code::InvalidRequest => "invalid_request",
            Code::InvalidClient => "invalid_client",
            Code::InvalidGrant => "invalid_grant",
            Code::UnauthorizedClient => "unauthorized_client",
            Code::UnsupportedGrantType => "unsupported_grant_type",
            Code::UnsupportedResponseType => "unsupported_response_type",
            Code::InvalidScope => "invalid_scope",
            Code::AccessDenied => "access_denied",
            Code::LoginRequired => "login_required",
            Code::ConsentRequired => "consent_required",
            Code::RequestNotSupported => "request_not_supported",
            Code::ExpiredToken => "expired_token",
            Code::AuthorizationPending => "authorization_pending",
            Code::SlowDown => "slow_down",
            Code::InvalidRedirectUri => "invalid_redirect_uri",
            Code::InvalidClientMetadata => "invalid_client_metadata",
        }
    }
}

impl Error {
    /// A refusal with a text for the client's programmer.
    pub(crate) fn refused(code: Code, text: impl Into<Cow<'static, str>>) -> Error {
        Error::Refused { code, text: text.into() }
    }
}

impl From<store::CommitError> for Error {
    fn from(cause: store::CommitError) -> Error {
        match cause {
            store::CommitError::Conflict { .. } => Error::Contended,
            store::CommitError::Unknown | store::CommitError::Busy | store::CommitError::Store(_) => {
                Error::Commit(cause)
            }
        }
    }
}
