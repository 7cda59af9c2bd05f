//! What services were asked for, for a while.

use std::collections::HashMap;

use base::Instant;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// Names that are asked for at once, of all services; whoever comes then is told that there is none.
const AT_ONCE: usize = 32;

/// Who is asked, and for what not any more.
pub(crate) struct Asked {
    pub(crate) places: Semaphore,
    /// When they were asked for.
    pub(crate) refused: Mutex<HashMap<String, Instant>>,
}

impl Default for Asked {
    fn default() -> Self {
        Self { places: Semaphore::new(AT_ONCE), refused: Mutex::default() }
    }
}
