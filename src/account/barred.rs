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
}
