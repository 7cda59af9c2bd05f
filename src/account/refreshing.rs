//! Refreshing: a refresh token is traded for a new pair of tokens.
//!
//! The old pair works until the new one is used, so that a client which lost the answer asks again. It is told the
//! *same* pair then: two requests with one token, be it that a proxy repeats one or that two programs share a session,
//! would else have the second one's answer end what the first one's told, and its client would look like a thief. Tokens
//! are not kept, so a pair follows from the old token and a number that is ([`NewPair::traded`]). Once the new pair is used
//! the old token is worth nothing.
//!
//! With OAuth 2.0 an old token that comes back ends what was granted, as the specification asks. A log-in of the older kind is
//! shared by several programs (an app, and its part that shows notifications), one of which may come late with what another
//! has used up. Nothing asks for its end then: who comes late is refused with `soft_logout`, keeps the device and its keys,
//! and the session goes on with those who have the newer pair. The log tells of it.

use base::Attempts;
use ruma::{ServerName, UserId};
use store::{Batch, Topic};
use tracing::info;

use crate::{
    Accounts, Error, SessionTokens,
    sessions::{delete_pair, parse_user},
    tables::{self, LogInNameRow, RefreshRow, Replaced, Seed, TokenHash, TokenKindRow, TradedRow, millis},
    tokens::{self, NewPair, RefreshKind},
};

impl Accounts {
    /// Trades a refresh token for a new pair. The old pair works until the new one is used, so a
    /// client that lost the answer can ask again; it is told the same pair. Once the new one was used the old token gets
    /// nothing, and ends nothing.
    ///
    /// # Errors
    /// [`Error::UnknownToken`], with `soft_logout` if it was a token of a session that goes on; [`Error::Locked`],
    /// [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3refresh>
    pub async fn refresh(&self, authority: &ServerName, token: &str) -> Result<SessionTokens, Error> {
        // What was granted to a client is renewed by that client alone.
        if tokens::grant_of(token).is_some() {
            return Err(Error::UnknownToken { soft_logout: false });
        }
        let (hash, name) = (tokens::hash(token), tokens::login_of(token));
        let mut attempts = Attempts::default();
        loop {
            let Some(row) = self.inner.store.get(&tables::REFRESH, &hash).await? else {
                let was_ours = tokens::was_given_out(token, &self.inner.token_key);
                let soft_logout = was_ours && self.goes_on(authority, &name).await?;
                return Err(Error::UnknownToken { soft_logout });
            };
            let user = parse_user(&row.user)?;
            if user.server_name() != authority {
                return Err(Error::UnknownToken { soft_logout: false });
            }
            if self.kept_from(&user).await?.locked {
                return Err(Error::Locked);
            }
            match self.trade(authority, token, &row, RefreshKind::Login(&name)).await {
                // Somebody else traded or ended it: look again.
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }

    /// Adds to a batch the tokens of somebody who logs in; with `refresh` they can be refreshed.
    pub(crate) fn put_log_in(
        &self,
        batch: &mut Batch,
        user: &UserId,
        device: &str,
        refresh: bool,
    ) -> SessionTokens {
        let name = refresh.then(|| tokens::new_name(&self.inner.random));
        if let Some(name) = &name {
            put_name(batch, user.as_str(), device, name);
        }
        let pair =
            NewPair::new(&self.inner.random, &self.inner.token_key, name.as_deref().map(RefreshKind::Login));
        self.put_tokens(batch, user.server_name(), user.as_str(), device, pair, None)
    }

    /// Whether there is still a session of the log-in of this name at this authority.
    async fn goes_on(&self, authority: &ServerName, name: &str) -> Result<bool, Error> {
        let Some(row) = self.inner.store.get(&tables::LOG_IN_NAMES, &tokens::hash(name)).await? else {
            return Ok(false);
        };
        let is_here = parse_user(&row.user)?.server_name() == authority;
        if is_here {
            info!(user_id = %row.user, device_id = %row.device, "a refresh token was shown that is used up");
        }
        Ok(is_here)
    }

    /// Trades a refresh token of which `row` is kept.
    ///
    /// # Errors
    /// [`Error::Contended`] when somebody else traded or ended it meanwhile, [`Error::Store`].
    pub(crate) async fn trade(
        &self,
        authority: &ServerName,
        token: &str,
        row: &RefreshRow,
        kind: RefreshKind<'_>,
    ) -> Result<SessionTokens, Error> {
        if let Some(told) = self.tell_again(authority, token, row, kind).await? {
            return Ok(told);
        }
        let hash = tokens::hash(token);
        let (user, device) = (row.user.as_str(), row.device.as_str());
        let mut batch = Batch::new();
        let mut ended = Vec::new();
        if let Some(older) = row.replaces {
            // This pair is in use now: the one before it ends.
            delete_pair(&mut batch, user, device, older);
            ended.push(older.access);
        }
        if let Some(TradedRow { access, refresh, .. }) = row.traded_for {
            // Of before pairs could be told again.
            delete_pair(&mut batch, user, device, Replaced { access, refresh });
            ended.push(access);
        }
        let mut seed = [0; 32];
        self.inner.random.fill(&mut seed);
        let pair = NewPair::traded(token, &seed, 0, kind, &self.inner.token_key);
        let traded = traded(&pair, seed, 0);
        if let RefreshKind::Login(name) = kind {
            // Of before log-ins had names, or as it is.
            put_name(&mut batch, user, device, name);
        }
        let replaces = Replaced { access: row.access, refresh: hash };
        let tokens = self.put_tokens(&mut batch, authority, user, device, pair, Some(replaces));
        let kept = RefreshRow { replaces: None, traded_for: Some(traded), ..row.clone() };
        batch.replace(&tables::REFRESH, &hash, row, &kept);
        batch.touch([Topic::device(user, device)]);
        self.commit(batch).await?;
        self.forget_tokens(&ended);
        Ok(tokens)
    }

    /// The pair that a token was traded for, as long as that is unused. An access token of which not half the life is left
    /// gives way to a new one; the refresh token stays, since somebody may have it who has not come to use it.
    async fn tell_again(
        &self,
        authority: &ServerName,
        token: &str,
        row: &RefreshRow,
        kind: RefreshKind<'_>,
    ) -> Result<Option<SessionTokens>, Error> {
        let Some(TradedRow { access, refresh, seed: Some(seed), round }) = row.traded_for else {
            return Ok(None);
        };
        let store = &self.inner.store;
        let lifetime = self.settings(authority).access_token_lifetime;
        let now = self.now_ms();
        let known = store.get(&tables::ACCESS, &access).await?.and_then(|known| known.expires_ms);
        // No more than the whole life: a calendar may be set back.
        let left = known.map_or(0, |expires| expires.saturating_sub(now)).min(millis(lifetime));
        if left >= millis(lifetime) / 2 {
            let NewPair { access, refresh } =
                NewPair::traded(token, &seed, round, kind, &self.inner.token_key);
            let expires_in = Some(std::time::Duration::from_millis(left));
            return Ok(Some(SessionTokens { access, refresh, expires_in }));
        }
        let Some(newer) = store.get(&tables::REFRESH, &refresh).await? else { return Ok(None) };
        let hash = tokens::hash(token);
        let (user, device) = (row.user.as_str(), row.device.as_str());
        let round = round.wrapping_add(1);
        let pair = NewPair::traded(token, &seed, round, kind, &self.inner.token_key);
        let replaces = Replaced { access: row.access, refresh: hash };
        let mut batch = Batch::new();
        batch.delete(&tables::ACCESS, &access);
        batch.delete(&tables::TOKENS_OF, &(user, device, access));
        let given = self.put_access(&mut batch, (user, device), &pair.access, Some(lifetime), Some(replaces));
        let newer_now = RefreshRow { access: given, ..newer.clone() };
        batch.replace(&tables::REFRESH, &refresh, &newer, &newer_now);
        let kept = RefreshRow { traded_for: Some(traded(&pair, seed, round)), ..row.clone() };
        batch.replace(&tables::REFRESH, &hash, row, &kept);
        batch.touch([Topic::device(user, device)]);
        self.commit(batch).await?;
        self.forget_tokens(&[access]);
        Ok(Some(SessionTokens { access: pair.access, refresh: pair.refresh, expires_in: Some(lifetime) }))
    }
}

fn put_name(batch: &mut Batch, user: &str, device: &str, name: &str) {
    let hash = tokens::hash(name);
    let row = LogInNameRow { user: user.to_owned(), device: device.to_owned() };
    batch.put(&tables::LOG_IN_NAMES, &hash, &row);
    batch.put(&tables::TOKENS_OF, &(user, device, hash), &TokenKindRow::LogIn);
}

fn traded(pair: &NewPair, seed: Seed, round: u32) -> TradedRow {
    let refresh: TokenHash = pair.refresh.as_deref().map_or([0; 32], tokens::hash);
    TradedRow { access: tokens::hash(&pair.access), refresh, seed: Some(seed), round }
}
