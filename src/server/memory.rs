//! Memory that nobody uses goes back to the system.
//!
//! Caches hold what was used once, up to their part of `[store] memory`, and lend what they do not need to those that
//! borrow. What nobody has asked for in about a minute is let go, so that a server at night holds what it needs
//! at night. Where nothing is held, looking costs nothing. With the last of it the program's code goes that is not in use.

use std::time::Duration;

use base::{Caches, Clock, Tasks};
use tracing::debug;

use crate::process;

/// How often caches are looked through. What is not asked for is let go at the third time
/// ([`base::cache::RESTS`]): a client asks twice a minute, and what it asks for must stay.
const LOOKS: Duration = Duration::from_secs(15);

/// How often it is looked who could use more and who needs less: some numbers of each cache.
const LOANS: Duration = Duration::from_secs(1);

/// Lends, and lets go, again and again, what nobody asks for.
pub(crate) fn start(caches: &Caches, clock: &Clock, tasks: &Tasks) {
    let (caches, clock, stopping) = (caches.clone(), clock.clone(), tasks.shutdown_token());
    let helpers = tasks.clone();
    tasks.spawn("memory", async move {
        let mut looked_at = clock.instant();
        while stopping.run_until_cancelled(clock.sleep(LOANS)).await.is_some() {
            let is_due = clock.instant().since(looked_at) >= LOOKS;
            if is_due {
                looked_at = clock.instant();
            }
            let looked = caches.clone();
            // Many entries take longer than an async thread may.
            let work = move || {
                looked.lend();
                if is_due { looked.age() } else { 0 }
            };
            let size_bytes = helpers.spawn_blocking("memory", work).await.unwrap_or_default();
            if size_bytes > 0 {
                debug!(size_bytes, "caches have let go what nobody asks for");
                process::release_code();
            }
        }
    });
}
