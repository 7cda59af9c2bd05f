//! Telling push gateways: `push` decides what, this carries it.

use std::time::Duration;

use async_trait::async_trait;
use base::ByteSize;
use bytes::Bytes;
use http::{HeaderValue, Request, header};
use push::{Answer, Gateways, Unreached};

use crate::{Budget, client::Client};

/// Largest answer of a gateway: it names the push keys that it rejects.
const LARGEST_ANSWER: ByteSize = ByteSize::kib(64);

/// Tells push gateways.
pub(crate) struct PushGateways(pub(crate) Client);

#[async_trait]
impl Gateways for PushGateways {
    async fn notify(&self, url: &str, body: Bytes, deadline: Duration) -> Result<Answer, Unreached> {
        let json = HeaderValue::from_static("application/json");
        let request =
            Request::post(url).header(header::CONTENT_TYPE, json.clone()).header(header::ACCEPT, json);
        let request = request.body(body).map_err(|error| Unreached(error.to_string()))?;
        let budget = Budget { deadline, response: LARGEST_ANSWER };
        let answer = self.0.notify(request, budget).await.map_err(|error| Unreached(error.to_string()))?;
        let retry_after = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        // As a date it is not worth a clock that agrees with theirs: then the usual wait.
        let retry_after = retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        Ok(Answer { status: answer.status().as_u16(), retry_after, body: answer.into_body() })
    }
}
