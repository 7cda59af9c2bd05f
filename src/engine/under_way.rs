//! Joins through other servers that are under way: few at a time, and to their end.
//!
//! What a server answers to a join may be a large room, which is in memory until it is stored; so few answers are asked
//! for at once, and who has many joins under way begins no more. And that server has our user in the room from
//! then on: whoever gave up waiting, as clients and proxies do after a minute, must find him there.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use room::Error;
use ruma::{OwnedServerName, OwnedUserId, RoomId, UserId};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{Engine, membership::Joining};

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
struct Counted {
    engine: Engine,
    user: OwnedUserId,
}

impl Counted {
    fn new(engine: &Engine, user: &UserId) -> Option<Self> {
        let mut of_user = engine.0.under_way.of_user.lock();
        let count = of_user.entry(user.to_owned()).or_default();
        if *count >= OF_ONE {
            return None;
        }
        *count += 1;
        Some(Self { engine: engine.clone(), user: user.to_owned() })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut of_user = self.engine.0.under_way.of_user.lock();
        if let Some(count) = of_user.get_mut(&self.user) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                of_user.remove(&self.user);
            }
        }
    }
}

impl Engine {
    /// Joins a room with the help of one of these servers, or of others that we know of; to the end, also where nobody waits for
    /// that any more.
    ///
    /// # Errors
    /// [`Error::Busy`] when too many joins are under way; else as the last server, or we, refuse it.
    pub(crate) async fn join_through(
        &self,
        user: &UserId,
        room_id: &RoomId,
        via: &[OwnedServerName],
        joining: Joining,
    ) -> Result<(), Error> {
        let counted = Counted::new(self, user).ok_or(Error::Busy)?;
        let (room_id, via) = (room_id.to_owned(), via.to_vec());
        let stop = self.0.tasks.shutdown_token();
        let join = self.0.tasks.spawn("join", async move {
            let Counted { engine, user } = &counted;
            let join = engine.join_by_one_of(user, &room_id, &via, joining);
            stop.run_until_cancelled(join).await.unwrap_or(Err(Error::Interrupted))
        });
        join.await.map_err(|_| Error::Interrupted)?
    }

    /// A place for an answer that lets us in, until it is stored.
    ///
    /// # Errors
    /// [`Error::Busy`] when none is free in time.
    pub(crate) async fn join_place(&self) -> Result<SemaphorePermit<'_>, Error> {
        let place = self.0.clock.timeout(PATIENCE, self.0.under_way.places.acquire()).await;
        place.map_err(|_| Error::Busy)?.map_err(|_| Error::Interrupted)
    }
}
