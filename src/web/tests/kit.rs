//! A small server of this kit to ask.

use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use base::{ByteSize, Clock, Metrics, Random};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use ruma::{
    OwnedServerName, ServerName,
    api::{
        client::{
            account::whoami, discovery::get_supported_versions, message::send_message_event,
            room::create_room, state::get_state_event_for_key,
        },
        federation::transactions::send_transaction_message,
    },
    server_name, user_id,
};
use serde_json::Value;
use tower::ServiceExt;

use crate::{
    ApiError, Call, Claimed, Faces, Kit, LateCall, Open, Origin, RawCall, Response, Router, Routes,
    SignatureCheck, SignatureError, SignedHead, TokenCheck, TokenError, User, json_response, router,
};

pub(super) struct Api;

/// `token-of-hanako` is of her telephone, `token-of-hanako@TABLET` of another device.
struct Tokens;

#[async_trait]
impl TokenCheck for Tokens {
    async fn authenticate(
        &self,
        token: &str,
        authority: &ServerName,
        _: Option<crate::Address>,
    ) -> Result<User, TokenError> {
        match token.strip_prefix("token-of-") {
            Some(name) => {
                let (localpart, device) = name.split_once('@').unwrap_or((name, "PHONE"));
                Ok(User {
                    user_id: format!("@{localpart}:{authority}").try_into().unwrap(),
                    device_id: device.into(),
                    is_admin: false,
                    is_suspended: false,
                    is_locked: false,
                    is_expired: false,
                    barred: None,
                    service: None,
                    is_guest: false,
                })
            }
            None if token == "unreadable" => Err(TokenError::Failed(unreadable().into())),
            None => Err(TokenError::Unknown { soft_logout: token == "expired" }),
        }
    }
}

/// What a store says whose back end is away.
fn unreadable() -> store::Error {
    store::Error::unavailable("read rows", "the back end is away")
}

/// `X-Matrix` and a name claims to be that server, and holds where the body says the same.
struct Signatures;

struct Claim(OwnedServerName, OwnedServerName);

#[async_trait]
impl SignatureCheck for Signatures {
    async fn look(&self, head: SignedHead<'_>) -> Result<Box<dyn Claimed>, SignatureError> {
        let name = head.authorization.iter().find_map(|header| header.strip_prefix("X-Matrix "));
        let name = name.ok_or(SignatureError::Missing)?;
        if name == "unreadable" {
            return Err(SignatureError::Failed(unreadable()));
        }
        let origin = ServerName::parse(name).map_err(|_| SignatureError::Malformed(name.to_owned()))?;
        Ok(Box::new(Claim(origin, head.face.server_name().to_owned())))
    }
}

impl Claimed for Claim {
    fn origin(&self) -> &ServerName {
        &self.0
    }

    fn prove(self: Box<Self>, body: &Bytes) -> Result<Origin, SignatureError> {
        let body: Value =
            serde_json::from_slice(body).map_err(|error| SignatureError::BadBody(error.to_string()))?;
        if body["origin"] != self.0.as_str() {
            return Err(SignatureError::Unverified("the body says otherwise".to_owned()));
        }
        let Claim(server, destination) = *self;
        Ok(Origin { server, destination })
    }
}

pub(super) struct Server {
    router: Router,
    pub(super) metrics: Metrics,
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Answer {
    pub(super) fn is(&self, status: u16, errcode: &str) -> bool {
        self.status.as_u16() == status && self.body["errcode"] == errcode
    }
}

/// Takes the body of who shows the word, and tells how long it was.
async fn late(_: Arc<Api>, late: LateCall) -> Result<Response, ApiError> {
    if late.call.parts.headers.get("x-word").is_none() {
        return Err(ApiError::unauthorized("no word"));
    }
    let body = late.body.read_as(user_id!("@hanako:wajima.test")).await?;
    Ok(json_response(StatusCode::OK, &serde_json::json!({ "length": body.bytes.len() })))
}

pub(super) fn server() -> Server {
    server_with(Faces::single(server_name!("wajima.test").to_owned()))
}

pub(super) fn server_with(faces: Faces) -> Server {
    let metrics = Metrics::new();
    server_of(kit(faces, Clock::system(), &metrics), metrics)
}

pub(super) fn kit(faces: Faces, clock: Clock, metrics: &Metrics) -> Kit {
    Kit::new(Arc::new(Tokens), Arc::new(Signatures), faces, clock, &Random::seeded(1), metrics)
}

pub(super) fn server_of(kit: Kit, metrics: Metrics) -> Server {
    let routes = Routes::new(Arc::new(Api))
        .ruma(versions)
        .ruma(who_am_i)
        .ruma(state_event)
        .ruma(create)
        .ruma(transaction)
        .raw(Method::POST, "/open", open)
        .raw(Method::GET, "/_matrix/client/v3/sync", sync)
        .body_limit(ByteSize::kib(1))
        .raw_ruma::<send_message_event::v3::Request, _, _, _>(send)
        .late(Method::POST, "/late", late)
        .raw(Method::GET, "/panic", panics)
        .raw(Method::GET, "/limited", limited)
        .raw(Method::PUT, "/_matrix/federation/v1/send/raw", signed)
        .any_host()
        .raw(Method::GET, "/health", health);
    Server { router: router(routes, Arc::new(kit)).unwrap(), metrics }
}

impl Server {
    pub(super) async fn ask(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.ask(request(Method::GET, path, "")).await
    }

    pub(super) async fn put(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.ask(request(Method::PUT, path, body)).await
    }

    pub(super) async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.ask(request(Method::POST, path, body)).await
    }
}

/// A request of Hanako.
pub(super) fn request(method: Method, path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", "Bearer token-of-hanako")
        .body(body.into())
        .unwrap()
}

async fn versions(
    _: Arc<Api>,
    _: Call<get_supported_versions::Request, Option<User>>,
) -> Result<get_supported_versions::Response, ApiError> {
    Ok(get_supported_versions::Response::new(vec!["v1.19".to_owned()]))
}

async fn who_am_i(
    _: Arc<Api>,
    call: Call<whoami::v3::Request, User>,
) -> Result<whoami::v3::Response, ApiError> {
    Ok(whoami::v3::Response::new(call.caller.user_id, false))
}

async fn state_event(
    _: Arc<Api>,
    call: Call<get_state_event_for_key::v3::Request, User>,
) -> Result<get_state_event_for_key::v3::Response, ApiError> {
    let request = call.request;
    let seen = serde_json::json!({
        "room": request.room_id, "type": request.event_type.to_string(), "key": request.state_key,
    });
    Ok(get_state_event_for_key::v3::Response::new(serde_json::value::to_raw_value(&seen).unwrap()))
}

async fn create(
    _: Arc<Api>,
    call: Call<create_room::v3::Request, User>,
) -> Result<create_room::v3::Response, ApiError> {
    Err(ApiError::forbidden(call.request.name.unwrap_or_default()))
}

async fn transaction(
    _: Arc<Api>,
    _: Call<send_transaction_message::v1::Request, Origin>,
) -> Result<send_transaction_message::v1::Response, ApiError> {
    Err(ApiError::internal("signed by nobody"))
}

async fn send(_: Arc<Api>, call: RawCall<User>) -> Result<Response, ApiError> {
    let content: Value = call.json()?;
    Ok(json_response(StatusCode::OK, &serde_json::json!({ "args": call.args.as_strs(), "content": content })))
}

async fn panics(_: Arc<Api>, _: RawCall<Open>) -> Result<Response, ApiError> {
    panic!("on purpose")
}

async fn limited(_: Arc<Api>, _: RawCall<Open>) -> Result<Response, ApiError> {
    Err(ApiError::limited(std::time::Duration::from_millis(1_500)))
}

async fn open(_: Arc<Api>, call: RawCall<Open>) -> Result<Response, ApiError> {
    Ok(json_response(StatusCode::OK, &serde_json::json!({ "read": call.body.len() })))
}

async fn sync(_: Arc<Api>, _: RawCall<User>) -> Result<Response, ApiError> {
    Ok(json_response(StatusCode::OK, &serde_json::json!({})))
}

async fn signed(_: Arc<Api>, call: RawCall<Origin>) -> Result<Response, ApiError> {
    Ok(json_response(StatusCode::OK, &serde_json::json!({ "origin": call.caller.server })))
}

async fn health(_: Arc<Api>, call: RawCall<Open>) -> Result<Response, ApiError> {
    Ok(json_response(StatusCode::OK, &serde_json::json!({ "face": call.face.server_name() })))
}
