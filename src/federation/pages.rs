//! Pages that users link to: the port of `media`.
//!
//! Nothing of ours is told there: no tokens, no cookies, and not who asks.

use std::io;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt};
use http::{HeaderMap, StatusCode, Uri, header, uri::InvalidUri};
use media::{Browse, FetchBounds, FetchError, Page};
use url::Url;

use crate::{client::Client, transport::Budget};

/// So many times another address is gone to.
const MOST_REDIRECTS: usize = 5;

/// Fetches pages.
pub(crate) struct PageSource(pub(crate) Client);

#[async_trait]
impl Browse for PageSource {
    async fn get(&self, url: &str, bounds: FetchBounds) -> Result<Page, FetchError> {
        let failed = |cause: &dyn std::fmt::Display| FetchError::Failed(cause.to_string());
        let budget = Budget { deadline: bounds.deadline, response: bounds.size };
        let mut url = Url::parse(url).map_err(|error| failed(&error))?;
        for _ in 0..=MOST_REDIRECTS {
            let uri: Uri = url.as_str().parse().map_err(|error: InvalidUri| failed(&error))?;
            let answer = self.0.browse(&uri, budget).await.map_err(|error| failed(&error))?;
            if answer.status().is_redirection()
                && let Some(location) = text_of(answer.headers(), &header::LOCATION)
            {
                // Where it leads is looked at like the first address.
                url = url.join(&location).map_err(|error| failed(&error))?;
                url.set_fragment(None);
                continue;
            }
            return match answer.status() {
                StatusCode::OK => {
                    let kind = text_of(answer.headers(), &header::CONTENT_TYPE);
                    let body = answer.into_body().map_err(io::Error::other).boxed();
                    Ok(Page { url: url.into(), kind, body })
                }
                StatusCode::NOT_FOUND | StatusCode::GONE => Err(FetchError::NotFound),
                status => Err(failed(&format_args!("the answer is {status}"))),
            };
        }
        Err(failed(&"too many redirects"))
    }
}

fn text_of(headers: &HeaderMap, name: &header::HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}
