//! What every part of Yakuba needs and nothing that knows Matrix or storage: the clock, chance,
//! tasks with names, turns, retries, sizes, metrics, logs, the folding of texts and the reading of configuration.
//!
//! All of it but the logs and the language at the command line, which are the process's own, is passed
//! in, never global, so that a test runs ten servers in one process with a
//! clock it can steer and chance it can repeat.

mod address;
mod attempts;
mod backoff;
mod buckets;
pub mod cache;
mod clock;
pub mod config;
mod fold;
pub mod language;
mod lend;
mod metrics;
mod random;
mod retry_after;
mod size;
mod tasks;
pub mod telemetry;
mod turns;
mod variants;

pub use address::{Address, AddressBuckets, LONGEST_ZONE, Network, ZoneName};
pub use attempts::Attempts;
pub use backoff::Backoff;
pub use buckets::{Buckets, Rate};
pub use cache::{Cache, Caches};
pub use clock::{Clock, Elapsed, Instant, LONGEST_REST, ManualClock, SHORTEST_REST, Timestamp};
pub use fold::{Term, folded, legible};
pub use metrics::{Counter, CounterFamily, Gauge, GaugeFamily, Histogram, HistogramFamily, Metrics};
pub use random::Random;
pub use retry_after::retry_after;
pub use size::{ByteSize, SizeError};
pub use tasks::{Task, TaskFailed, Tasks};
pub use tokio_util::sync::CancellationToken;
pub use turns::{Crowded, Lane, Turn, Turns, lane_of};

#[cfg(test)]
mod tests;
