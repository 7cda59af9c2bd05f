//! Why somebody was not signed in at a provider, or not signed out by its word.

use std::time::Duration;

/// Why nobody was signed in.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The authority has no provider.
    #[error("the authority has no identity provider")]
    NotOffered,
    /// What came back was not sent away from this browser, or too long ago.
    #[error("what came back does not belong to this browser, or is too old")]
    NotOurs,
    /// The provider, or its user, refused.
    #[error("the provider refused: {code}")]
    Refused {
        /// The word of the protocol for it; from outside.
        code: String,
    },
    /// The provider cannot be reached, or is not asked again yet.
    #[error("the provider cannot be reached: {0}")]
    Unavailable(String),
    /// So many ask it at the moment, on the word of strangers, that no more may.
    #[error("it is asked too much on the word of strangers")]
    Busy {
        /// How long to wait.
        retry_after: Duration,
    },
    /// What the provider says cannot be believed, or is not as the protocol has it.
    #[error("the provider's answer is not accepted: {0}")]
    Untrusted(&'static str),
    /// The provider did not say how its user was authenticated, or not in a way that is enough.
    #[error("the provider's way of authentication is not enough: {claim}")]
    TooWeak {
        /// The claim that should have said so.
        claim: &'static str,
        /// Whether the provider tells it.
        is_told: bool,
    },
    /// A claim is missing that the configuration needs.
    #[error("the provider does not tell the claim {claim}")]
    MissingClaim {
        /// Its name, of the configuration.
        claim: String,
    },
}

/// Why a logout token is not acted on.
#[derive(Debug, thiserror::Error)]
pub enum NotSignedOut {
    /// The authority has no provider.
    #[error("the authority has no identity provider")]
    NotOffered,
    /// It is not believed.
    #[error("{0}")]
    Bad(BadLogoutToken),
    /// Too many of one address were not believed.
    #[error("there are too many bad tokens from this address")]
    TooOften {
        /// How long to wait.
        retry_after: Duration,
    },
    /// More than can be seen to.
    #[error("there are too many sign-outs at once")]
    Busy {
        /// How long to wait.
        retry_after: Duration,
    },
    /// The provider's keys cannot be had.
    #[error("the provider cannot be reached: {0}")]
    Unavailable(String),
}

/// What is wrong with a logout token; the texts are public.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLogoutToken {
    /// It cannot be taken apart.
    #[error("logout_token is no signed token")]
    NoToken,
    /// It is a token for something else.
    #[error("typ is that of another token")]
    Kind,
    /// None of the provider's keys has signed it.
    #[error("the signature is none of the provider's")]
    Signature,
    /// Another has made it.
    #[error("iss is another issuer")]
    Issuer,
    /// It is for another.
    #[error("aud is another client")]
    Audience,
    /// It has run out, or does not say when it does.
    #[error("exp is missing or over")]
    Expired,
    /// It was not made now, or does not say when.
    #[error("iat is missing or not now; look at the clocks")]
    NotNow,
    /// It does not say that somebody has signed out.
    #[error("events does not hold http://schemas.openid.net/event/backchannel-logout")]
    Events,
    /// It says what logout tokens must not, so that no ID token is taken for one.
    #[error("nonce must not be there")]
    Nonce,
    /// It says of nobody and of no login that they have signed out.
    #[error("sub and sid are missing, or one of them is no name")]
    Nobody,
    /// It has no id.
    #[error("jti is missing or no id")]
    NoId,
}

impl BadLogoutToken {
    /// A word for it that never changes.
    pub fn word(self) -> &'static str {
        match self {
            Self::NoToken => "logout_token_malformed",
            Self::Kind => "logout_token_typ",
            Self::Signature => "logout_token_signature",
            Self::Issuer => "logout_token_iss",
            Self::Audience => "logout_token_aud",
            Self::Expired => "logout_token_exp",
            Self::NotNow => "logout_token_iat",
            Self::Events => "logout_token_events",
            Self::Nonce => "logout_token_nonce",
            Self::Nobody => "logout_token_sub",
            Self::NoId => "logout_token_jti",
        }
    }
}
