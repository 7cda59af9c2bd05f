//! The HTTP kit: endpoints become routes, requests become calls, errors become answers.
//!
//! A crate of the edge makes a [`Routes`] over its own state, registers one handler for each ruma
//! endpoint, and hands it to [`router`], which makes one axum router of them all:
//!
//! ```ignore
//! pub fn routes(api: Arc<ClientApi>) -> Routes<ClientApi> {
//!     Routes::new(api).ruma(tags::create_tag).ruma(tags::get_tags)
//! }
//!
//! async fn create_tag(
//!     api: Arc<ClientApi>,
//!     call: Call<create_tag::v3::Request, User>,
//! ) -> Result<create_tag::v3::Response, ApiError>
//! ```
//!
//! The type of the caller follows from the endpoint's authentication scheme ([`Caller`]): asking for
//! a [`User`] on an open endpoint does not compile. Every answer, errors too, carries the CORS
//! headers and a request id; a panic costs its request only.
//!
//! Reading order: [`Routes`], [`Call`], `caller`, `serve`, [`ApiError`].

mod address;
mod bodies;
mod call;
mod caller;
mod classes;
mod convert;
mod error;
mod face;
mod json;
mod kit;
mod limits;
mod reach;
mod routes;
mod serve;
#[cfg(test)]
mod tests;

pub use axum::{Router, body::Body};
pub use base::{Address, Rate};
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

pub use address::{Network, NotANetwork, Proxies, ProxyHeader};
pub use bodies::{BodyBounds, BodyStream, Holder, LateBody, OwnBody};
pub use call::{Call, LateCall, PathArgs, Peer, RawCall, StreamCall, costless};
pub use caller::{
    Caller, Claimed, Identify, NoSignatures, Open, Operator, Origin, Service, SignatureCheck, SignatureError,
    SignedHead, Source, SourceCheck, Standing, TokenCheck, TokenError, User,
};
pub use convert::{FACTOR_ELSEWHERE, refused_factor};
pub use error::{ApiError, ErrorForm};
pub use face::{Face, Faces, TlsName};
pub use json::{MAX_NESTING, has_private_key, json_bytes, json_response, json_stream, parse_json};
pub use kit::Kit;
pub use limits::{Class, Limits};
pub use reach::Reach;
pub use routes::{DuplicateRoute, Routes, router};
pub use serve::RouteName;

/// What a raw handler answers with.
pub type Response = http::Response<Body>;
