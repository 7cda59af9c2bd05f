//! Joins through other servers that are under way: few at a time, and to their end.
//!
//! What a server answers to a join may be a large room, which is in memory until it is stored; so few answers are asked
//! for at once, and who has many joins under way begins no more. And that server has our user in the room from
//! then on: whoever gave up waiting, as clients and proxies do after a minute, must find him there.

use std::{collections::HashMap, sync::Arc, time::Duration};

use base::Clock;
use parking_lot::Mutex;
use room::Error;
use ruma::{OwnedUserId, UserId};
use tokio::sync::{Semaphore, SemaphorePermit};

/// For how long one server after the other is asked for one thing; whoever is being asked then may still answer.
pub(crate) const ASKING: Duration = Duration::from_secs(60);

/// Joins whose answers are asked for or stored at a time.
const AT_ONCE: usize = 8;

/// Joins of one user that are under way.
const OF_ONE: usize = 4;

/// For so long a join waits for others to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// The joins that are under way.
#[derive(Debug)]
pub(crate) struct UnderWay {
    places: Semaphore,
    of_user: Mutex<HashMap<OwnedUserId, usize>>,
}

impl Default for UnderWay {
    fn default() -> Self {
        Self { places: Semaphore::new(AT_ONCE), of_user: Mutex::default() }
    }
}

/// A join of somebody, as long as it is under way.
pub(crate) struct Counted {
    under_way: Arc<UnderWay>,
    user: OwnedUserId,
}

impl Counted {
    /// Counts one more join of a user; nothing when he has too many.
    pub(crate) fn new(under_way: &Arc<UnderWay>, user: &UserId) -> Option<Self> {
        let mut of_user = under_way.of_user.lock();
        let count = of_user.entry(user.to_owned()).or_default();
        if *count >= OF_ONE {
            return None;
        }
        *count += 1;
        Some(Self { under_way: under_way.clone(), user: user.to_owned() })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut of_user = self.under_way.of_user.lock();
        if let Some(count) = of_user.get_mut(&self.user) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                of_user.remove(&self.user);
            }
        }
    }
}

impl UnderWay {
    /// A place for an answer that lets us in, until it is stored.
    ///
    /// # Errors
    /// [`Error::Busy`] when none is free in time.
    pub(crate) async fn place(&self, clock: &Clock) -> Result<SemaphorePermit<'_>, Error> {
        let place = clock.timeout(PATIENCE, self.places.acquire()).await;
        place.map_err(|_| Error::Busy)?.map_err(|_| Error::Interrupted)
    }
}
