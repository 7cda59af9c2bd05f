//! Who makes a request, as its endpoint's authentication scheme tells.

use std::{error::Error as StdError, future::Future, sync::Arc};

use account::{Accounts, Session};
use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, header::AUTHORIZATION, request::Parts};
use ruma::{
    OwnedDeviceId, OwnedServerName, OwnedUserId, ServerName, UserId,
    api::{
        auth_scheme::{
            AccessToken, AccessTokenOptional, AppserviceToken, AppserviceTokenOptional, AuthScheme,
            NoAccessToken, NoAuthentication,
        },
        federation::authentication::ServerSignatures,
    },
};

use crate::{ApiError, Face, Kit};

/// A user of ours who has shown an access token of the authority that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user.
    pub user_id: OwnedUserId,
    /// The device that the token belongs to.
    pub device_id: OwnedDeviceId,
    /// Whether the user may use the administrative interfaces.
    pub is_admin: bool,
}

impl User {
    /// Refuses unless the caller is this user.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN`.
    pub fn must_be(&self, user_id: &UserId) -> Result<(), ApiError> {
        if self.user_id == user_id {
            return Ok(());
        }
        Err(ApiError::forbidden("You can only do this for your own account"))
    }
}

/// Anybody: the endpoint asks for no proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open;

/// Another server that has signed its request to one of our authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The server that asks.
    pub server: OwnedServerName,
    /// Our authority that is asked.
    pub destination: OwnedServerName,
}

/// Who an access token stands for.
#[async_trait]
pub trait TokenCheck: Send + Sync {
    /// The user and device that hold this access token at this authority.
    async fn authenticate(&self, token: &str, authority: &ServerName) -> Result<User, TokenError>;
}

/// Why an access token was not taken.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// There is none.
    #[error("no access token")]
    Missing,
    /// It is not known, or has run out.
    #[error("unknown access token")]
    Unknown {
        /// Whether the device still exists, so that the client may log in again and keep its keys.
        soft_logout: bool,
    },
    /// The account is locked.
    #[error("the account is locked")]
    Locked,
    /// It could not be looked up.
    #[error("the access token could not be checked: {0}")]
    Failed(Box<dyn StdError + Send + Sync>),
}

#[async_trait]
impl TokenCheck for Accounts {
    async fn authenticate(&self, token: &str, authority: &ServerName) -> Result<User, TokenError> {
        match Accounts::authenticate(self, authority, token).await {
            Ok(Session { user_id, device_id, admin, .. }) => Ok(User { user_id, device_id, is_admin: admin }),
            Err(account::Error::UnknownToken { soft_logout }) => Err(TokenError::Unknown { soft_logout }),
            // The account went, and its tokens with it.
            Err(account::Error::Deactivated(_)) => Err(TokenError::Unknown { soft_logout: false }),
            Err(error) => Err(TokenError::Failed(Box::new(error))),
        }
    }
}

/// Whether a server's signature on its request holds.
#[async_trait]
pub trait SignatureCheck: Send + Sync {
    /// Checks the `X-Matrix` signature of a request. Keys that are not at hand are fetched.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/server-server-api/#request-authentication>
    async fn check(&self, request: SignedRequest<'_>) -> Result<Origin, SignatureError>;
}

/// What a server signs of its request.
#[derive(Clone, Debug)]
pub struct SignedRequest<'a> {
    /// The method.
    pub method: &'a Method,
    /// Path and query exactly as sent.
    pub uri: &'a str,
    /// Every `Authorization` header, in order.
    pub authorization: Vec<&'a str>,
    /// The body as sent; empty when there is none.
    pub body: &'a Bytes,
    /// Whom the host names: the destination when the signature names none.
    pub face: &'a Face,
}

/// Why a server's request was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// It carries no signature.
    #[error("no X-Matrix authorization")]
    Missing,
    /// Its authorization header cannot be read.
    #[error("malformed X-Matrix authorization: {0}")]
    Malformed(String),
    /// It is meant for a server that we are not.
    #[error("the destination is not one of ours")]
    WrongDestination,
    /// The body is no JSON, or none that can be signed.
    #[error("the body cannot be signed JSON: {0}")]
    BadBody(String),
    /// The signature does not hold, or no key for it can be had.
    #[error("the signature does not hold: {0}")]
    Unverified(String),
    /// We do not talk with this server.
    #[error("{0} is not accepted here")]
    Denied(OwnedServerName),
}

/// For a process that does not federate: no server's request is taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSignatures;

#[async_trait]
impl SignatureCheck for NoSignatures {
    async fn check(&self, _request: SignedRequest<'_>) -> Result<Origin, SignatureError> {
        Err(SignatureError::Unverified("this server does not federate".to_owned()))
    }
}

/// A kind of caller: how it proves itself.
pub trait Identify: Sized + Send + 'static {
    /// Whether the proof covers the body, so that the body is read first.
    const NEEDS_BODY: bool = false;

    /// Finds out who makes the request. `body` is empty unless [`Identify::NEEDS_BODY`].
    fn identify(
        kit: &Arc<Kit>,
        parts: &Parts,
        body: &Bytes,
        face: &Face,
    ) -> impl Future<Output = Result<Self, ApiError>> + Send;
}

/// This kind of caller fits an endpoint with the authentication scheme `A`.
///
/// ```compile_fail
/// fn fits<C: web::Caller<A>, A: ruma::api::auth_scheme::AuthScheme>() {}
/// // An endpoint without authentication has no user to ask for.
/// fits::<web::User, ruma::api::auth_scheme::NoAuthentication>();
/// ```
#[diagnostic::on_unimplemented(
    message = "an endpoint with `{A}` cannot have the caller `{Self}`",
    note = "AccessToken: User; AccessTokenOptional: Option<User>; ServerSignatures: Origin; none: Open"
)]
pub trait Caller<A: AuthScheme>: Identify {}

impl Caller<AccessToken> for User {}
impl Caller<AccessTokenOptional> for Option<User> {}
impl Caller<AppserviceTokenOptional> for Open {}
impl Caller<NoAccessToken> for Open {}
impl Caller<NoAuthentication> for Open {}
impl Caller<AppserviceToken> for User {}
impl Caller<ServerSignatures> for Origin {}

impl Identify for Open {
    async fn identify(_: &Arc<Kit>, _: &Parts, _: &Bytes, _: &Face) -> Result<Open, ApiError> {
        Ok(Open)
    }
}

impl Identify for User {
    async fn identify(kit: &Arc<Kit>, parts: &Parts, body: &Bytes, face: &Face) -> Result<User, ApiError> {
        let user = Option::<User>::identify(kit, parts, body, face).await?;
        user.ok_or_else(|| ApiError::from(TokenError::Missing))
    }
}

impl Identify for Option<User> {
    async fn identify(
        kit: &Arc<Kit>,
        parts: &Parts,
        _: &Bytes,
        face: &Face,
    ) -> Result<Option<User>, ApiError> {
        match find_token(parts) {
            Some(token) => Ok(Some(kit.tokens.authenticate(&token, face.server_name()).await?)),
            None => Ok(None),
        }
    }
}

impl Identify for Origin {
    const NEEDS_BODY: bool = true;

    async fn identify(kit: &Arc<Kit>, parts: &Parts, body: &Bytes, face: &Face) -> Result<Origin, ApiError> {
        let authorization = parts.headers.get_all(AUTHORIZATION).iter();
        let request = SignedRequest {
            method: &parts.method,
            uri: parts.uri.path_and_query().map_or("/", |uri| uri.as_str()),
            authorization: authorization.filter_map(|value| value.to_str().ok()).collect(),
            body,
            face,
        };
        Ok(kit.signatures.check(request).await?)
    }
}

/// The access token of a request: from its header, else from its query.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#using-access-tokens>
fn find_token(parts: &Parts) -> Option<String> {
    let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = header.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
    });
    let from_query = || {
        #[derive(serde::Deserialize)]
        struct Query {
            access_token: Option<String>,
        }
        let query = parts.uri.query().filter(|query| query.contains("access_token="))?;
        ruma::exports::serde_html_form::from_str::<Query>(query).ok()?.access_token
    };
    bearer.or_else(from_query).filter(|token| !token.is_empty())
}
