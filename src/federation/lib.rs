//! Federation: finding other servers, talking to them with signed requests, answering theirs, and
//! sending them what happens here.

mod addresses;
mod config;
mod network;
mod resolver;
mod transport;

pub use self::{
    addresses::{AddressPolicy, Network as AddressRange, NetworkError as AddressRangeError},
    config::{Config, FixedAddress, KeyConfig, NetworkConfig, Peers, SenderConfig, Trust},
    network::{Network, OpenError},
    resolver::{
        Dns, DnsError, Endpoint, FetchedWellKnown, ResolveError, Resolver, Route, Service, WellKnown,
        WellKnownError,
    },
    transport::{Budget, Transport, TransportError},
};
