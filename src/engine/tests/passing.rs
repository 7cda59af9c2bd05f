//! Time that passes while something is done.

use std::{future::Future, time::Duration};

use base::ManualClock;

/// Does some work while time passes on a steered clock, but at most so many seconds of it, and only while
/// somebody waits who did not when `idle` was counted.
pub(super) async fn within<T>(
    hand: &ManualClock,
    idle: usize,
    seconds: u32,
    work: impl Future<Output = T>,
) -> T {
    let passing = async {
        for _ in 0..seconds {
            while hand.sleepers() <= idle {
                tokio::task::yield_now().await;
            }
            hand.advance(Duration::from_secs(1));
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        }
        std::future::pending::<()>().await;
    };
    let work = async {
        tokio::select! { done = work => done, () = passing => unreachable!() }
    };
    // Real time, for a test that fails.
    tokio::time::timeout(Duration::from_secs(120), work).await.expect("it takes too long")
}
