//! Signing in by OAuth 2.0: endpoints for clients, pages for their users.
//!
//! What is kept and decided is `oauth`'s, the look of pages is that of `pages`. An authority offers all this where its
//! address for clients begins with `https`; elsewhere clients find no metadata and use passwords.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#oauth-20-api>
//!
//! Reading order: `metadata`, `endpoints`, `sign_in`, `consent`, `devices`, `account`, `upstream`, `upstream_sign_out`, `rendezvous`.

mod account;
mod account_parts;
mod api;
mod consent;
mod devices;
mod endpoints;
mod factors;
mod metadata;
mod password;
mod rendezvous;
mod routes;
mod second_step;
mod sign_in;
mod sign_up;
mod upstream;
mod upstream_sign_out;

pub use api::{OAuthApi, UPSTREAM_CALLBACK, UPSTREAM_SIGN_OUT};
pub use routes::oauth_routes;
