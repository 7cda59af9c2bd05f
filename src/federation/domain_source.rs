//! What domains say of themselves, in DNS and on their web servers: the port of `domains`.

use std::time::Duration;

use async_trait::async_trait;
use base::ByteSize;
use domains::{Unreached, Witness};
use futures_util::TryStreamExt;
use http::{StatusCode, Uri};

use crate::{client::Client, transport::Budget};

/// What a file that says whose a domain is may cost.
const BUDGET: Budget = Budget { deadline: Duration::from_secs(10), response: ByteSize::kib(16) };

/// Asks DNS and web servers.
pub(crate) struct DomainSource(pub(crate) Client);

fn unreached(cause: &dyn std::fmt::Display) -> Unreached {
    Unreached(cause.to_string())
}

#[async_trait]
impl Witness for DomainSource {
    async fn records(&self, name: &str) -> Result<Vec<String>, Unreached> {
        self.0.texts(name).await.map_err(|error| unreached(&error))
    }

    /// Over TLS alone, and from the very address: what another server gives to whom it is redirected says nothing of the domain.
    async fn file(&self, url: &str) -> Result<Option<String>, Unreached> {
        let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| unreached(&error))?;
        let answer = self.0.visit(&uri, BUDGET).await.map_err(|error| unreached(&error))?;
        match answer.status() {
            StatusCode::OK => {
                let read = answer.into_body().try_fold(Vec::new(), async |mut text, part| {
                    text.extend_from_slice(&part);
                    Ok(text)
                });
                let text = read.await.map_err(|error| unreached(&error))?;
                Ok(Some(String::from_utf8_lossy(&text).into_owned()))
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
            status => Err(unreached(&format_args!("the answer is {status}"))),
        }
    }
}
