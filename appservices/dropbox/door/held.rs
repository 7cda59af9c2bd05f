//! [`Held`]: what a download holds while somebody takes it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Who takes nothing of a file for so long gets no more of it: what is held for him others wait for.
const MOST_IDLE: Duration = Duration::from_secs(60);

/// Something that is let go when nobody has come for it for a while.
pub(super) struct Held<T>(Mutex<(Instant, Option<T>)>);

impl<T: Send + 'static> Held<T> {
    /// Holds it from now on.
    pub(super) fn new(held: T) -> Arc<Self> {
        let held = Arc::new(Self(Mutex::new((Instant::now(), Some(held)))));
        let known = Arc::downgrade(&held);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(MOST_IDLE / 4).await;
                let Some(held) = known.upgrade() else { return };
                held.let_go(Instant::now());
            }
        });
        held
    }

    /// Takes it to do something with it; nothing if it was let go.
    pub(super) fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.take()
    }

    /// Gives it back, until the next time.
    pub(super) fn give_back(&self, held: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), Some(held));
    }

    fn let_go(&self, now: Instant) {
        let idle = {
            let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let is_idle = now.saturating_duration_since(held.0) >= MOST_IDLE;
            if is_idle { held.1.take() } else { None }
        };
        drop(idle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_nobody_comes_for_is_let_go_and_what_is_in_use_is_not() {
        let slot = Arc::new(());
        let held = Held::new(slot.clone());
        let now = Instant::now();
        held.let_go(now + MOST_IDLE / 2);
        let taken = held.take();
        assert!(taken.is_some() && held.take().is_none());
        // While it is in use, however long that takes.
        held.let_go(now + 2 * MOST_IDLE);
        held.give_back(slot.clone());
        held.let_go(Instant::now() + MOST_IDLE / 2);
        drop(taken);
        assert_eq!(Arc::strong_count(&slot), 2);
        held.let_go(Instant::now() + MOST_IDLE);
        assert_eq!((Arc::strong_count(&slot), held.take()), (1, None));
    }
}
