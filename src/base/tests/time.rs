//! Clocks.

use std::{future::Future, pin::pin, task::Poll, time::Duration};

use futures_util::poll;

use crate::{Clock, Elapsed, LONGEST_REST, SHORTEST_REST, Timestamp};

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

#[tokio::test]
async fn who_rests_does_so_for_so_many_times_as_long_as_he_worked_within_bounds() {
    let (clock, hand) = Clock::manual(0);
    let millis = Duration::from_millis;
    for (worked, times, rests) in [
        (millis(100), 3, millis(300)),
        (millis(100), 1, millis(100)),
        (millis(0), 3, SHORTEST_REST),
        (millis(3_600_000), 3, LONGEST_REST),
    ] {
        let began = clock.instant();
        hand.advance(worked);
        let mut rest = pin!(clock.rest_since(began, times));
        assert!(poll!(rest.as_mut()).is_pending());
        hand.advance(rests - millis(1));
        assert!(poll!(rest.as_mut()).is_pending(), "{worked:?}, {times} times");
        hand.advance(millis(1));
        assert!(poll!(rest.as_mut()).is_ready(), "{worked:?}, {times} times");
    }
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

#[tokio::test]
async fn setting_the_calendar_moves_no_stopwatch_and_wakes_nobody() {
    let (clock, hand) = Clock::manual(10_000_000);
    let began = clock.instant();
    let mut sleep = pin!(clock.sleep(Duration::from_secs(10)));
    assert!(poll!(sleep.as_mut()).is_pending());

    hand.set_forward(Duration::from_secs(3_600));
    assert_eq!(clock.now(), Timestamp(13_600_000));
    hand.set_back(Duration::from_secs(7_200));
    assert_eq!(clock.now(), Timestamp(6_400_000));
    assert_eq!(clock.instant().since(began), Duration::ZERO);
    assert!(poll!(sleep.as_mut()).is_pending());

    hand.advance(Duration::from_secs(10));
    assert_eq!(clock.instant().since(began), Duration::from_secs(10));
    assert_eq!(poll!(sleep.as_mut()), Poll::Ready(()));
}

#[test]
fn a_stored_wait_is_never_longer_than_it_can_have_been() {
    let (clock, hand) = Clock::manual(1_000_000_000);
    let longest = Duration::from_secs(900);
    let stored = clock.now() + Duration::from_secs(60);
    let wait = |clock: &Clock| clock.instant_of(stored, longest).since(clock.instant());
    assert_eq!(wait(&clock), Duration::from_secs(60));
    hand.set_back(Duration::from_secs(3_600));
    assert_eq!(wait(&clock), longest, "the calendar was set back while nobody looked");
    hand.set_forward(Duration::from_secs(365 * 24 * 3_600));
    assert_eq!(wait(&clock), Duration::ZERO);
}

#[test]
fn no_instant_is_out_of_range() {
    let clock = Clock::system();
    let now = clock.instant();
    assert!(now + Duration::MAX > now + Duration::from_secs(1));
    assert_eq!(now.since(now + Duration::from_secs(1)), Duration::ZERO);
}
