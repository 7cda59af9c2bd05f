//! The way to identity providers: one connection for each question, which are few.
//!
//! Where a provider is, the configuration says; so it may be in the authority's own network, where nothing is gone to that
//! others name. An answer is bounded in size and time, and no redirect is followed.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
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
}

impl Providers {
    /// Whose certificates are of the system's authorities, or of those in these files.
    ///
    /// # Errors
    /// Files that hold no certificates.
    pub(crate) fn open(ca_files: &[PathBuf]) -> Result<Providers, federation::OpenError> {
        Ok(Providers { tls: federation::tls_client(federation::Trust::System, ca_files)? })
    }

    async fn try_to_ask(&self, question: Question) -> Result<Answer, WebError> {
        let failed = |error: &dyn std::fmt::Display| WebError(error.to_string());
        let uri: Uri = question.url.parse().map_err(|error: http::uri::InvalidUri| failed(&error))?;
        let wire = wire::connect(&self.tls, &uri).await.map_err(WebError)?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(wire)).await.map_err(|error| failed(&error))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let host = uri.authority().map_or("", |authority| authority.as_str());
        let method = if question.form.is_some() { Method::POST } else { Method::GET };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, host)
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, "Yakuba")
            .header(header::CONNECTION, "close");
        if let Some(authorization) = &question.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if question.form.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        let body = Full::new(Bytes::from(question.form.unwrap_or_default()));
        let request = request.body(body).map_err(|error| failed(&error))?;
        let ask = async {
            let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), LARGEST).collect().await;
            let body = body.map_err(|error| failed(&error))?.to_bytes();
            Ok(Answer { status, body })
        };
        tokio::pin!(ask, connection);
        // The connection is carried on here and not by a task of its own: it ends with the question.
        tokio::select! {
            answer = &mut ask => answer,
            ended = &mut connection => match ended {
                // What came before its end is there still.
                Ok(()) => ask.await,
                Err(error) => Err(failed(&error)),
            },
        }
    }
}

#[async_trait]
impl Web for Providers {
    async fn ask(&self, question: Question) -> Result<Answer, WebError> {
        let late = |_| WebError("there was no answer in time".to_owned());
        tokio::time::timeout(DEADLINE, self.try_to_ask(question)).await.map_err(late)?
    }
}
