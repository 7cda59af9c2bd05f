//! The `yakuba` command: see `server::cli` for what it can do.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The server allows them again when it is ready. Where they cannot be forbidden, only memory is lost.
    server::process::allow_huge_pages(false);
    server::cli::run()
}
