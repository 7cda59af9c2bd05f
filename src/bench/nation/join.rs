//! The server under test joins: one peer gives it the whole state, all others their keys.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::course::Course;

/// How long the memory is given to come down before what is left is counted.
const SETTLING: Duration = Duration::from_secs(10);

/// Joins, and checks that all members are known afterwards.
pub(super) async fn run(course: &mut Course<'_>, members: usize) -> Result<()> {
    let subject = course.subject;
    let via = course.nation.peers[0].identity.name.to_string();
    let (before, _) = subject.processes.resident_mib();
    subject.processes.forget_peak();
    let meter = course.meter();
    course.user.join_through(&course.room, &via).await.context("the user could not join")?;
    let (seconds, server_ms) = (meter.seconds(), meter.server_ms());
    let (_, peak) = subject.processes.resident_mib();
    let report = &mut *course.report;
    report.number("join_s", seconds);
    report.number("join_server_cpu_s", server_ms / 1000.0);
    report.number("join_rss_before_mib", before);
    report.number("join_rss_peak_growth_mib", peak - before);
    report.number("join_key_requests", course.nation.asked("key") as f64);
    let size: usize = {
        let room = course.nation.room.lock();
        room.texts(&room.state_before(None)).iter().map(|text| text.len() + 1).sum()
    };
    report.number("join_answer_mib", size as f64 / 1048576.0);
    tokio::time::sleep(SETTLING).await;
    let (after, _) = subject.processes.resident_mib();
    course.report.number("join_rss_growth_after_10_s_mib", after - before);

    let known = course.user.joined_members(&course.room).await?;
    // The peers' members, their creator, and the one who joined.
    ensure!(known == members + 2, "{known} members are known after the join, not {}", members + 2);
    Ok(())
}
