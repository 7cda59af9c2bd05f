//! Taking logout tokens, which anybody may bring.
//!
//! What can be seen without a key is looked at first, then the signature, by keys that are at hand: that costs some
//! microseconds and keeps nobody waiting. Only a token that names a key which is not known may have the provider asked: so many may
//! wait for that at once, of one address fewer, and where such a question was of no use the next one is later each time.
//! Whoever brings bad ones is soon not listened to; a good one by a known key is taken from wherever it comes, so who shares
//! the provider's address cannot shut it out.

use base::Address;
use ruma::ServerName;

use crate::{
    BadLogoutToken, Error, LogoutToken, NotSignedOut, Upstream, jws::Unverified, logout_token,
    provider::Provider,
};

impl Upstream {
    /// What a logout token says that somebody has brought from this address, once it is known to be the provider's of this
    /// authority, for us and of now. Whether it was acted on before is not looked at.
    ///
    /// # Errors
    /// Why it is not to be acted on.
    pub async fn read_logout_token(
        &self,
        authority: &ServerName,
        token: &str,
        from: Option<Address>,
    ) -> Result<LogoutToken, NotSignedOut> {
        let (settings, provider) = self.find(authority).ok_or(NotSignedOut::NotOffered)?;
        let (bounds, now) = (&self.bounds, self.clock.instant());
        let bad = |why| match bounds.count_bad(from, now) {
            Ok(()) => NotSignedOut::Bad(why),
            Err(too_often) => too_often,
        };
        let unverified = Unverified::parse(token).map_err(|_| bad(BadLogoutToken::NoToken))?;
        let told = logout_token::check(&unverified, settings, self.clock.now().millis() / 1_000);
        let told = told.map_err(bad)?;
        let is_good = provider.keys_at_hand().is_some_and(|keys| unverified.verify(&keys).is_some());
        match is_good {
            true => {}
            false if provider.knows_key_of(&unverified) => return Err(bad(BadLogoutToken::Signature)),
            false => {
                bounds.count_bad(from, now)?;
                verify_by_others(provider, &unverified).await?;
                bounds.was_good(from, now);
            }
        }
        bounds.count_good(authority, now)?;
        Ok(told)
    }

    /// A token that was read was acted on before. It takes no place of those that are to be acted on, and counts as a bad one:
    /// whoever has come by one, as another client that it is for as well, keeps no other one out with it.
    ///
    /// # Errors
    /// [`NotSignedOut::TooOften`].
    pub fn was_acted_on(&self, authority: &ServerName, from: Option<Address>) -> Result<(), NotSignedOut> {
        let now = self.clock.instant();
        self.bounds.was_no_good_one(authority, now);
        self.bounds.count_bad(from, now)
    }
}

/// Looks at the signature by keys that the provider has still to be asked for.
async fn verify_by_others(provider: &Provider, token: &Unverified<'_>) -> Result<(), NotSignedOut> {
    let keys = provider.keys_for_stranger(token).await.map_err(|error| match error {
        Error::Busy { retry_after } => NotSignedOut::Busy { retry_after },
        other => NotSignedOut::Unavailable(other.to_string()),
    })?;
    match token.verify(&keys) {
        Some(_) => Ok(()),
        None => Err(NotSignedOut::Bad(BadLogoutToken::Signature)),
    }
}
