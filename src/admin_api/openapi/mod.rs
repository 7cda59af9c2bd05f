//! What this API is, for programs: its routes with what they take and answer, as OpenAPI 3.1 has it.
//!
//! Handlers take JSON apart by themselves and answer as Synapse does, whose forms follow no types; so the description is a table
//! of its own, beside them, and cannot be derived. What keeps it true are tests: `testkit/tests/admin_api/described.rs` walks the
//! routes of the router, and every answer that any test of that suite gets, and every body that was taken, is held against it.
//!
//! Who may read it: administrators, as all else here. It holds nothing of anybody, but who is nobody here need not learn by one
//! request what can be tried; and whoever makes programs of it has an account that may use them.
//!
//! Format: <https://spec.openapis.org/oas/v3.1.1.html>
//!
//! Reading order: [`operation`], [`schema`], [`document`], then the tables: [`users`], [`rooms`], [`files`], [`others`], [`shapes`].

mod document;
mod files;
mod operation;
mod others;
mod rooms;
mod schema;
mod shapes;
mod users;

use std::sync::Arc;

use web::{ApiError, RawCall, Response, json_bytes};

pub use document::description;

use crate::{AdminApi, Administrator};

/// Where the description is read.
pub(crate) const DOCUMENT: &str = "/_yakuba/admin_api/openapi.json";

/// `GET /_yakuba/admin_api/openapi.json`
pub(crate) async fn show(api: Arc<AdminApi>, _call: RawCall<Administrator>) -> Result<Response, ApiError> {
    let written = api.description.get_or_init(|| description(api.version).to_string().into());
    Ok(json_bytes(written.clone()))
}
