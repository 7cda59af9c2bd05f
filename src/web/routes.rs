//! From ruma's endpoints to one router.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    future::Future,
    sync::Arc,
};

use axum::routing::{MethodFilter, MethodRouter};
use base::ByteSize;
use bytes::BytesMut;
use futures_util::future::BoxFuture;
use http::Method;
use ruma::api::{
    IncomingRequest, IncomingRequestExt, Metadata, OutgoingResponse, OutgoingResponseExt,
    path_builder::PathBuilder,
};

use crate::{
    ApiError, Body, Call, Caller, ErrorForm, Identify, Kit, LateCall, RawCall, Response, Router, StreamCall,
    convert::bad_request,
    json::{check_body, check_numbers},
    serve::{Endpoint, Incoming, Unrecognized},
};

/// A larger body is refused unless its routes say otherwise.
const DEFAULT_BODY_LIMIT: ByteSize = ByteSize::mib(2);

/// All handlers look like this to axum, whatever their endpoint.
pub(crate) type Handler =
    Arc<dyn Fn(Incoming) -> BoxFuture<'static, Result<Response, ApiError>> + Send + Sync>;

/// One method of one path.
pub(crate) struct Route {
    pub(crate) method: Method,
    /// In axum's notation; variables are named by their place, since one place may have one name only.
    pub(crate) path: String,
    /// For metrics and logs: method and path as the specification writes them.
    pub(crate) name: Arc<str>,
    /// How many variables the path lacks at its end: they are empty.
    pub(crate) empty_args: usize,
    pub(crate) body_limit: ByteSize,
    pub(crate) any_host: bool,
    pub(crate) error_form: Option<ErrorForm>,
    pub(crate) handler: Handler,
}

/// The routes of a crate over its state.
pub struct Routes<S> {
    state: Arc<S>,
    body_limit: ByteSize,
    any_host: bool,
    error_form: Option<ErrorForm>,
    routes: Vec<Route>,
}

impl<S: Send + Sync + 'static> Routes<S> {
    /// No routes yet. Bodies up to 2 MiB are taken.
    pub fn new(state: Arc<S>) -> Routes<S> {
        Routes {
            state,
            body_limit: DEFAULT_BODY_LIMIT,
            any_host: false,
            error_form: None,
            routes: Vec::new(),
        }
    }

    /// The routes that follow take bodies up to this size; larger ones get a 413.
    #[must_use]
    pub fn body_limit(mut self, limit: ByteSize) -> Self {
        self.body_limit = limit;
        self
    }

    /// The routes that follow answer whatever host is asked, with the face of the first authority
    /// when the host stands for none: for `/health` and the like.
    #[must_use]
    pub fn any_host(mut self) -> Self {
        self.any_host = true;
        self
    }

    /// The routes that follow tell errors in this form, and not in that of Matrix.
    #[must_use]
    pub fn error_form(mut self, form: ErrorForm) -> Self {
        self.error_form = Some(form);
        self
    }

    /// Registers the handler of an endpoint on all its paths.
    #[must_use]
    pub fn ruma<R, C, H, F>(self, handler: H) -> Self
    where
        R: IncomingRequest + Send + 'static,
        R::OutgoingResponse: Send,
        C: Caller<R::Authentication>,
        H: Fn(Arc<S>, Call<R, C>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<R::OutgoingResponse, ApiError>> + Send + 'static,
    {
        let state = self.state.clone();
        let handler = Arc::new(handler);
        let erased: Handler = Arc::new(move |incoming| {
            let state = state.clone();
            let handler = handler.clone();
            Box::pin(async move {
                let (call, _held, _counted) = incoming.identified::<C>().await?;
                let response = handler(state, typed(call)?).await?;
                answer(response)
            })
        });
        self.on_all_paths::<R>(&erased)
    }

    /// Registers a handler that reads the body by itself on all paths of an endpoint.
    #[must_use]
    pub fn raw_ruma<R, C, H, F>(self, handler: H) -> Self
    where
        R: Metadata,
        C: Caller<R::Authentication>,
        H: Fn(Arc<S>, RawCall<C>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Response, ApiError>> + Send + 'static,
    {
        let erased = self.erased_raw(handler);
        self.on_all_paths::<R>(&erased)
    }

    /// Registers a handler that takes the body part by part on all paths of an endpoint. Only what a head can prove may
    /// be asked of its caller.
    #[must_use]
    pub fn streamed_ruma<R, C, H, F>(self, handler: H) -> Self
    where
        R: Metadata,
        C: Caller<R::Authentication>,
        H: Fn(Arc<S>, StreamCall<C>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Response, ApiError>> + Send + 'static,
    {
        let state = self.state.clone();
        let handler = Arc::new(handler);
        let erased: Handler = Arc::new(move |incoming| {
            let state = state.clone();
            let handler = handler.clone();
            Box::pin(async move { handler(state, incoming.streamed::<C>().await?).await })
        });
        self.on_all_paths::<R>(&erased)
    }

    /// Registers a handler for a path that ruma does not know, `{variables}` in braces.
    #[must_use]
    pub fn raw<C, H, F>(mut self, method: Method, path: &str, handler: H) -> Self
    where
        C: Identify,
        H: Fn(Arc<S>, RawCall<C>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Response, ApiError>> + Send + 'static,
    {
        let erased = self.erased_raw(handler);
        let name: Arc<str> = format!("{method} {path}").into();
        self.add(method, path, &name, 0, &erased);
        self
    }

    /// Registers a handler that finds out by itself who calls, before the body is read.
    #[must_use]
    pub fn late<H, F>(mut self, method: Method, path: &str, handler: H) -> Self
    where
        H: Fn(Arc<S>, LateCall) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Response, ApiError>> + Send + 'static,
    {
        let state = self.state.clone();
        let handler = Arc::new(handler);
        let erased: Handler = Arc::new(move |incoming| {
            let state = state.clone();
            let handler = handler.clone();
            Box::pin(async move { handler(state, incoming.late()?).await })
        });
        let name: Arc<str> = format!("{method} {path}").into();
        self.add(method, path, &name, 0, &erased);
        self
    }

    fn erased_raw<C, H, F>(&self, handler: H) -> Handler
    where
        C: Identify,
        H: Fn(Arc<S>, RawCall<C>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Response, ApiError>> + Send + 'static,
    {
        let state = self.state.clone();
        let handler = Arc::new(handler);
        Arc::new(move |incoming| {
            let state = state.clone();
            let handler = handler.clone();
            Box::pin(async move {
                let (call, _held, counted) = incoming.identified::<C>().await?;
                let response = handler(state, call).await?;
                counted.look_at(&response);
                Ok(response)
            })
        })
    }

    fn on_all_paths<R: Metadata>(mut self, handler: &Handler) -> Self {
        let paths: Vec<&'static str> = R::PATH_BUILDER.all_paths().collect();
        // The newest path names the endpoint.
        let name: Arc<str> = format!("{} {}", R::METHOD, paths.last().copied().unwrap_or_default()).into();
        let mut seen = HashSet::new();
        for (path, empty_args) in paths.iter().flat_map(|path| variants(path)) {
            if seen.insert(path.clone()) {
                self.add(R::METHOD, &path, &name, empty_args, handler);
            }
        }
        self
    }

    fn add(&mut self, method: Method, path: &str, name: &Arc<str>, empty_args: usize, handler: &Handler) {
        self.routes.push(Route {
            method,
            path: numbered(path),
            name: name.clone(),
            empty_args,
            body_limit: self.body_limit,
            any_host: self.any_host,
            error_form: self.error_form,
            handler: handler.clone(),
        });
    }

    /// What is registered: method and path of each, `{variables}` in braces, as the specification writes them.
    pub fn endpoints(&self) -> Vec<(Method, String)> {
        let path = |name: &str| name.split_once(' ').map_or(String::new(), |(_, path)| path.to_owned());
        let mut all: Vec<(Method, String)> =
            self.routes.iter().map(|route| (route.method.clone(), path(&route.name))).collect();
        all.dedup();
        all
    }

    /// Forgets the state's type, so that routes of several crates become one list.
    pub fn erase(self) -> Routes<()> {
        Routes {
            state: Arc::new(()),
            body_limit: self.body_limit,
            any_host: self.any_host,
            error_form: self.error_form,
            routes: self.routes,
        }
    }
}

impl Routes<()> {
    /// The endpoints, each once: method and path as the specification writes them.
    pub fn names(&self) -> BTreeSet<Arc<str>> {
        self.routes.iter().map(|route| route.name.clone()).collect()
    }

    /// Adds the routes of another crate.
    #[must_use]
    pub fn merge<T: Send + Sync + 'static>(mut self, other: Routes<T>) -> Self {
        self.routes.extend(other.routes);
        self
    }
}

/// Two handlers claim one method of one path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("two handlers for {method} {path}")]
pub struct DuplicateRoute {
    /// The method.
    pub method: Method,
    /// The path.
    pub path: String,
}

/// Makes one router of all routes.
///
/// # Errors
/// [`DuplicateRoute`] when two handlers claim one method of one path.
pub fn router<S: Send + Sync + 'static>(routes: Routes<S>, kit: Arc<Kit>) -> Result<Router, DuplicateRoute> {
    let mut by_path: BTreeMap<String, Vec<Route>> = BTreeMap::new();
    for route in routes.routes {
        let others = by_path.entry(route.path.clone()).or_default();
        if others.iter().any(|other| other.method == route.method) {
            return Err(DuplicateRoute { method: route.method, path: route.path });
        }
        others.push(route);
    }
    let mut router = Router::new();
    for (path, routes) in by_path {
        let mut methods = MethodRouter::new();
        for route in routes {
            // Only methods of HTTP itself are registered, and each is a filter.
            let Ok(filter) = MethodFilter::try_from(route.method.clone()) else { continue };
            methods = methods.on_service(filter, Endpoint::new(kit.clone(), route));
        }
        let wrong_method = Unrecognized { kit: kit.clone(), status: http::StatusCode::METHOD_NOT_ALLOWED };
        router = router.route_service(&path, methods.fallback_service(wrong_method));
    }
    Ok(router.fallback_service(Unrecognized { kit, status: http::StatusCode::NOT_FOUND }))
}

/// A path and the ways it is asked for besides, each with the number of empty variables at its end:
/// under `r0`, and a state event with an empty key with and without the slash.
fn variants(path: &str) -> Vec<(String, usize)> {
    let mut all = vec![(path.to_owned(), 0)];
    if let Some(rest) = path.strip_prefix("/_matrix/client/v3/") {
        all.push((format!("/_matrix/client/r0/{rest}"), 0));
    }
    let without_key: Vec<(String, usize)> = all
        .iter()
        .filter_map(|(path, _)| path.strip_suffix("/{state_key}"))
        .flat_map(|path| [(path.to_owned(), 1), (format!("{path}/"), 1)])
        .collect();
    all.extend(without_key);
    all
}

/// The path with its variables named by their place: two endpoints may name one place differently.
fn numbered(path: &str) -> String {
    let mut count = 0;
    let segments = path.split('/').map(|segment| {
        if !(segment.starts_with('{') && segment.ends_with('}')) {
            return segment.to_owned();
        }
        count += 1;
        format!("{{p{}}}", count - 1)
    });
    segments.collect::<Vec<_>>().join("/")
}

/// Reads the request as the endpoint's type.
fn typed<R: IncomingRequest, C: Identify>(call: RawCall<C>) -> Result<Call<R, C>, ApiError> {
    let RawCall { parts, args, body, caller, face, peer, address, zone } = call;
    check_body(&body)?;
    // Other servers send events of room versions that know larger numbers; each is judged by its room.
    if !C::SIGNED {
        check_numbers(&body)?;
    }
    let request = http::Request::from_parts(parts, &*body);
    let request =
        R::try_from_http_request(request, &args.as_strs()).map_err(|error| bad_request(error, &body))?;
    Ok(Call { request, caller, face, peer, address, zone })
}

fn answer<R: OutgoingResponse>(response: R) -> Result<Response, ApiError> {
    let response = response.try_into_http_response::<BytesMut>().map_err(ApiError::internal)?;
    Ok(response.map(|body| Body::from(body.freeze())))
}
