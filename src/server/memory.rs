//! Memory that nobody uses goes back to the system.
//!
//! Caches hold what was used once, up to their part of `[store] memory`. What nobody has asked for in about a minute
//! is let go, so that a server at night holds what it needs at night. Where nothing is held, looking costs nothing.

use std::time::Duration;

use base::{Caches, Clock, Tasks};
use tracing::debug;

/// How often caches are looked through. What is not asked for is let go at the third time
/// ([`base::cache::RESTS`]): a client asks twice a minute, and what it asks for must stay.
const LOOKS: Duration = Duration::from_secs(15);

/// Lets go, again and again, what nobody asks for.
pub(crate) fn start(caches: &Caches, clock: &Clock, tasks: &Tasks) {
    let (caches, clock, stopping) = (caches.clone(), clock.clone(), tasks.shutdown_token());
    let helpers = tasks.clone();
    tasks.spawn("memory", async move {
        while stopping.run_until_cancelled(clock.sleep(LOOKS)).await.is_some() {
            let looked = caches.clone();
            // Many entries take longer than an async thread may.
            let size_bytes = helpers.spawn_blocking("memory", move || looked.age()).await.unwrap_or_default();
            if size_bytes > 0 {
                debug!(size_bytes, "caches have let go what nobody asks for");
            }
        }
    });
}
