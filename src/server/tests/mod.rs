//! What the crate promises, as tests.

#![expect(clippy::unwrap_used, reason = "tests")]

mod audit;
mod backups;
mod config;
mod files;
mod house;
mod leftovers;
mod listen;
mod names;
mod patience;
mod places;
mod postgres;
mod tls;
