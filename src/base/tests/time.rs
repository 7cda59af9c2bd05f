//! Clocks.

use std::{future::Future, pin::pin, task::Poll, time::Duration};

use futures_util::poll;

use crate::{Clock, Elapsed, Timestamp};

#[tokio::test]
async fn a_manual_clock_wakes_a_sleeper_when_its_time_has_come_and_not_before() {
    let (clock, hand) = Clock::manual(1_000);
    let mut sleep = pin!(clock.sleep(Duration::from_millis(100)));
    assert_eq!(poll!(sleep.as_mut()), Poll::Pending);

    hand.advance(Duration::from_millis(99));
    assert_eq!(poll!(sleep.as_mut()), Poll::Pending);

    hand.advance(Duration::from_millis(1));
    assert_eq!(poll!(sleep.as_mut()), Poll::Ready(()));
    assert_eq!(clock.now(), Timestamp(1_100));
}

#[tokio::test]
async fn a_dropped_sleeper_is_forgotten() {
    let (clock, hand) = Clock::manual(0);
    {
        let mut sleep = pin!(clock.sleep(Duration::from_secs(1)));
        assert!(poll!(sleep.as_mut()).is_pending());
        assert_eq!(hand.sleepers(), 1);
    }
    assert_eq!(hand.sleepers(), 0);
}

#[tokio::test]
async fn a_timeout_on_a_manual_clock_ends_the_wait() {
    let (clock, hand) = Clock::manual(0);
    let mut wait = pin!(clock.timeout(Duration::from_secs(30), std::future::pending::<()>()));
    assert!(poll!(wait.as_mut()).is_pending());
    hand.advance(Duration::from_secs(30));
    assert_eq!(poll!(wait.as_mut()), Poll::Ready(Err(Elapsed)));
    assert_eq!(clock.timeout(Duration::from_secs(1), async { 7 }).await, Ok(7));
}

#[test]
fn the_future_of_a_sleep_may_move_between_threads() {
    fn sendable(_: impl Future + Send) {}
    let (clock, _) = Clock::manual(0);
    sendable(clock.sleep(Duration::ZERO));
    sendable(clock.timeout(Duration::ZERO, async {}));
}

#[test]
fn a_moment_before_the_beginning_is_the_beginning() {
    assert_eq!(Timestamp(5).before(Duration::from_secs(1)), Timestamp(0));
    assert_eq!(Timestamp(5).since(Timestamp(9)), Duration::ZERO);
    assert_eq!(Timestamp(u64::MAX) + Duration::from_secs(1), Timestamp(u64::MAX));
}
