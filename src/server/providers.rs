//! The way to identity providers: one connection for each question, which are few.
//!
//! Where a provider is, the configuration says; so it may be in the authority's own network, where nothing is gone to that
//! others name. An answer is bounded in size and time, and no redirect is followed.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use base::Clock;
use bytes::Bytes;
use http::{Method, header};
use rustls::ClientConfig;
use upstream::{Answer, Question, Web, WebError};

use crate::wire;

/// How long an answer may take, with everything before it.
const DEADLINE: Duration = Duration::from_secs(10);
/// How large it may be: metadata and keys have some kilobytes.
const LARGEST: usize = 256 << 10;

/// The way to providers.
pub(crate) struct Providers {
    tls: Arc<ClientConfig>,
    clock: Clock,
}

impl Providers {
    /// Whose certificates are of the system's authorities, or of those in these files.
    ///
    /// # Errors
    /// Files that hold no certificates.
    pub(crate) fn open(ca_files: &[PathBuf], clock: Clock) -> Result<Providers, federation::OpenError> {
        Ok(Providers { tls: federation::tls_client(federation::Trust::System, ca_files)?, clock })
    }

    async fn try_to_ask(&self, question: Question) -> Result<Answer, WebError> {
        let method = if question.form.is_some() { Method::POST } else { Method::GET };
        let mut headers = Vec::new();
        if let Some(authorization) = question.authorization {
            headers.push((header::AUTHORIZATION, authorization));
        }
        if question.form.is_some() {
            headers.push((header::CONTENT_TYPE, "application/x-www-form-urlencoded".to_owned()));
        }
        let body = Bytes::from(question.form.unwrap_or_default());
        let question = wire::Question { method, url: question.url, headers, body, largest: LARGEST };
        let answer = wire::ask(&self.tls, question, &self.clock).await.map_err(WebError)?;
        let wire::Answer { status, retry_after, body } = answer;
        Ok(Answer { status, retry_after, body })
    }
}

#[async_trait]
impl Web for Providers {
    async fn ask(&self, question: Question) -> Result<Answer, WebError> {
        let late = |_| WebError("there was no answer in time".to_owned());
        tokio::time::timeout(DEADLINE, self.try_to_ask(question)).await.map_err(late)?
    }
}
