//! What the operating system knows of this process, and lets it do.

use std::{ffi::c_void, os::unix::fs::MetadataExt};

use rustix::{
    mm::{Advice, madvise},
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

/// Takes the program's own code out of the process's memory, as far as nobody has come by it lately; what is needed is there
/// again at its next use, from the page cache.
///
/// The system brings in code by 64 KiB around each place that is used. Of what a start brings in, 30 MiB and more, an idle
/// server uses one; but as long as a process has a page the system holds it for used, and gives up others' first.
///
/// Where the system does not say what is where, nothing is done.
pub(crate) fn release_code() {
    let Some((maps, program)) =
        std::fs::read_to_string("/proc/self/maps").ok().zip(std::fs::metadata("/proc/self/exe").ok())
    else {
        return;
    };
    for (start, end) in code_of(&maps, program.ino()) {
        #[expect(unsafe_code, reason = "advice on memory is about addresses")]
        // SAFETY: The range is a mapping of the program's file that may be read and run and never written, so each page is as
        // it is in the file, and is read from there again when it is used. Code is not unmapped while the process runs.
        let done = unsafe { madvise(start as *mut c_void, end - start, Advice::LinuxDontNeed) };
        if let Err(error) = done {
            warn!(%error, "code that is not used stays in memory");
        }
    }
}

/// Where the code of the file with this number lies, by the list that the system gives of a process's memory.
fn code_of(maps: &str, inode: u64) -> Vec<(usize, usize)> {
    let code = |line: &str| {
        let mut parts = line.split_ascii_whitespace();
        let (range, rights, inode_of) = (parts.next()?, parts.next()?, parts.nth(2)?);
        if rights != "r-xp" || inode_of.parse() != Ok(inode) {
            return None;
        }
        let (start, end) = range.split_once('-')?;
        let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        (start < end).then_some((start, end))
    };
    maps.lines().filter_map(code).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
55b8345e5000-55b83547d000 r--p 00000000 fe:00 5308433                    /usr/bin/yakuba
55b83547d000-55b838f50000 r-xp 00e97000 fe:00 5308433                    /usr/bin/yakuba
55b838f50000-55b8390eb000 r--p 04969000 fe:00 5308433                    /usr/bin/yakuba
55b8390eb000-55b8390f3000 rw-p 04b03000 fe:00 5308433                    /usr/bin/yakuba
7f0000000000-7f0000001000 r-xp 00000000 fe:00 77                         /usr/lib/libc.so.6
7f0000002000-7f0000003000 r-xp 00000000 00:00 0                          [vdso]
";

    #[test]
    fn code_is_what_may_be_run_of_the_programs_own_file() {
        assert_eq!(code_of(MAPS, 5_308_433), [(0x55b8_3547_d000, 0x55b8_38f5_0000)]);
        assert_eq!(code_of("nonsense\n55-44 r-xp 0 0 9 x\n", 9), []);
    }

    #[test]
    fn a_process_whose_code_was_released_runs_on() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let program = std::fs::metadata("/proc/self/exe").map(|file| file.ino()).unwrap_or_default();
        assert_eq!(code_of(&maps, program).len(), 1);
        for _ in 0..3 {
            release_code();
        }
        assert_eq!(code_of(&maps, program).len(), 1);
    }
}
