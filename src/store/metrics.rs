//! Measured values of the store.

use std::time::Duration;

use base::{Counter, Gauge, Histogram, Metrics};

use crate::{backend::RawCommitted, error::CommitError};

#[derive(Clone)]
pub(crate) struct StoreMetrics {
    pub(crate) waiting: Gauge,
    pub(crate) writable: Gauge,
    batches: Counter,
    conflicts: Counter,
    failures: Counter,
    group_batches: Histogram,
    commit_seconds: Histogram,
}

const GROUP_SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0];
const SECONDS: &[f64] = &[0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0];

impl StoreMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            waiting: metrics.gauge("yakuba_store_waiting_batches", "Batches that wait for the committer"),
            writable: metrics
                .gauge("yakuba_store_writable", "1 while writes are taken, 0 while they are refused"),
            batches: metrics.counter("yakuba_store_batches", "Batches committed"),
            conflicts: metrics.counter("yakuba_store_conflicts", "Batches refused by a precondition"),
            failures: metrics.counter("yakuba_store_failures", "Batches that failed or are unknown"),
            group_batches: metrics.histogram(
                "yakuba_store_group_batches",
                "Batches written with one sync",
                GROUP_SIZES,
            ),
            commit_seconds: metrics.histogram(
                "yakuba_store_commit_seconds",
                "Time to write a group durably",
                SECONDS,
            ),
        }
    }

    /// Counts batches that were refused unseen, for nothing can be written.
    pub(crate) fn note_refused(&self, batches: usize) {
        self.failures.inc_by(batches as u64);
    }

    pub(crate) fn note_group(&self, results: &[Result<RawCommitted, CommitError>], elapsed: Duration) {
        for result in results {
            match result {
                Ok(_) => self.batches.inc(),
                Err(CommitError::Conflict { .. }) => self.conflicts.inc(),
                Err(CommitError::Unknown | CommitError::Busy | CommitError::Store(_)) => self.failures.inc(),
            };
        }
        self.group_batches.observe(u32::try_from(results.len()).map_or(f64::MAX, f64::from));
        self.commit_seconds.observe(elapsed.as_secs_f64());
    }
}
