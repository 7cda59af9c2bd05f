//! Logs: one line an event, as text for people or as JSON for machines, on standard error.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    panic,
};

use serde::{Deserialize, Serialize};
use tracing::error;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for programs that collect logs.
    Json,
}

/// The logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter is no list of `target=level`.
    #[error("the log filter `{filter}` is wrong: {cause}")]
    Filter {
        /// The filter as given.
        filter: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Somebody has set up logs before.
    #[error("logs are set up already")]
    Twice,
}

/// Whether logging could start with this filter.
///
/// # Errors
/// [`Error::Filter`] when it cannot be read.
pub fn check(filter: &str) -> Result<(), Error> {
    parse(filter).map(|_| ())
}

fn parse(filter: &str) -> Result<EnvFilter, Error> {
    EnvFilter::try_new(filter)
        .map_err(|cause| Error::Filter { filter: filter.to_owned(), cause: cause.to_string() })
}

/// Starts logging for the process: the one global thing, set once by the binary.
///
/// `filter` is a level (`info`) or a list of `target=level`. Panics are logged too, with a backtrace if `RUST_BACKTRACE=1`.
///
/// # Errors
/// When the filter cannot be read or logging was started before.
pub fn init(format: LogFormat, filter: &str) -> Result<(), Error> {
    let parsed = parse(filter)?;
    let builder = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|_| Error::Twice)?;

    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let reason = {
            let payload = info.payload();
            let text = payload.downcast_ref::<&'static str>().copied();
            text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason given")
        };
        // Taken only where RUST_BACKTRACE asks for it.
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        error!(%place, error = reason, backtrace, "panic");
    }));
    Ok(())
}
