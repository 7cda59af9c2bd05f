//! What this crate needs of ordinary web servers: a port.

use async_trait::async_trait;

use crate::{Body, FetchBounds, FetchError};

/// The way to pages that users link to. Anybody's name may be in an address, so whoever implements this looks at where it
/// leads: to nothing within our own network, at each redirect anew; and tells nothing of ours there.
#[async_trait]
pub trait Browse: Send + Sync {
    /// Gets what is at an address (`http` or `https`), also where it redirects to.
    ///
    /// # Errors
    /// When there is none, or the address is one that is not gone to; what fails later ends the body with an error.
    async fn get(&self, url: &str, bounds: FetchBounds) -> Result<Page, FetchError>;
}

/// What is at an address, as it comes.
pub struct Page {
    /// The address at which it was in the end.
    pub url: String,
    /// Its type, as that server says.
    pub kind: Option<String>,
    /// Its bytes. It ends well only where it does there.
    pub body: Body,
}

/// No way to the web.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoBrowse;

#[async_trait]
impl Browse for NoBrowse {
    async fn get(&self, _: &str, _: FetchBounds) -> Result<Page, FetchError> {
        Err(FetchError::NotFound)
    }
}
