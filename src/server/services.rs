//! The way to application services: a connection for each question. A service is asked one thing after the other.
//!
//! Where a service is, its registration says; so it may be anywhere. An answer is bounded in size and time, and no redirect is
//! followed.

use std::sync::Arc;

use appservice::{Answer, Carrier, Question, Unreached, Verb};
use async_trait::async_trait;
use base::Clock;
use http::{Method, header};
use rustls::ClientConfig;

use crate::wire;

/// Largest answer: lists of places and people of other networks.
const LARGEST: usize = 1 << 20;

/// The way to services.
pub(crate) struct Services {
    tls: Arc<ClientConfig>,
    clock: Clock,
}

impl Services {
    /// Whose certificates are of the system's authorities.
    ///
    /// # Errors
    /// Where there are none.
    pub(crate) fn open(clock: Clock) -> Result<Services, federation::OpenError> {
        Ok(Services { tls: federation::tls_client(federation::Trust::System, &[])?, clock })
    }

    async fn try_to_ask(&self, question: Question) -> Result<Answer, Unreached> {
        let (method, body) = match question.verb {
            Verb::Get => (Method::GET, None),
            Verb::Post(body) => (Method::POST, Some(body)),
            Verb::Put(body) => (Method::PUT, Some(body)),
        };
        let mut headers = vec![(header::AUTHORIZATION, format!("Bearer {}", question.token))];
        if body.is_some() {
            headers.push((header::CONTENT_TYPE, "application/json".to_owned()));
        }
        let body = body.unwrap_or_default();
        let question = wire::Question { method, url: question.url, headers, body, largest: LARGEST };
        let answer = wire::ask(&self.tls, question, &self.clock).await.map_err(Unreached::Failed)?;
        let wire::Answer { status, retry_after, body } = answer;
        if web::has_private_key(&body) {
            return Err(Unreached::Failed("its answer has a key that no service writes".to_owned()));
        }
        Ok(Answer { status, retry_after, body })
    }
}

#[async_trait]
impl Carrier for Services {
    async fn ask(&self, question: Question) -> Result<Answer, Unreached> {
        let deadline = question.deadline;
        let answer = tokio::time::timeout(deadline, self.try_to_ask(question)).await;
        answer.unwrap_or(Err(Unreached::Late))
    }
}
