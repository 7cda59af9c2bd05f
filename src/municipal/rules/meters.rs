//! How far rooms follow their rules, for whoever watches a server on 1 April.

use base::{CounterFamily, GaugeFamily, Metrics};

use crate::answer::Done;

/// What is told of the rooms of each authority.
#[derive(Clone, Debug)]
pub(crate) struct Meters {
    steps: CounterFamily,
    left: GaugeFamily,
    runs: CounterFamily,
    failing: GaugeFamily,
}

impl Meters {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            steps: metrics
                .counter_family("yakuba_rules_steps", "What was done so that rooms follow their rules"),
            left: metrics
                .gauge_family("yakuba_rules_rooms_left", "Rooms that the run under way has still to look at"),
            runs: metrics.counter_family(
                "yakuba_rules_runs",
                "Runs over the rooms of an authority, by how they ended",
            ),
            failing: metrics.gauge_family(
                "yakuba_rules_failing",
                "Whether rooms did not follow their rules when that was last tried",
            ),
        }
    }

    /// What was done since the count was `before`.
    pub(crate) fn steps(&self, authority: &str, before: Done, now: Done) {
        let Done { makes, joins, leaves, changes, closes, refused } = now;
        let counts = [
            ("make", makes, before.makes),
            ("join", joins, before.joins),
            ("leave", leaves, before.leaves),
            ("change", changes, before.changes),
            ("close", closes, before.closes),
            ("refused", refused, before.refused),
        ];
        for (step, now, before) in counts.into_iter().filter(|(_, now, before)| now > before) {
            let more = u64::try_from(now - before).unwrap_or(u64::MAX);
            self.steps.with(&[("authority", authority), ("step", step)]).inc_by(more);
        }
    }

    /// How many rooms are still to be looked at.
    pub(crate) fn left(&self, authority: &str, rooms: usize) {
        self.left.with(&[("authority", authority)]).set(i64::try_from(rooms).unwrap_or(i64::MAX));
    }

    /// That a run has ended.
    pub(crate) fn ended(&self, authority: &str, followed: bool) {
        self.left(authority, 0);
        let outcome = if followed { "followed" } else { "failed" };
        self.runs.with(&[("authority", authority), ("outcome", outcome)]).inc();
        self.failing.with(&[("authority", authority)]).set(i64::from(!followed));
    }
}
