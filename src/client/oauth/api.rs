//! What the handlers share.

use std::{collections::BTreeSet, fmt, sync::Arc};

use account::{Accounts, Registration};
use oauth::OAuth;
use pages::{Form, PageError, Pages, Visit};
use ruma::{OwnedServerName, ServerName};
use upstream::Upstream;
use web::ApiError;

pub(crate) use crate::second_step::SIGN_IN;

/// Paths of ours: they are named in metadata, and need not be guessed.
pub(crate) const AUTHORIZE: &str = "/_yakuba/oauth2/authorize";
pub(crate) const TOKEN: &str = "/_yakuba/oauth2/token";
pub(crate) const REVOKE: &str = "/_yakuba/oauth2/revoke";
pub(crate) const REGISTER: &str = "/_yakuba/oauth2/register";
pub(crate) const DEVICE: &str = "/_yakuba/oauth2/device";
pub(crate) const LINK: &str = "/_yakuba/link";
pub(crate) const ACCOUNT: &str = "/_yakuba/account";
pub(crate) const SIGN_UP: &str = "/_yakuba/sign-up";
pub(crate) const UPSTREAM: &str = "/_yakuba/upstream";
/// Where a provider tells that somebody has signed out there.
pub const UPSTREAM_SIGN_OUT: &str = "/_yakuba/upstream/sign-out";
/// Where a browser comes back to from a provider.
pub const UPSTREAM_CALLBACK: &str = "/_yakuba/upstream/callback";

/// The state of the handlers.
pub struct OAuthApi {
    pub(crate) accounts: Accounts,
    pub(crate) oauth: OAuth,
    pub(crate) pages: Arc<Pages>,
    pub(crate) upstream: Upstream,
    offered_at: BTreeSet<OwnedServerName>,
    /// Where apps are handed login tokens, besides where there is a provider.
    pub(crate) for_apps_at: BTreeSet<OwnedServerName>,
}

impl fmt::Debug for OAuthApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthApi").finish_non_exhaustive()
    }
}

impl OAuthApi {
    /// The state of the handlers, from the parts of the process, the authorities that offer it, and those where people sign in
    /// for apps that are handed a login token.
    pub fn new(
        accounts: Accounts,
        oauth: OAuth,
        pages: Arc<Pages>,
        upstream: Upstream,
        offered_at: BTreeSet<OwnedServerName>,
        for_apps_at: BTreeSet<OwnedServerName>,
    ) -> OAuthApi {
        OAuthApi { accounts, oauth, pages, upstream, offered_at, for_apps_at }
    }

    /// The address of an authority, where it offers OAuth 2.0.
    ///
    /// # Errors
    /// 404 `M_UNRECOGNIZED`, by which clients know that it does not.
    pub(crate) fn base_url(&self, authority: &ServerName) -> Result<&str, ApiError> {
        let url = self.pages.base_url(authority);
        let url = url.filter(|url| self.offered_at.contains(authority) && url.starts_with("https://"));
        url.ok_or_else(ApiError::unrecognized)
    }

    /// Whether people may make accounts at an authority.
    pub(crate) fn lets_register(&self, authority: &ServerName) -> bool {
        self.accounts.settings(authority).registration != Registration::Closed
    }

    /// Who answers, as answers name it.
    pub(crate) fn issuer(&self, authority: &ServerName) -> Result<String, ApiError> {
        Ok(format!("{}/", self.base_url(authority)?))
    }
}

/// Where somebody signs in who is to come back to this path.
pub(crate) fn sign_in_first(visit: &Visit, back: &str, hint: Option<&str>) -> web::Response {
    let hint = hint.map(|hint| format!("&hint={}", Form::escape(hint))).unwrap_or_default();
    visit.redirect(&format!("{SIGN_IN}?back={}{hint}", Form::escape(back)))
}

/// What a page says of an error of the authorization server's.
pub(crate) fn told(error: oauth::Error) -> PageError {
    match error {
        oauth::Error::Account(cause) => cause.into(),
        other => ApiError::from(other).into(),
    }
}
