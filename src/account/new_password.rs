//! [`NewPassword`]: what a request for another password says.

use serde::Deserialize;

/// Another password, whoever may have it proves that by his old one or by his address.
#[derive(Deserialize)]
pub(crate) struct NewPassword {
    pub(crate) new_password: String,
    /// Whether devices are logged out with it.
    #[serde(default = "yes")]
    pub(crate) logout_devices: bool,
}

impl NewPassword {
    /// Its fields, by their names in requests.
    pub(crate) const KEYS: &[&str] = &["new_password", "logout_devices"];
}

fn yes() -> bool {
    true
}
