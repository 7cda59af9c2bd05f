//! The way to push gateways: a port.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ruma::api::client::push::Pusher;

/// The way to push gateways. Users choose their addresses, so whoever implements this looks at where they lead: to nothing
/// within our own network but what the settings allow; and follows no redirect.
#[async_trait]
pub trait Gateways: Send + Sync + 'static {
    /// Posts a notification, as JSON, to the gateway of a pusher and waits for the whole answer.
    ///
    /// # Errors
    /// [`Unreached`] when there is none in this time; whether the gateway has seen the notification is then unknown.
    async fn notify(&self, pusher: &Pusher, body: Bytes, deadline: Duration) -> Result<Answer, Unreached>;

    /// Beside whom a pusher waits, where that is not its gateway: what is behind one may have a pace of its own.
    fn lane_of(&self, _pusher: &Pusher) -> Option<String> {
        None
    }
}

/// What a gateway answered.
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
#[error("no answer of the push gateway: {0}")]
pub struct Unreached(pub String);

/// What became of what a pusher was to be told.
pub(super) enum Outcome {
    /// It needs not be told anything; the gateway was not asked.
    Idle,
    /// It is not to be told yet, but after this while.
    Later(Duration),
    /// It was told.
    Done,
    /// The gateway does not take it.
    Refused,
    /// The gateway, what is behind it for this one, or our own store fails; with how long it wishes to be left alone.
    Failed(Option<Duration>),
}
