//! Forgetting what was served and taken: it is of use for as long as it may come again.

use std::time::Duration;

use base::{Clock, Instant, Tasks, Timestamp};
use store::{Batch, CommitError, Order, Range};
use tracing::warn;

use crate::{
    Error, ToDevice,
    receive::put_forgotten,
    tables::{SERVED, TAKEN_ORDER},
};

/// How long a repeated request of a client is known, at least.
const SERVED_KEPT: Duration = Duration::from_secs(48 * 60 * 60);
/// How long a unit of another server is known, which may have been off when we answered.
const TAKEN_KEPT: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// How often old rows are looked for.
const PERIOD: Duration = Duration::from_secs(6 * 60 * 60);
/// How many rows are read, and deleted, at a time.
const PAGE: usize = 1_000;

/// What was noted before the answer is old. A calendar that was set forward since `began`, when it said `date`, makes
/// nothing older than it is.
fn limit(clock: &Clock, date: Timestamp, began: Instant, kept: Duration) -> Timestamp {
    (date + clock.instant().since(began)).min(clock.now()).before(kept)
}

impl ToDevice {
    pub(crate) fn start_forgetting(&self, tasks: &Tasks) {
        let to_device = self.clone();
        let shutdown = tasks.shutdown_token();
        tasks.spawn("to-device forgetting", async move {
            let clock = to_device.inner.clock.clone();
            let (date, began) = (clock.now(), clock.instant());
            while shutdown.run_until_cancelled(clock.sleep(PERIOD)).await.is_some() {
                let limit = |kept| limit(&clock, date, began, kept).millis();
                let forgotten = to_device.forget(limit(SERVED_KEPT), limit(TAKEN_KEPT)).await;
                if let Err(error) = forgotten {
                    warn!(%error, "old rows of messages to devices could not be removed");
                }
            }
        });
    }

    /// Forgets requests that were served before the one time, and units that were taken before the other, in ms since
    /// 1970. Answers how many there were.
    pub(crate) async fn forget(&self, served: u64, taken: u64) -> Result<usize, Error> {
        Ok(self.forget_served(served).await? + self.forget_taken(taken).await?)
    }

    async fn forget_served(&self, limit: u64) -> Result<usize, Error> {
        let (mut range, mut removed) = (Range::all(), 0);
        loop {
            let rows = self.inner.store.scan(&SERVED, range, Order::Ascending, PAGE).await?;
            let Some((last, _)) = rows.last() else { return Ok(removed) };
            range = Range::all().after(last);
            let mut batch = Batch::new();
            let mut old = 0;
            for (key, _) in rows.iter().filter(|(_, at)| *at < limit) {
                batch.delete(&SERVED, key);
                old += 1;
            }
            if old > 0 {
                self.inner.store.commit(batch).await?;
                removed += old;
            }
        }
    }

    async fn forget_taken(&self, limit: u64) -> Result<usize, Error> {
        let (mut range, mut removed) = (Range::all(), 0);
        loop {
            let rows = self.inner.store.scan(&TAKEN_ORDER, range, Order::Ascending, PAGE).await?;
            let Some((last, _)) = rows.last() else { return Ok(removed) };
            range = Range::all().after(last);
            let old: Vec<_> = rows.into_iter().filter(|(_, row)| row.at < limit).collect();
            let mut batch = Batch::new();
            put_forgotten(&mut batch, &old);
            match self.inner.store.commit(batch).await {
                Ok(_) => removed += old.len(),
                // Somebody else forgets them.
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_calendar_that_is_set_makes_nothing_old() {
        const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
        let start = Timestamp(1_800_000_000_000);
        let (clock, hand) = Clock::manual(start.millis());
        let began = clock.instant();
        hand.set_forward(YEAR);
        assert_eq!(limit(&clock, start, began, SERVED_KEPT), start.before(SERVED_KEPT));
        hand.advance(PERIOD);
        assert_eq!(limit(&clock, start, began, SERVED_KEPT), (start + PERIOD).before(SERVED_KEPT));
        hand.set_back(2 * YEAR);
        assert!(limit(&clock, start, began, SERVED_KEPT) < start.before(SERVED_KEPT));
    }
}
