//! Forgetting served requests: their rows are of use for as long as clients may repeat them.

use std::time::Duration;

use store::{Batch, Order, Range};
use tracing::warn;

use crate::{Error, Rooms, tables::TXNS};

/// How long a repeated request gets the first answer, at least.
const KEPT: Duration = Duration::from_secs(48 * 60 * 60);
/// How often old rows are looked for.
const PERIOD: Duration = Duration::from_secs(6 * 60 * 60);
/// How many rows are read, and deleted, at a time.
const PAGE: usize = 1_000;

impl Rooms {
    /// Starts the task that forgets served requests.
    pub(crate) fn start_forgetting(&self) {
        let rooms = self.clone();
        let shutdown = self.0.tasks.shutdown_token();
        self.0.tasks.spawn("room transactions", async move {
            loop {
                let wait = rooms.0.clock.sleep(PERIOD);
                if shutdown.run_until_cancelled(wait).await.is_none() {
                    return;
                }
                if let Err(error) = rooms.forget_served(KEPT).await {
                    warn!(%error, "old transactions could not be removed");
                }
            }
        });
    }

    /// Removes the rows of requests served longer ago than this. Answers how many there were.
    pub(crate) async fn forget_served(&self, kept: Duration) -> Result<usize, Error> {
        let limit = self.0.clock.now().before(kept).millis();
        let mut range = Range::all();
        let mut removed = 0;
        loop {
            let rows = self.store().scan(&TXNS, range, Order::Ascending, PAGE).await?;
            let Some((last, _)) = rows.last() else { return Ok(removed) };
            range = Range::all().after(last);
            let mut batch = Batch::new();
            for (key, row) in rows.iter().filter(|(_, row)| row.at < limit) {
                batch.require(&TXNS, key, Some(row));
                batch.delete(&TXNS, key);
                removed += 1;
            }
            if !batch.is_empty() {
                self.store().commit(batch).await.map_err(Error::Commit)?;
            }
        }
    }
}
