//! The `yakuba` command: see `server::cli` for what it can do.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before anything is held; the server allows them again when somebody sends it something.
    server::forbid_huge_pages();
    server::cli::run()
}
