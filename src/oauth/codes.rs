//! Codes: what a user has agreed to, until the client trades it for tokens.

use account::{Browser, NewGrant, ProviderLogin, SessionTokens};
use base::{Address, Attempts};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ruma::{ServerName, UserId};
use sha2::{Digest, Sha256};
use store::Batch;
use subtle::ConstantTimeEq;

use crate::{
    Authorization, Code, Error, OAuth, Scope,
    kinds::Passing,
    tables::{CODES, CodeRow, Hash},
};

/// Letters of a code.
const CODE_CHARS: usize = 40;

/// What a client shows to get tokens for a code.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// Its id.
    pub client: &'a str,
    /// The code.
    pub code: &'a str,
    /// Where the code was sent.
    pub redirect_uri: &'a str,
    /// The secret whose hash came with the request.
    pub verifier: &'a str,
    /// Where it asks from.
    pub from: Option<Address>,
    /// How its program calls itself.
    pub agent: Option<&'a str>,
}

/// What a client gets.
#[derive(Debug)]
pub struct Granted {
    /// Its tokens.
    pub tokens: SessionTokens,
    /// For what they are good; nothing where it is what it was.
    pub scope: Option<String>,
}

/// What a user agreed to.
#[derive(Clone, Copy)]
pub(crate) struct Agreed<'a> {
    /// Who.
    pub(crate) user: &'a str,
    /// The client that gets a session.
    pub(crate) client: &'a str,
    /// For what.
    pub(crate) scope: &'a str,
    /// The account as it was.
    pub(crate) stamp: &'a [u8; 32],
    /// The login at a provider, if it was in one.
    pub(crate) login: Option<&'a ProviderLogin>,
}

pub(crate) fn hash(secret: &str) -> Hash {
    Sha256::digest(secret.as_bytes()).into()
}

impl OAuth {
    /// Whoever is signed in in a browser agrees to what a client asked for. The code that is to be brought to the client.
    ///
    /// # Errors
    /// [`account::Error::Limited`] for many of one user, [`account::Error::TooManyDevices`], [`Error::Full`], [`Error::Store`].
    pub async fn agree(&self, request: &Authorization, browser: &Browser) -> Result<String, Error> {
        let (user, stamp) = (&*browser.user_id, browser.stamp);
        self.count_agreement(user)?;
        self.check_device(user, &request.scope).await?;
        let scope = request.scope.granted_by(self.is_administrator(user).await?);
        let mut attempts = Attempts::default();
        loop {
            let code = format!("yoc_{}", self.inner.random.token(CODE_CHARS));
            let (hash, made_ms) = (hash(&code), self.now_ms());
            let row = CodeRow {
                authority: user.server_name().to_string(),
                client: request.client.id.clone(),
                redirect_uri: request.answer.redirect_uri.clone(),
                scope: scope.clone(),
                challenge: request.challenge.clone(),
                user: user.to_string(),
                stamp,
                made_ms,
                spent: None,
                login: browser.login.clone(),
            };
            let mut batch = Batch::new();
            self.put_passing(&mut batch, user.server_name().as_str(), Passing::Code, made_ms, hash).await?;
            batch.insert(&CODES, &hash, &row);
            match self.commit(batch).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done.map(|()| code),
            }
        }
    }

    /// Trades a code for tokens. It is worth something once: who shows it again ends the session that it gave.
    ///
    /// # Errors
    /// [`Code::InvalidGrant`], [`Code::InvalidRequest`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#authorisation-code-flow>
    pub async fn redeem(&self, authority: &ServerName, shown: Exchange<'_>) -> Result<Granted, Error> {
        let invalid = || Error::refused(Code::InvalidGrant, "the code is not, or no more, good for anything");
        let may_stand = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if !(43..=128).contains(&shown.verifier.len()) || !shown.verifier.bytes().all(may_stand) {
            let text = "code_verifier has to be 43 to 128 of A-Z a-z 0-9 - . _ ~";
            return Err(Error::refused(Code::InvalidRequest, text));
        }
        let key = hash(shown.code);
        let mut attempts = Attempts::default();
        loop {
            let row = self.inner.store.get(&CODES, &key).await?.ok_or_else(invalid)?;
            if row.authority != authority.as_str() || row.client != shown.client {
                return Err(invalid());
            }
            if let Some(grant) = &row.spent {
                self.inner.accounts.end_grant(grant, "code_reused", shown.from).await?;
                return Err(invalid());
            }
            if self.is_over(row.made_ms, Passing::Code.lifetime()) {
                return Err(invalid());
            }
            if row.redirect_uri != shown.redirect_uri {
                let text = "redirect_uri is not the one that the code was sent to";
                return Err(Error::refused(Code::InvalidGrant, text));
            }
            let hashed = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(shown.verifier.as_bytes()));
            if !bool::from(hashed.as_bytes().ct_eq(row.challenge.as_bytes())) {
                return Err(Error::refused(Code::InvalidGrant, "code_verifier is not that of the request"));
            }
            let mut batch = Batch::new();
            let agreed = Agreed {
                user: &row.user,
                client: &row.client,
                scope: &row.scope,
                stamp: &row.stamp,
                login: row.login.as_ref(),
            };
            let put = self.put_grant(&mut batch, authority, agreed, shown.from, shown.agent).await?;
            batch.replace(&CODES, &key, &row, &CodeRow { spent: Some(put.grant), ..row.clone() });
            self.put_spent(&mut batch, &row.authority, row.made_ms, key).await?;
            match self.commit(batch).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                Err(error) => return Err(error),
                Ok(()) => {
                    let tokens = self.inner.accounts.granted(put);
                    return Ok(Granted { tokens, scope: Some(row.scope) });
                }
            }
        }
    }

    /// Whether a session may be given on the device of a scope. A device with which its user has signed in by another way is
    /// not taken over: its keys, and what it was sent, are not the client's.
    ///
    /// # Errors
    /// [`Code::InvalidScope`], [`account::Error::TooManyDevices`], [`Error::Store`].
    pub(crate) async fn check_device(&self, user: &UserId, scope: &Scope) -> Result<(), Error> {
        let accounts = &self.inner.accounts;
        if !accounts.may_be_granted(user, &scope.device_id).await? {
            let text = "the device of the scope is signed in in another way; ask for one with another id";
            return Err(Error::refused(Code::InvalidScope, text));
        }
        Ok(accounts.check_room_for_device(user, &scope.device_id).await?)
    }

    pub(crate) async fn is_administrator(&self, user: &UserId) -> Result<bool, Error> {
        Ok(self.inner.accounts.find_user(user).await?.is_some_and(|user| user.admin))
    }

    /// Adds to a batch the session that a user gives to a client.
    pub(crate) async fn put_grant(
        &self,
        batch: &mut Batch,
        authority: &ServerName,
        Agreed { user, client, scope, stamp, login }: Agreed<'_>,
        from: Option<Address>,
        agent: Option<&str>,
    ) -> Result<account::PutGrant, Error> {
        let invalid = |text| Error::refused(Code::InvalidGrant, text);
        let user = <&UserId>::try_from(user).map_err(|_| invalid("there is no such user"))?;
        let scope = Scope::parse(scope)?;
        let client = self.client(authority, client).await?;
        let new = NewGrant {
            user,
            device: &scope.device_id,
            client: &client.id,
            client_name: client.client.client_name.as_deref(),
            client_uri: &client.client.client_uri,
            administers: scope.administers,
            login,
            from,
            agent,
        };
        let put = match self.inner.accounts.put_grant(batch, &new).await {
            Err(account::Error::Deactivated(_) | account::Error::Locked | account::Error::NotFound(_)) => {
                return Err(invalid("the account is closed or locked"));
            }
            Err(account::Error::EndedAtProvider) => {
                return Err(invalid("the sign-in was ended at the identity provider"));
            }
            Err(account::Error::Forbidden(text)) => return Err(invalid(text)),
            // The user was told on the page where he agreed, unless it has become so since.
            Err(account::Error::FactorNeeded { .. } | account::Error::FactorElsewhere) => {
                return Err(invalid("the account needs a second factor"));
            }
            Err(account::Error::TooManyDevices { .. }) => {
                return Err(invalid("the user is signed in on as many devices as he may be"));
            }
            put => put?,
        };
        // After the rows that the batch demands were read: what is so now was so then.
        match self.inner.accounts.stamp(user).await {
            Ok(now) if now == *stamp => Ok(put),
            Ok(_) | Err(account::Error::NotFound(_)) => {
                Err(invalid("the account has changed since its user agreed"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Trades a refresh token for new tokens.
    ///
    /// # Errors
    /// [`Code::InvalidGrant`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#token-refresh-flow>
    pub async fn refresh(
        &self,
        authority: &ServerName,
        client: &str,
        token: &str,
        from: Option<Address>,
    ) -> Result<Granted, Error> {
        match self.inner.accounts.refresh_grant(authority, client, token, from).await {
            Ok(tokens) => Ok(Granted { tokens, scope: None }),
            Err(account::Error::UnknownToken { .. }) => {
                let text = "the refresh token is not, or no more, good for anything";
                Err(Error::refused(Code::InvalidGrant, text))
            }
            // Also that the account is locked: its client keeps the session, which goes on once it is no more.
            Err(error) => Err(error.into()),
        }
    }

    /// Ends the session of an access or refresh token, whoever shows it. An unknown one is as good as ended.
    ///
    /// # Errors
    /// [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#token-revocation>
    pub async fn revoke(
        &self,
        authority: &ServerName,
        token: &str,
        from: Option<Address>,
    ) -> Result<(), Error> {
        self.inner.accounts.revoke_token(authority, token, from).await?;
        Ok(())
    }
}
