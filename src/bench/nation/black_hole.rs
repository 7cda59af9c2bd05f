//! Three in ten peers are gone: half of them take requests and never answer, half take no connection at all.
//! Then they are back, without a word.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{
    course::{Course, report_times},
    peer::Mood,
};
use crate::statistics::Times;

/// How many of ten are gone.
const GONE_OF_TEN: usize = 3;
/// Messages meanwhile, one a second: longer than what the peers lack stays in memory.
const MESSAGES: u32 = 75;

pub(super) async fn run(course: &mut Course<'_>) -> Result<()> {
    let peers = course.nation.in_room();
    let (gone, rest): (Vec<usize>, Vec<usize>) =
        peers.iter().partition(|peer| *peer % 10 >= 10 - GONE_OF_TEN);
    if gone.is_empty() {
        // So few peers that all are needed.
        return Ok(());
    }
    for (place, peer) in gone.iter().enumerate() {
        course.nation.peers[*peer].set_mood(if place % 2 == 0 { Mood::Mute } else { Mood::Deaf });
    }
    let again = course.nation.arrivals.again();
    let meter = course.meter();
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    let mut said = Vec::new();
    for number in 0..MESSAGES {
        ticks.tick().await;
        said.push(course.say(&format!("緊急連絡{number}です。")).await?);
    }
    let until = Instant::now() + course.bound;
    let mut each = Times::default();
    let mut lacking = 0;
    for (event, since) in &said {
        let (took, still) = course.arrivals(event, &rest, *since, until).await;
        lacking += still;
        took.into_iter().for_each(|time| each.push(time));
    }
    let report = &mut *course.report;
    report.number("hole_gone", gone.len() as f64);
    report_times(report, "hole_rest_arrival", &mut each);
    meter.report_each(report, "hole", said.len());
    if lacking > 0 {
        report.missed(format!("hole: {lacking} arrivals are lacking at peers that are there"));
    }

    let back = Instant::now();
    for peer in &gone {
        course.nation.peers[*peer].set_mood(Mood::Awake);
    }
    let until = back + course.bound;
    let mut lacking = 0;
    let mut whole = vec![Duration::ZERO; gone.len()];
    for (event, _) in &said {
        lacking += course.arrivals(event, &gone, back, until).await.1;
        let number = course.nation.room.lock().find(event);
        for (slot, peer) in whole.iter_mut().zip(&gone) {
            let seen = course.nation.arrivals.seen(number, &[*peer], back);
            *slot = seen.after.first().copied().unwrap_or(course.bound).max(*slot);
        }
    }
    let mut times = Times::default();
    whole.into_iter().for_each(|time| times.push(time));
    let report = &mut *course.report;
    report_times(report, "hole_back_until_whole", &mut times);
    report.number("hole_lost", lacking as f64);
    report.number("hole_twice", (course.nation.arrivals.again() - again) as f64);
    if lacking > 0 {
        report.missed(format!("hole: {lacking} arrivals are lacking at peers that are back"));
    }
    Ok(())
}
