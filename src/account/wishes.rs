//! What an administrator may wish of an account: see [`Accounts::change_account`](crate::Accounts::change_account).

use crate::tables::Moderation;

/// What is to be changed of an account; what is not named stays.
#[derive(Clone, Debug, Default)]
pub struct AccountChange {
    /// Another password.
    pub password: Option<NewSecret>,
    /// How the user is called in rooms; without a text by nothing.
    pub display_name: Option<Option<String>>,
    /// The address of the picture.
    pub avatar_url: Option<Option<String>>,
    /// Whether the user administers the authority.
    pub admin: Option<bool>,
    /// Whether the account is locked.
    pub locked: Option<bool>,
    /// Whether it is suspended.
    pub suspended: Option<bool>,
    /// By what it is found, and how its user signs in besides.
    pub ways: Ways,
}

/// The e-mail addresses and identities of an account, each kind as a whole; what is not named stays.
#[derive(Clone, Debug, Default)]
pub struct Ways {
    /// Its addresses, which reach its user by the administrator's word.
    pub emails: Option<Vec<String>>,
    /// What identity providers know its user by: issuer and subject.
    pub identities: Option<Vec<(String, String)>>,
}

/// A password that an administrator gives.
#[derive(Clone)]
pub struct NewSecret {
    /// The password.
    pub text: String,
    /// Whether the devices stay logged in: of somebody who is known to be their owner.
    pub keeps_devices: bool,
}

impl std::fmt::Debug for NewSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewSecret").field("keeps_devices", &self.keeps_devices).finish_non_exhaustive()
    }
}

impl AccountChange {
    /// What the account is kept from once this is done.
    pub(crate) fn moderation(&self, before: Moderation) -> Moderation {
        let mut after = before;
        if let Some(locked) = self.locked {
            after = Moderation { locked, by_source: false, ..after };
        }
        if let Some(suspended) = self.suspended {
            after.suspended = suspended;
        }
        after
    }
}
