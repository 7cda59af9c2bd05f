//! Files of other servers: the port of `media`.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#content-repository>

use std::io;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt};
use http::{HeaderMap, Method, Response, StatusCode, Uri, header};
use media::{Elsewhere, FetchBounds, FetchError, Fetched};
use pdu::lenient;
use ruma::ServerName;
use serde::Deserialize;

use crate::{
    client::{Body, Client, Outgoing},
    multipart,
    path::Path,
    transport::{AnswerBody, Budget, Cause},
};

/// So many times another address is gone to.
const MOST_REDIRECTS: usize = 5;
/// What is read of an error.
const LARGEST_ERROR: usize = 16 << 10;
/// What may stand around a file.
const AROUND: u64 = 128 << 10;

/// Fetches files of other servers.
pub(crate) struct FileSource(pub(crate) Client);

#[async_trait]
impl Elsewhere for FileSource {
    async fn fetch(
        &self,
        from: &ServerName,
        server: &ServerName,
        id: &str,
        bounds: FetchBounds,
    ) -> Result<Fetched, FetchError> {
        if !self.0.may_contact(server) {
            return Err(FetchError::NotFound);
        }
        let response = base::ByteSize::bytes(bounds.size.as_u64().saturating_add(AROUND));
        let budget = Budget { deadline: bounds.deadline, response };
        let outgoing = Outgoing {
            from,
            to: server,
            method: Method::GET,
            path: Path::federation("v1").segment("media").segment("download").segment(id),
            body: Body::None,
            budget,
            cause: Cause::File,
        };
        let answer = self.0.open(outgoing).await.map_err(failed)?;
        if answer.status().is_success() {
            return self.in_parts(answer, budget).await;
        }
        match refusal(answer).await {
            Refusal::Unrecognized => self.old_way(server, id, budget).await,
            Refusal::Error(error) => Err(error),
        }
    }
}

impl FileSource {
    async fn in_parts(&self, answer: Response<AnswerBody>, budget: Budget) -> Result<Fetched, FetchError> {
        let kind = text_of(answer.headers(), &header::CONTENT_TYPE).unwrap_or_default();
        let boundary = multipart::boundary(&kind)
            .ok_or_else(|| FetchError::Failed(format!("the answer is {kind:?} and not in parts")))?;
        let part = multipart::file_part(answer.into_body(), &boundary).await.map_err(failed)?;
        if let Some(location) = part.header("location") {
            let location = location.parse().map_err(|_| FetchError::Failed("a bad location".to_owned()))?;
            // The type of the part says nothing of what is there.
            return self.away(location, budget).await;
        }
        let (kind, disposition) = (part.header("content-type"), part.header("content-disposition"));
        let (kind, disposition) = (kind.map(str::to_owned), disposition.map(str::to_owned));
        Ok(Fetched { kind, disposition, body: part.content.map_err(io::Error::other).boxed() })
    }

    /// A file that its server keeps elsewhere. Nothing of ours is told there.
    async fn away(&self, mut uri: Uri, budget: Budget) -> Result<Fetched, FetchError> {
        for _ in 0..=MOST_REDIRECTS {
            if uri.scheme_str() != Some("https") {
                return Err(FetchError::Failed("a location without https".to_owned()));
            }
            let answer = self.0.visit(&uri, budget).await.map_err(failed)?;
            if answer.status().is_redirection()
                && let Some(location) = text_of(answer.headers(), &header::LOCATION)
            {
                uri =
                    follow(&uri, &location).ok_or_else(|| FetchError::Failed("a bad redirect".to_owned()))?;
                continue;
            }
            return whole(answer);
        }
        Err(FetchError::Failed("too many redirects".to_owned()))
    }

    /// As before 1.11, without a signature.
    async fn old_way(&self, server: &ServerName, id: &str, budget: Budget) -> Result<Fetched, FetchError> {
        let path = Path::media("v3")
            .segment("download")
            .segment(server.as_str())
            .segment(id)
            .query("allow_remote", "false");
        let answer = self.0.open_unsigned(server, &path, budget, Cause::File).await.map_err(failed)?;
        if answer.status().is_success() {
            return whole(answer);
        }
        match refusal(answer).await {
            Refusal::Unrecognized => Err(FetchError::NotFound),
            Refusal::Error(error) => Err(error),
        }
    }
}

/// An answer that is the file itself.
fn whole(answer: Response<AnswerBody>) -> Result<Fetched, FetchError> {
    if answer.status() != StatusCode::OK {
        return Err(FetchError::Failed(format!("the answer is {}", answer.status())));
    }
    let kind = text_of(answer.headers(), &header::CONTENT_TYPE);
    let disposition = text_of(answer.headers(), &header::CONTENT_DISPOSITION);
    Ok(Fetched { kind, disposition, body: answer.into_body().map_err(io::Error::other).boxed() })
}

enum Refusal {
    /// The server does not know this path.
    Unrecognized,
    Error(FetchError),
}

/// What an answer that is no success means.
async fn refusal(answer: Response<AnswerBody>) -> Refusal {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Said {
        #[serde(deserialize_with = "lenient::field")]
        errcode: String,
    }

    let status = answer.status();
    let mut body = answer.into_body();
    let mut text = Vec::new();
    while let Some(Ok(part)) = body.next().await {
        text.extend_from_slice(&part[..part.len().min(LARGEST_ERROR - text.len())]);
        if text.len() >= LARGEST_ERROR {
            break;
        }
    }
    let Said { errcode } = serde_json::from_slice(&text).unwrap_or_default();
    match (status, errcode.as_str()) {
        (StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED, "M_UNRECOGNIZED") => Refusal::Unrecognized,
        // What answers without a word of Matrix is no endpoint of it: not every server that lacks the path says so.
        (status, "") if status.is_client_error() => Refusal::Unrecognized,
        (StatusCode::NOT_FOUND | StatusCode::FORBIDDEN, _) => Refusal::Error(FetchError::NotFound),
        (_, "M_NOT_YET_UPLOADED") => Refusal::Error(FetchError::NotYetUploaded),
        _ => Refusal::Error(FetchError::Failed(format!("the answer is {status}"))),
    }
}

/// The target of a redirect: a full URI, or a path on the same host.
fn follow(from: &Uri, location: &str) -> Option<Uri> {
    if location.contains("://") {
        return location.parse().ok();
    }
    if location.starts_with("//") || !location.starts_with('/') {
        return None;
    }
    format!("https://{}{location}", from.authority()?).parse().ok()
}

fn failed(error: impl std::fmt::Display) -> FetchError {
    FetchError::Failed(error.to_string())
}

fn text_of(headers: &HeaderMap, name: &header::HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}
