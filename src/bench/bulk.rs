//! Much of the same work, by a few hands at once and within a time.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;

use crate::{cost::Cost, report::Report, site::Site, wire::Wire};

/// Connections over which such work is done: as many as let the server put them together into one sync of the disk.
const HANDS: usize = 32;

/// Work that is done `count` times.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bulk<'a> {
    pub(crate) what: &'a str,
    pub(crate) count: usize,
    /// Where it is not done by then, the run ends and says how far it came.
    pub(crate) limit: Duration,
}

impl Bulk<'_> {
    /// Does it and reports what it cost; returns what came of it, in order.
    pub(crate) async fn run<T>(
        self,
        site: &Site,
        report: &mut Report,
        job: impl AsyncFn(&mut Wire, usize) -> Result<T>,
    ) -> Result<Vec<T>> {
        let cost = Cost::start(&site.processes);
        let done = self.done(site, job).await?;
        if !done.is_empty() {
            cost.report(report, self.what, done.len());
        }
        let (what, limit) = (self.what, self.limit.as_secs());
        ensure!(done.len() == self.count, "{what}: {} of {} within {limit} s", done.len(), self.count);
        Ok(done)
    }

    async fn done<T>(&self, site: &Site, job: impl AsyncFn(&mut Wire, usize) -> Result<T>) -> Result<Vec<T>> {
        let until = Instant::now() + self.limit;
        let (next, done) = (Cell::new(0), RefCell::new(Vec::with_capacity(self.count)));
        let hand = async || {
            let mut wire = Wire::to(site.address);
            while next.get() < self.count && Instant::now() < until {
                let n = next.replace(next.get() + 1);
                let outcome = job(&mut wire, n).await?;
                done.borrow_mut().push((n, outcome));
            }
            anyhow::Ok(())
        };
        try_join_all((0..HANDS).map(|_| hand())).await?;
        let mut done = done.into_inner();
        done.sort_unstable_by_key(|(n, _)| *n);
        Ok(done.into_iter().map(|(_, outcome)| outcome).collect())
    }
}
