//! Logins at the identity provider of an authority, and their ends by its word.
//!
//! Whoever signs in at a provider does so in a *login* there, which we are told the name of (`sid`), or not. What comes of
//! it here goes a long way: a browser is signed in, agrees to a code or gets a login token, a client trades that for a
//! session. Each of these carries the [`ProviderLogin`] along, and whatever lasts (browsers, sessions of devices) is
//! found by what the provider calls the login and its person. So a word of the provider ends what came of one
//! login, or of all of somebody (`sign_outs`).
//!
//! What is half done at that moment dies as well, wherever it is: a login knows the position in the one order of commits at
//! which its browser was sent away, a sign-out leaves its own behind, and whoever makes a session of a login that is
//! older demands in its batch that there is none. No clock has a part in it.
//!
//! Spec: <https://openid.net/specs/openid-connect-backchannel-1_0.html>

use hmac::{Hmac, KeyInit, Mac};
use ruma::{DeviceId, ServerName, UserId};
use sha2::Sha256;
use store::{Batch, Order, Position, Range};

use crate::{
    Accounts, Error,
    provider_tables::{ENDED, LOGINS, LOGINS_CALLED, ProviderLogin, SessionName},
};

impl Accounts {
    /// What marks attempts to sign in at providers as ours: the same in every process over a store, and known to nobody else.
    pub fn attempt_secret(&self) -> [u8; 32] {
        let mut mac = match Hmac::<Sha256>::new_from_slice(&self.inner.token_key) {
            Ok(mac) => mac,
            Err(_) => unreachable!("HMAC takes keys of any length"),
        };
        mac.update(b"attempts to sign in at providers");
        mac.finalize().into_bytes().into()
    }

    /// Up to where all is known at this moment: at what a login begins whose browser is sent away now.
    pub fn login_begins(&self) -> Position {
        self.inner.store.head()
    }

    /// Adds to a batch that a session comes of a login. The batch fails if the provider ends that meanwhile.
    ///
    /// # Errors
    /// [`Error::EndedAtProvider`], [`Error::Store`].
    pub(crate) async fn put_provider_login(
        &self,
        batch: &mut Batch,
        user: &UserId,
        session: SessionName<'_>,
        login: &ProviderLogin,
    ) -> Result<(), Error> {
        self.require_standing_login(batch, user.server_name(), login).await?;
        let session = session.key();
        let key = (user.as_str(), session.as_str());
        // So that of two who begin a session on one device at once the second one sees the first one's login.
        let known = self.inner.store.get(&LOGINS, &key).await?;
        batch.require(&LOGINS, &key, known.as_ref());
        batch.put(&LOGINS, &key, login);
        for called in login.names() {
            let authority = user.server_name().to_string();
            batch.put(&LOGINS_CALLED, &(authority, called, user.to_string(), session.clone()), &());
        }
        Ok(())
    }

    /// Has a batch fail where a login has ended by the time that it is committed.
    ///
    /// # Errors
    /// [`Error::EndedAtProvider`] where it has already; [`Error::Store`].
    pub(crate) async fn require_standing_login(
        &self,
        batch: &mut Batch,
        authority: &ServerName,
        login: &ProviderLogin,
    ) -> Result<(), Error> {
        let keys = login.names().map(|called| (authority.as_str(), called));
        let ended = self.inner.store.get_many(&ENDED, &keys).await?;
        for (key, ended) in keys.iter().zip(ended) {
            if ended.as_ref().is_some_and(|ended| Position(login.since) < ended.position) {
                return Err(Error::EndedAtProvider);
            }
            batch.require(&ENDED, key, ended.as_ref());
        }
        Ok(())
    }

    /// The login that the session of a device came of, if it came of one.
    pub(crate) async fn provider_login(
        &self,
        user: &UserId,
        device: &DeviceId,
    ) -> Result<Option<ProviderLogin>, Error> {
        let session = SessionName::Device(device.as_str()).key();
        Ok(self.inner.store.get(&LOGINS, &(user.as_str(), session.as_str())).await?)
    }

    /// Adds to a batch that sessions of a user come of no login any more, by their keys: they end, or begin anew.
    pub(crate) async fn put_no_logins(
        &self,
        batch: &mut Batch,
        user: &UserId,
        ends: impl Fn(&str) -> bool,
    ) -> Result<(), Error> {
        let range = Range::prefix(user.as_str());
        let rows = self.inner.store.scan(&LOGINS, range, Order::Ascending, usize::MAX).await?;
        for ((_, session), login) in rows.into_iter().filter(|((_, session), _)| ends(session)) {
            batch.delete(&LOGINS, &(user.as_str(), session.as_str()));
            for called in login.names() {
                let authority = user.server_name().to_string();
                batch.delete(&LOGINS_CALLED, &(authority, called, user.to_string(), session.clone()));
            }
        }
        Ok(())
    }
}
