//! Why something that was shown is not taken.

/// Why a code or an answer is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is not right.
    Wrong,
    /// It was right, and was taken before.
    Again,
    /// It is one of a clock that goes wrong: the one after it is wanted as well, as proof that the clock is the user's.
    Off,
    /// It was right once, and its time is over.
    Over,
    /// It is somebody's factor already.
    Known,
    /// It counts less than it did: there are two of it where there may be one.
    Copied,
    /// There are as many as there may be.
    TooMany,
    /// There is nothing of that number.
    NotFound,
}

impl Refused {
    /// The word for rows of the audit log, which never changes.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Wrong => "wrong_code",
            Self::Again => "code_used_again",
            Self::Off => "code_of_another_time",
            Self::Over => "code_too_late",
            Self::Known => "known_factor",
            Self::Copied => "passkey_copied",
            Self::TooMany => "too_many_factors",
            Self::NotFound => "no_such_factor",
        }
    }
}

/// A name that no factor can have: empty, too long, or with letters that are not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no name for a factor")]
pub struct BadName;
