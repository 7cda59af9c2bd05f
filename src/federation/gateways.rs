//! The way to push gateways and push services: `push` and `gateway` decide what, this carries it.

use std::time::Duration;

use async_trait::async_trait;
use base::{ByteSize, Clock};
use bytes::Bytes;
use gateway::{Post, Protocol, Services};
use http::{Request, Response, Version};
use push::{Answer, Gateways, Unreached};
use ruma::api::client::push::{Pusher, PusherKind};

use crate::{
    Budget, TransportError,
    client::{self, Client},
};

/// Largest answer of a gateway: it names the push keys that it rejects.
const LARGEST_ANSWER: ByteSize = ByteSize::kib(64);

/// No push service is left alone for longer, whatever it asks for.
const LONGEST_REST: Duration = Duration::from_secs(3_600);

/// Tells push gateways, and push services.
pub(crate) struct PushGateways {
    pub(crate) client: Client,
    pub(crate) clock: Clock,
}

#[async_trait]
impl Gateways for PushGateways {
    async fn notify(&self, pusher: &Pusher, body: Bytes, deadline: Duration) -> Result<Answer, Unreached> {
        let PusherKind::Http(data) = &pusher.kind else {
            return Err(Unreached("the pusher has no gateway".to_owned()));
        };
        let json = || "application/json".to_owned();
        let headers = vec![("content-type", json()), ("accept", json())];
        let post = Post { url: data.url.clone(), headers, body, protocol: Protocol::Usual };
        let answer = self.send(post, deadline).await.map_err(|error| Unreached(error.to_string()))?;
        let (status, retry_after) = (answer.status().as_u16(), self.retry_after(&answer));
        Ok(Answer { status, retry_after, body: answer.into_body() })
    }
}

#[async_trait]
impl Services for PushGateways {
    async fn post(&self, post: Post, deadline: Duration) -> Result<gateway::Answer, gateway::Unreached> {
        let answer = self.send(post, deadline).await;
        let answer = answer.map_err(|error| gateway::Unreached(error.to_string()))?;
        let (status, retry_after) = (answer.status().as_u16(), self.retry_after(&answer));
        Ok(gateway::Answer { status, retry_after, body: answer.into_body() })
    }
}

impl PushGateways {
    async fn send(&self, post: Post, deadline: Duration) -> Result<Response<Bytes>, TransportError> {
        let Post { url, headers, body, protocol } = post;
        let mut request = Request::post(url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Protocol::Shared = protocol {
            request = request.version(Version::HTTP_2);
        }
        let request = request.body(body).map_err(|error| TransportError::Request(error.to_string()))?;
        self.client.notify(request, Budget { deadline, response: LARGEST_ANSWER }).await
    }

    fn retry_after(&self, answer: &Response<Bytes>) -> Option<Duration> {
        client::retry_after(answer.headers(), &self.clock).map(|wait| wait.min(LONGEST_REST))
    }
}
