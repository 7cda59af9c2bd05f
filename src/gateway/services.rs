//! The way to push services: a port.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

/// The way to push services. Whoever has a pusher chooses their addresses, so whoever implements this looks at where they lead: to
/// nothing within our own network but what the settings allow; and follows no redirect.
#[async_trait]
pub trait Services: Send + Sync + 'static {
    /// Posts something and waits for the whole answer.
    ///
    /// # Errors
    /// [`Unreached`] when there is none in this time.
    async fn post(&self, post: Post, deadline: Duration) -> Result<Answer, Unreached>;
}

/// What is posted.
#[derive(Clone, Debug)]
pub struct Post {
    /// Where to.
    pub url: String,
    /// Headers with their values, beside those of every request.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
    /// How it is spoken to.
    pub protocol: Protocol,
}

/// How a push service is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, or what else it understands.
    Usual,
    /// HTTP/2 with TLS, over one connection for all that is posted there. For services that the settings name.
    Shared,
}

/// What a push service answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
    /// The body, bounded by whoever carries it.
    pub body: Bytes,
}

/// There is no answer.
#[derive(Debug, thiserror::Error)]
#[error("no answer of the push service: {0}")]
pub struct Unreached(pub String);
