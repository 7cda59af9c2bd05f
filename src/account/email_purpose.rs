//! [`EmailPurpose`]: what a mail with a word is for.

/// What somebody wants to prove an address for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EmailPurpose {
    /// To make an account.
    Register,
    /// To get another password.
    ResetPassword,
    /// To have it with an account.
    Add,
}

impl EmailPurpose {
    /// Its number in rows, which never changes.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Register => 1,
            Self::ResetPassword => 2,
            Self::Add => 3,
        }
    }

    pub(crate) fn of_number(number: u8) -> Option<Self> {
        [Self::Register, Self::ResetPassword, Self::Add]
            .into_iter()
            .find(|purpose| purpose.number() == number)
    }
}
