//! Grants: sessions that a user gave to a client by OAuth 2.0, without showing it a password.
//!
//! A granted session is one of a device like any other, with an access and a refresh token. Besides, there is a row
//! that says which client it was given to. A refresh token of a grant carries the grant's name, so that
//! one that was replaced long ago is still known to be of it: who shows such a one is a thief, or the
//! one who was robbed, and the session ends. The name is as secret as the token, and kept as a hash.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#oauth-20-api>

use audit::{Action, Actor};
use base::{Address, Attempts};
use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, ServerName, UserId};
use store::{Batch, Order, Range, Store, Topic};

use crate::{
    Accounts, Error, ProviderLogin, SessionTokens,
    devices::check_device_id,
    login::signed_in,
    provider_tables::SessionName,
    sessions::parse_user,
    tables::{self, GrantRow, TokenHash, TokenKindRow},
    tokens::{self, NewPair, RefreshKind},
    users::refuse_closed,
};

/// What a user grants, and to whom.
#[derive(Clone, Debug)]
pub struct NewGrant<'a> {
    /// Who grants it.
    pub user: &'a UserId,
    /// The device that the session is of; what it had of sessions ends.
    pub device: &'a DeviceId,
    /// The client's id.
    pub client: &'a str,
    /// What the client calls itself: the device's name if it is new.
    pub client_name: Option<&'a str>,
    /// The page that tells of the client.
    pub client_uri: &'a str,
    /// Whether the session administers its user's authority, where he does.
    pub administers: bool,
    /// The login at a provider in which the user has agreed, if it was in one.
    pub login: Option<&'a ProviderLogin>,
    /// Where the client is that asks for the tokens.
    pub from: Option<Address>,
    /// How its program calls itself.
    pub agent: Option<&'a str>,
}

/// A grant in a batch, worth something once that is committed.
#[must_use = "tokens that ended are forgotten with `Accounts::granted`"]
pub struct PutGrant {
    /// Its tokens.
    pub tokens: SessionTokens,
    /// By which it is found again, to be ended.
    pub grant: GrantId,
    ended: Vec<TokenHash>,
}

impl std::fmt::Debug for PutGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PutGrant").finish_non_exhaustive()
    }
}

/// Names a grant; it proves nothing.
pub type GrantId = [u8; 32];

/// A grant that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The device.
    pub device_id: OwnedDeviceId,
    /// The client's id.
    pub client: String,
    /// What the client called itself.
    pub client_name: Option<String>,
    /// The page that tells of the client.
    pub client_uri: String,
}

impl Accounts {
    /// Adds to a batch a session that a user grants to a client, with its row of the audit log. The batch fails
    /// when the account or the device changes meanwhile.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Deactivated`], [`Error::Locked`], [`Error::EndedAtProvider`], a refusal of the policy,
    /// [`Error::FactorNeeded`], [`Error::FactorElsewhere`], [`Error::TooManyDevices`], [`Error::InvalidParam`], [`Error::Store`].
    pub async fn put_grant(&self, batch: &mut Batch, new: &NewGrant<'_>) -> Result<PutGrant, Error> {
        let (user, device) = (new.user, new.device);
        check_device_id(device)?;
        let row = self.get_user_row(user).await?;
        refuse_closed(user, Some(&row))?;
        if self.kept_from(user).await?.locked {
            return Err(Error::Locked);
        }
        self.inner.rooms.policy().sign_in(user, new.from).map_err(room::Error::from)?;
        if !self.may_be_granted(user, device).await? {
            return Err(Error::Forbidden("the device is signed in in another way"));
        }
        let (user_key, device_key) = (user.as_str(), device.as_str());
        batch.require(&tables::USERS, user_key, Some(&row));
        // By what this demands of the batch a recovery that comes first is noticed: what was agreed to before it is worth nothing.
        self.refuse_without_factor(batch, (user, &row), new.login, new.from).await?;
        batch.add(&tables::LOG_INS, user_key, 1);
        let ended = self.end_tokens(batch, user, |other| other == device_key).await?;
        if let Some(login) = new.login {
            self.put_provider_login(batch, user, SessionName::Device(device_key), login).await?;
        }
        let name = new.client_name.map(str::to_owned);
        let known = self.put_device(batch, user, device, name, None).await?;
        let grant = tokens::new_name(&self.inner.random);
        let kind = RefreshKind::Grant(&grant);
        let issued = self.put_tokens(
            batch,
            user.server_name(),
            user_key,
            device_key,
            NewPair::new(&self.inner.random, &self.inner.token_key, Some(kind)),
            None,
        );
        let hash = tokens::hash(&grant);
        let kept = GrantRow {
            user: user_key.to_owned(),
            device: device_key.to_owned(),
            client: new.client.to_owned(),
            client_name: new.client_name.map(str::to_owned),
            client_uri: new.client_uri.to_owned(),
            administers: new.administers && row.admin,
        };
        batch.put(&tables::GRANTS, &hash, &kept);
        batch.put(&tables::GRANTS_OF, &(user.server_name().as_str(), new.client, hash), &());
        batch.put(&tables::TOKENS_OF, &(user_key, device_key, hash), &TokenKindRow::Grant);
        batch.touch([Topic::device(user_key, device_key)]);
        let by = Actor::user(user, row.admin, new.from);
        let deed = self.deed(Action::SignIn, &by, user);
        signed_in(deed, device, &known, new.agent)
            .after("session", "oauth")
            .after("client", new.client_uri)
            .write(batch, user.server_name());
        Ok(PutGrant { tokens: issued, grant: hash, ended })
    }

    /// Whether a session on this device may be granted: one that is new, or whose session was granted as well. What somebody
    /// has signed in to with a password, or keeps keys with (a dehydrated device), is not for a client to name.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn may_be_granted(&self, user: &UserId, device: &DeviceId) -> Result<bool, Error> {
        let known = self.inner.store.get(&tables::DEVICES, &(user.as_str(), device.as_str())).await?;
        Ok(known.is_none() || self.find_grant(user, device).await?.is_some())
    }

    /// Adds to a batch that grants of a user are no more.
    pub(crate) async fn put_grants_end(
        &self,
        batch: &mut Batch,
        user: &UserId,
        grants: &[GrantId],
    ) -> Result<(), Error> {
        let rows = self.inner.store.get_many(&tables::GRANTS, grants).await?;
        for (hash, row) in grants.iter().zip(rows) {
            batch.delete(&tables::GRANTS, hash);
            if let Some(row) = row {
                let of = (user.server_name().as_str(), row.client.as_str(), *hash);
                batch.delete(&tables::GRANTS_OF, &of);
            }
        }
        Ok(())
    }

    /// Whether somebody is signed in with a client.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn is_client_used(&self, authority: &str, client: &str) -> Result<bool, Error> {
        let range = Range::prefix(&(authority, client));
        Ok(!self.inner.store.scan(&tables::GRANTS_OF, range, Order::Ascending, 1).await?.is_empty())
    }

    /// A batch with a grant is committed.
    pub fn granted(&self, put: PutGrant) -> SessionTokens {
        self.forget_tokens(&put.ended);
        put.tokens
    }

    /// Trades a client's refresh token for a new pair, as [`Accounts::refresh`] does. A token of its that was
    /// replaced, and whose successor was used, ends the session.
    ///
    /// # Errors
    /// [`Error::UnknownToken`] for one that is none of this client's, [`Error::Locked`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#refresh-token-grant>
    pub async fn refresh_grant(
        &self,
        authority: &ServerName,
        client: &str,
        token: &str,
        from: Option<Address>,
    ) -> Result<SessionTokens, Error> {
        let unknown = Error::UnknownToken { soft_logout: false };
        let Some(name) = tokens::grant_of(token) else { return Err(unknown) };
        let mut attempts = Attempts::default();
        let mut was_there = false;
        loop {
            let Some(grant) = self.inner.store.get(&tables::GRANTS, &tokens::hash(name)).await? else {
                return Err(unknown);
            };
            let user = parse_user(&grant.user)?;
            if user.server_name() != authority || grant.client != client {
                return Err(unknown);
            }
            if self.kept_from(&user).await?.locked {
                return Err(Error::Locked);
            }
            let hash = tokens::hash(token);
            let Some(row) = self.inner.store.get(&tables::REFRESH, &hash).await? else {
                if was_there || !tokens::was_given_out(token, &self.inner.token_key) {
                    // Another request with it was answered, and its tokens used, while this one was under way; or it never
                    // was one of the grant's.
                    return Err(unknown);
                }
                self.end_stolen(&user, grant.device.as_str().into(), "refresh_token_reused", from).await?;
                return Err(unknown);
            };
            was_there = true;
            match self.trade(authority, token, &row, RefreshKind::Grant(name)).await {
                // Somebody else traded or ended it: look again.
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }

    /// Ends the session of an access or refresh token, whoever shows it. Whether there was such a session.
    ///
    /// # Errors
    /// [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#token-revocation>
    pub async fn revoke_token(
        &self,
        authority: &ServerName,
        token: &str,
        from: Option<Address>,
    ) -> Result<bool, Error> {
        let Some((user, device)) = self.device_of_token(token).await? else { return Ok(false) };
        if user.server_name() != authority {
            return Ok(false);
        }
        let administers = self.find_user_row(&user).await?.is_some_and(|row| row.admin);
        self.log_out(&user, &device, &Actor::user(&user, administers, from)).await?;
        Ok(true)
    }

    async fn device_of_token(&self, token: &str) -> Result<Option<(OwnedUserId, OwnedDeviceId)>, Error> {
        let hash = tokens::hash(token);
        let store = &self.inner.store;
        let (user, device) = if let Some(row) = store.get(&tables::ACCESS, &hash).await? {
            (row.user, row.device)
        } else if let Some(row) = store.get(&tables::REFRESH, &hash).await? {
            (row.user, row.device)
        } else {
            // One that was replaced names its grant still.
            if !tokens::was_given_out(token, &self.inner.token_key) {
                return Ok(None);
            }
            let Some(name) = tokens::grant_of(token) else { return Ok(None) };
            let Some(row) = store.get(&tables::GRANTS, &tokens::hash(name)).await? else { return Ok(None) };
            (row.user, row.device)
        };
        Ok(Some((parse_user(&user)?, device.into())))
    }

    /// Ends a grant, since what proved it was shown by a second one.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn end_grant(
        &self,
        grant: &GrantId,
        reason: &'static str,
        from: Option<Address>,
    ) -> Result<(), Error> {
        let Some(row) = self.inner.store.get(&tables::GRANTS, grant).await? else { return Ok(()) };
        self.end_stolen(&parse_user(&row.user)?, row.device.as_str().into(), reason, from).await
    }

    /// Ends a session of which somebody else may have what proves it.
    pub(crate) async fn end_stolen(
        &self,
        user: &UserId,
        device: &DeviceId,
        reason: &'static str,
        from: Option<Address>,
    ) -> Result<(), Error> {
        tracing::warn!(user_id = %user, device_id = %device, reason, "a session is ended");
        self.log_out(user, device, &Actor::stranger(from)).await
    }

    /// What a user has granted, by device.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn grants(&self, user: &UserId) -> Result<Vec<Grant>, Error> {
        self.grants_in(Range::prefix(user.as_str())).await
    }

    /// The grant that a device's session comes from, if it comes from one.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn find_grant(&self, user: &UserId, device: &DeviceId) -> Result<Option<Grant>, Error> {
        let found = self.grants_in(Range::prefix(&(user.as_str(), device.as_str()))).await?;
        Ok(found.into_iter().next())
    }

    /// Whether a session of an administrator has his power: one that a client was granted has it where the client asked for it.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(crate) async fn may_administer(&self, user: &str, device: &str) -> Result<bool, Error> {
        Ok(self.grant_rows(Range::prefix(&(user, device))).await?.iter().all(|row| row.administers))
    }

    async fn grants_in(&self, range: Range<(String, String, TokenHash)>) -> Result<Vec<Grant>, Error> {
        let grants = self.grant_rows(range).await?.into_iter().map(|row| Grant {
            device_id: row.device.into(),
            client: row.client,
            client_name: row.client_name,
            client_uri: row.client_uri,
        });
        Ok(grants.collect())
    }

    async fn grant_rows(&self, range: Range<(String, String, TokenHash)>) -> Result<Vec<GrantRow>, Error> {
        let store = &self.inner.store;
        let rows = store.scan(&tables::TOKENS_OF, range, Order::Ascending, usize::MAX).await?;
        let of_grants = rows.into_iter().filter(|(_, kind)| *kind == TokenKindRow::Grant);
        let hashes: Vec<TokenHash> = of_grants.map(|((_, _, hash), _)| hash).collect();
        Ok(store.get_many(&tables::GRANTS, &hashes).await?.into_iter().flatten().collect())
    }
}

/// Grants that a step of the schema reads at once.
const PAGE: usize = 500;

/// A step of the schema: grants are found by their clients.
///
/// # Errors
/// When the store cannot be read or written.
pub async fn list_grants(store: &Store) -> Result<(), store::Error> {
    let mut rest = Range::all();
    loop {
        let page = store.scan(&tables::GRANTS, rest, Order::Ascending, PAGE).await?;
        let next = page.get(PAGE - 1).map(|(last, _)| Range::all().after(last));
        let mut batch = Batch::new();
        for (hash, row) in &page {
            let Ok(user) = <&UserId>::try_from(row.user.as_str()) else { continue };
            batch.put(&tables::GRANTS_OF, &(user.server_name().as_str(), row.client.as_str(), *hash), &());
        }
        if !batch.is_empty() {
            store.commit(batch).await.map_err(store::CommitError::into_error)?;
        }
        match next {
            Some(next) => rest = next,
            None => return Ok(()),
        }
    }
}
