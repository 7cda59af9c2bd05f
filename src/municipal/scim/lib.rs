//! SCIM 2.0 (RFC 7643, RFC 7644): an authority's identity system says who is there, and accounts follow.
//!
//! A *source* is such a system, known by a token of the authority's configuration. A user of it is an account of the authority: made
//! when the source makes the user, called as it calls him, locked with all sessions ended when it says that he is not active or
//! removes him, and opened again when it says that he is. A source ends whom it names and nobody else; administrators, and whom the
//! configuration excepts, it never ends. What a source made no other sees, of whatever authority.
//!
//! The protocol is pure: `schema` (what there is), `name` and `filter` (what requests write), `value` (what is believed of a
//! body), `patch` (what operations do), `shown` (what of it is told). `users` and `groups` act: one batch a request, with the
//! account and the audit log in it. `http` takes requests apart.
//!
//! Reading order: `schema`, `value`, `patch`, `users`, `listing`, `http`.

mod administrators;
mod error;
mod filter;
mod groups;
mod http;
mod listing;
mod moment;
mod name;
mod patch;
mod schema;
mod scim;
mod shown;
mod source;
mod tables;
#[cfg(test)]
mod tests;
mod users;
mod value;

pub use self::{
    error::{Error, Wrong},
    http::routes,
    scim::{Parts, Scim},
    source::{SHORTEST_TOKEN, Settings, Sources, TokenHash},
    tables::checks,
};
