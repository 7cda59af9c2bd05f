//! The user sends, and every peer gets it.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::course::{Course, report_times};
use crate::statistics::Times;

/// Messages that are sent one at a time, each once the one before is everywhere.
const ONE_BY_ONE: usize = 20;
/// Messages at a steady rate, and how many in a second.
const STEADY: u32 = 20;
const STEADY_PER_SECOND: u32 = 1;

pub(super) async fn run(course: &mut Course<'_>) -> Result<()> {
    first(course).await?;
    one_by_one(course).await?;
    steady(course).await
}

/// The first message has connections to make, and goes to servers that never took a transaction before.
async fn first(course: &mut Course<'_>) -> Result<()> {
    let peers = course.nation.in_room();
    let meter = course.meter();
    let (event, since) = course.say("最初の連絡です。").await?;
    let (took, lacking) = course.arrivals(&event, &peers, since, since + course.bound).await;
    let report = &mut *course.report;
    report.number("out_first_lacking", lacking as f64);
    report.number("out_first_last_arrival_ms", millis(took.into_iter().max()));
    meter.report_each(report, "out_first", 1);
    if lacking > 0 {
        report.missed(format!("out: the first message is lacking at {lacking} peers"));
    }
    Ok(())
}

async fn one_by_one(course: &mut Course<'_>) -> Result<()> {
    let peers = course.nation.in_room();
    let meter = course.meter();
    let until = Instant::now() + course.bound;
    let (mut each, mut last) = (Times::default(), Times::default());
    let mut lacking = 0;
    for number in 0..ONE_BY_ONE {
        let (event, since) = course.say(&format!("連絡{number}です。")).await?;
        let (took, still) = course.arrivals(&event, &peers, since, until).await;
        lacking += still;
        last.push(took.iter().max().copied().unwrap_or(course.bound));
        took.into_iter().for_each(|time| each.push(time));
        if Instant::now() >= until {
            course.report.missed(format!("out: {} of {ONE_BY_ONE} messages in the time", number + 1));
            break;
        }
    }
    let sent = last.len();
    let report = &mut *course.report;
    report_times(report, "out_one_arrival", &mut each);
    report_times(report, "out_one_last_arrival", &mut last);
    meter.report_each(report, "out_one", sent);
    if lacking > 0 {
        report.missed(format!("out: {lacking} arrivals are lacking"));
    }
    Ok(())
}

async fn steady(course: &mut Course<'_>) -> Result<()> {
    let peers = course.nation.in_room();
    let meter = course.meter();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / STEADY_PER_SECOND);
    let mut said = Vec::new();
    for number in 0..STEADY {
        ticks.tick().await;
        said.push(course.say(&format!("定時連絡{number}です。")).await?);
    }
    let until = Instant::now() + course.bound;
    let (mut each, mut last) = (Times::default(), Times::default());
    let mut lacking = 0;
    for (event, since) in &said {
        let (took, still) = course.arrivals(event, &peers, *since, until).await;
        lacking += still;
        last.push(took.iter().max().copied().unwrap_or(course.bound));
        took.into_iter().for_each(|time| each.push(time));
    }
    let report = &mut *course.report;
    report_times(report, "out_steady_arrival", &mut each);
    report_times(report, "out_steady_last_arrival", &mut last);
    meter.report_each(report, "out_steady", said.len());
    if lacking > 0 {
        report.missed(format!("out: {lacking} arrivals of steady messages are lacking"));
    }
    Ok(())
}

pub(super) fn millis(time: Option<Duration>) -> f64 {
    time.map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
}
