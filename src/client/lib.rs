//! The client-server interface: what Matrix clients ask of their homeserver.
//!
//! Each file holds the handlers of one part of the specification. A handler takes its request
//! apart, checks who asks, calls one verb of `account` or `room` and answers; it knows no tables.
//! `/sync` has a crate of its own.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/>
//!
//! Reading order: [`ClientApi`], [`routes`], then any part.

mod account_data;
mod accounts;
mod api;
mod backups;
mod capabilities;
mod colleagues;
mod confirms;
mod contacts;
mod create;
mod dehydrated;
mod delayed;
mod devices;
mod directory;
mod discovery;
mod elsewhere;
mod email_page;
mod fallback;
mod filters;
mod for_app;
mod hierarchy;
mod history;
mod interactive;
mod keys;
mod large;
mod login;
mod media;
mod membership;
mod misc;
mod moderation;
mod notices;
mod notifications;
mod oauth;
mod passkeys;
mod presence;
mod profile;
mod push_rules;
mod receipts;
mod register;
mod relations;
mod routes;
mod search;
mod second_step;
mod send;
mod services;
mod shared_secret;
mod sign_in_pages;
mod state;
mod summary;
mod tags;
mod threads;
mod to_device;
mod told;
mod unsubscribe_page;
mod upgrade;
mod user_directory;
mod zones;

pub use api::{ClientApi, Config, Contact, Support};
pub use colleagues::{Colleagues, FoundColleagues, NoColleagues, Unanswered};
pub use elsewhere::{Elsewhere, NoElsewhere};
pub use media::{MediaApi, MediaConfig, media_routes};
pub use oauth::{OAuthApi, UPSTREAM_CALLBACK, UPSTREAM_SIGN_OUT, oauth_routes};
pub use routes::routes;
