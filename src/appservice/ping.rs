//! Ping: whether a service is reached, which it asks itself.

use std::time::Duration;

use account::AppService;
use serde_json::json;

use crate::{AppServices, Question, Unreached, Verb};

/// Time for a service to answer.
const DEADLINE: Duration = Duration::from_secs(20);

/// How much of an answer that is no good one is told.
const MOST_TOLD: usize = 4 << 10;

/// Why a ping came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum PingError {
    /// The registration has no address.
    #[error("the application service has no address")]
    NoAddress,
    /// No connection, or a broken one; the text is for the service.
    #[error("the application service was not reached: {0}")]
    Failed(String),
    /// No answer in time.
    #[error("the application service did not answer in time")]
    Late,
    /// Another answer than a good one.
    #[error("the application service answered with status {status}")]
    BadStatus {
        /// The status.
        status: u16,
        /// The body, as far as it is text.
        body: String,
    },
}

impl AppServices {
    /// Asks a service whether it is there, and how long that takes. If it is, what waits for it is tried again at once.
    ///
    /// # Errors
    /// [`PingError`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/application-service-api/#pinging>
    pub async fn ping(
        &self,
        service: &AppService,
        transaction_id: Option<&str>,
    ) -> Result<Duration, PingError> {
        let address = service.address().ok_or(PingError::NoAddress)?;
        let body = match transaction_id {
            Some(id) => json!({ "transaction_id": id }),
            None => json!({}),
        };
        let question = Question {
            verb: Verb::Post(body.to_string().into()),
            url: format!("{}/_matrix/app/v1/ping", address.url),
            token: address.hs_token.clone(),
            deadline: DEADLINE,
        };
        let clock = &self.0.clock;
        let began = clock.instant();
        let answer = match clock.timeout(DEADLINE, self.0.carrier.ask(question)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(Unreached::Failed(cause))) => return Err(PingError::Failed(cause)),
            Ok(Err(Unreached::Late)) | Err(_) => return Err(PingError::Late),
        };
        if !(200..300).contains(&answer.status) {
            let told = answer.body.get(..MOST_TOLD).unwrap_or(&answer.body);
            let body = String::from_utf8_lossy(told).into_owned();
            return Err(PingError::BadStatus { status: answer.status, body });
        }
        if let Some((_, bells)) = self.0.told.iter().find(|(told, _)| told.id() == service.id()) {
            bells.back.notify_waiters();
        }
        Ok(clock.instant().since(began))
    }
}
