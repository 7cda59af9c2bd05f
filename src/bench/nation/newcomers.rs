//! New servers join with the help of the server under test, one after the other.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use http::Method;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json, value::RawValue};

use super::course::{Course, report_times};
use crate::{client::escape, statistics::Times};

/// Servers that join asking for the state without members, and as many that ask for all of it.
pub(super) const OF_EACH_KIND: usize = 10;

pub(super) async fn run(course: &mut Course<'_>, founders: usize) -> Result<()> {
    for (kind, first) in [("short", founders), ("full", founders + OF_EACH_KIND)] {
        joins(course, kind, first..first + OF_EACH_KIND).await?;
    }
    Ok(())
}

/// One kind of join, by these peers.
async fn joins(course: &mut Course<'_>, kind: &str, who: std::ops::Range<usize>) -> Result<()> {
    let (mut make, mut send, mut told) = (Times::default(), Times::default(), Times::default());
    let meter = course.meter();
    let (until, mut joined, mut lacking) = (Instant::now() + course.bound, 0, 0);
    for number in who {
        if Instant::now() >= until {
            break;
        }
        let others = course.nation.in_room();
        let (event, times) = join(course, number, kind == "short").await?;
        let (took, still) = course.arrivals(&event, &others, times.sent, until).await;
        lacking += still;
        make.push(times.make);
        send.push(times.send);
        told.push(took.into_iter().max().unwrap_or(course.bound));
        joined += 1;
    }
    let report = &mut *course.report;
    report_times(report, &format!("newcomer_{kind}_make_join"), &mut make);
    report_times(report, &format!("newcomer_{kind}_send_join"), &mut send);
    report_times(report, &format!("newcomer_{kind}_told_to_all"), &mut told);
    // Of the join and of telling all others, which goes on while the newcomer still gets its answer.
    meter.report_each(report, &format!("newcomer_{kind}"), joined);
    if joined < OF_EACH_KIND || lacking > 0 {
        report.missed(format!("newcomers: {joined} joined in the time, {lacking} arrivals are lacking"));
    }
    Ok(())
}

/// How long a join took.
struct Took {
    make: Duration,
    send: Duration,
    /// When the completed join was sent.
    sent: Instant,
}

/// A user of a peer joins; the state that it gets must be whole.
async fn join(course: &Course<'_>, number: usize, is_short: bool) -> Result<(String, Took)> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        state: Vec<IgnoredAny>,
        auth_chain: Vec<IgnoredAny>,
        #[serde(borrow)]
        event: &'a RawValue,
    }

    let (peer, line) = (&course.nation.peers[number], &course.subject.line);
    // The connection is there before anything is measured.
    line.send(peer, &[]).await?;
    let user = format!("@u{number}:{}", peer.identity.name);
    let room = escape(&course.room);

    let begun = Instant::now();
    let uri = format!("/_matrix/federation/v1/make_join/{room}/{}?ver=12", escape(&user));
    let made = line.get(peer, Method::GET, &uri, None).await?;
    let make = begun.elapsed();
    let mut template: Value = serde_json::from_slice(&made)?;
    let mut template = template["event"].take();
    template["content"] = json!({ "membership": "join", "displayname": "新任" });
    let (event, text) = course.nation.room.lock().complete(&peer.identity, template)?;

    let expected = course.nation.room.lock().state_before(None).len();
    let sent = Instant::now();
    let short = if is_short { "?omit_members=true" } else { "" };
    let uri = format!("/_matrix/federation/v2/send_join/{room}/{}{short}", escape(&event));
    let answer = line.get(peer, Method::PUT, &uri, Some(&text)).await?;
    let send = sent.elapsed();
    let answer: Answer<'_> = serde_json::from_slice(&answer).context("the answer to send_join")?;
    ensure!(!answer.auth_chain.is_empty(), "a join without an auth chain");
    if !is_short {
        let given = answer.state.len();
        ensure!(given == expected, "{given} events of state were given, not {expected}");
    }
    let mut shared = course.nation.room.lock();
    let number = shared.learn(answer.event.get(), &course.nation.keys.read())?;
    shared.publish(number);
    peer.is_in_room.store(true, Ordering::Relaxed);
    Ok((event, Took { make, send, sent }))
}
