//! What the application services of Yakuba share: a program that lives beside a homeserver and speaks
//! its public API only, so that it works beside any other server as well.
//!
//! A bot is a [`Bot`]: its settings, what it claims for itself, and what it does with an event. The kit does the
//! rest: the configuration file, the registration, the listener for transactions, a small store, a client for the
//! homeserver, an orderly end. `fn main() -> ExitCode { bot_kit::main::<MyBot>() }` is a whole program.
//!
//! What a homeserver was answered 200 for is on the disk ([`Store`]) and is handled until it is done, in the order of
//! its room, whoever crashes. It may so be handled twice: what a bot sends it names by [`TxnId::after`] the
//! event that made it send, and what it keeps it gives back as a [`Batch`], which is written together with the
//! note that the event is done.
//!
//! Reading order: [`Bot`], [`Host`], [`Event`], [`Homeserver`], [`Store`]; then `inbox` and `listen`.

mod bot;
mod config;
mod event;
mod files;
mod homeserver;
mod inbox;
pub mod json;
mod key;
mod listen;
mod program;
mod proxies;
mod registration;
mod store;
mod unread;

pub use rustls::ClientConfig as TlsConfig;
pub use {ruma, url};

pub use self::{
    bot::{Bot, Host, Namespaces},
    config::{AppserviceConfig, Config, HomeserverConfig, ListenerConfig, Span, StoreConfig},
    event::{Event, next_ms, now_ms},
    homeserver::{Creation, Download, Failure, Homeserver, Refusal, TxnId, Upgrade},
    key::{Key, hex},
    listen::{Bounds, serve},
    program::main,
    proxies::Proxies,
    registration::Registration,
    store::{Batch, Error as StoreError, Rows, Store, Table},
};
