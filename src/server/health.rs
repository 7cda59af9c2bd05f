//! `/health`, `/metrics`, and where other servers find us by `.well-known`.

use std::{collections::HashMap, sync::Arc};

use base::{CancellationToken, Metrics};
use http::{HeaderValue, Method, StatusCode, header::CONTENT_TYPE};
use ruma::OwnedServerName;
use serde_json::json;
use store::{Condition, Store};
use web::{ApiError, Body, Open, RawCall, Response, Routes, json_response};

use crate::config::Config;

/// What this file's handlers need.
pub(crate) struct Desk {
    store: Store,
    metrics: Metrics,
    shutdown: CancellationToken,
    /// Where other servers reach each authority, if it publishes that.
    published: HashMap<OwnedServerName, String>,
    remote_admin: bool,
}

impl Desk {
    pub(crate) fn new(
        config: &Config,
        store: Store,
        metrics: Metrics,
        shutdown: CancellationToken,
    ) -> Arc<Desk> {
        let published = config
            .authorities
            .iter()
            .filter_map(|authority| Some((authority.name.clone(), authority.federation_address.clone()?)));
        Arc::new(Desk {
            store,
            metrics,
            shutdown,
            published: published.collect(),
            remote_admin: config.admin.remote,
        })
    }

    /// `/health`: on every listener.
    pub(crate) fn health_routes(self: &Arc<Self>) -> Routes<Desk> {
        Routes::new(self.clone()).any_host().raw(Method::GET, "/health", health)
    }

    /// Metrics: for the administrator.
    pub(crate) fn admin_routes(self: &Arc<Self>) -> Routes<Desk> {
        Routes::new(self.clone()).any_host().raw(Method::GET, "/metrics", metrics)
    }

    /// `.well-known/matrix/server`: where other servers look first.
    pub(crate) fn well_known_routes(self: &Arc<Self>) -> Routes<Desk> {
        Routes::new(self.clone()).raw(Method::GET, "/.well-known/matrix/server", well_known_server)
    }

    /// Refuses others than this machine, unless the configuration lets them.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN`.
    pub(crate) fn admit<C>(&self, call: &RawCall<C>) -> Result<(), ApiError> {
        let from_here = call.peer.is_none_or(|peer| peer.ip().to_canonical().is_loopback());
        if from_here || self.remote_admin {
            return Ok(());
        }
        Err(ApiError::forbidden("The administrator's interface answers this machine only"))
    }
}

async fn health(desk: Arc<Desk>, _: RawCall<Open>) -> Result<Response, ApiError> {
    if desk.shutdown.is_cancelled() {
        return Ok(json_response(StatusCode::SERVICE_UNAVAILABLE, &json!({ "status": "stopping" })));
    }
    if let Err(error) = desk.store.cursor("server.health").await {
        tracing::error!(%error, "the store cannot be read");
        return Ok(json_response(StatusCode::SERVICE_UNAVAILABLE, &json!({ "status": "store" })));
    }
    if let Condition::ReadOnly(reason) = desk.store.condition() {
        let reason = if matches!(reason, store::Error::Full(_)) { "full" } else { "storage" };
        let answer = json!({ "status": "read-only", "reason": reason });
        return Ok(json_response(StatusCode::SERVICE_UNAVAILABLE, &answer));
    }
    let answer = json!({ "status": "ok", "version": crate::VERSION, "position": desk.store.head().0 });
    Ok(json_response(StatusCode::OK, &answer))
}

async fn metrics(desk: Arc<Desk>, call: RawCall<Open>) -> Result<Response, ApiError> {
    desk.admit(&call)?;
    if let Some(bytes) = crate::process::resident_bytes() {
        let resident = desk.metrics.gauge("yakuba_server_resident_bytes", "Memory that the process holds");
        resident.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
    let mut response = Response::new(Body::from(desk.metrics.render()));
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

/// Spec: <https://spec.matrix.org/v1.19/server-server-api/#getwell-knownmatrixserver>
async fn well_known_server(desk: Arc<Desk>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let address = desk.published.get(call.face.server_name());
    let address = address.ok_or_else(|| ApiError::not_found("Nothing is published here"))?;
    Ok(json_response(StatusCode::OK, &json!({ "m.server": address })))
}
