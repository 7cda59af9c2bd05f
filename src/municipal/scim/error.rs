//! Why a request was not carried out.

use serde_json::{Value, json};

/// The word by which a source knows what was wrong with its request.
///
/// Spec: <https://www.rfc-editor.org/rfc/rfc7644#section-3.12>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// The filter cannot be read, or compares what cannot be compared.
    Filter,
    /// The filter would have the server look at too much.
    TooMany,
    /// The body has not the shape that it must have.
    Syntax,
    /// A path leads to no attribute.
    Path,
    /// A path leads to no value.
    NoTarget,
    /// What is to be changed is the server's alone.
    Mutability,
    /// A value cannot be had, or is missing.
    Value,
}

impl Wrong {
    const fn word(self) -> &'static str {
        match self {
            Self::Filter => "invalidFilter",
            Self::TooMany => "tooMany",
            Self::Syntax => "invalidSyntax",
            Self::Path => "invalidPath",
            Self::NoTarget => "noTarget",
            Self::Mutability => "mutability",
            Self::Value => "invalidValue",
        }
    }
}

/// Why a request was not carried out. Texts are told to the source, whose administrator reads them in its log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is wrong.
    #[error("{detail}")]
    Invalid {
        /// In what way.
        wrong: Wrong,
        /// What is wrong.
        detail: String,
    },
    /// Somebody has the name already.
    #[error("{0}")]
    Conflict(String),
    /// There is no such resource of this source.
    #[error("there is no such resource")]
    NotFound,
    /// The account is not for a source to end.
    #[error("{0}")]
    Protected(String),
    /// The account is an administrator's: it stays, and its sessions have ended.
    #[error("{0}")]
    Kept(String),
    /// The source has as much as it may have.
    #[error("{0}")]
    Full(&'static str),
    /// The resource is not as the source knew it.
    #[error("the resource has another version by now")]
    AnotherVersion,
    /// The endpoint does not take this method.
    #[error("the endpoint does not take this method")]
    Method,
    /// It is not built.
    #[error("{0}")]
    NotBuilt(&'static str),
    /// Too many requests of the source are under way.
    #[error("too many requests of this source are under way")]
    Busy,
    /// The account could not be made or changed.
    #[error("the account: {0}")]
    Account(#[from] account::Error),
    /// The store could not be read.
    #[error("the store could not be read: {0}")]
    Store(#[from] store::Error),
    /// What is kept cannot be read.
    #[error("a stored resource cannot be read")]
    Damaged,
}

impl Error {
    pub(crate) fn invalid(wrong: Wrong, detail: impl Into<String>) -> Self {
        Self::Invalid { wrong, detail: detail.into() }
    }

    pub(crate) fn value(detail: impl Into<String>) -> Self {
        Self::invalid(Wrong::Value, detail)
    }

    /// Whether somebody else changed the same at the same moment, so that another try may do.
    pub(crate) fn is_contended(&self) -> bool {
        matches!(self, Self::Account(account::Error::Contended))
    }

    /// The status of the answer and the word for the reason, if it is told in this crate's words.
    pub(crate) fn told(&self) -> Option<(u16, Option<&'static str>)> {
        Some(match self {
            Self::Invalid { wrong, .. } => (400, Some(wrong.word())),
            Self::Conflict(_) => (409, Some("uniqueness")),
            // RFC 7644 3.12 has 409 for requests that the state of a resource is against; `uniqueness` would be something else.
            Self::Kept(_) => (409, None),
            Self::NotFound => (404, None),
            Self::Protected(_) | Self::Full(_) => (403, None),
            Self::AnotherVersion => (412, None),
            Self::Method => (405, None),
            Self::NotBuilt(_) => (501, None),
            Self::Busy | Self::Account(_) | Self::Store(_) | Self::Damaged => return None,
        })
    }
}

/// The body of an answer that says that something was wrong.
pub(crate) fn body(status: u16, word: Option<&str>, detail: &str) -> Value {
    let mut told = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
        "status": status.to_string(),
        "detail": detail,
    });
    if let Some(word) = word {
        told["scimType"] = word.into();
    }
    told
}
