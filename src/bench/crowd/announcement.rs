//! Many readers of one room who wait for news: what a message costs, and what it costs that they all say that
//! they have read it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;

use crate::{
    beat::{Letter, beat},
    bulk::Bulk,
    cost::Cost,
    crowd::{MAKING, NAME},
    people::Person,
    readers::Readers,
    report::Report,
    site::Site,
    statistics::Times,
    wire::Wire,
};

/// Messages a second: with many readers each of them takes a good part of a second of both processors.
const RATE: f64 = 2.0;
/// Messages whose cost is measured.
const MESSAGES: usize = 20;
/// In this time all readers send a receipt.
const RECEIPTS: Duration = Duration::from_secs(10);
/// Connections over which they are sent.
const HANDS: usize = 32;
/// By then every reader has been told of every receipt, or is not any more.
const TOLD: Duration = Duration::from_secs(180);

#[derive(Debug)]
pub(super) struct Announcement {
    pub(super) readers: usize,
    pub(super) seconds: u64,
}

impl Announcement {
    pub(super) async fn run(&self, site: &Site, report: &mut Report) -> Result<()> {
        let (people, room) = self.make(site, report).await?;
        let (writer, reading) = people.split_last().context("nobody writes")?;
        let bulk = Bulk { what: "announcement_first_syncs", count: reading.len(), limit: MAKING };
        let synced = bulk.run(site, report, async |wire, n| reading[n].become_reader(wire).await);
        let mut readers = Readers::start(site, synced.await?);
        // Until all of them wait.
        tokio::time::sleep(Duration::from_secs(3)).await;
        report.number("announcement_waiting_rss_mib", site.processes.memory_mib());

        let letter = Letter { from: writer.clone(), room: room.clone(), circle: 0 };
        let letters = vec![letter.clone(); MESSAGES];
        let mut outcome = beat(site, &mut readers, &letters, RATE, |_, _| true).await?;
        outcome.report(report, "announcement")?;

        let round = Round { site, room: &room, people: reading, report };
        round.alone(&mut readers, &outcome.last_event).await?;
        let letters = vec![letter; (self.seconds as f64 * RATE) as usize];
        let round = Round { site, room: &room, people: reading, report };
        round.beside_messages(&mut readers, &letters).await?;
        report.number("announcement_loaded_rss_mib", site.processes.memory_mib());
        Ok(())
    }

    /// The readers, and one who writes, in their room.
    async fn make(&self, site: &Site, report: &mut Report) -> Result<(Vec<Arc<Person>>, Arc<str>)> {
        let bulk = Bulk { what: "announcement_accounts", count: self.readers + 1, limit: MAKING };
        let people = bulk.run(site, report, async |wire, n| {
            Person::register(wire, NAME, &format!("shokuin{n}")).await.map(Arc::new)
        });
        let people = people.await?;
        let writer = people.last().context("nobody writes")?;
        let room: Arc<str> = writer.create_room(&mut Wire::to(site.address), "全庁連絡").await?.into();
        let bulk = Bulk { what: "announcement_joins", count: self.readers, limit: MAKING };
        bulk.run(site, report, async |wire, n| people[n].join(wire, &room).await).await?;
        Ok((people, room))
    }
}

/// A receipt of everybody.
struct Round<'a> {
    site: &'a Site,
    room: &'a str,
    people: &'a [Arc<Person>],
    report: &'a mut Report,
}

impl Round<'_> {
    /// Receipts while nothing else happens.
    async fn alone(self, readers: &mut Readers, event: &str) -> Result<()> {
        readers.forget_receipts();
        let answers = readers.answers();
        let cost = Cost::start(&self.site.processes);
        let begun = Instant::now();
        let mut times = self.receipts(event).await?;
        let sent_in = begun.elapsed();
        let wanted = self.people.len() * readers.len();
        readers.wait_until(TOLD, |readers| readers.receipts() >= wanted).await?;
        let told_in = begun.elapsed();
        tokio::time::sleep(Duration::from_millis(400)).await;
        self.report.number("receipts_cpu_s_in_all", cost.cpu_ms() / 1000.0);
        self.report.number("receipts_sent_in_s", sent_in.as_secs_f64());
        self.report.number("receipts_told_in_s", told_in.as_secs_f64());
        self.report.number("receipts_p50_ms", times.percentile_ms(50));
        self.report.number("receipts_p99_ms", times.percentile_ms(99));
        let answers = (readers.answers() - answers) as f64 / readers.len() as f64;
        self.report.number("receipts_answers_per_reader", answers);
        self.told("receipts", readers)
    }

    /// Messages while everybody sends a receipt.
    async fn beside_messages(self, readers: &mut Readers, letters: &[Letter]) -> Result<()> {
        let mut quiet = beat(self.site, readers, letters, RATE, |_, _| true).await?;
        quiet.report(self.report, "without_receipts")?;
        // What as many writes cost that are told to him alone who does them: the processors are the same.
        let (written, outcome) = tokio::join!(
            self.each(async |person, wire| person.tag(wire, self.room, 0.5).await),
            beat(self.site, readers, letters, RATE, |_, _| true),
        );
        written?;
        outcome?.report_times(self.report, "with_tags")?;
        readers.forget_receipts();
        let cost = Cost::start(&self.site.processes);
        let (sent, outcome) = tokio::join!(
            self.receipts(&quiet.last_event),
            beat(self.site, readers, letters, RATE, |_, _| true),
        );
        let (mut sent, mut outcome) = (sent?, outcome?);
        let wanted = self.people.len() * readers.len();
        readers.wait_until(TOLD, |readers| readers.receipts() >= wanted).await?;
        self.report.number("with_receipts_cpu_s_in_all", cost.cpu_ms() / 1000.0);
        self.report.number("with_receipts_receipt_p99_ms", sent.percentile_ms(99));
        outcome.report_times(self.report, "with_receipts")?;
        self.told("with_receipts_receipts", readers)
    }

    /// Whether every reader has been told of every receipt.
    fn told(self, what: &str, readers: &Readers) -> Result<()> {
        let (seen, wanted) = (readers.receipts(), self.people.len() * readers.len());
        self.report.number(format!("{what}_seen_percent"), seen as f64 * 100.0 / wanted as f64);
        let again = readers.receipts_again() as f64;
        self.report.number(format!("{what}_told_again_percent"), again * 100.0 / wanted as f64);
        ensure!(seen == wanted, "{what}: {seen} were seen, {wanted} should have been");
        Ok(())
    }

    /// Everybody sends a receipt for this event.
    async fn receipts(&self, event: &str) -> Result<Times> {
        self.each(async |person, wire| person.receipt(wire, self.room, event).await).await
    }

    /// Everybody does something, one after the other within the time.
    async fn each(&self, act: impl AsyncFn(&Person, &mut Wire) -> Result<()>) -> Result<Times> {
        let started = Instant::now();
        let pause = RECEIPTS / u32::try_from(self.people.len().max(1))?;
        let act = &act;
        let hand = async |hand: usize| {
            let mut wire = Wire::to(self.site.address);
            let mut times = Times::default();
            for (n, person) in self.people.iter().enumerate().skip(hand).step_by(HANDS) {
                tokio::time::sleep_until((started + pause * u32::try_from(n)?).into()).await;
                let begun = Instant::now();
                act(person, &mut wire).await?;
                times.push(begun.elapsed());
            }
            anyhow::Ok(times)
        };
        let mut all = Times::default();
        for mut times in try_join_all((0..HANDS).map(hand)).await? {
            all.append(&mut times);
        }
        Ok(all)
    }
}
