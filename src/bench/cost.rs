//! What a piece of work costs the server: time and CPU between two moments.

use std::time::Instant;

use crate::{process::Processes, report::Report};

/// Time and CPU between two moments.
pub(crate) struct Cost<'a> {
    processes: &'a Processes,
    begun: Instant,
    cpu_ms: f64,
}

impl<'a> Cost<'a> {
    pub(crate) fn start(processes: &'a Processes) -> Self {
        Self { processes, begun: Instant::now(), cpu_ms: processes.cpu_ms() }
    }

    /// CPU of the server since then, in milliseconds.
    pub(crate) fn cpu_ms(&self) -> f64 {
        self.processes.cpu_ms() - self.cpu_ms
    }

    pub(crate) fn report(&self, report: &mut Report, what: &str, count: usize) {
        report.number(format!("{what}_per_s"), count as f64 / self.begun.elapsed().as_secs_f64());
        self.report_cpu(report, &format!("{what}_cpu_ms_each"), count);
    }

    pub(crate) fn report_cpu(&self, report: &mut Report, name: &str, count: usize) {
        report.number(name, self.cpu_ms() / count as f64);
    }
}
