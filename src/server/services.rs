//! The way to application services: a connection for each question. A service is asked one thing after the other.
//!
//! Where a service is, its registration says; so it may be anywhere. An answer is bounded in size and time, and no redirect is
//! followed.

use std::sync::Arc;

use appservice::{Answer, Carrier, Question, Unreached, Verb};
use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;

use crate::wire;

/// Largest answer: lists of places and people of other networks.
const LARGEST: usize = 1 << 20;

/// The way to services.
pub(crate) struct Services {
    tls: Arc<ClientConfig>,
}

impl Services {
    /// Whose certificates are of the system's authorities.
    ///
    /// # Errors
    /// Where there are none.
    pub(crate) fn open() -> Result<Services, federation::OpenError> {
        Ok(Services { tls: federation::tls_client(federation::Trust::System, &[])? })
    }

    async fn try_to_ask(&self, question: Question) -> Result<Answer, Unreached> {
        let failed = |error: &dyn std::fmt::Display| Unreached::Failed(error.to_string());
        let uri: Uri = question.url.parse().map_err(|error: http::uri::InvalidUri| failed(&error))?;
        let wire = wire::connect(&self.tls, &uri).await.map_err(Unreached::Failed)?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(wire)).await.map_err(|error| failed(&error))?;
        let (method, body) = match question.verb {
            Verb::Get => (Method::GET, Bytes::new()),
            Verb::Post(body) => (Method::POST, body),
            Verb::Put(body) => (Method::PUT, body),
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let host = uri.authority().map_or("", |authority| authority.as_str());
        let mut request = Request::builder()
            .method(&method)
            .uri(path)
            .header(header::HOST, host)
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, "Yakuba")
            .header(header::AUTHORIZATION, format!("Bearer {}", question.token))
            .header(header::CONNECTION, "close");
        if method != Method::GET {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(body)).map_err(|error| failed(&error))?;
        let ask = async {
            let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), LARGEST).collect().await;
            Ok(Answer { status, body: body.map_err(|error| failed(&error))?.to_bytes() })
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
impl Carrier for Services {
    async fn ask(&self, question: Question) -> Result<Answer, Unreached> {
        let deadline = question.deadline;
        let answer = tokio::time::timeout(deadline, self.try_to_ask(question)).await;
        answer.unwrap_or(Err(Unreached::Late))
    }
}
