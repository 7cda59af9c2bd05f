//! What the crate promises, as tests.

#![expect(clippy::unwrap_used, reason = "tests")]

mod alerts;
mod audit;
mod audit_walk;
mod backups;
#[expect(dead_code, reason = "these tests use a part of it")]
#[path = "../../store_postgres/tests/cluster.rs"]
mod cluster;
mod config;
mod files;
mod house;
mod leftovers;
mod listen;
mod mail;
mod names;
mod patience;
mod places;
mod postgres;
mod retiring;
mod services;
mod tls;
