//! Trying a write again that others came before.

use store::{CommitError, Committed};
use tracing::debug;

use crate::{Error, Rooms};

/// Counts tries of one write.
#[derive(Default)]
pub struct Attempts(base::Attempts);

impl Attempts {
    /// Whether this is not the first try.
    pub fn is_repeat(&self) -> bool {
        self.0.failed() > 0
    }

    /// Judges a landing: `None` means try again.
    pub async fn judge(
        &mut self,
        rooms: &Rooms,
        landed: Result<Committed, CommitError>,
    ) -> Result<Option<Committed>, Error> {
        match landed {
            Ok(committed) => Ok(Some(committed)),
            Err(error @ CommitError::Store(_)) => Err(Error::Commit(error)),
            Err(error) => {
                self.again(rooms).await?;
                debug!(%error, attempt = self.0.failed(), "a write was not taken, trying again");
                Ok(None)
            }
        }
    }

    /// Counts another try, and waits a moment when there were several.
    pub async fn again(&mut self, rooms: &Rooms) -> Result<(), Error> {
        if !self.0.again(&rooms.0.random).await {
            return Err(Error::Contended);
        }
        rooms.0.retries.inc();
        Ok(())
    }
}
