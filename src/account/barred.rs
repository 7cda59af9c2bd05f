//! Why a session is not used from where it is.

use room::Denial;

/// Why a session is not used from where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Barred {
    /// The policy says so.
    Denied(Denial),
    /// The account has to have a second factor there, and has none.
    NoFactor {
        /// Where its user sets one up.
        page: Option<String>,
    },
    /// The session was begun before the account had one.
    BegunBefore {
        /// Where its user says that the device is his.
        page: Option<String>,
    },
}

/// What is known of the factor of whoever began a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// He has shown one.
    Factor,
    /// The account has none.
    None,
    /// It has, and had none then.
    TooEarly,
}
