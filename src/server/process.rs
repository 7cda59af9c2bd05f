//! What the operating system knows of this process, and lets it do.

use std::sync::atomic::{AtomicBool, Ordering};

use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{disable_transparent_huge_pages, transparent_huge_pages_are_disabled},
};
use tracing::{debug, warn};

/// The memory that the process holds, in bytes; `None` where the system does not say.
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

/// Lets the process have as many files open as it may at most, and says how many those are.
///
/// The limit that holds without asking is low for the sake of old programs; ours would meet it with some
/// hundred clients.
pub(crate) fn raise_open_files() -> u64 {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: before.maximum, ..before };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(%error, "the limit of open files cannot be raised");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Whether we forbid huge pages. One for the process, as what the system keeps of it is.
static FORBIDDEN: AtomicBool = AtomicBool::new(false);

/// Forbids memory in huge pages, for which the allocator asks always, until [`allow_huge_pages`].
///
/// Of one of those a first use of 64 KiB takes 2 MiB: a sixth of what a server holds that nobody uses. Where they
/// cannot be forbidden, only memory is lost.
pub fn forbid_huge_pages() {
    // Who started us, or the environment by way of the allocator, may have forbidden them for good.
    if transparent_huge_pages_are_disabled().unwrap_or(true) {
        return;
    }
    FORBIDDEN.store(disable_transparent_huge_pages(true).is_ok(), Ordering::Relaxed);
}

/// Takes back what [`forbid_huge_pages`] has done.
///
/// They save a server that works a twelfth of a log-in's time, and a sixth of that of a sync which finds the
/// processor's caches cold.
pub(crate) fn allow_huge_pages() {
    if !FORBIDDEN.load(Ordering::Relaxed) || !FORBIDDEN.swap(false, Ordering::Relaxed) {
        return;
    }
    if let Err(error) = disable_transparent_huge_pages(false) {
        debug!(%error, "huge pages stay forbidden");
    }
}
