//! `bench host`: one process for many authorities.
//!
//! All accounts, rooms and memberships come into being over the client interface, as they would in use, but for the
//! passwords, which the accounts have none of. Then the server is stopped and started again, some users sync and
//! wait for news, and messages are sent in the room of the country and in those of the prefectures.

mod country;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    beat::{Letter, beat},
    bulk::Bulk,
    cost::Cost,
    host::country::Country,
    people::{Ask, Person},
    readers::{MOST_MESSAGES, Reader, Readers, token_in},
    report::Report,
    site::{Ground, Site},
    statistics::Times,
    wire::Wire,
};

/// What a client keeps with the server and names in each sync.
const FILTER: &str = r#"{"room":{"state":{"lazy_load_members":true},"timeline":{"limit":100}}}"#;
/// First syncs that are timed one by one.
const TIMED_SYNCS: usize = 50;
/// First syncs with all members of the national room.
const FULL_SYNCS: usize = 3;
/// How long nobody does anything before memory is measured.
const QUIET: Duration = Duration::from_secs(3);
/// Messages a second in the national room, and in all prefectures together.
const RATES: (f64, f64) = (5.0, 20.0);

/// One process for many authorities, with accounts in a national room and in one room per prefecture.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Authorities (at most 1,788).
    #[arg(long, default_value_t = 1_788)]
    authorities: usize,
    /// Accounts of all authorities together (at most 200,000).
    #[arg(long, default_value_t = 90_000)]
    accounts: usize,
    /// Members of the national room; without it, a third of all.
    #[arg(long)]
    national: Option<usize>,
    /// Members of the national room who wait for news (at most 4,000).
    #[arg(long, default_value_t = 400)]
    readers: usize,
    /// Seconds of messages, in each kind of room (at most 120).
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Minutes after which each part of making accounts and rooms is given up (at most 60).
    #[arg(long, default_value_t = 15)]
    minutes: u64,
    /// Where the server is.
    #[command(flatten)]
    ground: Ground,
}

/// Everything that was made.
struct Made {
    people: Vec<Arc<Person>>,
    prefecture_rooms: Vec<Arc<str>>,
    national_room: Arc<str>,
}

struct Run<'a> {
    country: Country,
    limit: Duration,
    readers: usize,
    seconds: u64,
    report: &'a mut Report,
}

/// Runs everything; figures found before an error stay in the report.
pub(crate) async fn run(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let authorities = arguments.authorities.min(1_788);
    let accounts = arguments.accounts.min(200_000);
    let country = Country::new(authorities, accounts, arguments.national.unwrap_or(accounts / 3));
    let mut site = Site::found(&arguments.ground, &country.names())?;
    let mut run = Run {
        country,
        limit: Duration::from_secs(60 * arguments.minutes.min(60)),
        readers: arguments.readers.min(4_000),
        seconds: arguments.seconds.clamp(1, 120),
        report,
    };
    let outcome = run.all(&mut site).await;
    site.stop().await;
    outcome
}

impl Run<'_> {
    async fn all(&mut self, site: &mut Site) -> Result<()> {
        let took = site.start().await?;
        self.report.number("start_up_without_data_ms", took.as_secs_f64() * 1000.0);
        tokio::time::sleep(QUIET).await;
        self.report.number("rss_without_data_mib", site.processes.memory_mib());

        let begun = Instant::now();
        let site_then = &*site;
        let made = site.bounded(self.make(site_then)).await?;
        self.report.number("made_in_s", begun.elapsed().as_secs_f64());
        self.report.number("made_rss_mib", site.processes.memory_mib());
        self.report.number("stop_ms", site.stop().await.as_secs_f64() * 1000.0);
        self.report.number("disk_mib", site.disk_mib());

        let took = site.start().await?;
        self.report.number("start_up_ms", took.as_secs_f64() * 1000.0);
        self.report.number("start_up_cpu_ms", site.processes.cpu_ms());
        tokio::time::sleep(QUIET).await;
        self.report.number("started_rss_mib", site.processes.memory_mib());
        let site = &*site;
        site.bounded(self.load(site, &made)).await
    }

    /// Accounts, rooms and memberships.
    async fn make(&mut self, site: &Site) -> Result<Made> {
        let (names, limit) = (self.country.names(), self.limit);
        let bulk = |what, count| Bulk { what, count, limit };
        let country = &self.country;
        let people = bulk("accounts", country.accounts).run(site, self.report, async |wire, n| {
            let authority = &names[country.authority_of(n)];
            Person::register(wire, authority, &format!("shokuin{n}")).await.map(Arc::new)
        });
        let people = people.await?;

        let rooms = bulk("rooms", country.prefectures).run(site, self.report, async |wire, n| {
            let name = format!("都道府県連絡室{n:02}");
            people[n].create_room(wire, &name).await.map(Arc::from)
        });
        let prefecture_rooms: Vec<Arc<str>> = rooms.await?;
        let first = people.first().context("no accounts")?;
        let mut wire = Wire::to(site.address);
        let national_room: Arc<str> = first.create_room(&mut wire, "全国防災連絡室").await?.into();

        // Creators are in their rooms already.
        let rest = country.accounts - country.prefectures;
        let joins = bulk("prefecture_joins", rest).run(site, self.report, async |wire, n| {
            let account = n + country.prefectures;
            people[account].join(wire, &prefecture_rooms[country.prefecture_of(account)]).await
        });
        joins.await?;
        let members = country.members();
        let joins = bulk("national_joins", members.len() - 1)
            .run(site, self.report, async |wire, n| people[members[n + 1]].join(wire, &national_room).await);
        joins.await?;
        Ok(Made { people, prefecture_rooms, national_room })
    }

    /// Users who sync, wait and write.
    async fn load(&mut self, site: &Site, made: &Made) -> Result<()> {
        let members = self.country.members();
        ensure!(members.len() > 1, "the national room needs two members");
        // The first one writes.
        let count = self.readers.min(members.len() - 1);
        let readers: Vec<usize> = (0..count).map(|n| members[1 + n * (members.len() - 1) / count]).collect();
        let people = self.first_syncs(site, made, &readers).await?;
        self.report.number("synced_rss_mib", site.processes.memory_mib());

        let mut waiting = Readers::start(site, people);
        tokio::time::sleep(QUIET).await;
        self.report.number("waiting_rss_mib", site.processes.memory_mib());
        self.messages(site, made, &readers, &mut waiting).await?;
        self.report.number("loaded_rss_mib", site.processes.memory_mib());
        drop(waiting);
        self.full_syncs(site, made, &members).await?;
        self.report.number("loaded_rss_after_full_syncs_mib", site.processes.memory_mib());
        self.report.number("loaded_disk_mib", site.disk_mib());
        Ok(())
    }

    /// Each of these syncs for the first time, as a client does that loads members when it needs them.
    async fn first_syncs(&mut self, site: &Site, made: &Made, readers: &[usize]) -> Result<Vec<Reader>> {
        let mut wire = Wire::to(site.address);
        let (mut times, mut size) = (Times::default(), 0);
        let mut found = Vec::with_capacity(readers.len());
        let (timed, rest) = readers.split_at(readers.len().min(TIMED_SYNCS));
        let cost = Cost::start(&site.processes);
        for reader in timed {
            let (reader, took, bytes) = first_sync(&made.people[*reader], &mut wire).await?;
            times.push(took);
            size = bytes;
            found.push(reader);
        }
        self.report.number("first_sync_p50_ms", times.percentile_ms(50));
        self.report.number("first_sync_p99_ms", times.percentile_ms(99));
        cost.report_cpu(self.report, "first_sync_cpu_ms", timed.len());
        self.report.number("first_sync_kib", size as f64 / 1024.0);
        let bulk = Bulk { what: "further_first_syncs", count: rest.len(), limit: self.limit };
        let further = bulk.run(site, self.report, async |wire, n| {
            first_sync(&made.people[rest[n]], wire).await.map(|(reader, _, _)| reader)
        });
        found.extend(further.await?);
        Ok(found)
    }

    async fn messages(
        &mut self,
        site: &Site,
        made: &Made,
        reading: &[usize],
        waiting: &mut Readers,
    ) -> Result<()> {
        let prefectures: Vec<usize> =
            reading.iter().map(|account| self.country.prefecture_of(*account)).collect();
        let count = |rate: f64| (self.seconds as f64 * rate) as usize;
        ensure!(count(RATES.0 + RATES.1) <= MOST_MESSAGES, "too many messages");
        let national = Letter {
            from: made.people.first().context("no accounts")?.clone(),
            room: made.national_room.clone(),
            circle: 0,
        };
        let letters = vec![national; count(RATES.0)];
        let mut outcome = beat(site, waiting, &letters, RATES.0, |_, _| true).await?;
        outcome.report(self.report, "national")?;

        // The creators of the rooms write, in turn.
        let of_prefecture = |n: usize| Letter {
            from: made.people[n].clone(),
            room: made.prefecture_rooms[n].clone(),
            circle: n,
        };
        let letters: Vec<Letter> =
            (0..self.country.prefectures).map(of_prefecture).cycle().take(count(RATES.1)).collect();
        let is_in = |reader: usize, circle: usize| prefectures[reader] == circle;
        let mut outcome = beat(site, waiting, &letters, RATES.1, is_in).await?;
        outcome.report(self.report, "prefecture")
    }

    /// First syncs with all members, which a client asks for that does not load them lazily.
    async fn full_syncs(&mut self, site: &Site, made: &Made, members: &[usize]) -> Result<()> {
        let mut wire = Wire::to(site.address);
        let mut times = Times::default();
        let mut size = 0;
        let cost = Cost::start(&site.processes);
        for member in members.iter().rev().take(FULL_SYNCS) {
            let begun = Instant::now();
            size = made.people[*member].sync(&mut wire, &Ask::default()).await?.len();
            times.push(begun.elapsed());
        }
        self.report.number("full_first_sync_p50_ms", times.percentile_ms(50));
        cost.report_cpu(self.report, "full_first_sync_cpu_ms", times.len());
        self.report.number("full_first_sync_mib", size as f64 / 1_048_576.0);
        Ok(())
    }
}

/// Leaves the filter with the server and syncs; with the time and size of the sync.
async fn first_sync(person: &Arc<Person>, wire: &mut Wire) -> Result<(Reader, Duration, usize)> {
    let filter = person.keep_filter(wire, FILTER).await?;
    let begun = Instant::now();
    let answer = person.sync(wire, &Ask { filter: Some(&filter), ..Ask::default() }).await?;
    let took = begun.elapsed();
    let since = token_in(std::str::from_utf8(&answer)?)?.to_owned();
    Ok((Reader { person: person.clone(), since, filter: Some(filter) }, took, answer.len()))
}
