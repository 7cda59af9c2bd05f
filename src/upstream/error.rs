//! Why somebody was not signed in at a provider.

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
    /// What the provider says cannot be believed, or is not as the protocol has it.
    #[error("the provider's answer is not accepted: {0}")]
    Untrusted(&'static str),
    /// The provider did not say how its user was authenticated, or not in a way that is enough.
    #[error("the provider's way of authentication is not enough")]
    TooWeak,
    /// A claim is missing that the configuration needs.
    #[error("the provider does not tell the claim {claim}")]
    MissingClaim {
        /// Its name, of the configuration.
        claim: String,
    },
}
