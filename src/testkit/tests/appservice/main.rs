//! What application services are told and asked, over HTTP.

#![expect(clippy::unwrap_used, reason = "tests")]

mod asked;
mod devices;
mod service;
mod transactions;
