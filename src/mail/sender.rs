//! Sending what waits.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use store::{Batch, CommitError, Order, Range};
use tracing::{info, warn};

use crate::{
    Letter, Mails, Refusal,
    mails::waiting_topic,
    tables::{self, MailRow, RefusedRow},
};

/// Mails of one authority that are handed over at a time.
const AT_ONCE: usize = 4;

/// Mails that are looked at together.
const PAGE: usize = 64;

/// For so long a mail is one process's: longer than a carrier takes.
const CLAIMED: Duration = Duration::from_secs(5 * 60);

/// The pauses after which a mail is tried again: the first, twice as long each time, the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(15);
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);

/// Even with nothing to do it is looked so often, and after a failure of the store.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Where a mail of an authority waits: when it is due, and its number.
type Place = (u64, u64);

/// A mail that nobody else sends now.
struct Claimed(Place, MailRow);

impl Mails {
    /// Sends what waits from now on. Only who serves does. Each authority has a task of its own, so that a server that hangs
    /// holds up nobody else's mails.
    pub fn start_sending(&self) {
        for authority in self.inner.carrier.authorities() {
            let mails = self.clone();
            let shutdown = self.inner.tasks.shutdown_token();
            self.inner.tasks.spawn_restarting("mail", move || {
                let (mails, shutdown, authority) = (mails.clone(), shutdown.clone(), authority.clone());
                async move {
                    // The loop never ends by itself.
                    shutdown.run_until_cancelled(mails.keep_sending(&authority)).await;
                }
            });
        }
    }

    async fn keep_sending(&self, authority: &str) {
        loop {
            // Before the look: what comes after it must not be missed.
            let mut watch = self.inner.store.watch(vec![waiting_topic(authority)]);
            let pause = match self.send_due(authority).await {
                Ok(next) => next.min(LOOK_EVERY),
                Err(error) => {
                    warn!(authority, %error, "mails that wait cannot be read or noted, it is tried again");
                    self.inner.clock.sleep(FIRST_PAUSE).await;
                    continue;
                }
            };
            tokio::select! {
                () = watch.changed() => {}
                () = self.inner.clock.sleep(pause) => {}
            }
        }
    }

    /// Sends everything of an authority that is due; answers with how long it is until something else is.
    pub(crate) async fn send_due(&self, authority: &str) -> Result<Duration, CommitError> {
        loop {
            let (store, range) = (&self.inner.store, Range::prefix(authority));
            let rows = store.scan(&tables::WAITING, range, Order::Ascending, PAGE).await?;
            let now = self.inner.clock.now().millis();
            // Nothing is put off for longer than this: the calendar was set back.
            let never_later = now.saturating_add(2 * millis(LONGEST_PAUSE));
            let rows = rows.into_iter().map(|((_, due, number), row)| ((due, number), row));
            let (due, later): (Vec<_>, Vec<_>) =
                rows.partition(|((due, _), _)| *due <= now || *due > never_later);
            if due.is_empty() {
                let next = later.first().map_or(LOOK_EVERY, |((due, _), _)| Duration::from_millis(due - now));
                return Ok(next.max(Duration::from_millis(1)));
            }
            let sent = stream::iter(due)
                .map(|(place, row)| self.send(authority, place, row))
                .buffer_unordered(AT_ONCE);
            for outcome in sent.collect::<Vec<_>>().await {
                outcome?;
            }
        }
    }

    async fn send(&self, authority: &str, place: Place, row: MailRow) -> Result<(), CommitError> {
        let Some(claimed) = self.claim(authority, place, row).await? else { return Ok(()) };
        let Claimed((_, number), row) = &claimed;
        let outcomes = &self.inner.outcomes;
        if row.until_ms <= self.inner.clock.now().millis() {
            outcomes.given_up.inc();
            warn!(authority, tries = row.tries, "a mail could not be sent in time and is given up");
            return self.remove(authority, &claimed, Batch::new()).await;
        }
        let letter = Letter {
            authority: authority.to_owned(),
            to: row.to.clone(),
            subject: row.subject.clone(),
            text: row.text.clone(),
            html: row.html.clone(),
            unsubscribe: row.unsubscribe.clone(),
            written: base::Timestamp(row.put_ms),
            id: format!("{:x}.{number:x}", row.put_ms),
        };
        match self.inner.carrier.carry(&letter).await {
            Ok(()) => {
                outcomes.sent.inc();
                let mut batch = Batch::new();
                if row.unsubscribe.is_some() {
                    batch.delete(&tables::REFUSED, &(authority, row.to.as_str()));
                }
                self.remove(authority, &claimed, batch).await
            }
            Err(Refusal::ForGood(reason)) => {
                outcomes.given_up.inc();
                info!(authority, reason, "a mail was refused for good");
                let mut batch = Batch::new();
                if row.unsubscribe.is_some() {
                    self.put_refusal(&mut batch, authority, &row.to).await?;
                }
                self.remove(authority, &claimed, batch).await
            }
            Err(Refusal::ForNow(reason)) => {
                outcomes.put_off.inc();
                let pause = pause_after(row.tries);
                let retry_in_ms = pause.as_millis();
                warn!(authority, tries = row.tries, retry_in_ms, reason, "a mail could not be sent");
                self.put_off(authority, &claimed, pause).await
            }
        }
    }

    /// Takes a mail for this process; nothing if another one has it.
    async fn claim(
        &self,
        authority: &str,
        place: Place,
        row: MailRow,
    ) -> Result<Option<Claimed>, CommitError> {
        let claimed = MailRow { tries: row.tries.saturating_add(1), ..row.clone() };
        let until = self.inner.clock.now().millis().saturating_add(millis(CLAIMED));
        self.move_to(authority, place, &row, until, claimed).await
    }

    async fn put_off(
        &self,
        authority: &str,
        Claimed(place, row): &Claimed,
        pause: Duration,
    ) -> Result<(), CommitError> {
        let due = self.inner.clock.now().millis().saturating_add(millis(pause));
        self.move_to(authority, *place, row, due, row.clone()).await.map(drop)
    }

    /// Puts a mail that is still as it was to another time; nothing if it is not.
    async fn move_to(
        &self,
        authority: &str,
        (was_due, number): Place,
        row: &MailRow,
        due: u64,
        moved: MailRow,
    ) -> Result<Option<Claimed>, CommitError> {
        let mut batch = Batch::new();
        let key = (authority, was_due, number);
        batch.require(&tables::WAITING, &key, Some(row));
        batch.delete(&tables::WAITING, &key);
        batch.put(&tables::WAITING, &(authority, due, number), &moved);
        match self.inner.store.commit(batch).await {
            Ok(_) => Ok(Some(Claimed((due, number), moved))),
            Err(CommitError::Conflict { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Adds to a batch that an address refused a mail for good. Of two at once one may count for both.
    async fn put_refusal(&self, batch: &mut Batch, authority: &str, to: &str) -> Result<(), store::Error> {
        let key = (authority, to);
        let known = self.inner.store.get(&tables::REFUSED, &key).await?.map_or(0, |row| row.count);
        batch.put(&tables::REFUSED, &key, &RefusedRow { count: known.saturating_add(1) });
        Ok(())
    }

    async fn remove(
        &self,
        authority: &str,
        Claimed((due, number), row): &Claimed,
        mut batch: Batch,
    ) -> Result<(), CommitError> {
        let key = (authority, *due, *number);
        batch.require(&tables::WAITING, &key, Some(row));
        batch.delete(&tables::WAITING, &key);
        batch.add(&tables::COUNTS, authority, -1);
        match self.inner.store.commit(batch).await {
            // Another process took it over, since this one was slow.
            Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The pause after so many attempts.
fn pause_after(tries: u32) -> Duration {
    let factor = 2_u32.saturating_pow(tries.saturating_sub(1));
    FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_an_hour_and_no_further() {
        let pauses = [1, 2, 3, 9, 40, u32::MAX].map(|tries| pause_after(tries).as_secs());
        assert_eq!(pauses, [15, 30, 60, 3_600, 3_600, 3_600]);
    }
}
