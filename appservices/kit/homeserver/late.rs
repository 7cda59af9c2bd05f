//! Files whose place is reserved before their bytes come: so a file that was sent before a crash is not sent twice.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#content-repository>

use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use reqwest::{Body, header};
use serde_json::json;

use super::{Failure, Homeserver, calls::id};

/// Bytes a second that a line has at least; a server that takes them slower hangs.
const SLOWEST: u64 = 100_000;

/// Time besides.
const PATIENCE: Duration = Duration::from_secs(120);

impl Homeserver {
    /// Reserves the place of a file: its `mxc:` URI.
    ///
    /// # Errors
    /// [`Failure`]
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixmediav1create>
    pub async fn reserve_upload(&self) -> Result<String, Failure> {
        id::<&str>(&self.post(&["media", "v1", "create"], &json!({})).await?, "content_uri")
            .map(str::to_owned)
    }

    /// Whether the bytes of a reserved place came, by a request that may have been cut. Who brings them again to a full place
    /// may be cut off before he hears that it is.
    ///
    /// # Errors
    /// [`Failure`]; `M_NOT_FOUND` when the place was given up.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediadownloadservernamemediaid>
    pub async fn is_filled(&self, uri: &str) -> Result<bool, Failure> {
        let (server, id) = place(uri)?;
        let url = self.url(&["client", "v1", "media", "download", server, id], &[("timeout_ms", "0")]);
        // Its head tells; the body is not read.
        let answer = self.0.client.get(url).bearer_auth(&self.0.token).send().await?;
        if answer.status().is_success() {
            return Ok(true);
        }
        match self.judge(answer).await {
            Err(Failure::Passing { cause, .. }) if cause.contains("M_NOT_YET_UPLOADED") => Ok(false),
            Err(failure) if failure.may_pass() || failure.is("M_NOT_FOUND") => Err(failure),
            // It is there, though not for us.
            _ => Ok(true),
        }
    }

    /// Brings a file to the place that was reserved for it, as it comes; it is never whole in memory. It is not tried again.
    ///
    /// # Errors
    /// [`Failure`]; `M_CANNOT_OVERWRITE_MEDIA` when it was brought before.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixmediav3uploadservernamemediaid>
    pub async fn fill_upload<E>(
        &self,
        uri: &str,
        name: &str,
        content_type: &str,
        length: u64,
        parts: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    ) -> Result<(), Failure>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        let (server, id) = place(uri)?;
        let url = self.url(&["media", "v3", "upload", server, id], &[("filename", name)]);
        let request = self
            .0
            .sending
            .put(url)
            .bearer_auth(&self.0.token)
            .timeout(PATIENCE + Duration::from_secs(length / SLOWEST))
            .header(header::CONTENT_TYPE, content_type)
            .header(header::CONTENT_LENGTH, length)
            .body(Body::wrap_stream(parts));
        self.judge(request.send().await?).await.map(drop)
    }
}

/// Server and id of an `mxc:` URI.
fn place(uri: &str) -> Result<(&str, &str), Failure> {
    let place = uri.strip_prefix("mxc://").and_then(|rest| rest.split_once('/'));
    place.ok_or_else(|| Failure::odd("no mxc: URI".to_owned()))
}
