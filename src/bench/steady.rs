//! Messages of one person at a steady rate, while something else goes on.

use std::{
    cell::RefCell,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use futures_util::future::try_join_all;

use crate::{people::Person, report::Report, site::Site, statistics::Times, wire::Wire};

/// Connections over which is sent.
const HANDS: usize = 4;

/// Who sends, where and how fast.
pub(crate) struct Steady<'a> {
    pub(crate) site: &'a Site,
    pub(crate) writer: &'a Arc<Person>,
    pub(crate) room: &'a str,
    /// Messages a second, of which 500 are sent at most.
    pub(crate) rate: f64,
}

impl Steady<'_> {
    /// Sends for so long.
    pub(crate) async fn during(&self, what: &str, time: Duration) -> Result<Times> {
        let over = async {
            tokio::time::sleep(time).await;
            anyhow::Ok(())
        };
        Ok(self.until(what, over).await?.0)
    }

    /// Sends until something is over; how long each message took, and what came of it.
    pub(crate) async fn until<T>(
        &self,
        what: &str,
        over: impl Future<Output = Result<T>>,
    ) -> Result<(Times, T)> {
        let (started, rate) = (Instant::now(), self.rate.clamp(1.0, 500.0));
        let times = RefCell::new(Times::default());
        let hand = async |hand: usize| {
            let mut wire = Wire::to(self.site.address);
            for n in (hand..).step_by(HANDS) {
                let due = started + Duration::from_secs_f64(n as f64 / rate);
                let is_late = due < Instant::now();
                tokio::time::sleep_until(due.into()).await;
                // A message that the one before it has held up has waited since it was due.
                let begun = if is_late { due } else { Instant::now() };
                self.writer.message(&mut wire, self.room, &format!("{what}{n}")).await?;
                times.borrow_mut().push(begun.elapsed());
            }
            anyhow::Ok(())
        };
        let done = tokio::select! {
            over = over => over?,
            failed = try_join_all((0..HANDS).map(hand)) => bail!("sending ended: {failed:?}"),
        };
        Ok((times.into_inner(), done))
    }
}

/// How long sending took while something went on.
pub(crate) fn report_sending(report: &mut Report, what: &str, times: &mut Times) {
    report.number(format!("send_{what}"), times.len() as f64);
    report.number(format!("send_{what}_p50_ms"), times.percentile_ms(50));
    report.number(format!("send_{what}_p99_ms"), times.percentile_ms(99));
}
