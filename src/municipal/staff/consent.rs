//! Whose directories staff of another authority may search: a port, since the federation's registry will say it.

use ruma::{OwnedServerName, ServerName};

/// Which authorities have consented that another one's staff find their people.
pub trait Consent: Send + Sync {
    /// The authorities whose people staff of this one find, beside their own. Only those of this process are looked at.
    fn open_to(&self, authority: &ServerName) -> Vec<OwnedServerName>;
}

/// Nobody has consented to anything.
pub struct NoConsent;

impl Consent for NoConsent {
    fn open_to(&self, _: &ServerName) -> Vec<OwnedServerName> {
        Vec::new()
    }
}
