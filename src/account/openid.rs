//! OpenID tokens: a short-lived proof of who a user is, for third parties.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#openid>

use std::time::Duration;

use ruma::{OwnedUserId, ServerName, UserId};
use store::{Batch, Range};

use crate::{
    Accounts, Error,
    sessions::parse_user,
    tables::{self, OpenIdRow, millis},
    tokens,
};

/// How long an OpenID token is good.
const LIFETIME: Duration = Duration::from_secs(60 * 60);
/// How often those that are over are removed, and how many in one batch.
const SWEPT_EVERY: Duration = Duration::from_secs(15 * 60);
const SWEPT_AT_ONCE: usize = 1_000;

/// A token that a user may hand to a third party.
#[derive(Clone, Debug)]
pub struct OpenIdToken {
    /// The token.
    pub token: String,
    /// How long it is good.
    pub expires_in: Duration,
}

impl Accounts {
    /// Makes an OpenID token for a user.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn request_openid_token(&self, user: &UserId) -> Result<OpenIdToken, Error> {
        let token = tokens::new_token(&self.inner.random, "yot");
        let row =
            OpenIdRow { user: user.to_string(), expires_ms: self.now_ms().saturating_add(millis(LIFETIME)) };
        let mut batch = Batch::new();
        batch.put(&tables::OPENID, &tokens::hash(&token), &row);
        self.commit(batch).await?;
        Ok(OpenIdToken { token, expires_in: LIFETIME })
    }

    /// Whose OpenID token this is, if it is a good one of this authority.
    ///
    /// # Errors
    /// [`Error::UnknownToken`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1openiduserinfo>
    pub async fn openid_user(&self, authority: &ServerName, token: &str) -> Result<OwnedUserId, Error> {
        let unknown = || Error::UnknownToken { soft_logout: false };
        let hash = tokens::hash(token);
        let row = self.inner.store.get(&tables::OPENID, &hash).await?.ok_or_else(unknown)?;
        let user = parse_user(&row.user)?;
        if row.expires_ms <= self.now_ms() {
            let mut batch = Batch::new();
            batch.delete(&tables::OPENID, &hash);
            self.commit(batch).await?;
            return Err(unknown());
        }
        // Given out before the account was closed or locked, it proves nothing any more.
        let is_closed = self.find_user_row(&user).await?.is_some_and(|row| row.deactivated)
            || self.kept_from(&user).await?.locked;
        if !is_closed && user.server_name() == authority { Ok(user) } else { Err(unknown()) }
    }

    /// Starts the task that removes tokens whose time is over, these and those that let somebody in.
    pub(crate) fn start_sweeping_tokens(&self) {
        let accounts = self.clone();
        let stopping = self.inner.tasks.shutdown_token();
        self.inner.tasks.spawn("account.tokens", async move {
            loop {
                if let Err(error) = accounts.sweep_openid().await {
                    tracing::warn!(error = %error, "could not remove old OpenID tokens");
                }
                if let Err(error) = accounts.sweep_login_tokens().await {
                    tracing::warn!(error = %error, "could not remove old login tokens");
                }
                if let Err(error) = accounts.sweep_provider_sign_outs().await {
                    tracing::warn!(error = %error, "could not forget old sign-outs at identity providers");
                }
                if let Err(error) = accounts.sweep_closed().await {
                    tracing::warn!(error = %error, "could not forget what closed accounts are opened again with");
                }
                if let Err(error) = accounts.sweep_recoveries().await {
                    tracing::warn!(error = %error, "could not forget recoveries that nobody agreed to");
                }
                if let Err(error) = accounts.sweep_validations().await {
                    tracing::warn!(error = %error, "could not remove old sessions of addresses");
                }
                tokio::select! {
                    () = accounts.inner.clock.sleep(SWEPT_EVERY) => {}
                    () = stopping.cancelled() => return,
                }
            }
        });
    }

    /// Removes the tokens whose time is over; returns how many.
    pub(crate) async fn sweep_openid(&self) -> Result<usize, Error> {
        let now = self.now_ms();
        let all = Range::all();
        let rows = self.inner.store.scan(&tables::OPENID, all, store::Order::Ascending, usize::MAX).await?;
        let over: Vec<_> =
            rows.into_iter().filter(|(_, row)| row.expires_ms <= now).map(|(hash, _)| hash).collect();
        for some in over.chunks(SWEPT_AT_ONCE) {
            let mut batch = Batch::new();
            for hash in some {
                batch.delete(&tables::OPENID, hash);
            }
            self.commit(batch).await?;
        }
        Ok(over.len())
    }
}
