//! From a server name to where and how its server is reached.
//!
//! The six steps of the specification, numbered as there; a table of fixed addresses goes before
//! them. What comes out is a [`Route`]: which hosts and ports to connect to, which `Host` header to
//! send and which name the certificate must be for. These three differ from step to step, and that
//! is where servers go wrong: an SRV record moves the connection but never the certificate's name.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#resolving-server-names>

mod dns;
mod well_known;

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use base::{Clock, Instant, Random};
use futures_util::future::join;
use parking_lot::Mutex;
use ruma::{OwnedServerName, ServerName};
use rustls_pki_types::{DnsName, ServerName as CertificateName};

pub(crate) use self::dns::{NoDns, SystemDns};
use self::well_known::WellKnownCache;
pub use self::well_known::{FetchedWellKnown, WellKnown, WellKnownError};
use crate::{addresses::AddressPolicy, config::FixedAddress};

/// The port of a server that names none.
const DEFAULT_PORT: u16 = 8448;

/// A DNS question may take this long; a dead DNS must not hold up more than the one who asks.
const DNS_TIMEOUT: Duration = Duration::from_secs(5);

/// The same for SRV records, which few servers have.
const SERVICES_TIMEOUT: Duration = Duration::from_secs(2);

/// For so long it is remembered that a host has no SRV records, and that DNS would not say.
const NO_SERVICES: Duration = Duration::from_secs(5 * 60);
const UNKNOWN_SERVICES: Duration = Duration::from_secs(60);

/// Hosts without SRV records that are remembered.
const MOST_HOSTS: usize = 20_000;

/// So many addresses of a peer are tried.
const MOST_ADDRESSES: usize = 8;

/// Why a server name leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// DNS knows no such host, or did not answer.
    #[error("{host} has no address: {cause}")]
    NoAddress {
        /// The host that was looked up.
        host: String,
        /// What DNS said.
        cause: String,
    },
    /// The addresses are of ranges that we do not connect to.
    #[error("the addresses of {host} are not permitted")]
    NotPermitted {
        /// The host that was looked up.
        host: String,
    },
    /// The name cannot be that of a host.
    #[error("`{0}` cannot be the name of a host")]
    BadName(String),
}

/// Why DNS gave no records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// There are none.
    #[error("no records")]
    NoRecords,
    /// It could not be asked, or gave an error.
    #[error("{0}")]
    Failed(String),
}

/// An SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Lower is tried first.
    pub priority: u16,
    /// Share of the load among those of one priority.
    pub weight: u16,
    /// Host that offers the service.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// The part of DNS that discovery asks. It caches by itself, by the records' lifetimes.
#[async_trait]
pub trait Dns: Send + Sync + 'static {
    /// A and AAAA records, with CNAMEs followed.
    ///
    /// # Errors
    /// [`DnsError`] when there are none, or DNS failed.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, DnsError>;

    /// SRV records of a full service name such as `_matrix-fed._tcp.example.com`.
    ///
    /// # Errors
    /// [`DnsError`] when there are none, or DNS failed.
    async fn services(&self, name: &str) -> Result<Vec<Service>, DnsError>;

    /// TXT records of a name, each with its parts in one.
    ///
    /// # Errors
    /// [`DnsError`] when there are none, or DNS failed.
    async fn texts(&self, _name: &str) -> Result<Vec<String>, DnsError> {
        Err(DnsError::Failed("texts are not looked up".to_owned()))
    }
}

/// One host and port to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// IP address (without brackets) or host name.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Where and how a server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// What to connect to, best first.
    pub endpoints: Vec<Endpoint>,
    /// The `Host` header.
    pub host: String,
    /// What the certificate must be for.
    pub certificate: CertificateName<'static>,
    /// Whether it comes from the configuration, so that no address policy applies.
    pub fixed: bool,
}

/// Finds servers by the steps of the specification.
pub struct Resolver {
    fixed: BTreeMap<OwnedServerName, Route>,
    dns: Arc<dyn Dns>,
    well_known: WellKnownCache,
    /// Hosts without SRV records, and until when that is believed. What DNS finds it caches itself.
    without_services: Mutex<HashMap<String, Instant>>,
    policy: AddressPolicy,
    clock: Clock,
    random: Random,
}

impl Resolver {
    /// A resolver with these fixed addresses; everything else is looked up.
    ///
    /// # Errors
    /// [`ResolveError::BadName`] when a fixed address cannot be one.
    pub fn new(
        fixed: &BTreeMap<OwnedServerName, FixedAddress>,
        policy: AddressPolicy,
        dns: Arc<dyn Dns>,
        well_known: Arc<dyn WellKnown>,
        clock: Clock,
        random: Random,
    ) -> Result<Self, ResolveError> {
        let mut routes = BTreeMap::new();
        for (server, address) in fixed {
            routes.insert(server.clone(), fixed_route(server, address)?);
        }
        let well_known = WellKnownCache::new(well_known, clock.clone(), random.clone());
        let without_services = Mutex::default();
        Ok(Self { fixed: routes, dns, well_known, without_services, policy, clock, random })
    }

    /// How to reach a server. Answers from caches are the normal case, so this is asked anew for each
    /// request and nobody keeps a route.
    ///
    /// # Errors
    /// [`ResolveError::BadName`]; that a host has no address shows only in [`Resolver::addresses`].
    pub async fn route(&self, server: &ServerName) -> Result<Route, ResolveError> {
        if let Some(route) = self.fixed.get(server) {
            return Ok(route.clone());
        }
        // Steps 1 and 2.
        if let Some(route) = literal_or_port(server.host(), server.port(), server.as_str())? {
            return Ok(route);
        }
        // Step 3.
        let host = server.host();
        let Some(delegated) = self.well_known.find(host).await else {
            // Steps 4 to 6.
            return self.services_or_default(host).await;
        };
        // Steps 3.1 and 3.2.
        if let Some(route) = literal_or_port(delegated.host(), delegated.port(), delegated.as_str())? {
            return Ok(route);
        }
        // Steps 3.3 to 3.5.
        self.services_or_default(delegated.host()).await
    }

    /// The SRV records of a host, else port 8448. Host header and certificate are for the host itself.
    async fn services_or_default(&self, host: &str) -> Result<Route, ResolveError> {
        let certificate = certificate_name(host)?;
        let mut endpoints = self.services(host).await;
        if endpoints.is_empty() {
            endpoints.push(Endpoint { host: host.to_owned(), port: DEFAULT_PORT });
        }
        Ok(Route { endpoints, host: host.to_owned(), certificate, fixed: false })
    }

    /// What the SRV records of a host name, the newer service name first.
    ///
    /// A DNS that fails here (SERVFAIL, time out) counts as "no such record": many a DNS fails for
    /// names that it does not know, and the address look-up that follows tells.
    async fn services(&self, host: &str) -> Vec<Endpoint> {
        let is_over = |until: &Instant| *until <= self.clock.instant();
        if self.without_services.lock().get(host).is_some_and(|until| !is_over(until)) {
            return Vec::new();
        }
        let (newer, older) = (format!("_matrix-fed._tcp.{host}"), format!("_matrix._tcp.{host}"));
        let (newer, older) = join(self.dns_services(&newer), self.dns_services(&older)).await;
        let mut believed = NO_SERVICES;
        for answer in [newer, older] {
            match answer {
                Ok(services) => {
                    let endpoints = order(services, &self.random);
                    if !endpoints.is_empty() {
                        return endpoints;
                    }
                }
                Err(DnsError::NoRecords) => {}
                Err(DnsError::Failed(_)) => believed = UNKNOWN_SERVICES,
            }
        }
        let mut hosts = self.without_services.lock();
        make_room(&mut hosts, MOST_HOSTS, |until| !is_over(until));
        hosts.insert(host.to_owned(), self.clock.instant() + believed);
        Vec::new()
    }

    async fn dns_services(&self, name: &str) -> Result<Vec<Service>, DnsError> {
        let asked = self.clock.timeout(SERVICES_TIMEOUT, self.dns.services(name)).await;
        asked.unwrap_or_else(|_| Err(DnsError::Failed("DNS did not answer in time".to_owned())))
    }

    /// The addresses to connect to for a route, best first; only permitted ones.
    ///
    /// # Errors
    /// [`ResolveError`] when there is none left.
    pub async fn addresses(&self, route: &Route) -> Result<Vec<SocketAddr>, ResolveError> {
        let mut addresses = Vec::new();
        let mut error = ResolveError::BadName(route.host.clone());
        for endpoint in &route.endpoints {
            match self.addresses_of(endpoint, route.fixed).await {
                Ok(found) => addresses.extend(found),
                Err(cause) => error = cause,
            }
            if addresses.len() >= MOST_ADDRESSES {
                break;
            }
        }
        addresses.truncate(MOST_ADDRESSES);
        if addresses.is_empty() { Err(error) } else { Ok(addresses) }
    }

    /// The permitted addresses of one host and port.
    pub(crate) async fn addresses_of(
        &self,
        endpoint: &Endpoint,
        fixed: bool,
    ) -> Result<Vec<SocketAddr>, ResolveError> {
        let Endpoint { host, port } = endpoint;
        let found = if let Ok(address) = host.parse() {
            vec![address]
        } else {
            let asked = self.clock.timeout(DNS_TIMEOUT, self.dns.addresses(host)).await;
            asked
                .unwrap_or_else(|_| Err(DnsError::Failed("DNS did not answer in time".to_owned())))
                .map_err(|cause| ResolveError::NoAddress { host: host.clone(), cause: cause.to_string() })?
        };
        if found.is_empty() {
            let cause = DnsError::NoRecords.to_string();
            return Err(ResolveError::NoAddress { host: host.clone(), cause });
        }
        let permitted = found.into_iter().filter(|address| fixed || self.policy.permits(*address));
        let addresses: Vec<_> = permitted.map(|address| SocketAddr::new(address, *port)).collect();
        if addresses.is_empty() {
            return Err(ResolveError::NotPermitted { host: host.clone() });
        }
        Ok(addresses)
    }
}

/// Steps 1 and 2 (and 3.1 and 3.2): no DNS for IP literals, no SRV for names with a port.
fn literal_or_port(host: &str, port: Option<u16>, name: &str) -> Result<Option<Route>, ResolveError> {
    let is_literal = bare(host).parse::<IpAddr>().is_ok();
    if !is_literal && port.is_none() {
        return Ok(None);
    }
    let endpoint = Endpoint { host: bare(host).to_owned(), port: port.unwrap_or(DEFAULT_PORT) };
    Ok(Some(Route {
        endpoints: vec![endpoint],
        host: name.to_owned(),
        certificate: certificate_name(host)?,
        fixed: false,
    }))
}

fn fixed_route(server: &ServerName, fixed: &FixedAddress) -> Result<Route, ResolveError> {
    let address = <&ServerName>::try_from(fixed.address.as_str())
        .map_err(|_| ResolveError::BadName(fixed.address.clone()))?;
    let endpoint =
        Endpoint { host: bare(address.host()).to_owned(), port: address.port().unwrap_or(DEFAULT_PORT) };
    let certificate = certificate_name(fixed.certificate_name.as_deref().unwrap_or(server.host()))?;
    Ok(Route { endpoints: vec![endpoint], host: server.as_str().to_owned(), certificate, fixed: true })
}

/// An IPv6 literal without its brackets.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

pub(crate) fn certificate_name(host: &str) -> Result<CertificateName<'static>, ResolveError> {
    if let Ok(address) = bare(host).parse::<IpAddr>() {
        return Ok(CertificateName::IpAddress(address.into()));
    }
    DnsName::try_from(host.to_owned())
        .map(CertificateName::DnsName)
        .map_err(|_| ResolveError::BadName(host.to_owned()))
}

/// Orders SRV records as RFC 2782 says: by priority, then drawn by weight.
fn order(services: Vec<Service>, random: &Random) -> Vec<Endpoint> {
    let mut by_priority: BTreeMap<u16, Vec<Service>> = BTreeMap::new();
    for service in services {
        // A target of "." says that the service is decidedly not offered.
        if !service.host.trim_end_matches('.').is_empty() {
            by_priority.entry(service.priority).or_default().push(service);
        }
    }
    let mut endpoints = Vec::new();
    for mut group in by_priority.into_values() {
        while !group.is_empty() {
            let total: u64 = group.iter().map(|service| u64::from(service.weight)).sum();
            let mut draw = random.range(0..total + 1);
            let chosen = group.iter().position(|service| {
                let weight = u64::from(service.weight);
                let hit = draw <= weight;
                draw = draw.saturating_sub(weight);
                hit
            });
            let Service { host, port, .. } = group.swap_remove(chosen.unwrap_or(0));
            endpoints.push(Endpoint { host: host.trim_end_matches('.').to_owned(), port });
        }
    }
    endpoints
}

/// Remembers per-key values in memory, within a bound: when full, those that `keep` refuses go, and
/// if none does, all go.
pub(crate) fn make_room<K, V>(map: &mut HashMap<K, V>, most: usize, keep: impl Fn(&V) -> bool)
where
    K: std::hash::Hash + Eq,
{
    if map.len() >= most {
        map.retain(|_, value| keep(value));
    }
    if map.len() >= most {
        map.clear();
    }
}

#[cfg(test)]
mod tests;
