//! [`Confirms`]: what a password is asked for.

/// The one operation that may be confirmed on our pages: that cross-signing keys are replaced.
pub const CROSS_SIGNING: &str = "cross-signing keys";

/// What a user confirms with a password, as a page tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirms {
    /// That he gets another password.
    Password,
    /// That his account is closed.
    Close,
    /// That a device of his is signed out and forgotten.
    Device,
    /// The same of several.
    Devices,
    /// That an e-mail address is his from now on.
    AddEmail,
    /// That another client is signed in.
    LogIn,
    /// That the keys are replaced by which others know him.
    CrossSigning,
}

impl Confirms {
    const ALL: [Self; 7] = [
        Self::Password,
        Self::Close,
        Self::Device,
        Self::Devices,
        Self::AddEmail,
        Self::LogIn,
        Self::CrossSigning,
    ];

    /// The one of an operation, as sessions keep it.
    pub(crate) fn of_operation(operation: &str) -> Option<Self> {
        Some(match operation {
            "password" => Self::Password,
            "deactivate" => Self::Close,
            "devices" => Self::Devices,
            "add_email" => Self::AddEmail,
            "login_token" => Self::LogIn,
            CROSS_SIGNING => Self::CrossSigning,
            other if other.starts_with("device ") => Self::Device,
            _ => return None,
        })
    }

    /// Its word in the ids of sessions.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Close => "close",
            Self::Device => "device",
            Self::Devices => "devices",
            Self::AddEmail => "email",
            Self::LogIn => "login",
            Self::CrossSigning => "keys",
        }
    }

    /// What the session of this id is for, as its id says: true of every session that there is.
    #[must_use]
    pub fn of_session(id: &str) -> Option<Self> {
        let (word, _) = id.split_once('.')?;
        Self::ALL.into_iter().find(|what| what.word() == word)
    }
}
