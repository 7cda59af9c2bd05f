//! The client interface as a client sees it: requests in, answers out, through the real router over
//! the store in memory. What is expected is what the specification and Complement expect.

#![expect(clippy::unwrap_used, reason = "tests")]

mod accounts;
#[path = "../../../factor/tests/authenticator.rs"]
mod authenticator;
mod bad_input;
mod bounds;
mod creation;
mod delayed;
mod emails;
mod factors;
mod finding;
mod guests;
mod hidden;
mod ignoring;
mod inviting;
mod keys;
mod limits;
mod media;
mod moderation;
mod notices;
mod oauth;
mod oauth_bad_input;
mod oauth_devices;
mod oauth_scope;
mod others;
mod own_pages;
mod pages;
mod passkeys;
mod policy;
mod previews;
mod push;
mod relations;
mod rendezvous;
mod rooms;
mod searching;
mod services;
mod sessions;
mod sign_up;
mod spaces;
mod threads;
mod town;
mod upgrades;
mod upstream;
