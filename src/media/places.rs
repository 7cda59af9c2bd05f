//! Places: so many things are done for one user at a time, some more wait in turn, and the others are refused.
//!
//! Clients ask for all at once that they show, and some never ask again for what was refused. So a handful waits here a
//! while, and a flood is told at once.

use std::{collections::HashMap, sync::Arc, time::Duration};

use base::Clock;
use parking_lot::Mutex;
use ruma::{OwnedUserId, UserId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many of one user wait in turn.
pub(crate) const WAITING: usize = 24;

/// What is done for users. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Places {
    /// So many are worked on for one user.
    at_once: usize,
    /// So many are worked on or wait.
    most: usize,
    of_users: Arc<Mutex<HashMap<OwnedUserId, OfUser>>>,
}

struct OfUser {
    count: usize,
    turns: Arc<Semaphore>,
}

/// One of those that are worked on or wait, until it is dropped.
pub(crate) struct Place {
    user: OwnedUserId,
    turns: Arc<Semaphore>,
    turn: Option<OwnedSemaphorePermit>,
    of_users: Arc<Mutex<HashMap<OwnedUserId, OfUser>>>,
}

impl Places {
    /// So many are worked on for one user at a time; [`WAITING`] more may wait.
    pub(crate) fn new(at_once: usize) -> Self {
        let at_once = at_once.max(1);
        Self { at_once, most: at_once.saturating_add(WAITING), of_users: Arc::default() }
    }

    /// A place for one more; `None` if the user has as many as he may.
    pub(crate) fn find(&self, user: &UserId) -> Option<Place> {
        let mut of_users = self.of_users.lock();
        let new = || OfUser { count: 0, turns: Arc::new(Semaphore::new(self.at_once)) };
        let of_user = of_users.entry(user.to_owned()).or_insert_with(new);
        if of_user.count >= self.most {
            return None;
        }
        of_user.count += 1;
        let turns = of_user.turns.clone();
        Some(Place { user: user.to_owned(), turns, turn: None, of_users: self.of_users.clone() })
    }
}

impl Place {
    /// Waits until it is worked on. False if that is not within this time.
    pub(crate) async fn wait(&mut self, clock: &Clock, patience: Duration) -> bool {
        if let Ok(turn) = self.turns.clone().try_acquire_owned() {
            self.turn = Some(turn);
            return true;
        }
        // Nobody ever closes it.
        let waited = clock.timeout(patience, self.turns.clone().acquire_owned()).await;
        self.turn = waited.ok().and_then(Result::ok);
        self.turn.is_some()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut of_users = self.of_users.lock();
        if let Some(of_user) = of_users.get_mut(&self.user) {
            of_user.count -= 1;
            if of_user.count == 0 {
                of_users.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use ruma::user_id;

    use super::*;

    #[tokio::test]
    async fn some_wait_in_turn_and_what_is_too_much_is_refused() {
        let places = Places { most: 3, ..Places::new(2) };
        let (clock, hand) = Clock::manual(0);
        let (anna, ben) = (user_id!("@anna:a.test"), user_id!("@ben:a.test"));
        let mut both = [places.find(anna).unwrap(), places.find(anna).unwrap()];
        for place in &mut both {
            assert!(place.wait(&clock, Duration::ZERO).await);
        }
        let mut third = places.find(anna).unwrap();
        assert!(places.find(anna).is_none());
        assert!(
            places.find(ben).unwrap().wait(&clock, Duration::ZERO).await,
            "another has places of his own"
        );
        let waiting = async {
            let is_its_turn = third.wait(&clock, Duration::from_secs(9)).await;
            (is_its_turn, third)
        };
        let ((is_its_turn, third), ()) = tokio::join!(waiting, async { drop(both) });
        assert!(is_its_turn);
        let mut full = [places.find(anna).unwrap(), places.find(anna).unwrap()];
        assert!(full[0].wait(&clock, Duration::ZERO).await);
        let late = full[1].wait(&clock, Duration::from_secs(9));
        let (is_its_turn, ()) = tokio::join!(late, async { hand.advance(Duration::from_secs(9)) });
        assert!(!is_its_turn);
        drop((third, full));
        assert_eq!(places.of_users.lock().len(), 0, "nothing is left of who is done");
    }
}
