//! [`Plain`]: the way to a server that is a process of its own.

use std::net::SocketAddr;

use async_trait::async_trait;
use bytes::Bytes;
use federation::{Budget, Transport, TransportError};
use http::{HeaderValue, Request, Response, Uri, header::HOST};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use ruma::ServerName;

use crate::serve::USUAL;

/// Requests to one listener without TLS, whichever server they name.
#[derive(Clone, Debug)]
pub struct Plain {
    address: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Plain {
    /// The way to this address.
    pub fn to(address: SocketAddr) -> Self {
        Self { address, client: Client::builder(TokioExecutor::new()).build_http() }
    }
}

#[async_trait]
impl Transport for Plain {
    async fn send(
        &self,
        destination: &ServerName,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, TransportError> {
        let budget = request.extensions().get::<Budget>().copied().unwrap_or(USUAL);
        let wrong = |error: &dyn ToString| TransportError::Request(error.to_string());
        let mut request = request.map(Full::new);
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let uri: Uri = format!("http://{}{path}", self.address).parse().map_err(|error| wrong(&error))?;
        *request.uri_mut() = uri;
        let host = HeaderValue::from_str(destination.as_str()).map_err(|error| wrong(&error))?;
        request.headers_mut().insert(HOST, host);

        let work = async {
            let answer = self.client.request(request).await;
            let (head, body) =
                answer.map_err(|error| TransportError::Connect(error.to_string()))?.into_parts();
            let body = Limited::new(body, budget.response.as_usize()).collect().await;
            let body = body.map_err(|error| TransportError::Broken(error.to_string()))?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        let late = |_| TransportError::Deadline(budget.deadline);
        tokio::time::timeout(budget.deadline, work).await.map_err(late)?
    }
}
