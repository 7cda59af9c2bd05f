//! The task that sends what is due. It waits for the earliest, not for a while.

use std::{collections::BTreeMap, time::Duration};

use base::Timestamp;
use futures_util::{StreamExt, stream};
use room::{Error, ids::RoomSerial};
use store::{Batch, CommitError, Consumer, Order, Range, Term};
use tracing::{debug, warn};

use super::send::Why;
use crate::{
    Engine,
    delays::tables::{DELAYS, DELAYS_DUE, Ending, delays_added},
};

/// The name under which one of several processes does this.
const NAME: &str = "room delays";

/// How many are looked at together.
const PAGE: usize = 200;

/// In how many rooms something is sent at the same time: one that is slow holds up no other.
const ROOMS: usize = 16;

/// When it is tried again what could not be sent for a trouble of ours.
const AGAIN: Duration = Duration::from_secs(5);

/// Nothing is waited for longer without another look: the calendar may be set.
const LONGEST_WAIT: Duration = Duration::from_secs(10 * 60);

impl Engine {
    /// Sends delayed events when they are due, as long as no other process does.
    pub fn start_delaying(&self, metrics: &base::Metrics) {
        let consumer = Consumer::without_log(self.store(), NAME, &self.0.clock, metrics);
        let engine = self.clone();
        self.0.tasks.spawn_restarting("room delays", move || {
            let (engine, consumer) = (engine.clone(), consumer.clone());
            async move {
                let stop = engine.0.tasks.shutdown_token();
                consumer.run(stop, |term| engine.clone().delay_on(term)).await;
            }
        });
    }

    /// Does the work of one term.
    async fn delay_on(self, term: Term) -> Result<(), Error> {
        let stop = term.ended().clone();
        while !stop.is_cancelled() {
            // Before the read: one that is due earlier must wake us.
            let mut watch = self.store().watch(vec![delays_added()]);
            let wait = self.delay_round(&term).await?;
            let next = self.0.clock.timeout(wait.unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT), watch.changed());
            // Whichever comes first: there is something to look at.
            if stop.run_until_cancelled(next).await.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Sends all that is due; says how long the next one has to wait.
    async fn delay_round(&self, term: &Term) -> Result<Option<Duration>, Error> {
        let mut range = Range::all();
        let mut stays = false;
        loop {
            let rows = self.store().scan(&DELAYS_DUE, range, Order::Ascending, PAGE).await?;
            let now = self.now();
            let Some((last, ())) = rows.last().cloned() else { break };
            let next = rows.iter().map(|((due, _), ())| *due).find(|due| *due > now);
            let due: Vec<(u64, String)> =
                rows.into_iter().map(|(key, ())| key).take_while(|(due, _)| *due <= now).collect();
            stays |= self.send_due(term, due).await?;
            if let Some(next) = next {
                let wait = Timestamp(next).since(self.0.clock.now());
                return Ok(Some(if stays { wait.min(AGAIN) } else { wait }));
            }
            if term.ended().is_cancelled() {
                break;
            }
            range = Range::all().after(&last);
        }
        Ok(stays.then_some(AGAIN))
    }

    /// Sends what is due, in each room in the order of its time. Whether some has to be tried again.
    async fn send_due(&self, term: &Term, due: Vec<(u64, String)>) -> Result<bool, Error> {
        let ids: Vec<String> = due.iter().map(|(_, id)| id.clone()).collect();
        let rows = self.store().get_many(&DELAYS, &ids).await?;
        let mut rooms: BTreeMap<RoomSerial, Vec<String>> = BTreeMap::new();
        let mut left_over = Batch::new();
        for ((due, id), row) in due.into_iter().zip(rows) {
            match row {
                Some(row) if row.due() == due => rooms.entry(row.room).or_default().push(id),
                // It went, or was restarted, by somebody who knew it as it was before.
                row => {
                    left_over.require(&DELAYS, &id, row.as_ref());
                    left_over.delete(&DELAYS_DUE, &(due, id));
                }
            }
        }
        if !left_over.is_empty() {
            match term.commit(left_over).await {
                Ok(_) => {}
                // One was restarted meanwhile.
                Err(CommitError::Conflict { .. }) => return Ok(true),
                Err(error) => return Err(Error::Commit(error)),
            }
        }
        let sending = rooms.into_values().map(|ids| async move {
            let mut stays = false;
            for id in ids {
                if term.ended().is_cancelled() {
                    return true;
                }
                stays |= self.send_one_due(&id).await;
            }
            stays
        });
        let stay: Vec<bool> = stream::iter(sending).buffer_unordered(ROOMS).collect().await;
        Ok(stay.contains(&true))
    }

    /// Sends one. Whether it has to be tried again; what the room refuses has its end.
    async fn send_one_due(&self, id: &str) -> bool {
        let error = match self.try_send_delayed(id, Why::Due).await {
            Ok(_) => return false,
            Err(error) => error,
        };
        if error.is_passing() {
            debug!(%error, "a delayed event could not be sent yet");
            return true;
        }
        match &error {
            Error::Inconsistent(_) | Error::Store(_) | Error::Commit(_) => {
                warn!(%error, "a delayed event could not be sent")
            }
            _ => debug!(%error, "a delayed event may not be sent any more"),
        }
        let ended = match self.store().get(&DELAYS, id).await {
            // Restarted meanwhile: it has another chance.
            Ok(Some(row)) if row.due() <= self.now() => self.drop_delayed(id, &row, Ending::Cancelled).await,
            Ok(_) => Ok(()),
            Err(error) => Err(Error::Store(error)),
        };
        ended.is_err()
    }
}
