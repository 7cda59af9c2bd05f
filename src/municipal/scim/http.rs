//! The endpoints, under `/_yakuba/scim/v2`.
//!
//! Spec: <https://www.rfc-editor.org/rfc/rfc7644#section-3.2>

use std::{sync::Arc, time::Duration};

use audit::Actor;
use base::ByteSize;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use web::{ApiError, Body, RawCall, Response, Routes, Source as Caller};

use crate::{
    error::{self, Error, Wrong},
    filter,
    listing::{LONGEST_PAGE, Query, Said, fixed, said_in_body},
    schema::{GROUPS_TYPE, SCHEMAS, TYPES, Type, USERS},
    scim::{Asking, Scim, Told, Versions},
    shown::Shown,
    users::Change,
    value,
};

/// A group with all its members fits.
const LARGEST_BODY: ByteSize = ByteSize::mib(4);

/// The routes of all that is here.
pub fn routes(scim: Arc<Scim>) -> Routes<Scim> {
    let mut routes = Routes::new(scim).body_limit(LARGEST_BODY).error_form(in_form);
    // Each method of each path: what is not taken is told in the protocol's own form.
    for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        for path in ["/_yakuba/scim/v2/{endpoint}", "/_yakuba/scim/v2/{endpoint}/{id}"] {
            routes = routes.raw(method.clone(), path, serve);
        }
    }
    routes
}

/// An error that this crate did not make.
fn in_form(status: StatusCode, message: &str) -> Response {
    let mut response = answer(status, &error::body(status.as_u16(), None, message));
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

fn answer(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/scim+json"));
    response
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn put_header(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// A resource with its version.
fn resource(status: StatusCode, told: Told, shown: &Shown) -> Response {
    let told = told.shown(shown);
    let mut response = answer(status, &Value::Object(told.body));
    put_header(&mut response, header::ETAG, &told.version);
    put_header(&mut response, header::LOCATION, &told.location);
    response
}

/// What a query may hold.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct InQuery {
    filter: Option<String>,
    start_index: Option<i64>,
    count: Option<i64>,
    attributes: Option<String>,
    excluded_attributes: Option<String>,
}

impl InQuery {
    fn of(call: &RawCall<Caller>) -> Result<Said, Error> {
        let said: Self = call.query().map_err(|error| Error::value(error.message().to_owned()))?;
        let Self { filter, start_index, count, attributes, excluded_attributes } = said;
        Ok(Said { filter, start_index, count, attributes, excluded_attributes })
    }
}

/// Any request.
async fn serve(scim: Arc<Scim>, call: RawCall<Caller>) -> Result<Response, ApiError> {
    let done = carry_out(&scim, &call).await;
    let error = match done {
        Ok(response) => return Ok(response),
        Err(error) => error,
    };
    if let Some((status, word)) = error.told() {
        let body = error::body(status, word, &error.to_string());
        return Ok(answer(StatusCode::from_u16(status).map_err(ApiError::internal)?, &body));
    }
    Err(match error {
        Error::Busy => ApiError::limited(Duration::from_secs(1)),
        Error::Account(error) => error.into(),
        Error::Store(error) => error.into(),
        error => ApiError::internal(error),
    })
}

async fn carry_out(scim: &Scim, call: &RawCall<Caller>) -> Result<Response, Error> {
    let Caller { authority, name } = &call.caller;
    // It was there when its token was looked at.
    let source = scim.sources.get(authority, name).ok_or(Error::NotFound)?;
    let _waits = source.waiting.try_acquire().map_err(|_| Error::Busy)?;
    let _place = source.places.acquire().await.map_err(|_| Error::Busy)?;
    let host = call.parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let asking = Asking {
        source,
        by: Actor::source(&source.settings.name, call.address),
        base: scim.base(source, host),
    };
    let args = call.args.as_strs();
    let (endpoint, id) = (args.first().copied().unwrap_or_default(), args.get(1).copied());
    match endpoint {
        "ServiceProviderConfig" if id.is_none() => only_read(call, || Ok(config(&asking.base))),
        "ResourceTypes" => {
            let mut all: Vec<Value> = TYPES.iter().map(|of| of.described(&asking.base)).collect();
            only_read(call, || chosen(&mut all, id))
        }
        "Schemas" => {
            let mut all: Vec<Value> = SCHEMAS.iter().map(|schema| schema.described(&asking.base)).collect();
            only_read(call, || chosen(&mut all, id))
        }
        "Users" => of_type(scim, &asking, call, &USERS, id).await,
        "Groups" => of_type(scim, &asking, call, &GROUPS_TYPE, id).await,
        "Bulk" | "Me" | ".search" if id.is_none() => Err(Error::NotBuilt("this endpoint is not built")),
        _ => Err(Error::NotFound),
    }
}

fn only_read(call: &RawCall<Caller>, told: impl FnOnce() -> Result<Value, Error>) -> Result<Response, Error> {
    match call.parts.method == Method::GET {
        true => Ok(answer(StatusCode::OK, &told()?)),
        false => Err(Error::Method),
    }
}

/// One of some, by its id, or all of them.
fn chosen(all: &mut Vec<Value>, id: Option<&str>) -> Result<Value, Error> {
    let all = std::mem::take(all);
    match id {
        None => Ok(fixed(all)),
        Some(id) => all.into_iter().find(|one| one["id"] == id).ok_or(Error::NotFound),
    }
}

fn body(call: &RawCall<Caller>) -> Result<Map<String, Value>, Error> {
    let body: Value =
        call.json().map_err(|error| Error::invalid(Wrong::Syntax, error.message().to_owned()))?;
    match body {
        Value::Object(body) => Ok(body),
        _ => Err(value::not_an_object()),
    }
}

async fn of_type(
    scim: &Scim,
    asking: &Asking<'_>,
    call: &RawCall<Caller>,
    of: &'static Type,
    id: Option<&str>,
) -> Result<Response, Error> {
    let is_users = std::ptr::eq(of, &USERS);
    let said = InQuery::of(call)?;
    let versions = |name: HeaderName| {
        // What is no text names no version either, and is not as if nothing were asked.
        let value = call.parts.headers.get(name)?;
        Some(Versions::parse(&String::from_utf8_lossy(value.as_bytes())))
    };
    let shown = || Shown::parse(of, said.attributes.as_deref(), said.excluded_attributes.as_deref());
    let wanted = versions(header::IF_MATCH);
    match (&call.parts.method, id) {
        (&Method::GET, None) => {
            Ok(answer(StatusCode::OK, &scim.list(asking, of, &Query::of(of, &said)?).await?))
        }
        (&Method::POST, Some(".search")) => {
            let query = Query::of(of, &said_in_body(&body(call)?)?)?;
            Ok(answer(StatusCode::OK, &scim.list(asking, of, &query).await?))
        }
        (&Method::POST, None) => {
            let (shown, body) = (shown()?, body(call)?);
            let told = match is_users {
                true => scim.create_user(asking, &body).await?,
                false => scim.create_group(asking, &body).await?,
            };
            Ok(resource(StatusCode::CREATED, told, &shown))
        }
        (&Method::GET, Some(id)) => {
            let shown = shown()?;
            let told = match is_users {
                true => scim.get_user(asking, id, shown.has("groups")).await?,
                false => scim.get_group(asking, id, shown.has("members")).await?,
            };
            if versions(header::IF_NONE_MATCH).is_some_and(|known| known.has(&told.version)) {
                let mut response = empty(StatusCode::NOT_MODIFIED);
                put_header(&mut response, header::ETAG, &told.version);
                return Ok(response);
            }
            Ok(resource(StatusCode::OK, told, &shown))
        }
        (&Method::PUT | &Method::PATCH, Some(id)) => {
            let (shown, body) = (shown()?, body(call)?);
            let change = match call.parts.method == Method::PUT {
                true => Change::Replace(&body),
                false => Change::Patch(&body),
            };
            let told = match is_users {
                true => scim.change_user(asking, id, &change, wanted.as_ref()).await?,
                false => scim.change_group(asking, id, &change, wanted.as_ref()).await?,
            };
            Ok(resource(StatusCode::OK, told, &shown))
        }
        (&Method::DELETE, Some(id)) => {
            match is_users {
                true => scim.remove_user(asking, id, wanted.as_ref()).await?,
                false => scim.remove_group(asking, id, wanted.as_ref()).await?,
            }
            Ok(empty(StatusCode::NO_CONTENT))
        }
        _ => Err(Error::Method),
    }
}

/// What this server does of the protocol.
fn config(base: &str) -> Value {
    let no = json!({ "supported": false });
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "documentationUri": "https://www.rfc-editor.org/rfc/rfc7644",
        "patch": { "supported": true },
        "bulk": { "supported": false, "maxOperations": 0, "maxPayloadSize": 0 },
        "filter": { "supported": true, "maxResults": LONGEST_PAGE },
        "changePassword": no,
        "sort": no,
        "etag": { "supported": true },
        "authenticationSchemes": [{
            "type": "oauthbearertoken",
            "name": "Bearer token",
            "description": format!("The token that the authority has for this source. Filters have at most {} bytes.", filter::LONGEST),
            "specUri": "https://www.rfc-editor.org/rfc/rfc6750",
            "primary": true,
        }],
        "meta": {
            "resourceType": "ServiceProviderConfig",
            "location": format!("{base}/ServiceProviderConfig"),
        },
    })
}
