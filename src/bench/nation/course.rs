//! [`Course`]: one run of all scenarios against one server, and what they share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::task::JoinHandle;

use super::{nation::Nation, room::Number, subject::Subject};
use crate::{
    client::User,
    process::{Processes, own_cpu_ms},
    report::Report,
    statistics::Times,
};

/// How often it is looked whether something has arrived. When it did is known from its arrival, not from this.
const LOOK: Duration = Duration::from_millis(1);

/// A run.
pub(super) struct Course<'a> {
    pub(super) nation: Arc<Nation>,
    pub(super) subject: &'a Subject,
    pub(super) user: Arc<User>,
    /// The id of the nation's room.
    pub(super) room: String,
    /// A room of the user alone, on the server under test.
    pub(super) other: String,
    /// No scenario waits longer than this for what it waits for.
    pub(super) bound: Duration,
    pub(super) report: &'a mut Report,
}

impl<'a> Course<'a> {
    pub(super) fn meter(&self) -> Meter<'a> {
        Meter::start(&self.subject.processes)
    }

    /// The user says something in the nation's room; the event's id, and the moment before it was said.
    pub(super) async fn say(&self, body: &str) -> Result<(String, Instant)> {
        let since = Instant::now();
        Ok((self.user.tell(&self.room, body).await?, since))
    }

    /// Waits until an event is at all these peers, or the time is over; how long each arrival took, and how
    /// many there are not.
    pub(super) async fn arrivals(
        &self,
        event: &str,
        among: &[usize],
        since: Instant,
        until: Instant,
    ) -> (Vec<Duration>, usize) {
        loop {
            let number = self.nation.room.lock().find(event);
            let seen = self.nation.arrivals.seen(number, among, since);
            if seen.lacking == 0 || Instant::now() >= until {
                return (seen.after, seen.lacking);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until the server under test shows an event to its user.
    pub(super) async fn until_seen(&self, event: &str, until: Instant) -> bool {
        while !self.user.sees(&self.room, event).await {
            if Instant::now() >= until {
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
        true
    }

    /// Has the user send in the other room all the time, so often a second.
    pub(super) fn send_elsewhere(&self, per_second: u32) -> Elsewhere {
        let (user, room, done) = (self.user.clone(), self.other.clone(), Arc::new(AtomicBool::new(false)));
        let stop = done.clone();
        let work = tokio::spawn(async move {
            let mut times = Times::default();
            let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            while !stop.load(Ordering::Relaxed) {
                ticks.tick().await;
                let begun = Instant::now();
                user.message(&room, "別室での連絡です。").await?;
                times.push(begun.elapsed());
            }
            anyhow::Ok(times)
        });
        Elsewhere { done, work }
    }

    pub(super) fn event_id(&self, number: Number) -> String {
        self.nation.room.lock().event(number).id.clone()
    }
}

/// A user who sends in another room until it is stopped.
pub(super) struct Elsewhere {
    done: Arc<AtomicBool>,
    work: JoinHandle<Result<Times>>,
}

impl Elsewhere {
    /// How long each sending took.
    pub(super) async fn stop(self) -> Result<Times> {
        self.done.store(true, Ordering::Relaxed);
        self.work.await?
    }
}

/// Time and CPU since a moment: of the server and of the peers apart, for they share the machine.
pub(super) struct Meter<'a> {
    processes: &'a Processes,
    begun: Instant,
    server_ms: f64,
    own_ms: f64,
}

impl<'a> Meter<'a> {
    fn start(processes: &'a Processes) -> Self {
        Self { processes, begun: Instant::now(), server_ms: processes.cpu_ms(), own_ms: own_cpu_ms() }
    }

    pub(super) fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    pub(super) fn server_ms(&self) -> f64 {
        self.processes.cpu_ms() - self.server_ms
    }

    /// Notes both for each of `count` things.
    pub(super) fn report_each(&self, report: &mut Report, what: &str, count: usize) {
        let count = count.max(1) as f64;
        report.number(format!("{what}_server_cpu_ms_each"), self.server_ms() / count);
        report.number(format!("{what}_peers_cpu_ms_each"), (own_cpu_ms() - self.own_ms) / count);
    }
}

/// Notes the median, the 99th percentile and the longest of times.
pub(super) fn report_times(report: &mut Report, what: &str, times: &mut Times) {
    for (name, percent) in [("p50", 50), ("p99", 99), ("max", 100)] {
        report.number(format!("{what}_{name}_ms"), times.percentile_ms(percent));
    }
}
