//! The way from one server to another: with the faults of the link, in memory or over the network.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use base::ByteSize;
use bytes::Bytes;
use federation::{AnswerBody, Budget, Transport, TransportError, whole_body};
use http::{HeaderValue, Request, Response, Uri, header::HOST};
use http_body_util::BodyExt;
use ruma::ServerName;
use tower::ServiceExt;
use web::{Body, Peer, TlsName};

use crate::{link::Fault, net::Inner, server::Machine};

/// Requests without a [`Budget`] of their own.
const USUAL: Budget = Budget { deadline: Duration::from_secs(30), response: ByteSize::mib(64) };

/// A server's way to the others.
pub(crate) struct Road {
    pub(crate) net: Weak<Inner>,
    /// The number of the server at this end.
    pub(crate) from: usize,
}

#[async_trait]
impl Transport for Road {
    async fn send(
        &self,
        destination: &ServerName,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, TransportError> {
        let Some(net) = self.net.upgrade() else { return Err(refused("the net is gone")) };
        let budget = request.extensions().get::<Budget>().copied().unwrap_or(USUAL);
        let clock = net.clock.clone();
        let late = |_| TransportError::Deadline(budget.deadline);
        if let Some(hostile) = net.hostile(destination) {
            return match net.network(self.from)? {
                Some(network) => network.send(destination, request).await,
                None => clock.timeout(budget.deadline, hostile.carry(request)).await.map_err(late)?,
            };
        }
        let Some(machine) = net.find(destination) else { return Err(refused("nobody has this name")) };
        let travel = self.travel(&net, &machine, destination, request);
        clock.timeout(budget.deadline, travel).await.map_err(late)?
    }

    async fn open(
        &self,
        destination: &ServerName,
        request: Request<Bytes>,
    ) -> Result<Response<AnswerBody>, TransportError> {
        let Some(net) = self.net.upgrade() else { return Err(refused("the net is gone")) };
        // What does not go over a wire is held as a whole anyway.
        let Some(network) = net.network(self.from)? else {
            return Ok(self.send(destination, request).await?.map(whole_body));
        };
        let is_cut = |machine: &Machine| matches!(net.links.fault(self.from, machine.number), Fault::Cut);
        if net.find(destination).is_some_and(|machine| is_cut(&machine)) {
            return Err(refused("the link is cut"));
        }
        network.open(destination, request).await
    }

    async fn visit(&self, uri: &Uri, budget: Budget) -> Result<Response<AnswerBody>, TransportError> {
        let Some(net) = self.net.upgrade() else { return Err(refused("the net is gone")) };
        match net.network(self.from)? {
            Some(network) => network.visit(uri, budget).await,
            None => Err(refused("there is no way to web servers")),
        }
    }

    async fn texts(&self, name: &str) -> Result<Vec<String>, TransportError> {
        let Some(net) = self.net.upgrade() else { return Err(refused("the net is gone")) };
        Ok(net.texts.read().get(name).cloned().unwrap_or_default())
    }

    async fn notify(
        &self,
        request: Request<Bytes>,
        budget: Budget,
    ) -> Result<Response<Bytes>, TransportError> {
        let Some(net) = self.net.upgrade() else { return Err(refused("the net is gone")) };
        match net.network(self.from)? {
            Some(network) => network.notify(request, budget).await,
            None => Err(refused("there is no way to push gateways")),
        }
    }
}

/// The way from nowhere in particular to every server, in memory and without faults.
pub(crate) struct Outside(pub(crate) Weak<Inner>);

#[async_trait]
impl Transport for Outside {
    async fn send(
        &self,
        destination: &ServerName,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, TransportError> {
        let Some(net) = self.0.upgrade() else { return Err(refused("the net is gone")) };
        let Some(machine) = net.find(destination) else { return Err(refused("nobody has this name")) };
        machine.answer(destination, request).await
    }
}

impl Road {
    async fn travel(
        &self,
        net: &Inner,
        machine: &Machine,
        destination: &ServerName,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, TransportError> {
        let fault = || net.links.fault(self.from, machine.number);
        match fault() {
            Fault::Delay(delay) => net.clock.sleep(delay).await,
            Fault::Reorder(limit) => {
                let micros = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX).max(1);
                net.clock.sleep(Duration::from_micros(net.random.range(0..micros))).await;
            }
            _ => {}
        }
        match fault() {
            Fault::Cut => return Err(refused("the link is cut")),
            Fault::BlackHole => std::future::pending::<()>().await,
            _ => {}
        }
        let answer = match net.network(self.from)? {
            Some(network) => network.send(destination, request).await?,
            None => {
                let mut request = request;
                if let Some(zone) = machine.zone_for_servers.lock().clone() {
                    request.extensions_mut().insert(zone);
                }
                machine.answer(destination, request).await?
            }
        };
        match fault() {
            Fault::AnswersLost => Err(TransportError::Broken("the answer was lost".to_owned())),
            _ => Ok(answer),
        }
    }
}

pub(crate) fn refused(cause: &str) -> TransportError {
    TransportError::Connect(cause.to_owned())
}

/// Hands a request to a router, as a listener would.
pub(crate) async fn ask(
    router: web::Router,
    host: &str,
    mut request: Request<Bytes>,
) -> Result<Response<Bytes>, String> {
    if let Ok(host) = HeaderValue::from_str(host) {
        request.headers_mut().entry(HOST).or_insert(host);
    }
    request.extensions_mut().insert(Peer(SocketAddr::from((Ipv4Addr::LOCALHOST, 1))));
    request.extensions_mut().insert(TlsName(Arc::from(host)));
    let Ok(response) = router.oneshot(request.map(Body::from)).await;
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    Ok(Response::from_parts(head, body))
}
