//! The `yakuba` command: see `server::cli` for what it can do.

use std::process::ExitCode;

/// One allocator for our code and RocksDB's.
///
/// Most of what we hold is made by one thread and freed by another: it gives that back as well, to whoever asks next
/// and to the system.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What the allocator reads before `main`; `MALLOC_CONF` in the environment goes before it.
///
/// Freed pages go back to the system after 0.4 s, by a thread of the allocator's. Two arenas are enough for the
/// threads of a server of this size, and what a few hold is not scattered over many. Of larger pieces threads keep
/// none for themselves: that alone was a quarter of what the server held; of small ones a few.
#[allow(unsafe_code)] // Its name is fixed by the allocator, and nothing else is called so.
#[unsafe(export_name = "malloc_conf")]
pub static MALLOC_CONF: &[u8] =
    b"background_thread:true,narenas:2,dirty_decay_ms:400,muzzy_decay_ms:0,tcache_max:4096,tcache_nslots_small_max:24\0";

fn main() -> ExitCode {
    // Before anything is held.
    server::forbid_huge_pages();
    server::cli::run()
}
