//! DNS, by an own resolver library that reads the system's settings.

use std::net::IpAddr;

use async_trait::async_trait;
use hickory_resolver::{
    TokioResolver,
    proto::rr::{RData, RecordType},
};

use super::{Dns, DnsError, Service};

/// The DNS of this machine (`/etc/resolv.conf`, `/etc/hosts`), with a cache.
pub(crate) struct SystemDns {
    resolver: TokioResolver,
}

impl SystemDns {
    pub(crate) fn open() -> Result<Self, DnsError> {
        let failed = |error: hickory_resolver::net::NetError| DnsError::Failed(error.to_string());
        let resolver = TokioResolver::builder_tokio().map_err(failed)?.build().map_err(failed)?;
        Ok(Self { resolver })
    }
}

fn failure(error: &hickory_resolver::net::NetError) -> DnsError {
    if error.is_no_records_found() { DnsError::NoRecords } else { DnsError::Failed(error.to_string()) }
}

/// A name that is not looked up in the machine's search domains, unless it has no dot at all.
fn absolute(host: &str) -> String {
    if host.contains('.') && !host.ends_with('.') { format!("{host}.") } else { host.to_owned() }
}

#[async_trait]
impl Dns for SystemDns {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        let found = self.resolver.lookup_ip(absolute(host)).await.map_err(|error| failure(&error))?;
        Ok(found.iter().collect())
    }

    async fn services(&self, name: &str) -> Result<Vec<Service>, DnsError> {
        let name = absolute(name);
        let found = self.resolver.lookup(name, RecordType::SRV).await.map_err(|error| failure(&error))?;
        let services = found.answers().iter().filter_map(|record| match &record.data {
            RData::SRV(srv) => Some(Service {
                priority: srv.priority,
                weight: srv.weight,
                host: srv.target.to_ascii(),
                port: srv.port,
            }),
            _ => None,
        });
        Ok(services.collect())
    }
}

/// No DNS: for closed networks in which every peer has a fixed address.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NoDns;

#[async_trait]
impl Dns for NoDns {
    async fn addresses(&self, _: &str) -> Result<Vec<IpAddr>, DnsError> {
        Err(DnsError::Failed("DNS is switched off".to_owned()))
    }

    async fn services(&self, _: &str) -> Result<Vec<Service>, DnsError> {
        Err(DnsError::Failed("DNS is switched off".to_owned()))
    }
}
