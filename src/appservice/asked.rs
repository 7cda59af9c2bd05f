//! What services were asked for, for a while.

use std::collections::HashMap;

use base::Instant;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// Names that a service is asked for at once; whoever comes then is told that there is none.
const AT_ONCE: usize = 32;

/// What each service is asked, and for what not any more: one that hangs takes nobody from the others.
pub(crate) struct Asked(HashMap<String, OfOne>);

/// What one service is asked.
pub(crate) struct OfOne {
    pub(crate) places: Semaphore,
    /// When it was asked for what it did not make.
    pub(crate) refused: Mutex<HashMap<String, Instant>>,
}

impl Asked {
    /// Of the services with these ids.
    pub(crate) fn of<'a>(services: impl Iterator<Item = &'a str>) -> Self {
        let of_one = || OfOne { places: Semaphore::new(AT_ONCE), refused: Mutex::default() };
        Self(services.map(|id| (id.to_owned(), of_one())).collect())
    }

    pub(crate) fn service(&self, id: &str) -> Option<&OfOne> {
        self.0.get(id)
    }
}
