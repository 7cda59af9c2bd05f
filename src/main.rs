//! The `yakuba` command: see `server::cli` for what it can do.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The allocator asks for huge pages, of which a first use of 64 KiB takes 2 MiB: a sixth of an idle
    // server's memory, and an eighth of a busy one's. Where it cannot be had, only memory is lost.
    rustix::thread::disable_transparent_huge_pages(true).ok();
    server::cli::run()
}
