//! Registration tokens: a word that lets its bearer register.

use audit::{Action, Actor, Deed, written};
use base::{Attempts, Timestamp};
use ruma::ServerName;
use store::{Batch, CommitError, Order, Range};
use subtle::ConstantTimeEq;

use crate::{
    Accounts, Error,
    tables::{self, RegistrationTokenRow},
};

/// Longest token, in bytes.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#token-authenticated-registration>
const LONGEST_TOKEN: usize = 64;

/// Stored tokens of an authority.
const MOST_OF_AUTHORITY: usize = 10_000;

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

/// What is to be another in a registration token; what is `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenChange {
    /// How many accounts it may make; `Some(None)` is any number.
    pub uses_allowed: Option<Option<u32>>,
    /// When it runs out; `Some(None)` is never.
    pub expires: Option<Option<Timestamp>>,
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
        check_word(&token.token)?;
        let row = RegistrationTokenRow {
            uses_allowed: token.uses_allowed,
            used: token.used,
            expires_ms: token.expires.map(Timestamp::millis),
        };
        let mut batch = Batch::new();
        batch.put(&tables::REGISTRATION_TOKENS, &(authority.as_str(), token.token.as_str()), &row);
        self.token_put(&row, by).write(&mut batch, authority);
        self.commit(batch).await
    }

    /// Makes a registration token that was not there: for administrators, as `by` is one.
    ///
    /// # Errors
    /// [`Error::InvalidParam`] when the word breaks the grammar, or there is a token with it; [`Error::TooLarge`] where the
    /// authority has very many; [`Error::Store`].
    pub async fn add_registration_token(
        &self,
        authority: &ServerName,
        token: RegistrationToken,
        by: &Actor,
    ) -> Result<(), Error> {
        check_word(&token.token)?;
        let known = || Error::InvalidParam("there is a token with this word".to_owned());
        if self.settings(authority).registration_tokens.contains(&token.token) {
            return Err(known());
        }
        let range = Range::prefix(authority.as_str());
        let table = &tables::REGISTRATION_TOKENS;
        let stored = self.inner.store.scan(table, range, Order::Ascending, MOST_OF_AUTHORITY).await?;
        if stored.len() >= MOST_OF_AUTHORITY {
            return Err(Error::TooLarge("an authority has at most 10,000 registration tokens"));
        }
        let row = RegistrationTokenRow {
            uses_allowed: token.uses_allowed,
            used: token.used,
            expires_ms: token.expires.map(Timestamp::millis),
        };
        let mut batch = Batch::new();
        batch.insert(table, &(authority.as_str(), token.token.as_str()), &row);
        self.token_put(&row, by).write(&mut batch, authority);
        match self.inner.store.commit(batch).await {
            Ok(_) => Ok(()),
            Err(CommitError::Conflict { .. }) => Err(known()),
            Err(error) => Err(error.into()),
        }
    }

    /// Changes a stored registration token: for administrators, as `by` is one.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Contended`], [`Error::Store`].
    pub async fn change_registration_token(
        &self,
        authority: &ServerName,
        token: &str,
        change: TokenChange,
        by: &Actor,
    ) -> Result<RegistrationToken, Error> {
        let key = (authority.as_str(), token);
        let mut attempts = Attempts::default();
        loop {
            let row = self.stored_token(authority, token).await?;
            let changed = RegistrationTokenRow {
                uses_allowed: change.uses_allowed.unwrap_or(row.uses_allowed),
                used: row.used,
                expires_ms: match change.expires {
                    Some(expires) => expires.map(Timestamp::millis),
                    None => row.expires_ms,
                },
            };
            if changed == row {
                return Ok(told(token.to_owned(), row));
            }
            let mut batch = Batch::new();
            batch.replace(&tables::REGISTRATION_TOKENS, &key, &row, &changed);
            self.token_put(&changed, by).write(&mut batch, authority);
            match self.commit(batch).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                Err(error) => return Err(error),
                Ok(()) => return Ok(told(token.to_owned(), changed)),
            }
        }
    }

    /// A stored registration token of an authority.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub async fn registration_token(
        &self,
        authority: &ServerName,
        token: &str,
    ) -> Result<RegistrationToken, Error> {
        Ok(told(token.to_owned(), self.stored_token(authority, token).await?))
    }

    async fn stored_token(&self, authority: &ServerName, token: &str) -> Result<RegistrationTokenRow, Error> {
        let none = Error::NotFound("no such registration token");
        if token.len() > LONGEST_TOKEN {
            return Err(none);
        }
        let key = (authority.as_str(), token);
        self.inner.store.get(&tables::REGISTRATION_TOKENS, &key).await?.ok_or(none)
    }

    /// The stored registration tokens of an authority.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn registration_tokens(&self, authority: &ServerName) -> Result<Vec<RegistrationToken>, Error> {
        let range = Range::prefix(authority.as_str());
        let table = &tables::REGISTRATION_TOKENS;
        let rows = self.inner.store.scan(table, range, store::Order::Ascending, usize::MAX).await?;
        Ok(rows.into_iter().map(|((_, token), row)| told(token, row)).collect())
    }

    /// Removes a registration token: for administrators, as `by` is one. One that is not there is as good as removed.
    ///
    /// # Errors
    /// [`Error::Contended`], [`Error::Store`].
    pub async fn remove_registration_token(
        &self,
        authority: &ServerName,
        token: &str,
        by: &Actor,
    ) -> Result<(), Error> {
        let key = (authority.as_str(), token);
        let mut attempts = Attempts::default();
        loop {
            let row = match self.stored_token(authority, token).await {
                Err(Error::NotFound(_)) => return Ok(()),
                row => row?,
            };
            let mut batch = Batch::new();
            batch.require(&tables::REGISTRATION_TOKENS, &key, Some(&row));
            batch.delete(&tables::REGISTRATION_TOKENS, &key);
            self.token_deed(Action::RemoveRegistrationToken, by).write(&mut batch, authority);
            match self.commit(batch).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }

    /// What is written of a token that is so from now on.
    fn token_put(&self, row: &RegistrationTokenRow, by: &Actor) -> Deed {
        let uses = row.uses_allowed.map_or_else(|| "any".to_owned(), |uses| uses.to_string());
        let expires = row.expires_ms.map_or_else(|| "never".to_owned(), |at| written(Timestamp(at)));
        self.token_deed(Action::PutRegistrationToken, by)
            .after("uses_allowed", uses)
            .after("expires", expires)
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

/// Refuses a word that can be no token.
fn check_word(token: &str) -> Result<(), Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '~' | '-');
    if token.is_empty() || token.len() > LONGEST_TOKEN || !token.chars().all(allowed) {
        return Err(Error::InvalidParam("a token has 1 to 64 of A-Z a-z 0-9 . _ ~ -".to_owned()));
    }
    Ok(())
}

fn told(token: String, row: RegistrationTokenRow) -> RegistrationToken {
    RegistrationToken {
        token,
        uses_allowed: row.uses_allowed,
        used: row.used,
        expires: row.expires_ms.map(Timestamp),
    }
}
