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
        let place = uri.strip_prefix("mxc://").and_then(|rest| rest.split_once('/'));
        let Some((server, id)) = place else { return Err(Failure::odd("no mxc: URI".to_owned())) };
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
