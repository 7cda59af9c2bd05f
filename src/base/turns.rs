//! Turns: who may use the processor next, when many want it.
//!
//! So many work at a time; the others wait in lanes, one for each address or user, and the lanes are served in
//! rotation. So a flood from one place delays those who come from elsewhere by no more than one turn. When the queue is full, the longest lane loses its last.
//!
//! A turn leaves what it worked with to the next, and nobody keeps it when nobody waits.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Where somebody waits.
pub type Lane = u64;

/// The lane of a name: of an authority, a user. Two names may have one, and then wait as one would.
pub fn lane_of(name: &str) -> Lane {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

/// Gives out turns, each with a `T`. Cheap to clone.
pub struct Turns<T: Default>(Arc<Inner<T>>);

struct Inner<T: Default> {
    most_waiting: usize,
    state: Mutex<State<T>>,
}

struct State<T: Default> {
    free: usize,
    waiting: usize,
    /// Lanes with somebody in them, the next to be served first.
    order: VecDeque<Lane>,
    lanes: HashMap<Lane, VecDeque<oneshot::Sender<Turn<T>>>>,
}

/// The right to work, until it is dropped.
pub struct Turn<T: Default> {
    /// What the turn before this one has left, or an empty one.
    pub inherited: T,
    inner: Option<Arc<Inner<T>>>,
}

/// Too many are waiting; this is how many.
#[derive(Debug, PartialEq, Eq)]
pub struct Crowded(pub usize);

impl<T: Default> Clone for Turns<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Default> Turns<T> {
    /// So many work at a time, and so many may wait.
    pub fn new(at_once: usize, most_waiting: usize) -> Self {
        let state = State { free: at_once.max(1), waiting: 0, order: VecDeque::new(), lanes: HashMap::new() };
        Self(Arc::new(Inner { most_waiting, state: Mutex::new(state) }))
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// [`Crowded`] when too many wait already, or it became so while this one waited.
    pub async fn wait(&self, lane: Lane) -> Result<Turn<T>, Crowded> {
        let receiver = {
            let mut state = self.0.state.lock();
            if state.free > 0 {
                state.free -= 1;
                return Ok(Turn { inherited: T::default(), inner: Some(self.0.clone()) });
            }
            state.make_room(lane, self.0.most_waiting)?;
            let (sender, receiver) = oneshot::channel();
            let queue = state.lanes.entry(lane).or_default();
            queue.push_back(sender);
            if queue.len() == 1 {
                state.order.push_back(lane);
            }
            state.waiting += 1;
            receiver
        };
        receiver.await.map_err(|_put_out| Crowded(self.0.most_waiting))
    }

    /// How many wait now.
    pub fn waiting(&self) -> usize {
        self.0.state.lock().waiting
    }
}

impl<T: Default> State<T> {
    /// Puts out the last of the longest lane when the queue is full; refuses who is in the longest himself.
    fn make_room(&mut self, lane: Lane, most_waiting: usize) -> Result<(), Crowded> {
        if self.waiting < most_waiting {
            return Ok(());
        }
        // Those who went away still stand in their lanes.
        self.forget_gone();
        if self.waiting < most_waiting {
            return Ok(());
        }
        let own = self.lanes.get(&lane).map_or(0, VecDeque::len);
        let longest = self.lanes.iter().max_by_key(|(_, queue)| queue.len());
        match longest {
            Some((longest, queue)) if queue.len() > own + 1 => {
                let longest = *longest;
                if let Some(queue) = self.lanes.get_mut(&longest) {
                    queue.pop_back();
                    self.waiting -= 1;
                }
                Ok(())
            }
            _ => Err(Crowded(self.waiting)),
        }
    }

    fn forget_gone(&mut self) {
        for queue in self.lanes.values_mut() {
            queue.retain(|sender| !sender.is_closed());
        }
        self.lanes.retain(|_, queue| !queue.is_empty());
        let lanes = &self.lanes;
        self.order.retain(|lane| lanes.contains_key(lane));
        self.waiting = self.lanes.values().map(VecDeque::len).sum();
    }

    /// Who is next.
    fn next(&mut self) -> Option<oneshot::Sender<Turn<T>>> {
        let lane = self.order.pop_front()?;
        let queue = self.lanes.get_mut(&lane)?;
        let next = queue.pop_front();
        if queue.is_empty() {
            self.lanes.remove(&lane);
        } else {
            self.order.push_back(lane);
        }
        if next.is_some() {
            self.waiting -= 1;
        }
        next
    }
}

impl<T: Default> Drop for Turn<T> {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        let mut inherited = std::mem::take(&mut self.inherited);
        loop {
            let next = {
                let mut state = inner.state.lock();
                let next = state.next();
                if next.is_none() && state.order.is_empty() {
                    state.free += 1;
                    return;
                }
                next
            };
            let Some(next) = next else { continue };
            match next.send(Turn { inherited, inner: Some(inner.clone()) }) {
                Ok(()) => return,
                // It went away; the turn that comes back is given to the one after it.
                Err(mut back) => {
                    back.inner = None;
                    inherited = std::mem::take(&mut back.inherited);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::{future::Future, pin::Pin, task::Poll};

    use super::*;

    type Waiting = Pin<Box<dyn Future<Output = Result<Turn<u8>, Crowded>>>>;

    fn queue(turns: &Turns<u8>, lane: Lane) -> Waiting {
        let turns = turns.clone();
        let mut waiting: Waiting = Box::pin(async move { turns.wait(lane).await });
        assert!(poll(&mut waiting).is_none());
        waiting
    }

    fn poll(waiting: &mut Waiting) -> Option<Result<Turn<u8>, Crowded>> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match waiting.as_mut().poll(&mut context) {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn who_comes_from_elsewhere_waits_one_turn_behind_a_flood() {
        let turns = Turns::new(1, 100);
        let working = turns.wait(1).await.unwrap();
        let mut flood: Vec<_> = (0..50).map(|_| queue(&turns, 1)).collect();
        let mut other = queue(&turns, 2);
        drop(working);
        let first = poll(&mut flood[0]).unwrap().unwrap();
        assert!(poll(&mut other).is_none());
        drop(first);
        assert!(poll(&mut other).unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_flood_that_fills_the_queue_makes_room_for_others_and_not_for_itself() {
        let turns = Turns::new(1, 10);
        let _working = turns.wait(1).await.unwrap();
        let mut flood: Vec<_> = (0..10).map(|_| queue(&turns, 1)).collect();
        assert_eq!(turns.wait(1).await.err(), Some(Crowded(10)));
        let _other = queue(&turns, 2);
        assert!(matches!(poll(&mut flood[9]), Some(Err(Crowded(10)))));
        assert!(poll(&mut flood[8]).is_none());
        assert_eq!(turns.waiting(), 10);
    }

    #[tokio::test]
    async fn a_turn_is_not_lost_with_who_waited_for_it() {
        let turns = Turns::new(1, 10);
        let working = turns.wait(1).await.unwrap();
        let gone = queue(&turns, 2);
        let given = queue(&turns, 3);
        let mut last = queue(&turns, 4);
        drop(gone);
        drop(working);
        // Given to the third, who drops it without having looked.
        drop(given);
        drop(poll(&mut last).unwrap().unwrap());
        drop(turns.wait(1).await.unwrap());
        assert_eq!(turns.waiting(), 0);
    }

    #[tokio::test]
    async fn a_turn_leaves_what_it_has_to_the_next_and_to_nobody_when_nobody_waits() {
        let turns = Turns::new(1, 10);
        let mut working = turns.wait(1).await.unwrap();
        assert_eq!(working.inherited, 0);
        working.inherited = 7;
        let gone = queue(&turns, 2);
        let mut next = queue(&turns, 3);
        drop(gone);
        drop(working);
        let next = poll(&mut next).unwrap().unwrap();
        assert_eq!(next.inherited, 7);
        drop(next);
        assert_eq!(turns.wait(1).await.unwrap().inherited, 0);
    }
}
