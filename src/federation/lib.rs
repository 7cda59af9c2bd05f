//! Federation: finding other servers, talking to them with signed requests, answering theirs, and
//! sending them what happens here.
//!
//! [`Federation`] puts it together. Below it, from the wire upwards:
//!
//! - [`Transport`] carries one request to a named server; [`Network`] is the real one: [`Resolver`] finds the
//!   server, TLS proves that it is the right one, and everything has a bound.
//! - `client` signs requests (`xmatrix`), [`Peering`] asks what the room engine wants to know, and
//!   [`Keys`] gets, checks and keeps the keys of servers.
//! - `signatures` checks requests that come in; `http` answers them.
//! - [`Sender`] reads the log of changes and sends each peer what it has to hear.
//!
//! All of it serves any number of authorities: each request of ours is signed by the authority in whose name
//! it is made, each request of others names the one that it is for, and what authorities of one process have
//! to tell each other never takes the network.

mod addresses;
mod bounded;
mod client;
mod config;
mod contacts;
mod domain_source;
mod federation;
mod files;
mod gateways;
mod http;
mod keys;
mod lists;
mod multipart;
mod network;
mod pages;
mod path;
mod profile;
mod reach;
mod remote;
mod resolver;
mod sender;
mod signatures;
pub mod tables;
mod transport;
mod xmatrix;

pub use self::{
    addresses::{AddressPolicy, Network as AddressRange, NetworkError as AddressRangeError},
    config::{Config, FixedAddress, KeyConfig, NetworkConfig, Peers, SenderConfig, Trust},
    federation::{Federation, Parts},
    http::{FederationApi, FederationMedia},
    keys::Keys,
    network::{Network, OpenError, tls_client, tls_client_showing},
    remote::{Peering, PublicRoomsQuestion},
    resolver::{
        Dns, DnsError, Endpoint, FetchedWellKnown, ResolveError, Resolver, Route, Service, WellKnown,
        WellKnownError,
    },
    sender::{PeerStatus, Sender, Standing},
    transport::{AnswerBody, Budget, Cause, Transport, TransportError, whole_body},
};
