//! Nonces for registration with a shared secret.

use std::collections::HashMap;

use base::Instant;
use parking_lot::Mutex;

/// Nonces outstanding at a time; the oldest goes when there is one more.
const MAX_NONCES: usize = 1_000;

/// Nonces that were given out, and until when they are good.
#[derive(Default)]
pub(crate) struct Nonces(Mutex<HashMap<String, Instant>>);

impl Nonces {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn add(&self, nonce: String, until: Instant, now: Instant) {
        let mut nonces = self.0.lock();
        nonces.retain(|_, until| *until > now);
        if nonces.len() >= MAX_NONCES
            && let Some(oldest) =
                nonces.iter().min_by_key(|(_, until)| **until).map(|(nonce, _)| nonce.clone())
        {
            nonces.remove(&oldest);
        }
        nonces.insert(nonce, until);
    }

    /// Takes a nonce away, and says whether it was good.
    pub(crate) fn take(&self, nonce: &str, now: Instant) -> bool {
        self.0.lock().remove(nonce).is_some_and(|until| until > now)
    }
}
