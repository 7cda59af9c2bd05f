//! Registration with a shared secret, as Synapse's admin interface does it.
//!
//! Whoever knows the secret asks for a nonce and signs it together with the new account's name,
//! password and role. A nonce is good once, for a minute, in the process that gave it out.
//!
//! Format: <https://element-hq.github.io/synapse/latest/admin_api/register_api.html>

use std::time::Duration;

use audit::{Action, Actor};
use base::Address;
use hmac::{Hmac, KeyInit, Mac};
use ruma::{OwnedUserId, ServerName};
use sha1::Sha1;

use crate::{Accounts, Error, NewUser, failures::Attempt};

/// How long a nonce is good.
const NONCE_LIFETIME: Duration = Duration::from_secs(60);

/// A request to register with the shared secret.
#[derive(Debug, Clone)]
pub struct SharedSecretRegister {
    /// A nonce of ours.
    pub nonce: String,
    /// The wished localpart.
    pub username: String,
    /// The display name; without one it is the localpart.
    pub displayname: Option<String>,
    /// The password.
    pub password: String,
    /// Whether the user is to administer the server.
    pub admin: bool,
    /// Kind of user, which the signature covers when it is given; we keep no kinds.
    pub user_type: Option<String>,
    /// Hexadecimal HMAC-SHA1 under the secret.
    pub mac: String,
    /// Where the client is, if that is known.
    pub from: Option<Address>,
}

impl Accounts {
    /// A nonce for [`Accounts::register_with_shared_secret`], if this authority has a secret.
    pub fn shared_secret_nonce(&self, authority: &ServerName) -> Option<String> {
        self.settings(authority).shared_secret.as_ref()?;
        let nonce = self.inner.random.token(32);
        let now = self.inner.clock.instant();
        self.inner.nonces.add(nonce.clone(), now + NONCE_LIFETIME, now);
        Some(nonce)
    }

    /// Makes an account for somebody who knows the shared secret. Password rules do not apply.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for a bad nonce or signature or where there is no secret,
    /// [`Error::InvalidUsername`], [`Error::UserInUse`], [`Error::Store`].
    pub async fn register_with_shared_secret(
        &self,
        authority: &ServerName,
        request: SharedSecretRegister,
    ) -> Result<OwnedUserId, Error> {
        let Some(secret) = &self.settings(authority).shared_secret else {
            return Err(Error::Forbidden("registration with a shared secret is switched off"));
        };
        if !self.inner.nonces.take(&request.nonce, self.inner.clock.instant()) {
            return Err(Error::InvalidParam("the nonce is not known".to_owned()));
        }
        if !mac_holds(secret, &request) {
            let (authority, by) = (authority.to_owned(), Actor::stranger(request.from));
            let (what, reason) = (Action::RegisterFailed, "shared_secret");
            self.note_failure(Attempt { authority, what, by, whom: None, reason });
            return Err(Error::Forbidden("the signature does not hold"));
        }
        let new = NewUser {
            localpart: request.username,
            password: Some(request.password),
            display_name: request.displayname,
            admin: request.admin,
        };
        self.create_user(authority, new, &Actor::shared_secret(request.from)).await
    }
}

fn mac_holds(secret: &str, request: &SharedSecretRegister) -> bool {
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(secret.as_bytes()) else {
        return false;
    };
    let role = if request.admin { "admin" } else { "notadmin" };
    let parts = [&request.nonce, &request.username, &request.password, role];
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            mac.update(b"\0");
        }
        mac.update(part.as_bytes());
    }
    if let Some(kind) = &request.user_type {
        mac.update(b"\0");
        mac.update(kind.as_bytes());
    }
    match decode_hex(&request.mac) {
        Some(given) => mac.verify_slice(&given).is_ok(),
        None => false,
    }
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(high)? * 16 + digit(low)?)).collect()
}
