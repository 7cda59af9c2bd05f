//! What the operating system knows of this process, and lets it do.

use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::disable_transparent_huge_pages,
};
use tracing::warn;

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

/// Forbids memory in huge pages, which some systems give to all who do not.
///
/// Of one of those a first use of 64 KiB takes 2 MiB, and what is freed between two that are used never goes back: with
/// 60,000 rooms a third of what the server held was nobody's. Where they cannot be forbidden, only memory is lost.
pub fn forbid_huge_pages() {
    // Nothing is written yet that could tell of a failure.
    disable_transparent_huge_pages(true).ok();
}
