//! Messages at a steady rate, and how long each takes to be acknowledged and to be read.

use std::{
    cell::RefCell,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use futures_util::future::try_join_all;

use crate::{
    cost::Cost,
    people::Person,
    readers::{Readers, Seen},
    report::Report,
    site::Site,
    statistics::Times,
    wire::Wire,
};

/// Connections over which the messages are sent: one that waits for its answer must not delay the next message.
const HANDS: usize = 4;
/// What has not come so long after the last message does not come.
const LAST_ARRIVAL: Duration = Duration::from_secs(60);
/// What the server has still to do after the last answer.
const AFTERWARDS: Duration = Duration::from_millis(400);

/// A message to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    pub(crate) from: Arc<Person>,
    pub(crate) room: Arc<str>,
    /// The readers that it is for, as the caller numbers such groups.
    pub(crate) circle: usize,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    count: usize,
    send: Times,
    delivery: Times,
    cpu_ms: f64,
    seen: Seen,
    /// The id of an event of it.
    pub(crate) last_event: String,
}

/// Sends letters at a steady rate and waits until their readers have them. `is_in` says whether a reader is
/// in a circle.
pub(crate) async fn beat(
    site: &Site,
    readers: &mut Readers,
    letters: &[Letter],
    per_second: f64,
    is_in: impl Fn(usize, usize) -> bool,
) -> Result<Outcome> {
    readers.take_delays();
    let (arrived, cut) = (readers.arrived(), readers.cut());
    let cost = Cost::start(&site.processes);
    let sent = send_all(site, readers, letters, per_second).await?;
    let wanted: usize = letters
        .iter()
        .map(|letter| (0..readers.len()).filter(|reader| is_in(*reader, letter.circle)).count())
        .sum();
    readers.wait_until(LAST_ARRIVAL, |readers| readers.arrived() - arrived >= wanted).await?;
    tokio::time::sleep(AFTERWARDS).await;
    let cpu_ms = cost.cpu_ms();

    // Several hands take numbers, so letter and number are not in one order.
    let numbers: Vec<usize> = sent.numbers.iter().map(|(number, _)| *number).collect();
    let first = numbers.iter().copied().min().unwrap_or_default();
    let last = numbers.iter().copied().max().unwrap_or_default();
    let mut circles = vec![0; last + 1 - first];
    for (number, circle) in &sent.numbers {
        circles[number - first] = *circle;
    }
    let mut seen = readers.compare(first..last + 1, |reader, number| is_in(reader, circles[number - first]));
    seen.cut = readers.cut() - cut;
    Ok(Outcome {
        count: letters.len(),
        send: sent.times,
        delivery: readers.take_delays(),
        cpu_ms,
        seen,
        last_event: sent.last_event,
    })
}

#[derive(Default)]
struct Sent {
    /// Number of a message, and its circle.
    numbers: Vec<(usize, usize)>,
    times: Times,
    last_event: String,
}

async fn send_all(site: &Site, readers: &Readers, letters: &[Letter], per_second: f64) -> Result<Sent> {
    let started = Instant::now();
    let sent = RefCell::new(Sent::default());
    let hand = async |hand: usize| {
        let mut wire = Wire::to(site.address);
        for (n, letter) in letters.iter().enumerate().skip(hand).step_by(HANDS) {
            let due = started + Duration::from_secs_f64(n as f64 / per_second);
            let is_late = due < Instant::now();
            tokio::time::sleep_until(due.into()).await;
            // A message that the one before it has held up has waited since it was due.
            let begun = if is_late { due } else { Instant::now() };
            let (number, text) = readers.text_of_new(begun);
            let event = letter.from.message(&mut wire, &letter.room, &text).await?;
            let mut sent = sent.borrow_mut();
            sent.times.push(begun.elapsed());
            sent.numbers.push((number, letter.circle));
            sent.last_event = event;
        }
        anyhow::Ok(())
    };
    try_join_all((0..HANDS).map(hand)).await?;
    Ok(sent.into_inner())
}

impl Outcome {
    /// Adds what came of more of the same.
    pub(crate) fn add(&mut self, mut other: Self) {
        self.count += other.count;
        self.send.append(&mut other.send);
        self.delivery.append(&mut other.delivery);
        self.cpu_ms += other.cpu_ms;
        self.seen.add(other.seen);
        self.last_event = other.last_event;
    }

    /// Puts the figures into the report.
    ///
    /// # Errors
    /// When a reader missed a message, or saw it twice.
    pub(crate) fn report(&mut self, report: &mut Report, what: &str) -> Result<()> {
        report.number(format!("{what}_cpu_ms_per_message"), self.cpu_ms / self.count as f64);
        report.number(format!("{what}_cpu_ms_per_message_and_reader"), self.cpu_ms_per_reading());
        self.report_times(report, what)
    }

    /// As [`Outcome::report`] without the CPU, where the server does something else meanwhile.
    pub(crate) fn report_times(&mut self, report: &mut Report, what: &str) -> Result<()> {
        for (name, times) in [("send", &mut self.send), ("delivery", &mut self.delivery)] {
            report.number(format!("{what}_{name}_p50_ms"), times.percentile_ms(50));
            report.number(format!("{what}_{name}_p99_ms"), times.percentile_ms(99));
        }
        report.number(format!("{what}_seen_percent"), self.seen.percent());
        report.number(format!("{what}_repeated"), self.seen.repeated as f64);
        self.seen.must_be_right(what)
    }

    /// CPU of the server for one message and one of its readers.
    pub(crate) fn cpu_ms_per_reading(&self) -> f64 {
        self.cpu_ms / self.seen.wanted as f64
    }

    pub(crate) fn delivery_ms(&mut self, percent: usize) -> f64 {
        self.delivery.percentile_ms(percent)
    }
}
