//! Token buckets.

use std::time::Duration;

use crate::{Buckets, Clock, Rate};

const RATE: Rate = Rate { per_second: 2.0, burst: 3 };

#[test]
fn as_often_at_once_as_the_burst_and_then_at_the_rate() {
    let (clock, hand) = Clock::manual(0);
    let buckets = Buckets::new(RATE);
    for _ in 0..3 {
        buckets.take(&"hanako", clock.instant()).unwrap();
    }
    assert_eq!(buckets.take(&"hanako", clock.instant()), Err(Duration::from_millis(500)));
    buckets.take(&"taro", clock.instant()).unwrap();

    hand.advance(Duration::from_millis(200));
    let wait = buckets.take(&"hanako", clock.instant()).unwrap_err();
    assert!(wait.abs_diff(Duration::from_millis(300)) < Duration::from_millis(1), "{wait:?}");
    hand.advance(wait);
    buckets.take(&"hanako", clock.instant()).unwrap();
    assert!(buckets.check(&"hanako", clock.instant()).is_err());

    hand.advance(Duration::from_secs(3_600));
    for _ in 0..3 {
        buckets.take(&"hanako", clock.instant()).unwrap();
    }
    assert!(buckets.take(&"hanako", clock.instant()).is_err());
}

#[test]
fn who_is_told_to_wait_waits_no_longer_for_asking_again() {
    let (clock, _hand) = Clock::manual(0);
    let buckets = Buckets::new(RATE);
    while buckets.take(&1, clock.instant()).is_ok() {}
    for _ in 0..1_000 {
        assert_eq!(buckets.take(&1, clock.instant()), Err(Duration::from_millis(500)));
    }
}

#[test]
fn setting_the_calendar_frees_and_locks_nobody() {
    let (clock, hand) = Clock::manual(10_000_000_000);
    let buckets = Buckets::new(RATE);
    while buckets.take(&1, clock.instant()).is_ok() {}
    hand.set_forward(Duration::from_secs(3_600));
    assert!(buckets.take(&1, clock.instant()).is_err());
    hand.set_back(Duration::from_secs(7_200));
    hand.advance(Duration::from_millis(500));
    buckets.take(&1, clock.instant()).unwrap();
}

#[test]
fn what_was_put_back_can_be_taken_again() {
    let (clock, _hand) = Clock::manual(0);
    let buckets = Buckets::new(RATE);
    for _ in 0..100 {
        buckets.take(&1, clock.instant()).unwrap();
        buckets.put_back(&1, clock.instant());
    }
    assert!(buckets.is_empty());
    while buckets.take(&1, clock.instant()).is_ok() {}
    buckets.forgive(&1);
    buckets.take(&1, clock.instant()).unwrap();
}

#[test]
fn the_table_is_bounded_and_those_who_fill_it_hinder_nobody_in_it() {
    let (clock, hand) = Clock::manual(0);
    let buckets = Buckets::at_most(RATE, 100);
    buckets.take(&"hanako", clock.instant()).unwrap();
    let served = (0..10_000).filter(|stranger| buckets.take(stranger, clock.instant()).is_ok()).count();
    assert_eq!(served, 99 + 3);
    assert_eq!(buckets.len(), 100);
    buckets.take(&"hanako", clock.instant()).unwrap();
    hand.advance(Duration::from_secs(2));
    buckets.take(&"taro", clock.instant()).unwrap();
    assert_eq!(buckets.len(), 1);
}

#[test]
fn a_rate_of_nothing_is_no_limit() {
    let (clock, _hand) = Clock::manual(0);
    let buckets = Buckets::new(Rate::UNLIMITED);
    for _ in 0..1_000 {
        buckets.take(&1, clock.instant()).unwrap();
    }
    assert!(buckets.is_empty());
}
