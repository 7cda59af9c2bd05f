//! Signing in at the identity provider of an authority, by OpenID Connect: we are its relying party.
//!
//! A browser is sent to the provider ([`Upstream::begin`]) and comes back with a code, which is traded for an ID token
//! ([`Upstream::finish`]). What comes out is an [`account::Identity`]: who the provider says somebody is. Which account that
//! is, and whether there may be a new one, is `account`'s to say.
//!
//! Nothing is kept of who has been sent away: what comes back is bound to the browser by its own secret (`attempt`).
//! By a logout token a provider tells that somebody has signed out there ([`Upstream::read_logout_token`]); what ends by that
//! is `account`'s.
//!
//! What the provider says of itself and its keys are fetched now and then, for all together (`provider`). This crate opens no
//! connection and knows no pages; the way to providers is a port ([`Web`]).
//!
//! Signatures are checked with `ring`, which TLS brings along. The crate `openidconnect` would bring second versions of seven
//! others and an RSA that is known to leak keys by its timing, for the part of the protocol that is used here.
//!
//! Spec: <https://openid.net/specs/openid-connect-core-1_0.html>
//!
//! Reading order: [`Settings`], [`Upstream`], `attempt`, `provider`, `id_token`, `jws`, `logout_token`, `sign_outs`, [`Template`].

mod attempt;
mod bounds;
mod claims;
mod error;
mod id_token;
mod jws;
mod logout_token;
mod metadata;
mod port;
mod provider;
mod settings;
mod sign_outs;
mod staff;
mod template;
#[cfg(test)]
mod tests;
mod upstream;

pub use attempt::Purpose;
pub use error::{BadLogoutToken, Error, NotSignedOut};
pub use logout_token::LogoutToken;
pub use port::{Answer, NoWeb, Question, Web, WebError};
pub use settings::{Label, Settings};
pub use staff::{Hears, Staff, StaffClaims};
pub use template::{BadTemplate, Template};
pub use upstream::{Finished, Returned, Sent, Upstream};
