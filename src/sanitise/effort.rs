//! What work costs, for tests that bound it.

use std::time::Duration;

/// Time on the processor that something takes: others may have it meanwhile, so a clock on the wall would tell of them as well.
pub(crate) fn of(work: impl FnOnce()) -> Duration {
    let used = || -> u64 {
        let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        told.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or_default()
    };
    let begun = used();
    work();
    Duration::from_nanos(used() - begun)
}
