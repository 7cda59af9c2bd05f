//! Federation: finding other servers, talking to them with signed requests, answering theirs, and
//! sending them what happens here.

mod addresses;
mod client;
mod config;
mod contacts;
mod federation;
mod http;
mod keys;
mod network;
mod path;
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
    http::FederationApi,
    keys::Keys,
    network::{Network, OpenError},
    remote::{Peering, PublicRoomsQuestion},
    resolver::{
        Dns, DnsError, Endpoint, FetchedWellKnown, ResolveError, Resolver, Route, Service, WellKnown,
        WellKnownError,
    },
    sender::{PeerStatus, Sender},
    transport::{Budget, Transport, TransportError},
};
