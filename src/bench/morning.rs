//! `bench morning`: everybody of an office signs in when work begins, while others send.
//!
//! Accounts with passwords come into being over the client interface. Then they sign in, one after the other and evenly, as
//! fast as 12,000 in a quarter of an hour do, each from the one address that an office has, with a device of its own;
//! each first asks what is new, as a client does. A few people send in a room meanwhile, as they did before.
//!
//! What a sign-in costs is hashing the password, which is set to cost something. Whether a machine is enough shows in how
//! long who signs in waits, and in whether who sends waits for him.

use std::{
    cell::RefCell,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use futures_util::future::try_join_all;

use crate::{
    bulk::Bulk,
    cost::Cost,
    people::Person,
    report::Report,
    site::{Ground, Site},
    statistics::Times,
    steady::{Steady, report_sending},
    wire::Wire,
};

/// The one authority.
const NAME: &str = "bench.example.jp";
/// Connections over which is signed in: when all wait, the server is behind.
const DOORS: usize = 64;

/// Everybody signs in when work begins.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Accounts that sign in (at most 12,000).
    #[arg(long, default_value_t = 1_600)]
    accounts: usize,
    /// Sign-ins a second (at most 200): 12,000 in 15 minutes are 13.34.
    #[arg(long, default_value_t = 13.34)]
    rate: f64,
    /// Messages a second that others send meanwhile (at most 500).
    #[arg(long, default_value_t = 50.0)]
    messages: f64,
    /// Seconds of sending before (at most 120).
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Minutes after which each part is given up (at most 60).
    #[arg(long, default_value_t = 20)]
    minutes: u64,
    /// Where the server is.
    #[command(flatten)]
    ground: Ground,
}

/// Runs everything; figures found before an error stay in the report.
pub(crate) async fn run(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let mut site = Site::found(&arguments.ground, &[NAME.to_owned()])?;
    let outcome = all(arguments, &mut site, report).await;
    site.stop().await;
    outcome
}

async fn all(arguments: &Arguments, site: &mut Site, report: &mut Report) -> Result<()> {
    site.start().await?;
    let accounts = arguments.accounts.clamp(1, 12_000);
    let limit = Duration::from_secs(60 * arguments.minutes.min(60));
    Bulk { what: "accounts", count: accounts, limit }
        .run(site, report, async |wire, n| {
            Person::register_with(wire, NAME, &name(n), Some(&password(n))).await.map(drop)
        })
        .await?;
    let mut wire = Wire::to(site.address);
    let writer = Arc::new(Person::register(&mut wire, NAME, "kakarichou").await?);
    let room = writer.create_room(&mut wire, "係の部屋").await?;
    let sending = Steady { site, writer: &writer, room: &room, rate: arguments.messages };

    let seconds = Duration::from_secs(arguments.seconds.clamp(1, 120));
    let mut before = sending.during("before", seconds).await?;
    let memory_before = site.processes.memory_mib();
    let signed_in = RefCell::new(Times::default());
    let (cost, begun) = (Cost::start(&site.processes), Instant::now());
    let rate = arguments.rate.clamp(0.1, 200.0);
    let (mut during, ()) = sending.until("during", sign_in(site, accounts, rate, &signed_in)).await?;
    report.number("sign_ins_per_s", accounts as f64 / begun.elapsed().as_secs_f64());
    // The messages' own part is what they cost before.
    report.number("cpu_ms_per_sign_in_with_messages", cost.cpu_ms() / accounts as f64);
    report.number("cpu_share_of_one_core", cost.cpu_ms() / begun.elapsed().as_secs_f64() / 1000.0);
    report.number("memory_before_mib", memory_before);
    report.number("memory_after_mib", site.processes.memory_mib());
    let mut signed_in = signed_in.into_inner();
    report.number("sign_ins", signed_in.len() as f64);
    report.number("sign_in_p50_ms", signed_in.percentile_ms(50));
    report.number("sign_in_p99_ms", signed_in.percentile_ms(99));
    report_sending(report, "before", &mut before);
    report_sending(report, "during", &mut during);
    Ok(())
}

fn name(n: usize) -> String {
    format!("shokuin{n}")
}

fn password(n: usize) -> String {
    format!("毎朝の合言葉その{n}")
}

/// Has everybody sign in at a steady rate, and ask once what is new. Who is due while all doors are taken has waited since
/// he was due.
async fn sign_in(site: &Site, accounts: usize, rate: f64, times: &RefCell<Times>) -> Result<()> {
    let started = Instant::now();
    let door = async |door: usize| {
        let mut wire = Wire::to(site.address);
        for n in (door..accounts).step_by(DOORS) {
            let due = started + Duration::from_secs_f64(n as f64 / rate);
            let is_late = due < Instant::now();
            tokio::time::sleep_until(due.into()).await;
            let begun = if is_late { due } else { Instant::now() };
            let person = Person::log_in(&mut wire, NAME, &name(n), &password(n)).await?;
            times.borrow_mut().push(begun.elapsed());
            Arc::new(person).become_reader(&mut wire).await?;
        }
        anyhow::Ok(())
    };
    try_join_all((0..DOORS).map(door)).await.map(drop)
}
