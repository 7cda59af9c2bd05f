//! What `/sync` and sliding sync cost somebody in many rooms: a first answer, and calls that find nothing new or one message.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::{
    client::{Server, User, next_batch},
    process::Processes,
    report::Report,
    statistics::Times,
};

/// First answers and first windows of each kind.
const FIRST: usize = 5;
/// Calls that find nothing new, or one message; fewer where they take longer than this together.
const CALLS: usize = 2_000;
const LONGEST: Duration = Duration::from_secs(20);
/// Rooms that a list shows at first, as Element X asks.
const WINDOW: usize = 20;

/// Somebody in many rooms.
pub(crate) struct Reader<'a> {
    pub(crate) server: &'a Server,
    pub(crate) user: &'a User,
    /// His rooms.
    pub(crate) rooms: &'a [String],
    pub(crate) processes: &'a Processes,
}

impl Reader<'_> {
    /// Measures all of it.
    pub(crate) async fn measure(&self, report: &mut Report) -> Result<()> {
        self.first_answers(report).await?;
        self.nothing_new(report).await?;
        self.sliding(report, "window", WINDOW).await?;
        self.sliding(report, "all_rooms", self.rooms.len()).await
    }

    async fn device(&self) -> Result<User> {
        self.server.log_in(&self.user.id, &self.user.password).await
    }

    /// First answers: when they begin, when they end, and by how much the server grows meanwhile.
    async fn first_answers(&self, report: &mut Report) -> Result<()> {
        let (mut begins, mut ends) = (Times::default(), Times::default());
        let mut grown: f64 = 0.0;
        let mut bytes = 0;
        for _ in 0..FIRST {
            // A new device each time: servers keep the answers that a device has asked for lately.
            let device = self.device().await?;
            let (before, _) = self.processes.resident_mib();
            self.processes.forget_peak();
            let answer = device.sync_timed().await?;
            let (_, peak) = self.processes.resident_mib();
            begins.push(answer.first_byte);
            ends.push(answer.whole);
            bytes = answer.bytes;
            grown = grown.max(peak - before);
        }
        report.number("first_sync_first_byte_ms", begins.percentile_ms(50));
        report.number("first_sync_ms", ends.percentile_ms(50));
        report.number("first_sync_kib", bytes as f64 / 1024.0);
        report.number("first_sync_grows_mib", grown);
        Ok(())
    }

    async fn nothing_new(&self, report: &mut Report) -> Result<()> {
        let device = self.device().await?;
        let mut since = next_batch(&device.sync(None, Duration::ZERO, None).await?)?;
        let mut calls = Calls::start(self.processes);
        while calls.go_on() {
            let answer = calls.time(device.sync(Some(&since), Duration::ZERO, None)).await?;
            since = next_batch(&answer)?;
        }
        calls.report(report, "sync_nothing_new");
        Ok(())
    }

    /// Sliding sync with a list of so many rooms, the newest: its first answer, then nothing new, then one message at a time.
    async fn sliding(&self, report: &mut Report, name: &str, rooms: usize) -> Result<()> {
        let body = list(rooms);
        let mut first = Times::default();
        let mut bytes = 0;
        let mut device = self.device().await?;
        let mut pos = String::new();
        for _ in 0..FIRST {
            device = self.device().await?;
            let begun = Instant::now();
            let answer = device.slide(None, &body).await?;
            first.push(begun.elapsed());
            (bytes, pos) = (answer.len(), pos_of(&answer)?);
        }
        report.number(format!("sliding_{name}_first_ms"), first.percentile_ms(50));
        report.number(format!("sliding_{name}_first_kib"), bytes as f64 / 1024.0);
        // What did not go into the first answer comes with the next ones.
        for _ in 0..50 {
            let answer = device.slide(Some(&pos), &body).await?;
            pos = pos_of(&answer)?;
            if answer.len() < 4_096 {
                break;
            }
        }
        let mut calls = Calls::start(self.processes);
        while calls.go_on() {
            let answer = calls.time(device.slide(Some(&pos), &body)).await?;
            pos = pos_of(&answer)?;
        }
        calls.report(report, &format!("sliding_{name}_nothing_new"));

        let mut times = Times::default();
        let begun = Instant::now();
        for room in self.rooms.iter().rev().take(WINDOW).cycle().take(CALLS / 10) {
            if begun.elapsed() > LONGEST {
                break;
            }
            self.user.message(room, "ただいま戻りました。").await?;
            let asked = Instant::now();
            let answer = device.slide(Some(&pos), &body).await?;
            times.push(asked.elapsed());
            pos = pos_of(&answer)?;
        }
        report.number(format!("sliding_{name}_one_message_p50_ms"), times.percentile_ms(50));
        Ok(())
    }
}

/// Calls that are timed and charged, one after the other.
struct Calls<'a> {
    processes: &'a Processes,
    begun: Instant,
    cpu_ms: Option<f64>,
    times: Times,
}

impl<'a> Calls<'a> {
    fn start(processes: &'a Processes) -> Self {
        let cpu_ms = processes.fine_cpu_ms();
        Self { processes, begun: Instant::now(), cpu_ms, times: Times::default() }
    }

    fn go_on(&self) -> bool {
        self.times.len() < CALLS && self.begun.elapsed() < LONGEST
    }

    async fn time<T>(&mut self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let begun = Instant::now();
        let answer = call.await?;
        self.times.push(begun.elapsed());
        Ok(answer)
    }

    fn report(mut self, report: &mut Report, name: &str) {
        let count = self.times.len() as f64;
        if let Some((before, after)) = self.cpu_ms.zip(self.processes.fine_cpu_ms()) {
            report.number(format!("{name}_cpu_us_each"), (after - before) * 1_000.0 / count);
        }
        report.number(format!("{name}_p50_ms"), self.times.percentile_ms(50));
    }
}

/// A request for a list of the newest rooms as Element X makes it.
fn list(rooms: usize) -> Value {
    let required = json!([
        ["m.room.member", "$LAZY"],
        ["m.room.member", "$ME"],
        ["m.room.name", ""],
        ["m.room.encryption", ""],
        ["m.room.avatar", ""],
        ["m.room.topic", ""],
        ["m.room.canonical_alias", ""],
        ["m.room.power_levels", ""],
    ]);
    let last = rooms.saturating_sub(1);
    json!({
        "conn_id": "room-list",
        "lists": { "all_rooms": { "ranges": [[0, last]], "timeline_limit": 1, "required_state": required } },
        "extensions": {
            "account_data": { "enabled": true }, "receipts": { "enabled": true }, "typing": { "enabled": true },
        },
    })
}

fn pos_of(answer: &[u8]) -> Result<String> {
    let answer: Value = serde_json::from_slice(answer)?;
    Ok(answer["pos"].as_str().context("no pos")?.to_owned())
}
