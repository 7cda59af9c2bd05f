//! The port by which providers are asked.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

/// A request to a provider.
#[derive(Clone)]
pub struct Question {
    /// Where to.
    pub url: String,
    /// The value of `Authorization`.
    pub authorization: Option<String>,
    /// A form to post; without one it is a GET.
    pub form: Option<String>,
}

impl Question {
    /// A GET that shows nothing.
    pub fn get(url: impl Into<String>) -> Question {
        Question { url: url.into(), authorization: None, form: None }
    }
}

impl std::fmt::Debug for Question {
    /// Codes and secrets do not belong in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Question").field("url", &self.url).finish_non_exhaustive()
    }
}

/// What a provider answers.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: Bytes,
}

/// Why there is no answer; the text is for the log.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct WebError(pub String);

/// The way to providers. Whoever carries it out bounds the size of an answer and the time that it may take, and follows no
/// redirect.
#[async_trait]
pub trait Web: Send + Sync {
    /// Asks.
    ///
    /// # Errors
    /// When there is no answer, or one that is too large or comes too late.
    async fn ask(&self, question: Question) -> Result<Answer, WebError>;
}

/// No way to any provider.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWeb;

#[async_trait]
impl Web for NoWeb {
    async fn ask(&self, _: Question) -> Result<Answer, WebError> {
        Err(WebError("there is no way to providers".to_owned()))
    }
}
