//! Work of which some is under way at a time.

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};

use crate::error::Error;

/// So much is under way at a time: what each waits for, the disk above all, is then waited for together.
const AT_ONCE: usize = 8;

/// Work that is under way. What has begun is brought to its end, also where something else failed meanwhile.
pub(crate) struct Together<'f, T> {
    under_way: FuturesUnordered<BoxFuture<'f, Result<T, Error>>>,
    done: Vec<T>,
    failed: Option<Error>,
}

impl<'f, T> Together<'f, T> {
    pub(crate) fn new() -> Self {
        Self { under_way: FuturesUnordered::new(), done: Vec::new(), failed: None }
    }

    /// Begins some more once there is a place; whether there is any use in further work.
    pub(crate) async fn add(&mut self, work: BoxFuture<'f, Result<T, Error>>) -> bool {
        while self.under_way.len() >= AT_ONCE {
            self.take_one().await;
        }
        if self.failed.is_none() {
            self.under_way.push(work);
        }
        self.failed.is_none()
    }

    /// Waits for all; what came of it, in no order, or the first failure.
    pub(crate) async fn end(mut self) -> Result<Vec<T>, Error> {
        while !self.under_way.is_empty() {
            self.take_one().await;
        }
        match self.failed {
            Some(error) => Err(error),
            None => Ok(self.done),
        }
    }

    async fn take_one(&mut self) {
        match self.under_way.next().await {
            Some(Ok(done)) => self.done.push(done),
            Some(Err(error)) => drop(self.failed.get_or_insert(error)),
            None => {}
        }
    }
}
