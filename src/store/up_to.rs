//! Up to where something that was read from the store is known to hold.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::RwLock;

use crate::{Moved, Position, Store, Topic};

/// Up to where something that was read is known to hold. It moves on with each time that it is found to hold still: so
/// what is asked for again and again is compared with what happened lately. Of what is long ago nobody knows whether it
/// has moved, and it would be read anew for nothing.
#[derive(Debug)]
pub struct UpTo(AtomicU64);

impl UpTo {
    /// What was read after this was the [`Store::head`].
    #[must_use]
    pub fn new(head: Position) -> Self {
        Self(AtomicU64::new(head.0))
    }

    /// The position.
    pub fn position(&self) -> Position {
        Position(self.0.load(Ordering::Acquire))
    }

    /// Whether none of the topics that would make it wrong has moved since. They have to be the same ones each time.
    pub fn holds<const N: usize>(&self, store: &Store, topics: [Topic; N]) -> bool {
        // Before the question: the answer holds up to here.
        let head = store.head();
        let known = self.position();
        let holds = topics.into_iter().all(|topic| store.moved(topic, known) == Moved::No);
        if holds && head > known {
            self.0.fetch_max(head.0, Ordering::AcqRel);
        }
        holds
    }
}

/// Something of the whole store that all who ask share, and that is read again once it may have changed.
#[derive(Debug)]
pub struct Remembered<T>(RwLock<Option<(UpTo, Arc<T>)>>);

impl<T> Remembered<T> {
    /// What is remembered, unless one of the topics that would make it wrong has moved; else what `read` reads. They have
    /// to be the same ones each time.
    ///
    /// # Errors
    /// Those of `read`.
    pub async fn get_or_read<const N: usize, E>(
        &self,
        store: &Store,
        topics: [Topic; N],
        read: impl Future<Output = Result<T, E>>,
    ) -> Result<Arc<T>, E> {
        if let Some((up_to, known)) = &*self.0.read()
            && up_to.holds(store, topics)
        {
            return Ok(known.clone());
        }
        // Before the read: what is committed during it may be in it, what was before surely is.
        let head = store.head();
        let fresh = Arc::new(read.await?);
        let mut known = self.0.write();
        // Who read later may have come first.
        if known.as_ref().is_none_or(|(up_to, _)| up_to.position() <= head) {
            *known = Some((UpTo::new(head), fresh.clone()));
        }
        Ok(fresh)
    }
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::sync::{Arc, atomic::AtomicBool};

    use base::{Metrics, Tasks};

    use super::*;
    use crate::{MemoryBackend, Options};

    #[tokio::test]
    async fn what_is_asked_for_again_stays_known_until_it_moves() {
        let metrics = Metrics::new();
        let options = Options { remembered_topics: 4, ..Options::default() };
        let backend = Arc::new(MemoryBackend::new());
        let store = Store::open(backend, options, &Tasks::new(&metrics), &metrics).await.unwrap();
        let (mine, others) = (Topic::profile("@a:a.test"), Topic::new(200, "others"));
        let (used, unused) = (UpTo::new(store.head()), UpTo::new(store.head()));
        for other in 0..100 {
            store.publish([Topic::profile(&format!("@{other}:a.test"))]).await.unwrap();
            assert!(used.holds(&store, [mine, others]), "{other}");
        }
        assert_eq!(used.position(), store.head());
        assert!(!unused.holds(&store, [mine, others]), "too long ago to be known");

        for moving in [mine, others] {
            let known = UpTo::new(store.head());
            store.publish([moving]).await.unwrap();
            for _ in 0..2 {
                assert!(!known.holds(&store, [mine, others]));
            }
        }
    }

    #[tokio::test]
    async fn what_is_remembered_is_read_again_once_it_may_have_changed_and_not_before() {
        let metrics = Metrics::new();
        let backend = Arc::new(MemoryBackend::new());
        let store = Store::open(backend, Options::default(), &Tasks::new(&metrics), &metrics).await.unwrap();
        let mine = Topic::profile("@a:a.test");
        let remembered = Remembered::default();
        let get = async |fresh: Result<u32, ()>| {
            remembered.get_or_read(&store, [mine], std::future::ready(fresh)).await.map(|it| *it)
        };
        assert_eq!(get(Err(())).await, Err(()));
        assert_eq!([get(Ok(1)).await, get(Ok(2)).await], [Ok(1), Ok(1)]);
        store.publish([Topic::profile("@b:a.test")]).await.unwrap();
        assert_eq!(get(Ok(2)).await, Ok(1));
        store.publish([mine]).await.unwrap();
        assert_eq!([get(Err(())).await, get(Ok(3)).await], [Err(()), Ok(3)]);

        // What was read before something that another has read already.
        store.publish([mine]).await.unwrap();
        let late = remembered.get_or_read(&store, [mine], async {
            store.publish([mine]).await.unwrap();
            assert_eq!(get(Ok(5)).await, Ok(5));
            Ok::<u32, ()>(4)
        });
        assert_eq!((late.await.map(|it| *it), get(Ok(6)).await), (Ok(4), Ok(5)));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_moves_while_it_is_asked_is_not_taken_for_known() {
        let metrics = Metrics::new();
        let backend = Arc::new(MemoryBackend::new());
        let store = Store::open(backend, Options::default(), &Tasks::new(&metrics), &metrics).await.unwrap();
        let mine = Topic::profile("@a:a.test");
        for round in 0..300 {
            let known = Arc::new(UpTo::new(store.head()));
            let is_over = Arc::new(AtomicBool::new(false));
            let asking = {
                let (known, store) = (known.clone(), store.clone());
                let stop = is_over.clone();
                tokio::task::spawn_blocking(move || {
                    while !stop.load(Ordering::Acquire) {
                        known.holds(&store, [mine]);
                    }
                })
            };
            store.publish([mine]).await.unwrap();
            is_over.store(true, Ordering::Release);
            asking.await.unwrap();
            assert!(!known.holds(&store, [mine]), "round {round}");
        }
    }
}
