//! [`Log`]: what a test's own thread logs.

use std::{io, sync::Arc};

use parking_lot::Mutex;
use tracing::{
    Dispatch,
    dispatcher::{self, DefaultGuard},
    level_filters::LevelFilter,
};

/// What is logged on this thread, while it lives.
pub struct Log {
    lines: Lines,
    _open: (DefaultGuard, Dispatch),
}

impl Log {
    /// Begins to keep what is logged, from the least of it on.
    #[expect(clippy::new_without_default, reason = "it has an effect")]
    pub fn new() -> Self {
        // With a single log in the process, a line that a thread without one passes first is off for all.
        let deaf = Dispatch::new(tracing_subscriber::fmt().with_max_level(LevelFilter::OFF).finish());
        let lines = Lines::default();
        let to = lines.clone();
        let log = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(LevelFilter::DEBUG)
            .with_writer(move || to.clone());
        let open = dispatcher::set_default(&Dispatch::new(log.finish()));
        Self { lines, _open: (open, deaf) }
    }

    /// The lines until now that have this text.
    pub fn with(&self, text: &str) -> Vec<String> {
        let all = String::from_utf8_lossy(&self.lines.0.lock()).into_owned();
        all.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
