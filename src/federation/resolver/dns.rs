//! DNS, by an own resolver library that reads the system's settings.

use std::{net::IpAddr, pin::pin, time::Duration};

use async_trait::async_trait;
use base::Clock;
use futures_util::future::{Either, select};
use hickory_resolver::{
    TokioResolver,
    proto::rr::{RData, RecordType},
};

use super::{Dns, DnsError, Service};

/// Once addresses of one family are there, those of the other are waited for so long: some DNS never
/// answers for a family that a host has not.
const OTHER_FAMILY: Duration = Duration::from_millis(300);

/// The DNS of this machine (`/etc/resolv.conf`, `/etc/hosts`), with a cache.
pub(crate) struct SystemDns {
    resolver: TokioResolver,
    clock: Clock,
}

impl SystemDns {
    pub(crate) fn open(clock: Clock) -> Result<Self, DnsError> {
        let failed = |error: hickory_resolver::net::NetError| DnsError::Failed(error.to_string());
        let resolver = TokioResolver::builder_tokio().map_err(failed)?.build().map_err(failed)?;
        Ok(Self { resolver, clock })
    }
}

impl SystemDns {
    async fn family(&self, host: &str, family: RecordType) -> Result<Vec<IpAddr>, DnsError> {
        let found = self.resolver.lookup(host, family).await.map_err(|error| failure(&error))?;
        Ok(found.answers().iter().filter_map(|record| record.data.ip_addr()).collect())
    }
}

fn has_addresses(answer: &Result<Vec<IpAddr>, DnsError>) -> bool {
    answer.as_ref().is_ok_and(|addresses| !addresses.is_empty())
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
        let host = absolute(host);
        let four = pin!(self.family(&host, RecordType::A));
        let six = pin!(self.family(&host, RecordType::AAAA));
        let (four, six) = match select(four, six).await {
            Either::Left((four, six)) if has_addresses(&four) => {
                (four, self.clock.timeout(OTHER_FAMILY, six).await.unwrap_or(Err(DnsError::NoRecords)))
            }
            Either::Right((six, four)) if has_addresses(&six) => {
                (self.clock.timeout(OTHER_FAMILY, four).await.unwrap_or(Err(DnsError::NoRecords)), six)
            }
            Either::Left((four, six)) => (four, six.await),
            Either::Right((six, four)) => (four.await, six),
        };
        match (four, six) {
            (Ok(mut four), Ok(six)) => {
                four.extend(six);
                Ok(four)
            }
            (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
            (Err(DnsError::NoRecords), Err(error)) | (Err(error), Err(_)) => Err(error),
        }
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

    async fn texts(&self, name: &str) -> Result<Vec<String>, DnsError> {
        let name = absolute(name);
        let found = self.resolver.lookup(name, RecordType::TXT).await.map_err(|error| failure(&error))?;
        let texts = found.answers().iter().filter_map(|record| match &record.data {
            RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
            _ => None,
        });
        Ok(texts.collect())
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
