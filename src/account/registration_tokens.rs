//! Registration tokens: a word that lets its bearer register.

use audit::{Action, Actor, Deed, written};
use base::Timestamp;
use ruma::ServerName;
use store::{Batch, Range};
use subtle::ConstantTimeEq;

use crate::{
    Accounts, Error,
    tables::{self, RegistrationTokenRow},
};

/// Longest token, in bytes.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#token-authenticated-registration>
const LONGEST_TOKEN: usize = 64;

/// A registration token, as an administrator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationToken {
    /// The word.
    pub token: String,
    /// How many accounts it may make; `None` is any number.
    pub uses_allowed: Option<u32>,
    /// How many accounts it has made.
    pub used: u32,
    /// When it runs out.
    pub expires: Option<Timestamp>,
}

/// A token that may be used now, and the row that says so.
pub(crate) enum TokenUse {
    /// From the configuration: uses are not counted.
    Configured,
    /// From the store.
    Stored { key: (String, String), row: RegistrationTokenRow },
}

impl TokenUse {
    /// Counts the use in the batch that makes the account; the batch fails if somebody else took
    /// the last use in between.
    pub(crate) fn count(&self, batch: &mut Batch) {
        if let Self::Stored { key, row } = self {
            let counted = RegistrationTokenRow { used: row.used.saturating_add(1), ..row.clone() };
            batch.replace(&tables::REGISTRATION_TOKENS, key, row, &counted);
        }
    }
}

impl Accounts {
    /// Whether a registration token could be used now.
    ///
    /// # Errors
    /// [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1registermloginregistration_tokenvalidity>
    pub async fn registration_token_is_valid(
        &self,
        authority: &ServerName,
        token: &str,
    ) -> Result<bool, Error> {
        Ok(self.find_usable_registration_token(authority, token).await?.is_some())
    }

    /// Makes a registration token, or replaces the one with the same word: for administrators, as `by` is one.
    ///
    /// # Errors
    /// [`Error::InvalidParam`] when the word breaks the grammar, [`Error::Store`].
    pub async fn put_registration_token(
        &self,
        authority: &ServerName,
        token: RegistrationToken,
        by: &Actor,
    ) -> Result<(), Error> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '~' | '-');
        if token.token.is_empty() || token.token.len() > LONGEST_TOKEN || !token.token.chars().all(allowed) {
            return Err(Error::InvalidParam("a token has 1 to 64 of A-Z a-z 0-9 . _ ~ -".to_owned()));
        }
        let row = RegistrationTokenRow {
            uses_allowed: token.uses_allowed,
            used: token.used,
            expires_ms: token.expires.map(Timestamp::millis),
        };
        let mut batch = Batch::new();
        batch.put(&tables::REGISTRATION_TOKENS, &(authority.as_str(), token.token.as_str()), &row);
        let uses = token.uses_allowed.map_or_else(|| "any".to_owned(), |uses| uses.to_string());
        let expires = token.expires.map_or_else(|| "never".to_owned(), written);
        self.token_deed(Action::PutRegistrationToken, by)
            .after("uses_allowed", uses)
            .after("expires", expires)
            .write(&mut batch, authority);
        self.commit(batch).await
    }

    /// The stored registration tokens of an authority.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn registration_tokens(&self, authority: &ServerName) -> Result<Vec<RegistrationToken>, Error> {
        let range = Range::prefix(authority.as_str());
        let table = &tables::REGISTRATION_TOKENS;
        let rows = self.inner.store.scan(table, range, store::Order::Ascending, usize::MAX).await?;
        Ok(rows
            .into_iter()
            .map(|((_, token), row)| RegistrationToken {
                token,
                uses_allowed: row.uses_allowed,
                used: row.used,
                expires: row.expires_ms.map(Timestamp),
            })
            .collect())
    }

    /// Removes a registration token: for administrators, as `by` is one.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn remove_registration_token(
        &self,
        authority: &ServerName,
        token: &str,
        by: &Actor,
    ) -> Result<(), Error> {
        let mut batch = Batch::new();
        batch.delete(&tables::REGISTRATION_TOKENS, &(authority.as_str(), token));
        self.token_deed(Action::RemoveRegistrationToken, by).write(&mut batch, authority);
        self.commit(batch).await
    }

    /// A deed on a registration token. Its word lets people in, so it is in no row.
    fn token_deed(&self, what: Action, by: &Actor) -> Deed {
        Deed::new(what, by, "", self.inner.clock.now())
    }

    pub(crate) async fn find_usable_registration_token(
        &self,
        authority: &ServerName,
        token: &str,
    ) -> Result<Option<TokenUse>, Error> {
        let configured = &self.settings(authority).registration_tokens;
        if configured.iter().any(|known| known.as_bytes().ct_eq(token.as_bytes()).into()) {
            return Ok(Some(TokenUse::Configured));
        }
        if token.len() > LONGEST_TOKEN {
            return Ok(None);
        }
        let key = (authority.to_string(), token.to_owned());
        let Some(row) = self.inner.store.get(&tables::REGISTRATION_TOKENS, &key).await? else {
            return Ok(None);
        };
        let used_up = row.uses_allowed.is_some_and(|allowed| row.used >= allowed);
        let expired = row.expires_ms.is_some_and(|expires| expires <= self.now_ms());
        Ok((!used_up && !expired).then_some(TokenUse::Stored { key, row }))
    }
}
