//! What this crate needs of other servers: a port.

use std::time::Duration;

use async_trait::async_trait;
use base::ByteSize;
use ruma::ServerName;

use crate::Body;

/// The way to the files of other servers.
#[async_trait]
pub trait Elsewhere: Send + Sync {
    /// Asks a server, in the name of one of ours, for a file of its own. What it says is believed in nothing: neither the
    /// size nor the type.
    ///
    /// # Errors
    /// When the answer does not begin well; what fails later ends the body with an error.
    async fn fetch(
        &self,
        from: &ServerName,
        server: &ServerName,
        id: &str,
        bounds: FetchBounds,
    ) -> Result<Fetched, FetchError>;
}

/// What fetching one file may cost.
#[derive(Clone, Copy, Debug)]
pub struct FetchBounds {
    /// Time for all of it.
    pub deadline: Duration,
    /// Its size, and that of what is sent around it.
    pub size: ByteSize,
}

/// The file of another server, as it comes.
pub struct Fetched {
    /// Its media type, as that server says.
    pub kind: Option<String>,
    /// How that server would have it named: the value of a `Content-Disposition`.
    pub disposition: Option<String>,
    /// Its bytes. It ends well only where the file does.
    pub body: Body,
}

/// Why another server gave no file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// It has none of this id, or gives it to nobody.
    #[error("the server has no such media")]
    NotFound,
    /// It gave the id out, and the file has not come.
    #[error("the media is not uploaded yet there")]
    NotYetUploaded,
    /// It is larger than is taken.
    #[error("the media is larger than {0}")]
    TooLarge(ByteSize),
    /// It could not be asked, or its answer made no sense: the text is for the log.
    #[error("{0}")]
    Failed(String),
}

/// No other servers.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoElsewhere;

#[async_trait]
impl Elsewhere for NoElsewhere {
    async fn fetch(
        &self,
        _: &ServerName,
        _: &ServerName,
        _: &str,
        _: FetchBounds,
    ) -> Result<Fetched, FetchError> {
        Err(FetchError::NotFound)
    }
}
