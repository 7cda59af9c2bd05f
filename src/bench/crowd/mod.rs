//! `bench crowd`: what grows with the rooms of a user and with the readers of a room.
//!
//! Each scenario has a Yakuba of its own, made anew, so that none inherits the caches of another.

mod announcement;
mod delivery;
mod member;

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use crate::{
    report::Report,
    site::{Ground, Site},
};

/// The one authority.
const NAME: &str = "bench.example.jp";
/// Each part of making accounts and rooms has so long.
const MAKING: Duration = Duration::from_secs(10 * 60);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Readers in few rooms each and in many: what a message to all of them costs; memory with many rooms.
    Delivery,
    /// Many readers of one room: what a message costs, and their receipts.
    Announcement,
    /// One user of many rooms: what a sync costs after little has happened.
    Member,
}

/// Many rooms of one user, many readers of one room.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Which scenarios; without it, all.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Scenario>,
    /// Rooms of each reader, few and many (at most 2,000).
    #[arg(long, value_delimiter = ',', default_values_t = [10, 1_200])]
    rooms_each: Vec<usize>,
    /// Readers in so many rooms (at most 200).
    #[arg(long, default_value_t = 50)]
    readers: usize,
    /// Readers of the announcement (at most 4,000).
    #[arg(long, default_value_t = 2_000)]
    crowd: usize,
    /// Rooms of the one user (at most 5,000).
    #[arg(long, default_value_t = 1_500)]
    rooms: usize,
    /// Seconds of messages (at most 120).
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// How often a sync of the one user is repeated (at most 1,000).
    #[arg(long, default_value_t = 200)]
    repeats: usize,
    /// Seconds that nobody does anything before memory is measured again (at most 300).
    #[arg(long, default_value_t = 60)]
    idle: u64,
    /// Where the server is.
    #[command(flatten)]
    ground: Ground,
}

/// Runs the scenarios; figures found before an error stay in the report.
pub(crate) async fn run(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let seconds = arguments.seconds.clamp(1, 120);
    let wanted = |scenario| arguments.only.is_empty() || arguments.only.contains(&scenario);
    if wanted(Scenario::Delivery) {
        let scenario = delivery::Delivery {
            rooms: arguments.rooms_each.iter().map(|rooms| (*rooms).clamp(1, 2_000)).collect(),
            readers: arguments.readers.clamp(1, 200),
            seconds,
            idle: Duration::from_secs(arguments.idle.min(300)),
        };
        scenario.run(&arguments.ground, report).await?;
    }
    if wanted(Scenario::Announcement) {
        let scenario = announcement::Announcement { readers: arguments.crowd.clamp(1, 4_000), seconds };
        let mut site = Site::found(&arguments.ground, &[NAME.to_owned()])?;
        with(&mut site, report, async |site, report| scenario.run(site, report).await).await?;
    }
    if wanted(Scenario::Member) {
        let scenario = member::Member {
            rooms: arguments.rooms.clamp(2, 5_000),
            repeats: arguments.repeats.clamp(1, 1_000),
        };
        let mut site = Site::found(&arguments.ground, &[NAME.to_owned()])?;
        with(&mut site, report, async |site, report| scenario.run(site, report).await).await?;
    }
    Ok(())
}

/// Runs a scenario with a server that is started before it and stopped after it, whatever comes of it.
async fn with<T>(
    site: &mut Site,
    report: &mut Report,
    scenario: impl AsyncFnOnce(&Site, &mut Report) -> Result<T>,
) -> Result<T> {
    site.start().await?;
    let outcome = site.bounded(scenario(site, report)).await;
    site.stop().await;
    outcome
}
