//! What nobody fetches goes with time.

use std::time::Duration;

use base::Metrics;
use store::{Consumer, MemoryDisk, Order, Position, Range, Term};
use tokio_util::sync::CancellationToken;

use super::{Town, to, town, town_keeping};
use crate::tables::{HOURS, INBOX, INBOX_SHARES, INBOX_USE};

/// Lets so many hours of running go by; up to where everything is too old then.
async fn hours(town: &Town, count: usize) -> Option<Position> {
    let stop = CancellationToken::new();
    let old = std::sync::Mutex::new(None);
    let consumer = Consumer::without_log(&town.store, "test", &town.to_device.inner.clock, &Metrics::new());
    let (of_work, to_device, old_ref) = (&stop, &town.to_device, &old);
    let work = |term: Term| async move {
        for _ in 0..count {
            let old = to_device.note_hour(&term).await?;
            *old_ref.lock().unwrap() = old;
        }
        of_work.cancel();
        Ok::<_, crate::Error>(())
    };
    consumer.run(stop.clone(), work).await;
    old.into_inner().unwrap()
}

#[tokio::test]
async fn what_nobody_fetched_for_90_days_of_running_goes_and_nothing_younger() {
    let town = town().await;
    town.sign_up("taro").await;
    for device in ["GONE", "LATE", "PHONE"] {
        town.log_in("taro", device).await;
    }
    // More than go in one batch.
    for number in 0..250 {
        town.send(&format!("old {number}"), &to(&["taro/GONE", "taro/LATE"], "旧")).await.unwrap();
    }
    assert_eq!(hours(&town, 90 * 24).await, None, "nothing is so old");
    town.send("new", &to(&["taro/LATE", "taro/PHONE"], "新")).await.unwrap();
    let through = hours(&town, 1).await.unwrap();
    assert_eq!(town.to_device.take_old(through).await.unwrap(), 500);
    assert_eq!(town.to_device.take_old(through).await.unwrap(), 0);
    for (device, texts) in [("GONE", vec![]), ("LATE", vec!["新"]), ("PHONE", vec!["新"])] {
        assert_eq!(town.told("taro", device, Position::START).await.0, texts, "{device}");
    }
    let used = town.store.scan(&INBOX_USE, Range::all(), Order::Ascending, 99).await.unwrap();
    assert!(used.iter().all(|((_, device, _), _)| device != "GONE"), "it counts for nothing");
    let shares = town.store.scan(&INBOX_SHARES, Range::all(), Order::Ascending, 99).await.unwrap();
    assert_eq!(shares.len(), 4);
    // What was noted goes as well.
    hours(&town, 300).await.unwrap();
    let noted = town.store.scan(&HOURS, Range::all(), Order::Ascending, 9_999).await.unwrap();
    assert_eq!(noted.len(), 90 * 24 + 1);
}

#[tokio::test]
async fn it_goes_by_itself() {
    let town = town_keeping(&MemoryDisk::default(), Duration::from_secs(2 * 60 * 60)).await;
    town.sign_up("taro").await;
    town.log_in("taro", "GONE").await;
    town.send("1", &to(&["taro/GONE"], "旧")).await.unwrap();
    while !town.store.scan(&INBOX, Range::all(), Order::Ascending, 9).await.unwrap().is_empty() {
        town.clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    assert_eq!(town.counted("expired"), 1);
}
