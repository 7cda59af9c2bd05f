//! Who makes a request, as its endpoint's authentication scheme tells.

use std::{future::Future, sync::Arc};

use account::{Accounts, Actor, AppService, Barred, Session};
use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, header::AUTHORIZATION, request::Parts};
use ruma::{
    DeviceId, OwnedDeviceId, OwnedServerName, OwnedUserId, ServerName, UserId,
    api::{
        auth_scheme::{
            AccessToken, AccessTokenOptional, AppserviceToken, AppserviceTokenOptional, AuthScheme,
            NoAccessToken, NoAuthentication,
        },
        federation::authentication::ServerSignatures,
    },
};

use crate::{Address, ApiError, Face, Kit, Reach};

/// A longer access token counts as none.
const LONGEST_TOKEN: usize = 4 << 10;

/// A user of ours who has shown an access token of the authority that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user.
    pub user_id: OwnedUserId,
    /// The device that the token belongs to.
    pub device_id: OwnedDeviceId,
    /// Whether the user may use the administrative interfaces.
    pub is_admin: bool,
    /// Whether the user is a guest, who may what the specification lists and nothing else.
    pub is_guest: bool,
    /// Whether the user reads only: what others would see of him is refused.
    pub is_suspended: bool,
    /// Whether the user may sign out and do nothing else.
    pub is_locked: bool,
    /// Whether the token has run out, so that it signs out and does nothing else.
    pub is_expired: bool,
    /// Why the session is not used from where it is, so that it signs out and does nothing else.
    pub barred: Option<Box<Barred>>,
    /// The application service that acts as the user. Where it does so on none of his devices, `device_id` is empty, and
    /// endpoints that are about a device are closed to it.
    pub service: Option<Arc<AppService>>,
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

impl User {
    /// The service that acts as the user.
    pub fn service(&self) -> Option<&AppService> {
        self.service.as_deref()
    }
}

/// An application service as such, at endpoints by which it gets users and sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service(pub Arc<AppService>);

/// Anybody: the endpoint asks for no proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open;

/// Whoever has the token of the administrator's commands, which the process writes for them. Nothing limits how often he
/// asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operator;

/// An identity system of an authority, which says who is there, by the token that the configuration has for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The authority.
    pub authority: OwnedServerName,
    /// What the configuration calls it.
    pub name: Arc<str>,
}

/// Whose tokens of identity systems there are.
pub trait SourceCheck: Send + Sync {
    /// Whether an authority has any identity system.
    fn has_some(&self, authority: &ServerName) -> bool;

    /// The name of the authority's identity system whose token this is. Takes the same time whatever is wrong.
    fn find(&self, authority: &ServerName, token: &str) -> Option<Arc<str>>;
}

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
    /// The user and device that hold this access token at this authority, also where it has run out or is not used from this
    /// address.
    async fn authenticate(
        &self,
        token: &str,
        authority: &ServerName,
        from: Option<Address>,
    ) -> Result<User, TokenError>;

    /// The application service whose token this is at this authority.
    fn find_service(&self, _token: &str, _authority: &ServerName) -> Option<Arc<AppService>> {
        None
    }

    /// Notes for the audit log that a user was refused what changes something and is for others, at this route.
    ///
    /// # Errors
    /// When it cannot be written.
    async fn note_refusal(&self, _: &User, _: Option<Address>, _route: &str) -> Result<(), ApiError> {
        Ok(())
    }

    /// A service as one of its users, and on one of his devices.
    async fn act_as(
        &self,
        _service: &Arc<AppService>,
        _user: Option<&UserId>,
        _device: Option<&DeviceId>,
    ) -> Result<User, TokenError> {
        Err(TokenError::Unknown { soft_logout: false })
    }
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
    Failed(account::Error),
}

#[async_trait]
impl TokenCheck for Accounts {
    async fn authenticate(
        &self,
        token: &str,
        authority: &ServerName,
        from: Option<Address>,
    ) -> Result<User, TokenError> {
        match self.find_session(authority, token, from).await {
            Ok(session) => Ok(session.into()),
            Err(account::Error::UnknownToken { soft_logout }) => Err(TokenError::Unknown { soft_logout }),
            // The account went, and its tokens with it.
            Err(account::Error::Deactivated(_)) => Err(TokenError::Unknown { soft_logout: false }),
            Err(error) => Err(TokenError::Failed(error)),
        }
    }

    fn find_service(&self, token: &str, authority: &ServerName) -> Option<Arc<AppService>> {
        Accounts::find_service(self, authority, token)
    }

    async fn note_refusal(&self, user: &User, from: Option<Address>, route: &str) -> Result<(), ApiError> {
        let by = Actor::user(&user.user_id, user.is_admin, from).on(&user.device_id);
        Ok(Accounts::note_refusal(self, &user.user_id, &by, route).await?)
    }

    async fn act_as(
        &self,
        service: &Arc<AppService>,
        user: Option<&UserId>,
        device: Option<&DeviceId>,
    ) -> Result<User, TokenError> {
        let session = Accounts::act_as(self, service, user, device).await.map_err(TokenError::Failed)?;
        Ok(session.into())
    }
}

impl From<Session> for User {
    fn from(session: Session) -> User {
        let Session { user_id, device_id, admin, guest, moderation, is_expired, service, barred, .. } =
            session;
        User {
            user_id,
            device_id,
            is_admin: admin,
            is_guest: guest,
            is_suspended: moderation.suspended,
            is_locked: moderation.locked,
            is_expired,
            barred,
            service,
        }
    }
}

/// Whether a server's signature on its request holds.
///
/// It is asked twice. The signature covers the body, but a stranger's body is not taken before its
/// head has shown that it could be good: [`SignatureCheck::look`] comes first, [`Claimed::prove`] once
/// the body is here.
#[async_trait]
pub trait SignatureCheck: Send + Sync {
    /// Reads the `X-Matrix` headers of a request: whether they are whole, for one of ours and from a
    /// server that we talk with, and whether its key can be had. A key that is not at hand is fetched.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/server-server-api/#request-authentication>
    async fn look(&self, head: SignedHead<'_>) -> Result<Box<dyn Claimed>, SignatureError>;
}

/// A server's signature that its body is still to be held against.
pub trait Claimed: Send {
    /// Who says to have signed; nothing proves it yet.
    fn origin(&self) -> &ServerName;

    /// Whether the signature holds for this body, as sent; empty when there is none.
    fn prove(self: Box<Self>, body: &Bytes) -> Result<Origin, SignatureError>;
}

/// What a server signs of its request besides the body.
#[derive(Clone, Debug)]
pub struct SignedHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// Path and query exactly as sent.
    pub uri: &'a str,
    /// Every `Authorization` header, in order.
    pub authorization: Vec<&'a str>,
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
    /// What we know of the server's keys could not be read.
    #[error("the signature could not be checked: {0}")]
    Failed(store::Error),
}

/// For a process that does not federate: no server's request is taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSignatures;

#[async_trait]
impl SignatureCheck for NoSignatures {
    async fn look(&self, _head: SignedHead<'_>) -> Result<Box<dyn Claimed>, SignatureError> {
        Err(SignatureError::Unverified("this server does not federate".to_owned()))
    }
}

/// A kind of caller: how it proves itself. What the head of a request can show is looked at before its
/// body is read.
pub trait Identify: Sized + Send + 'static {
    /// What the head has shown.
    type Shown: Send;

    /// Whether the proof is a signature of another server.
    const SIGNED: bool = false;

    /// Looks at the head of a request.
    fn look(
        kit: &Arc<Kit>,
        parts: &Parts,
        face: &Face,
        from: Option<Address>,
    ) -> impl Future<Output = Result<Self::Shown, ApiError>> + Send;

    /// Who that is, as far as it is known without the body.
    fn standing(shown: &Self::Shown) -> Standing;

    /// Refuses whom the endpoint is closed to, as far as the head shows who that is.
    ///
    /// # Errors
    /// 401 `M_UNKNOWN_TOKEN` with `soft_logout`, 401 `M_USER_LOCKED`, 403 `M_FORBIDDEN` for a session that is not used from there,
    /// 403 `M_USER_SUSPENDED`, 403 `M_GUEST_ACCESS_FORBIDDEN`.
    fn may_reach(_shown: &Self::Shown, _reach: Reach) -> Result<(), ApiError> {
        Ok(())
    }

    /// The user whom the endpoint is closed to since it is for those with power: that he tried is told of.
    fn find_powerless(_shown: &Self::Shown) -> Option<&User> {
        None
    }

    /// Finds out who makes the request, now that its body is here.
    ///
    /// # Errors
    /// When the body is not what the head promised.
    fn prove(shown: Self::Shown, body: &Bytes) -> Result<Self, ApiError>;
}

/// Who sends a request, before its body is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Anybody.
    Stranger,
    /// A user of ours, on a device.
    User(OwnedUserId, OwnedDeviceId),
    /// An application service that is not limited, as this user.
    Unlimited(OwnedUserId),
    /// Somebody who says to be this server, and whose signature covers the body.
    Claims(OwnedServerName),
    /// Somebody at the command line of the machine.
    Operator,
    /// An identity system of this authority. How much of it is under way at once, who answers it bounds.
    Source(OwnedServerName),
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
    note = "AccessToken: User; AccessTokenOptional: Option<User>; ServerSignatures: Origin; none: Open, or Option<User> where users get more"
)]
pub trait Caller<A: AuthScheme>: Identify {}

impl Caller<AccessToken> for User {}
impl Caller<AccessTokenOptional> for Option<User> {}
impl Caller<AppserviceTokenOptional> for Open {}
impl Caller<AppserviceTokenOptional> for Option<Service> {}
impl Caller<NoAccessToken> for Open {}
impl Caller<NoAccessToken> for Option<User> {}
impl Caller<NoAuthentication> for Open {}
impl Caller<NoAuthentication> for Option<User> {}
impl Caller<AppserviceToken> for User {}
impl Caller<ServerSignatures> for Origin {}

impl Identify for Open {
    type Shown = ();

    async fn look(_: &Arc<Kit>, _: &Parts, _: &Face, _: Option<Address>) -> Result<(), ApiError> {
        Ok(())
    }

    fn standing((): &()) -> Standing {
        Standing::Stranger
    }

    fn prove((): (), _: &Bytes) -> Result<Open, ApiError> {
        Ok(Open)
    }
}

impl Identify for Operator {
    type Shown = ();

    async fn look(kit: &Arc<Kit>, parts: &Parts, _: &Face, _: Option<Address>) -> Result<(), ApiError> {
        if find_token(parts).is_some_and(|token| kit.is_operators(&token)) {
            return Ok(());
        }
        Err(ApiError::unauthorized("The administrator's token is needed"))
    }

    fn standing((): &()) -> Standing {
        Standing::Operator
    }

    fn prove((): (), _: &Bytes) -> Result<Operator, ApiError> {
        Ok(Operator)
    }
}

impl Identify for Source {
    type Shown = Source;

    async fn look(
        kit: &Arc<Kit>,
        parts: &Parts,
        face: &Face,
        _: Option<Address>,
    ) -> Result<Source, ApiError> {
        let authority = face.server_name();
        let sources = kit.sources.as_ref().filter(|sources| sources.has_some(authority));
        let sources = sources.ok_or_else(ApiError::unrecognized)?;
        // In a query it would stand in logs.
        let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| value.split_once(' '));
        let token =
            token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
        let name = token
            .filter(|token| token.len() <= LONGEST_TOKEN)
            .and_then(|token| sources.find(authority, token));
        let name = name.ok_or_else(|| ApiError::unauthorized("The token of this source is needed"))?;
        Ok(Source { authority: authority.to_owned(), name })
    }

    fn standing(shown: &Source) -> Standing {
        Standing::Source(shown.authority.clone())
    }

    fn prove(shown: Source, _: &Bytes) -> Result<Source, ApiError> {
        Ok(shown)
    }
}

impl Identify for User {
    type Shown = User;

    async fn look(
        kit: &Arc<Kit>,
        parts: &Parts,
        face: &Face,
        from: Option<Address>,
    ) -> Result<User, ApiError> {
        let user = Option::<User>::look(kit, parts, face, from).await?;
        user.ok_or_else(|| ApiError::from(TokenError::Missing))
    }

    fn standing(shown: &User) -> Standing {
        match shown.service() {
            Some(service) if !service.is_limited(&shown.user_id) => {
                Standing::Unlimited(shown.user_id.clone())
            }
            _ => Standing::User(shown.user_id.clone(), shown.device_id.clone()),
        }
    }

    fn may_reach(shown: &User, reach: Reach) -> Result<(), ApiError> {
        if shown.is_expired && !reach.by_expired {
            return Err(TokenError::Unknown { soft_logout: true }.into());
        }
        if shown.is_locked && !reach.by_locked {
            return Err(TokenError::Locked.into());
        }
        if let Some(barred) = shown.barred.as_deref().filter(|_| !reach.by_locked) {
            return Err(barred.into());
        }
        if shown.is_suspended && !reach.by_suspended {
            return Err(ApiError::suspended());
        }
        if reach.needs_device && shown.device_id.as_str().is_empty() {
            return Err(ApiError::missing_param("An application service has to name a `device_id` for this"));
        }
        if shown.is_guest && !reach.by_guest {
            return Err(ApiError::guest_forbidden("Guests may not do this"));
        }
        Ok(())
    }

    fn prove(shown: User, _: &Bytes) -> Result<User, ApiError> {
        Ok(shown)
    }
}

impl Identify for Option<User> {
    type Shown = Option<User>;

    async fn look(
        kit: &Arc<Kit>,
        parts: &Parts,
        face: &Face,
        from: Option<Address>,
    ) -> Result<Option<User>, ApiError> {
        match find_token(parts) {
            Some(token) => {
                let (tokens, authority) = (&kit.tokens, face.server_name());
                let Some(service) = tokens.find_service(&token, authority) else {
                    return Ok(Some(tokens.authenticate(&token, authority, from).await?));
                };
                let Asserted { user_id, device_id, .. } = Asserted::in_query(parts)?;
                Ok(Some(tokens.act_as(&service, user_id.as_deref(), device_id.as_deref()).await?))
            }
            None => Ok(None),
        }
    }

    fn standing(shown: &Option<User>) -> Standing {
        shown.as_ref().map_or(Standing::Stranger, User::standing)
    }

    fn may_reach(shown: &Option<User>, reach: Reach) -> Result<(), ApiError> {
        shown.as_ref().map_or(Ok(()), |user| User::may_reach(user, reach))
    }

    fn prove(shown: Option<User>, _: &Bytes) -> Result<Option<User>, ApiError> {
        Ok(shown)
    }
}

/// As whom an application service says to act.
///
/// Spec: <https://spec.matrix.org/v1.19/application-service-api/#identity-assertion>
#[derive(Default, serde::Deserialize)]
struct Asserted {
    user_id: Option<OwnedUserId>,
    device_id: Option<OwnedDeviceId>,
    // Bridges of before 1.17 write the name of MSC3202; some write both.
    #[serde(rename = "org.matrix.msc3202.device_id")]
    former_device_id: Option<OwnedDeviceId>,
}

impl Asserted {
    /// Refuses what cannot be read: it must not pass for somebody else.
    fn in_query(parts: &Parts) -> Result<Self, ApiError> {
        let mut asserted: Self = match parts.uri.query() {
            Some(query) => ruma::exports::serde_html_form::from_str(query)
                .map_err(|_| ApiError::invalid_param("`user_id` or `device_id` cannot be read"))?,
            None => Self::default(),
        };
        if let Some(former) = asserted.former_device_id.take() {
            if asserted.device_id.as_ref().is_some_and(|device| *device != former) {
                return Err(ApiError::invalid_param("Two different devices are named"));
            }
            asserted.device_id = Some(former);
        }
        if asserted.device_id.as_ref().is_some_and(|device| device.as_str().is_empty()) {
            return Err(ApiError::invalid_param("`device_id` is empty"));
        }
        Ok(asserted)
    }
}

impl Identify for Option<Service> {
    type Shown = Option<Service>;

    /// Whatever token is shown that is no service's says nothing here.
    async fn look(
        kit: &Arc<Kit>,
        parts: &Parts,
        face: &Face,
        _: Option<Address>,
    ) -> Result<Option<Service>, ApiError> {
        let token = find_token(parts);
        Ok(token.and_then(|token| kit.tokens.find_service(&token, face.server_name())).map(Service))
    }

    fn standing(shown: &Option<Service>) -> Standing {
        match shown {
            Some(Service(service)) => Standing::Unlimited(service.sender().to_owned()),
            None => Standing::Stranger,
        }
    }

    fn prove(shown: Option<Service>, _: &Bytes) -> Result<Option<Service>, ApiError> {
        Ok(shown)
    }
}

impl Identify for Origin {
    type Shown = Box<dyn Claimed>;

    const SIGNED: bool = true;

    async fn look(
        kit: &Arc<Kit>,
        parts: &Parts,
        face: &Face,
        _: Option<Address>,
    ) -> Result<Box<dyn Claimed>, ApiError> {
        let authorization = parts.headers.get_all(AUTHORIZATION).iter();
        let head = SignedHead {
            method: &parts.method,
            uri: parts.uri.path_and_query().map_or("/", |uri| uri.as_str()),
            authorization: authorization.filter_map(|value| value.to_str().ok()).collect(),
            face,
        };
        Ok(kit.signatures.look(head).await?)
    }

    fn standing(shown: &Box<dyn Claimed>) -> Standing {
        Standing::Claims(shown.origin().to_owned())
    }

    fn prove(shown: Box<dyn Claimed>, body: &Bytes) -> Result<Origin, ApiError> {
        Ok(shown.prove(body)?)
    }
}

/// The access token of a request: from its header, else from its query.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#using-access-tokens>
pub(crate) fn find_token(parts: &Parts) -> Option<String> {
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
    // Ours are short; nobody hashes a longer one for nothing.
    bearer.or_else(from_query).filter(|token| (1..=LONGEST_TOKEN).contains(&token.len()))
}
