//! A small server of this kit to ask.

use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use base::{ByteSize, Clock, Metrics, Random};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use ruma::{
    ServerName,
    api::{
        client::{
            account::whoami, discovery::get_supported_versions, message::send_message_event,
            room::create_room, state::get_state_event_for_key,
        },
        federation::transactions::send_transaction_message,
    },
    server_name,
};
use serde_json::Value;
use tower::ServiceExt;

use crate::{
    ApiError, Call, Faces, Kit, NoSignatures, Open, Origin, RawCall, Response, Router, Routes, TokenCheck,
    TokenError, User, json_response, router,
};

pub(super) struct Api;

struct Tokens;

#[async_trait]
impl TokenCheck for Tokens {
    async fn authenticate(&self, token: &str, authority: &ServerName) -> Result<User, TokenError> {
        match token.strip_prefix("token-of-") {
            Some(localpart) => Ok(User {
                user_id: format!("@{localpart}:{authority}").try_into().unwrap(),
                device_id: "PHONE".into(),
                is_admin: false,
            }),
            None => Err(TokenError::Unknown { soft_logout: token == "expired" }),
        }
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

pub(super) fn server() -> Server {
    server_with(Faces::single(server_name!("wajima.test").to_owned()))
}

pub(super) fn server_with(faces: Faces) -> Server {
    let metrics = Metrics::new();
    let kit = Kit::new(
        Arc::new(Tokens),
        Arc::new(NoSignatures),
        faces,
        Clock::system(),
        &Random::seeded(1),
        &metrics,
    );
    let routes = Routes::new(Arc::new(Api))
        .ruma(versions)
        .ruma(who_am_i)
        .ruma(state_event)
        .ruma(create)
        .ruma(transaction)
        .body_limit(ByteSize::kib(1))
        .raw_ruma::<send_message_event::v3::Request, _, _, _>(send)
        .raw(Method::GET, "/panic", panics)
        .raw(Method::GET, "/limited", limited)
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

async fn health(_: Arc<Api>, call: RawCall<Open>) -> Result<Response, ApiError> {
    Ok(json_response(StatusCode::OK, &serde_json::json!({ "face": call.face.server_name() })))
}
