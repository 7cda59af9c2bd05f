//! What waits too long for a device goes: of one that is never used again nobody would take it away.
//!
//! Age is the time that servers over the data have run, as that of the log: a server that stood still finds what waits as it left
//! it, and no calendar that was set wrongly takes anything away. Each hour the head is noted ([`HOURS`]); what is at or
//! before the note of an hour that is long enough ago is at least so old. One process at a time does this.

use std::time::Duration;

use base::{Metrics, Tasks};
use ruma::UserId;
use store::{Batch, Consumer, Order, Position, Range, Term};
use tracing::info;

use crate::{
    Error, ToDevice,
    tables::{COUNT, HOURS, INBOX, INBOX_USE},
};

/// Who does this, among processes over the same data.
const NAME: &str = "to-device ages";

/// How often the head is noted.
const HOUR: Duration = Duration::from_secs(60 * 60);

/// Devices that are looked at together.
const PAGE: usize = 200;

impl ToDevice {
    pub(crate) fn start_ageing(&self, tasks: &Tasks, metrics: &Metrics) {
        let to_device = self.clone();
        let consumer = Consumer::without_log(&self.inner.store, NAME, &self.inner.clock, metrics);
        let (own, stop) = (tasks.clone(), tasks.shutdown_token());
        own.spawn_restarting("to-device ages", move || {
            let (to_device, consumer, stop) = (to_device.clone(), consumer.clone(), stop.clone());
            async move { consumer.run(stop, |term| to_device.clone().age(term)).await }
        });
    }

    /// Notes the hours of a term, and takes away what has grown old.
    async fn age(self, term: Term) -> Result<(), Error> {
        let clock = &self.inner.clock;
        while term.ended().run_until_cancelled(clock.sleep(HOUR)).await.is_some() {
            if let Some(through) = self.note_hour(&term).await? {
                let gone = self.take_old(through).await?;
                if gone > 0 {
                    self.inner.counts.add("expired", gone);
                    info!(count = gone, "messages that waited too long for their devices are gone");
                }
            }
        }
        Ok(())
    }

    /// Notes where the head is; up to where everything is too old, if anything is.
    pub(crate) async fn note_hour(&self, term: &Term) -> Result<Option<Position>, Error> {
        let store = &self.inner.store;
        let last = store.scan(&HOURS, Range::all(), Order::Descending, 1).await?;
        let now = last.first().map_or(0, |(hour, _)| hour + 1);
        let mut batch = Batch::new();
        batch.insert(&HOURS, &now, &store.head());
        let kept = self.inner.kept.as_secs().div_ceil(HOUR.as_secs());
        let old = match now.checked_sub(kept) {
            Some(limit) => {
                store.scan(&HOURS, Range::all().through(&limit), Order::Descending, 2 * PAGE).await?
            }
            None => Vec::new(),
        };
        // The newest of them says all that the others do.
        for (hour, _) in old.iter().skip(1) {
            batch.delete(&HOURS, hour);
        }
        term.commit(batch).await?;
        Ok(old.first().map(|(_, position)| *position))
    }

    /// Takes away what was sent up to a position to whatever device of ours; how much it was.
    pub(crate) async fn take_old(&self, through: Position) -> Result<u64, Error> {
        let store = &self.inner.store;
        let (mut devices, mut gone) = (Range::all(), 0);
        loop {
            // One row for each device for which something waits, whose oldest says whether anything is old.
            let used = store.scan(&INBOX_USE, devices, Order::Ascending, PAGE).await?;
            let Some((last, _)) = used.last() else { return Ok(gone) };
            devices = Range::all().after(last);
            let names: Vec<(&str, &str)> = used
                .iter()
                .filter(|((.., what), _)| *what == COUNT)
                .map(|((user, device, _), _)| (user.as_str(), device.as_str()))
                .collect();
            let old = |(user, device): &(&str, &str)| {
                Range::prefix(&(*user, *device)).through(&(*user, *device, through))
            };
            let oldest =
                store.scan_many(&INBOX, names.iter().map(old).collect(), Order::Ascending, 1).await?;
            for ((user, device), _) in names.iter().zip(oldest).filter(|(_, oldest)| !oldest.is_empty()) {
                let Ok(owner) = UserId::parse(*user) else { continue };
                gone += self.take_away(&owner, (*device).into(), through).await?.count;
            }
        }
    }
}
