//! What the crate promises, as tests.

#![expect(clippy::unwrap_used, reason = "tests")]

mod backups;
mod config;
mod files;
mod house;
mod names;
mod patience;
mod postgres;
mod tls;
