//! Members with power change the room's state at the same time on five forks, which one message joins again.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    course::{Course, report_times},
    room::{Draft, MODERATORS, MOST_PREV, Number},
};

/// How often five forks are made and joined.
const ROUNDS: usize = 20;
/// What the user sends in the other room meanwhile.
const ELSEWHERE_PER_SECOND: u32 = 50;
/// How long it sends there alone first, to know what that costs.
const ALONE: Duration = Duration::from_secs(3);

pub(super) async fn run(course: &mut Course<'_>) -> Result<()> {
    join_tips(course).await?;
    let (meter, alone) = (course.meter(), course.send_elsewhere(ELSEWHERE_PER_SECOND));
    tokio::time::sleep(ALONE).await;
    let mut times = alone.stop().await?;
    let alone_ms = meter.server_ms() / times.len().max(1) as f64;
    report_times(course.report, "forks_other_room_alone_send", &mut times);

    let elsewhere = course.send_elsewhere(ELSEWHERE_PER_SECOND);
    let meter = course.meter();
    let until = Instant::now() + course.bound;
    let mut rounds = 0;
    while rounds < ROUNDS && Instant::now() < until {
        round(course, rounds, until).await?;
        rounds += 1;
    }
    let server_ms = meter.server_ms();
    let mut times = elsewhere.stop().await?;
    let report = &mut *course.report;
    let forks_ms = server_ms - alone_ms * times.len() as f64;
    report.number("forks_server_cpu_ms_each_round", forks_ms / rounds.max(1) as f64);
    report_times(report, "forks_other_room_send", &mut times);
    if rounds < ROUNDS {
        report.missed(format!("forks: {rounds} of {ROUNDS} rounds in the time"));
    }
    Ok(())
}

/// Five forks of a change of state and a message each, one transaction after the other; then what joins them.
async fn round(course: &Course<'_>, round: usize, until: Instant) -> Result<()> {
    let base = course.nation.room.lock().tips();
    let mut ends: Vec<Number> = Vec::new();
    for fork in 0..MODERATORS {
        let (peer, texts) = {
            let mut room = course.nation.room.lock();
            let peers = course.nation.peers.len();
            let creator = format!("@shicho:{}", course.nation.peers[0].identity.name);
            let moderator = room.members[fork].clone();
            let (sender, kind, content) =
                change(fork, round, &room.members[..MODERATORS], &creator, &moderator);
            let peer = peer_of(course, &sender, peers);
            let identity = &course.nation.peers[peer].identity;
            let changed = room.make(identity, &Draft::state(&sender, kind, "", content), Some(&base))?;
            let message = Draft::message(&sender, &format!("分岐{fork}からの報告です。"));
            let end = room.make(identity, &message, Some(&[changed]))?;
            ends.push(end);
            (peer, room.texts(&[changed, end]))
        };
        course.subject.line.send(&course.nation.peers[peer], &texts).await?;
    }
    let end = merge(course, &ends).await?;
    if !course.until_seen(&course.event_id(end), until).await {
        course.nation.arrivals.fault("an event that joins five forks is not shown".to_owned());
    }
    Ok(())
}

/// What is changed on a fork: on the first the creator changes who has which power, on the others moderators
/// contradict each other about the topic and the name.
fn change(
    fork: usize,
    round: usize,
    moderators: &[String],
    creator: &str,
    moderator: &str,
) -> (String, &'static str, Value) {
    match fork {
        0 => {
            let users: serde_json::Map<String, Value> =
                moderators.iter().map(|user| (user.clone(), json!(50))).collect();
            let content = json!({ "users": users, "state_default": 50, "ban": 50 + round });
            (creator.to_owned(), "m.room.power_levels", content)
        }
        1 => (moderator.to_owned(), "m.room.name", json!({ "name": format!("全国連絡会議（{round}）") })),
        2 => (moderator.to_owned(), "m.room.name", json!({ "name": format!("全国連絡会議・{round}") })),
        _ => (moderator.to_owned(), "m.room.topic", json!({ "topic": format!("議題{round}の{fork}") })),
    }
}

/// Puts messages on all there is until there is one end, so that what follows begins at one place.
async fn join_tips(course: &Course<'_>) -> Result<()> {
    loop {
        let mut tips = course.nation.room.lock().tips();
        tips.truncate(MOST_PREV);
        let end = merge(course, &tips).await?;
        let is_one = course.nation.room.lock().tips().len() == 1;
        if is_one {
            let until = Instant::now() + course.bound;
            ensure!(
                course.until_seen(&course.event_id(end), until).await,
                "the room has not come to one end"
            );
            return Ok(());
        }
    }
}

async fn merge(course: &Course<'_>, ends: &[Number]) -> Result<Number> {
    let (end, peer, texts): (Number, usize, Vec<Bytes>) = {
        let mut room = course.nation.room.lock();
        let sender = room.members[0].clone();
        let peer = peer_of(course, &sender, course.nation.peers.len());
        let message = Draft::message(&sender, "ここから続けます。");
        let end = room.make(&course.nation.peers[peer].identity, &message, Some(ends))?;
        (end, peer, room.texts(&[end]))
    };
    course.subject.line.send(&course.nation.peers[peer], &texts).await?;
    course.nation.room.lock().publish(end);
    Ok(end)
}

fn peer_of(course: &Course<'_>, user: &str, peers: usize) -> usize {
    let server = user.split_once(':').map_or("", |(_, server)| server);
    (0..peers).find(|number| course.nation.peers[*number].identity.name == server).unwrap_or(0)
}
