//! The way to application services: a port.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

/// The way to application services. Whoever set the server up says where they are, so it leads anywhere; it follows no redirect.
#[async_trait]
pub trait Carrier: Send + Sync + 'static {
    /// Asks a service and waits for the whole answer.
    ///
    /// # Errors
    /// [`Unreached`] when there is none in this time; whether the service has seen the request is then unknown.
    async fn ask(&self, question: Question) -> Result<Answer, Unreached>;
}

/// What a service is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// The verb.
    pub verb: Verb,
    /// The whole address.
    pub url: String,
    /// What we show to it.
    pub token: String,
    /// Time for all of it.
    pub deadline: Duration,
}

/// What is done with an address.
#[derive(Clone, Debug)]
pub enum Verb {
    /// It is asked for.
    Get,
    /// This JSON is posted to it.
    Post(Bytes),
    /// This JSON is put there.
    Put(Bytes),
}

/// What a service answered.
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
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unreached {
    /// Nobody is there, or the connection broke.
    #[error("the application service was not reached: {0}")]
    Failed(String),
    /// Not in time.
    #[error("the application service did not answer in time")]
    Late,
}

/// The way to no service: for a process that tells none.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCarrier;

#[async_trait]
impl Carrier for NoCarrier {
    async fn ask(&self, _: Question) -> Result<Answer, Unreached> {
        Err(Unreached::Failed("there is no way to application services".to_owned()))
    }
}
