//! [`Failure`]: what went wrong with a request, and when it is tried again.

use std::{future::Future, time::Duration};

use reqwest::{Response, StatusCode, header};
use serde_json::Value;
use tracing::debug;

/// A request is tried so often before whoever asked hears of it.
const TRIES: u32 = 4;

/// The first pause between tries; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause that an answer may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Why the homeserver did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It may go well later: the server is away, or busy, or does not know us yet.
    #[error("the homeserver cannot do it now: {cause}")]
    Passing {
        /// What it said.
        cause: String,
        /// What it wants to be left alone for.
        after: Option<Duration>,
        /// The status of its answer, if there was one.
        status: Option<StatusCode>,
    },
    /// It will not do it, however often it is asked.
    #[error("the homeserver refuses: {0}")]
    Refused(Refusal),
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
}

/// What a homeserver says when it refuses.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#standard-error-response>
#[derive(Clone, Debug, thiserror::Error)]
#[error("{status} {errcode}: {message}")]
pub struct Refusal {
    /// HTTP status.
    pub status: StatusCode,
    /// The Matrix errcode; empty if there was none.
    pub errcode: String,
    /// The sentence for people.
    pub message: String,
    /// The whole answer.
    pub answer: Value,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, errcode: &str, message: String) -> Self {
        Self { status, errcode: errcode.to_owned(), message, answer: Value::Null }
    }
}

impl Failure {
    /// That something is not as it has to be, which no repetition mends.
    pub fn odd(message: String) -> Self {
        Self::Refused(Refusal::new(StatusCode::BAD_REQUEST, "YAKUBA_ODD", message))
    }

    /// The refusal, if it is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Passing { .. } | Self::Store(_) => None,
        }
    }

    /// Whether the homeserver refuses with this errcode.
    pub fn is(&self, errcode: &str) -> bool {
        self.refusal().is_some_and(|refusal| refusal.errcode == errcode)
    }

    /// The status of the homeserver's answer, if there was one.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Passing { status, .. } => *status,
            Self::Refused(refusal) => Some(refusal.status),
            Self::Store(_) => None,
        }
    }

    /// Whether the same may go well later.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Passing { .. } | Self::Store(crate::store::Error::File(_)) => true,
            Self::Refused(_) | Self::Store(crate::store::Error::Row { .. }) => false,
        }
    }
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        // Without the URL, in which people may stand.
        let error = error.without_url();
        let mut cause = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            cause = format!("{cause}: {error}");
            source = error.source();
        }
        Self::Passing { cause, after: None, status: None }
    }
}

/// What `Retry-After` says; of a time that is past, nothing.
pub(super) fn after(answer: &Response) -> Option<Duration> {
    let text = |name: header::HeaderName| answer.headers().get(name)?.to_str().ok();
    let now = base::Clock::system().now();
    let wait = base::retry_after(text(header::RETRY_AFTER)?, text(header::DATE), now)?;
    (!wait.is_zero()).then_some(wait.min(LONGEST_PAUSE))
}

/// What an answer that is no success means.
pub(super) fn failure(status: StatusCode, after: Option<Duration>, answer: Value) -> Failure {
    let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (errcode, message) = (text("errcode"), text("error"));
    // A token that is unknown: the homeserver has not read our registration yet. Whoever mends that should lose nothing.
    let is_unknown = status == StatusCode::UNAUTHORIZED;
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() || is_unknown {
        let asked = answer.get("retry_after_ms").and_then(Value::as_u64).map(Duration::from_millis);
        let after = after.or(asked).map(|after| after.min(LONGEST_PAUSE));
        return Failure::Passing {
            cause: format!("{status} {errcode}: {message}"),
            after,
            status: Some(status),
        };
    }
    Failure::Refused(Refusal { status, errcode, message, answer })
}

/// Tries what may pass some times.
pub(super) async fn again<T, F: Future<Output = Result<T, Failure>>>(
    mut attempt: impl FnMut() -> F,
) -> Result<T, Failure> {
    let mut pause = FIRST_PAUSE;
    let mut tries = 1;
    loop {
        match attempt().await {
            Err(Failure::Passing { cause, after, .. }) if tries < TRIES => {
                debug!(cause, tries, "asking the homeserver again");
                tokio::time::sleep(after.unwrap_or(pause)).await;
                (pause, tries) = (pause * 2, tries + 1);
            }
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_limit_says_how_long_to_wait_and_a_refusal_is_final() {
        let busy = failure(StatusCode::TOO_MANY_REQUESTS, None, json!({ "retry_after_ms": 1_500 }));
        let Failure::Passing { after, .. } = busy else { unreachable!("{busy:?}") };
        assert_eq!(after, Some(Duration::from_millis(1_500)));
        let endless = failure(StatusCode::TOO_MANY_REQUESTS, None, json!({ "retry_after_ms": u64::MAX }));
        let Failure::Passing { after, .. } = endless else { unreachable!("{endless:?}") };
        assert_eq!(after, Some(LONGEST_PAUSE));
        assert!(failure(StatusCode::BAD_GATEWAY, None, Value::Null).may_pass());
        assert!(failure(StatusCode::UNAUTHORIZED, None, json!({ "errcode": "M_UNKNOWN_TOKEN" })).may_pass());
        let refused = failure(StatusCode::FORBIDDEN, None, json!({ "errcode": "M_FORBIDDEN" }));
        assert!(refused.is("M_FORBIDDEN") && !refused.may_pass());
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_tried_again_and_what_is_refused_is_not() {
        let mut tries = 0;
        let outcome = again(|| {
            tries += 1;
            let now = tries;
            async move {
                if now < 3 {
                    Err(Failure::Passing { cause: "away".to_owned(), after: None, status: None })
                } else {
                    Ok(now)
                }
            }
        });
        assert_eq!(outcome.await.expect("done"), 3);
        let mut tries = 0;
        let refused = || Failure::Refused(Refusal::new(StatusCode::FORBIDDEN, "M_FORBIDDEN", String::new()));
        again(|| {
            tries += 1;
            let refusal = refused();
            async move { Err::<(), _>(refusal) }
        })
        .await
        .expect_err("refused");
        assert_eq!(tries, 1);
    }
}
