//! Many peers send at once, while the user sends in another room.
//!
//! A peer has one transaction under way and puts into the next one what has come up meanwhile, as servers do.
//! Its events follow the newest that the server under test has answered for, so the graph is as wide as the
//! answers are late.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    call::Line,
    course::{Course, report_times},
    nation::Nation,
    peer::Peer,
    room::{Draft, Number},
};

/// Peers that send.
const SENDERS: usize = 500;
/// What they send together.
const PER_SECOND: u32 = 300;
const SECONDS: u32 = 20;
/// What the user sends in the other room.
const ELSEWHERE_PER_SECOND: u32 = 20;
/// How long it sends there alone first, to compare.
const ALONE: Duration = Duration::from_secs(5);
/// Events in a transaction.
const MOST_PDUS: usize = 50;

pub(super) async fn run(course: &mut Course<'_>) -> Result<()> {
    let alone = course.send_elsewhere(ELSEWHERE_PER_SECOND);
    tokio::time::sleep(ALONE).await;
    let mut times = alone.stop().await?;
    report_times(course.report, "in_other_room_alone_send", &mut times);

    let senders: Vec<usize> = course.nation.in_room().into_iter().take(SENDERS).collect();
    greet(course, &senders).await?;
    let elsewhere = course.send_elsewhere(ELSEWHERE_PER_SECOND);
    let meter = course.meter();
    let since = Instant::now();
    let sent = send(course, &senders, since).await?;
    let sending = since.elapsed();

    // The newest ones are there last.
    let until = Instant::now() + course.bound;
    for number in sent.iter().rev().take(MOST_PDUS) {
        course.until_seen(&course.event_id(*number), until).await;
    }
    let seconds = meter.seconds();
    let mut times = elsewhere.stop().await?;
    let report = &mut *course.report;
    report.number("in_senders", senders.len() as f64);
    report.number("in_sent", sent.len() as f64);
    report.number("in_received_per_s", sent.len() as f64 / seconds);
    report.number("in_behind_at_the_end_ms", (seconds - sending.as_secs_f64()) * 1000.0);
    meter.report_each(report, "in", sent.len());
    report_times(report, "in_other_room_send", &mut times);
    let wanted: BTreeSet<String> = sent.iter().map(|number| course.event_id(*number)).collect();
    let lacking = lacking(course, wanted).await?;
    if lacking > 0 {
        course.report.missed(format!("in: {lacking} of {} events are not shown", sent.len()));
    }
    Ok(())
}

/// Has every sender connect beforehand: what is measured is the sending.
async fn greet(course: &Course<'_>, senders: &[usize]) -> Result<()> {
    for number in senders {
        course.subject.line.send(&course.nation.peers[*number], &[]).await?;
    }
    Ok(())
}

/// Makes events at the rate and gives each to the next sender; returns once all are answered for.
async fn send(course: &Course<'_>, senders: &[usize], since: Instant) -> Result<Vec<Number>> {
    let mut work = JoinSet::new();
    let mut queues = Vec::with_capacity(senders.len());
    for number in senders {
        let (queue, events) = mpsc::channel(10_000);
        let (line, nation) = (course.subject.line.clone(), course.nation.clone());
        let peer = nation.peers[*number].clone();
        work.spawn(serve_queue(line, nation, peer, events));
        queues.push(queue);
    }
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / PER_SECOND);
    let mut sent = Vec::new();
    for count in 0..(PER_SECOND * SECONDS) as usize {
        if since.elapsed() >= course.bound {
            break;
        }
        ticks.tick().await;
        let which = count % senders.len();
        let peer = &course.nation.peers[senders[which]];
        let number = {
            let mut room = course.nation.room.lock();
            // The member of the peer with the same number; every peer has that one.
            let sender = room.members[senders[which]].clone();
            room.make(&peer.identity, &Draft::message(&sender, &format!("報告{count}です。")), None)?
        };
        sent.push(number);
        queues[which].send(number).await.context("a sender has ended")?;
    }
    drop(queues);
    while let Some(ended) = work.join_next().await {
        ended??;
    }
    Ok(sent)
}

async fn serve_queue(
    line: Line,
    nation: Arc<Nation>,
    peer: Arc<Peer>,
    mut queue: mpsc::Receiver<Number>,
) -> Result<()> {
    let mut numbers = Vec::new();
    while queue.recv_many(&mut numbers, MOST_PDUS).await > 0 {
        let texts = nation.room.lock().texts(&numbers);
        line.send(&peer, &texts).await?;
        let mut room = nation.room.lock();
        numbers.drain(..).for_each(|number| room.publish(number));
    }
    Ok(())
}

/// How many of these events the server does not show, looking back page by page.
async fn lacking(course: &Course<'_>, mut wanted: BTreeSet<String>) -> Result<usize> {
    let until = Instant::now() + course.bound;
    let mut from = None;
    while !wanted.is_empty() && Instant::now() < until {
        let (ids, next) = course.user.page_back(&course.room, from.as_deref()).await?;
        for id in &ids {
            wanted.remove(id);
        }
        if next.is_none() || ids.is_empty() {
            break;
        }
        from = next;
    }
    Ok(wanted.len())
}
