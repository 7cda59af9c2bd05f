//! The way to push gateways: a port.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

/// The way to push gateways. Users choose their addresses, so whoever implements this looks at where they lead: to nothing
/// within our own network but what the settings allow; and follows no redirect.
#[async_trait]
pub trait Gateways: Send + Sync + 'static {
    /// Posts a notification as JSON and waits for the whole answer.
    ///
    /// # Errors
    /// [`Unreached`] when there is none in this time; whether the gateway has seen the notification is then unknown.
    async fn notify(&self, url: &str, body: Bytes, deadline: Duration) -> Result<Answer, Unreached>;
}

/// What a gateway answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// `Retry-After` in seconds.
    pub retry_after: Option<Duration>,
    /// The body, bounded by whoever carries it.
    pub body: Bytes,
}

/// There is no answer.
#[derive(Debug, thiserror::Error)]
#[error("no answer of the push gateway: {0}")]
pub struct Unreached(pub String);

/// What became of what a pusher was to be told.
pub(super) enum Outcome {
    /// It needs not be told anything; the gateway was not asked.
    Idle,
    /// It was told.
    Done,
    /// The gateway does not take it.
    Refused,
    /// The gateway, what is behind it for this one, or our own store fails; with how long it wishes to be left alone.
    Failed(Option<Duration>),
}
