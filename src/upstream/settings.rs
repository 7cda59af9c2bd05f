//! What is set about a provider.

use crate::{StaffClaims, Template};

/// The provider of one authority, and what its claims mean here.
#[derive(Clone)]
pub struct Settings {
    /// The provider's name for itself: a URL, exactly as it writes it.
    pub issuer: String,
    /// Who we are to it.
    pub client_id: String,
    /// What proves that; a client without one is a public client.
    pub client_secret: Option<String>,
    /// The claim of the ID token by which people are known: `sub`, unless that is another one for each client.
    pub subject: String,
    /// What is asked for besides `openid`.
    pub scopes: Vec<String>,
    /// The localpart of a new account.
    pub localpart: Template,
    /// The name to show of a new account.
    pub display_name: Option<Template>,
    /// The e-mail address of a new account; it counts only where the provider says that it has verified it.
    pub email: Option<Template>,
    /// Ways of authentication (`acr`) of which one is demanded; with none, any will do.
    pub acr_values: Vec<String>,
    /// Methods of authentication (`amr`) of which one is demanded, or all that stand in one with spaces between; with none, any
    /// will do.
    pub required_amr: Vec<String>,
    /// From which claims follows what is said of people as staff; with none, nothing is told of them.
    pub staff: Option<StaffClaims>,
    /// What stands on the button.
    pub label: Label,
}

/// What stands on the button that leads to a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// In Japanese.
    pub japanese: String,
    /// In English.
    pub english: String,
}

impl std::fmt::Debug for Settings {
    /// Secrets do not belong in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}
