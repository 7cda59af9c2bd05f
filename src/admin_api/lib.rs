//! The admin API of Synapse (`/_synapse/admin/`), as far as it is built: so that the tools that people have for it serve here.
//!
//! Whoever asks shows the access token of an account that administers its authority ([`Administrator`]), and sees and changes
//! that authority alone: its users, the rooms in which it has members, its files, its registration tokens. A process serves
//! many; what is another's is answered as what is on no server of ours. What is not built is no route, and answers
//! 404 `M_UNRECOGNIZED`.
//!
//! Each deed leaves a row in the audit log of the authority, in the batch that does it: so the verbs are those of `account`,
//! `engine` and `media`, and a handler takes its request apart, calls one, and answers. Reading what was said in a room that
//! one is not in is a deed as well.
//!
//! Lists are paged by numbers, as that API has it: what is behind a number moves when something comes or goes before it.
//! Whatever looks through all users, rooms or files of the process has to wait for its turn ([`api::AdminApi::turn`]).
//!
//! Format: <https://element-hq.github.io/synapse/latest/usage/administration/admin_api/index.html>
//!
//! Reading order: [`caller`], [`routes`], then the handlers: [`accounts`], [`devices`], [`tokens`], [`rooms`], [`reading`], [`reports`],
//! [`deletions`], [`files`], [`servers`], [`about`]; and [`openapi`], which tells programs of them.

mod about;
mod accounts;
mod api;
mod caller;
mod deletions;
mod devices;
mod files;
mod list;
mod openapi;
mod own;
mod reading;
mod reports;
mod rooms;
mod routes;
mod servers;
mod statistics;
mod tokens;

use store::TableCheck;

pub use api::{AdminApi, Parts};
pub use caller::Administrator;
pub use openapi::description;
pub use routes::routes;

/// The checks of all tables of this crate, for `verify`.
pub fn checks() -> Vec<TableCheck> {
    vec![deletions::DELETIONS.check()]
}
