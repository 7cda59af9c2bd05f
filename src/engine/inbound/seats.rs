//! Seats for those who resolve states beside rooms' locks.
//!
//! What is beside a lock is not kept in order by it. So there is one seat for each room, since of two who work on one
//! tip one works in vain, and few for all rooms together, since each of them needs memory and a processor. Few wait for
//! one, and not for long.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base::Clock;
use parking_lot::Mutex;
use room::{Error, ids::RoomSerial};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// How many work at a time in all rooms.
const SEATS: usize = 4;
/// How many wait.
const MOST_WAITING: usize = 256;
/// How long.
const PATIENCE: Duration = Duration::from_secs(20);

/// The seats of a process.
pub(crate) struct Seats {
    all: Semaphore,
    /// Those of the rooms where somebody has one or waits for it.
    rooms: Mutex<HashMap<RoomSerial, Weak<Semaphore>>>,
    waiting: AtomicUsize,
}

/// The right to work beside a room's lock.
pub(super) struct Seat<'a> {
    _room: OwnedSemaphorePermit,
    _all: SemaphorePermit<'a>,
}

impl Seats {
    pub(crate) fn new() -> Self {
        Self { all: Semaphore::new(SEATS), rooms: Mutex::default(), waiting: AtomicUsize::new(0) }
    }

    /// Waits for a seat.
    ///
    /// # Errors
    /// [`Error::Busy`] when too many wait, or none became free in time.
    pub(super) async fn take(&self, clock: &Clock, room: RoomSerial) -> Result<Seat<'_>, Error> {
        let _waiter = Waiter::enter(&self.waiting)?;
        let seat = async {
            let room = self.of(room).acquire_owned().await?;
            let all = self.all.acquire().await?;
            Ok(Seat { _room: room, _all: all })
        };
        let seat: Result<_, tokio::sync::AcquireError> =
            clock.timeout(PATIENCE, seat).await.map_err(|_| Error::Busy)?;
        seat.map_err(|_| Error::Interrupted)
    }

    fn of(&self, room: RoomSerial) -> Arc<Semaphore> {
        let mut rooms = self.rooms.lock();
        if let Some(seat) = rooms.get(&room).and_then(Weak::upgrade) {
            return seat;
        }
        rooms.retain(|_, seat| seat.strong_count() > 0);
        let seat = Arc::new(Semaphore::new(1));
        rooms.insert(room, Arc::downgrade(&seat));
        seat
    }
}

/// One who waits, counted as long as he does.
struct Waiter<'a>(&'a AtomicUsize);

impl<'a> Waiter<'a> {
    fn enter(waiting: &'a AtomicUsize) -> Result<Self, Error> {
        let waiter = Self(waiting);
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        if before < MOST_WAITING { Ok(waiter) } else { Err(Error::Busy) }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use futures_util::{FutureExt, future::join_all};

    use super::*;

    const fn room(number: u64) -> RoomSerial {
        RoomSerial(number)
    }

    #[tokio::test]
    async fn a_room_has_one_seat_and_all_rooms_have_few() {
        let (seats, clock) = (Seats::new(), Clock::system());
        let mut held = vec![seats.take(&clock, room(0)).await.unwrap()];
        assert!(seats.take(&clock, room(0)).now_or_never().is_none());
        for number in 1..SEATS as u64 {
            held.push(seats.take(&clock, room(number)).await.unwrap());
        }
        assert!(seats.take(&clock, room(99)).now_or_never().is_none());
        held.pop();
        assert!(seats.take(&clock, room(99)).now_or_never().is_some());
        drop(held);
        seats.take(&clock, room(0)).await.unwrap();
        assert!(seats.rooms.lock().len() <= 1, "rooms where nobody works are forgotten");
    }

    #[tokio::test]
    async fn few_wait_and_not_for_ever() {
        let (clock, manual) = Clock::manual(0);
        let seats = Seats::new();
        let _held = seats.take(&clock, room(0)).await.unwrap();
        let waiting = join_all((0..MOST_WAITING).map(|_| seats.take(&clock, room(0))));
        let one_more = async {
            let more = seats.take(&clock, room(0)).await;
            manual.advance(PATIENCE);
            more.err()
        };
        let (waited, more) = tokio::join!(waiting, one_more);
        assert!(matches!(more, Some(Error::Busy)), "{more:?}");
        assert!(waited.iter().all(|one| matches!(one, Err(Error::Busy))));
        assert_eq!(seats.waiting.load(Ordering::SeqCst), 0);
    }
}
