//! What application services are told and asked, over HTTP.

#![expect(clippy::unwrap_used, reason = "tests")]

mod asked;
mod bounds;
mod devices;
mod namespaces;
mod service;
mod transactions;
