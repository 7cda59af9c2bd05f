//! Whether a store takes writes.

use tokio::sync::watch;
use tracing::{error, info};

use crate::{error::Error, metrics::StoreMetrics};

/// Whether a store takes writes. Reading goes on in both conditions, as far as the back end can.
#[derive(Clone, Debug, Default)]
pub enum Condition {
    /// It does.
    #[default]
    Writable,
    /// It does not, for this reason: every batch is refused with it until the back end has healed.
    ReadOnly(Error),
}

impl Condition {
    /// Whether it takes writes.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        matches!(self, Self::Writable)
    }
}

/// The condition of one store: kept by its committer, seen by everybody.
pub(crate) struct Sign {
    condition: watch::Sender<Condition>,
    metrics: StoreMetrics,
}

impl Sign {
    pub(crate) fn new(metrics: StoreMetrics) -> Self {
        metrics.writable.set(1);
        Self { condition: watch::Sender::new(Condition::Writable), metrics }
    }

    pub(crate) fn get(&self) -> Condition {
        self.condition.borrow().clone()
    }

    /// Why nothing can be written, if so.
    pub(crate) fn trouble(&self) -> Option<Error> {
        match self.get() {
            Condition::Writable => None,
            Condition::ReadOnly(reason) => Some(reason),
        }
    }

    /// Notes what the back end says of itself, and tells the operator when that changes, once.
    pub(crate) fn note(&self, answer: Result<(), Error>) {
        let was_writable = self.condition.borrow().is_writable();
        match answer {
            Ok(()) if was_writable => return,
            Ok(()) => info!("the store takes writes again"),
            Err(ref error) if was_writable => {
                error!(error = ?error, "the store takes no writes; reading goes on, and it is tried again");
            }
            Err(_) => {}
        }
        self.metrics.writable.set(i64::from(answer.is_ok()));
        self.condition.send_replace(answer.map_or_else(Condition::ReadOnly, |()| Condition::Writable));
    }
}
