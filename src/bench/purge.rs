//! `bench purge`: a large room goes while others send.
//!
//! Members and messages come into being over the client interface. Then a few people send in a room of their own at a
//! steady rate: before, while the large room is purged with all its members, and after it. Or the server is killed
//! again and again while it purges, and nobody sends.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    bulk::Bulk,
    cost::Cost,
    people::Person,
    report::Report,
    site::{Ground, Site},
    steady::{Steady, report_sending},
    wire::Wire,
};

/// The one authority.
const NAME: &str = "bench.example.jp";
/// How often it is asked whether the purge is over.
const LOOK: Duration = Duration::from_secs(2);
/// How long nobody does anything before the disk is measured.
const QUIET: Duration = Duration::from_secs(5);
/// How long the server lives between two kills.
const BETWEEN_KILLS: Duration = Duration::from_secs(4);

/// A large room that goes while others send.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Members of the room (at most 100,000).
    #[arg(long, default_value_t = 30_000)]
    members: usize,
    /// Messages in it (at most 1,000,000).
    #[arg(long, default_value_t = 200_000)]
    messages: usize,
    /// Messages a second in the other room (at most 500).
    #[arg(long, default_value_t = 50.0)]
    rate: f64,
    /// Seconds of sending before the purge and after it (at most 120).
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Minutes after which each part is given up (at most 60).
    #[arg(long, default_value_t = 20)]
    minutes: u64,
    /// Kill the server again and again while it purges; then nobody sends.
    #[arg(long)]
    kill: bool,
    /// Where the server is.
    #[command(flatten)]
    ground: Ground,
}

struct Run<'a> {
    arguments: &'a Arguments,
    limit: Duration,
    report: &'a mut Report,
}

/// What was made.
struct Made {
    room: String,
    other: String,
    writer: Arc<Person>,
}

/// Runs everything; figures found before an error stay in the report.
pub(crate) async fn run(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let mut site = Site::found(&arguments.ground, &[NAME.to_owned()])?;
    let limit = Duration::from_secs(60 * arguments.minutes.min(60));
    let outcome = Run { arguments, limit, report }.all(&mut site).await;
    site.stop().await;
    outcome
}

impl Run<'_> {
    async fn all(&mut self, site: &mut Site) -> Result<()> {
        site.start().await?;
        let made = self.make(site).await?;
        site.stop().await;
        self.report.number("disk_before_mib", site.disk_mib());
        site.start().await?;
        if self.arguments.kill {
            self.killed(site, &made).await?;
        } else {
            self.beside(site, &made).await?;
        }
        tokio::time::sleep(QUIET).await;
        site.stop().await;
        self.report.number("disk_after_mib", site.disk_mib());
        let checked = site.command(&["verify"]).await;
        self.report.number("verified", f64::from(u8::from(checked.is_ok())));
        checked.map(drop)
    }

    async fn make(&mut self, site: &Site) -> Result<Made> {
        let (members, limit) = (self.arguments.members.clamp(1, 100_000), self.limit);
        let bulk = |what, count| Bulk { what, count, limit };
        let people = bulk("accounts", members).run(site, self.report, async |wire, n| {
            Person::register(wire, NAME, &format!("shokuin{n}")).await.map(Arc::new)
        });
        let people: Vec<Arc<Person>> = people.await?;
        let mut wire = Wire::to(site.address);
        let writer = Arc::new(Person::register(&mut wire, NAME, "kakarichou").await?);
        let other = writer.create_room(&mut wire, "係の部屋").await?;
        let first = people.first().context("no accounts")?;
        let room = first.create_room(&mut wire, "全国防災連絡室").await?;
        let joins = bulk("joins", members - 1)
            .run(site, self.report, async |wire, n| people[n + 1].join(wire, &room).await);
        joins.await?;
        let messages = self.arguments.messages.min(1_000_000);
        let said = bulk("messages", messages).run(site, self.report, async |wire, n| {
            people[n % members]
                .message(wire, &room, &format!("連絡{n}です。全員、確認してください。"))
                .await
                .map(drop)
        });
        said.await?;
        Ok(Made { room, other, writer })
    }

    /// Others send before, while and after the room goes.
    async fn beside(&mut self, site: &Site, made: &Made) -> Result<()> {
        let seconds = Duration::from_secs(self.arguments.seconds.clamp(1, 120));
        let Made { room, other, writer } = made;
        let sending = Steady { site, writer, room: other, rate: self.arguments.rate };
        let mut before = sending.during("before", seconds).await?;
        let (cost, begun) = (Cost::start(&site.processes), Instant::now());
        site.command(&["room", "purge", room, "--force"]).await?;
        let (mut during, ()) = sending.until("during", gone(site, self.limit)).await?;
        self.report.number("purge_s", begun.elapsed().as_secs_f64());
        self.report.number("purge_cpu_s", cost.cpu_ms() / 1000.0);
        let mut after = sending.during("after", seconds).await?;
        for (name, times) in [("before", &mut before), ("during", &mut during), ("after", &mut after)] {
            report_sending(self.report, name, times);
        }
        Ok(())
    }

    /// The server is killed again and again until the room is gone all the same.
    async fn killed(&mut self, site: &mut Site, made: &Made) -> Result<()> {
        let begun = Instant::now();
        site.command(&["room", "purge", &made.room, "--force"]).await?;
        let mut kills = 0;
        loop {
            tokio::time::sleep(BETWEEN_KILLS).await;
            if is_gone(site).await? {
                break;
            }
            ensure!(begun.elapsed() < self.limit, "not purged after {kills} kills");
            site.kill().await?;
            kills += 1;
            site.start().await?;
        }
        self.report.number("kills", f64::from(kills));
        self.report.number("purge_s", begun.elapsed().as_secs_f64());
        Ok(())
    }
}

/// Waits until no room is being purged.
async fn gone(site: &Site, limit: Duration) -> Result<()> {
    let until = Instant::now() + limit;
    while Instant::now() < until {
        tokio::time::sleep(LOOK).await;
        if is_gone(site).await? {
            return Ok(());
        }
    }
    bail!("the room was not purged within {} s", limit.as_secs())
}

async fn is_gone(site: &Site) -> Result<bool> {
    Ok(site.command(&["room", "purges"]).await?.contains("no room is being purged"))
}
