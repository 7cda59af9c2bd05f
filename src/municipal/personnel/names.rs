//! Whose the names of users are: what the desk asks of the accounts of a process.

use std::collections::BTreeSet;

use async_trait::async_trait;
use ruma::ServerName;

/// What went wrong at the other side of the port.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PortError(pub String);

/// The names of users of an authority.
#[async_trait]
pub trait Names: Send + Sync {
    /// Which of these localparts are somebody's, so that no address can have them.
    ///
    /// # Errors
    /// [`PortError`].
    async fn taken(&self, authority: &ServerName, names: &[&str]) -> Result<BTreeSet<String>, PortError>;
}

/// Where there are no accounts, every name is free.
#[async_trait]
impl Names for () {
    async fn taken(&self, _: &ServerName, _: &[&str]) -> Result<BTreeSet<String>, PortError> {
        Ok(BTreeSet::new())
    }
}
