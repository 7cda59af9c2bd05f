//! The server: configuration, wiring, listeners, and the commands of `yakuba`.
//!
//! Reading order: [`config`], [`house`] (how the crates are put together), [`serve`](serve::serve),
//! [`listen`], [`tls`]; then [`cli`] and the commands, with `demo` as the largest.

mod admin;
mod ask;
mod by_case;
mod by_post;
mod by_provider;
mod by_rule;
mod causes;
pub mod cli;
mod colleagues;
mod commands;
pub mod config;
mod data;
mod demo;
mod elsewhere;
mod files;
mod health;
mod hosts;
pub mod house;
mod idle;
pub mod listen;
mod media;
mod memory;
mod names;
mod own_gateway;
mod patience;
mod peers;
mod places;
mod process;
mod providers;
mod questions;
mod roles;
pub mod serve;
mod services;
pub mod storage;
#[cfg(test)]
mod tests;
mod texts;
pub mod tls;
mod unread;
mod wire;

pub use places::Bounds;
pub use process::{forbid_huge_pages, resident_bytes};
pub use storage::{BackUp, BackedUp};

/// The version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
