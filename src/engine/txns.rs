//! Forgetting served requests: their rows are of use for as long as clients may repeat them.

use std::time::Duration;

use base::{Clock, Instant, Timestamp};
use room::Error;
use store::{Batch, Order, Range};
use tracing::warn;

use crate::{
    Engine,
    delays::tables::{DELAY_TXNS, DELAYS_ENDED},
    tables::TXNS,
};

/// How long a repeated request gets the first answer, at least.
const KEPT: Duration = Duration::from_secs(48 * 60 * 60);
/// How often old rows are looked for.
const PERIOD: Duration = Duration::from_secs(6 * 60 * 60);
/// How many rows are read, and deleted, at a time.
const PAGE: usize = 1_000;

/// Before when a request must have been served to be forgotten now. A calendar that was set forward since
/// `began`, when it said `date`, makes no request older than it is.
fn limit(clock: &Clock, date: Timestamp, began: Instant) -> Timestamp {
    (date + clock.instant().since(began)).min(clock.now()).before(KEPT)
}

impl Engine {
    /// Starts the task that forgets served requests.
    pub(crate) fn start_forgetting(&self) {
        let engine = self.clone();
        let shutdown = self.0.tasks.shutdown_token();
        self.0.tasks.spawn("room transactions", async move {
            let (date, began) = (engine.0.clock.now(), engine.0.clock.instant());
            loop {
                let wait = engine.0.clock.sleep(PERIOD);
                if shutdown.run_until_cancelled(wait).await.is_none() {
                    return;
                }
                let limit = limit(&engine.0.clock, date, began);
                let served = engine.forget_served(limit).await;
                if let Err(error) = served.and(engine.forget_delayed(limit).await) {
                    warn!(%error, "old transactions could not be removed");
                }
            }
        });
    }

    /// Removes the rows of requests served before this. Answers how many there were.
    pub(crate) async fn forget_served(&self, limit: Timestamp) -> Result<usize, Error> {
        let mut range = Range::all();
        let mut removed = 0;
        loop {
            let rows = self.store().scan(&TXNS, range, Order::Ascending, PAGE).await?;
            let Some((last, _)) = rows.last() else { return Ok(removed) };
            range = Range::all().after(last);
            let mut batch = Batch::new();
            for (key, row) in rows.iter().filter(|(_, row)| row.at < limit.millis()) {
                batch.require(&TXNS, key, Some(row));
                batch.delete(&TXNS, key);
                removed += 1;
            }
            if !batch.is_empty() {
                self.store().commit(batch).await.map_err(Error::Commit)?;
            }
        }
    }

    /// The same for requests that were served by delaying an event, and for what became of delayed events.
    pub(crate) async fn forget_delayed(&self, limit: Timestamp) -> Result<usize, Error> {
        let mut range = Range::all();
        let mut removed = 0;
        loop {
            let rows = self.store().scan(&DELAYS_ENDED, range, Order::Ascending, PAGE).await?;
            let Some((last, _)) = rows.last() else { break };
            range = Range::all().after(last.as_str());
            let mut batch = Batch::new();
            for (id, _) in rows.iter().filter(|(_, row)| row.due < limit.millis()) {
                batch.delete(&DELAYS_ENDED, id.as_str());
                removed += 1;
            }
            if !batch.is_empty() {
                self.store().commit(batch).await.map_err(Error::Commit)?;
            }
        }
        let mut range = Range::all();
        loop {
            let rows = self.store().scan(&DELAY_TXNS, range, Order::Ascending, PAGE).await?;
            let Some((last, _)) = rows.last() else { return Ok(removed) };
            range = Range::all().after(last);
            let mut batch = Batch::new();
            for (key, _) in rows.iter().filter(|(_, row)| row.at < limit.millis()) {
                batch.delete(&DELAY_TXNS, key);
                removed += 1;
            }
            if !batch.is_empty() {
                self.store().commit(batch).await.map_err(Error::Commit)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_calendar_that_is_set_makes_no_request_old() {
        const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
        let start = Timestamp(1_800_000_000_000);
        let (clock, hand) = Clock::manual(start.millis());
        let began = clock.instant();
        hand.set_forward(YEAR);
        assert_eq!(limit(&clock, start, began), start.before(KEPT));
        hand.advance(PERIOD);
        assert_eq!(limit(&clock, start, began), (start + PERIOD).before(KEPT));
        hand.set_back(2 * YEAR);
        assert!(limit(&clock, start, began) < start.before(KEPT));
    }
}
