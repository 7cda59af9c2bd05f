//! Readers in few rooms each or in many: what a message to all of them costs, and what the rooms cost in memory.
//!
//! All readers share one room; the others each has for himself. So there are about as many rooms as the readers
//! have together, and each has a few messages.

use std::{sync::Arc, time::Duration};

use anyhow::Result;

use crate::{
    beat::{Letter, Outcome, beat},
    bulk::Bulk,
    crowd::{MAKING, NAME},
    people::Person,
    readers::Readers,
    report::Report,
    site::{Ground, Site},
    wire::Wire,
};

/// A server that takes so little of a second rests, in milliseconds.
const AT_REST_MS: f64 = 10.0;
/// So long it may take until it does.
const LAST_REST: Duration = Duration::from_secs(30);

/// Each server has so many turns.
const TURNS: usize = 10;
/// Messages a second to all readers.
const RATE: f64 = 5.0;
/// Rooms that a reader has beside the shared one have so many messages per two.
const MESSAGES_PER_TWO_ROOMS: usize = 5;

/// Readers in so many rooms, and how long they are written to.
#[derive(Debug)]
pub(super) struct Delivery {
    /// Rooms of each reader: each number with a server of its own.
    pub(super) rooms: Vec<usize>,
    pub(super) readers: usize,
    pub(super) seconds: u64,
    pub(super) idle: Duration,
}

impl Delivery {
    /// Makes all first. Then messages go to one server after the other in many short turns: what else the machine does
    /// meanwhile, and how fast it happens to be, is the same for all of them.
    pub(super) async fn run(&self, ground: &Ground, report: &mut Report) -> Result<()> {
        let mut places = Vec::new();
        for rooms in &self.rooms {
            let site = Site::found(&ground.part(format!("rooms_{rooms}")), &[NAME.to_owned()])?;
            places.push(Place { rooms: *rooms, site, crowd: None, outcome: None });
        }
        let outcome = self.deliver(&mut places, report).await;
        for place in &mut places {
            place.site.stop().await;
        }
        outcome
    }

    async fn deliver(&self, places: &mut [Place], report: &mut Report) -> Result<()> {
        for place in &mut *places {
            place.make(self.readers, report).await?;
        }
        let count = (self.seconds as f64 * RATE) as usize;
        for turn in 0..TURNS {
            for place in &mut *places {
                place.write((turn + 1) * count / TURNS - turn * count / TURNS).await?;
            }
        }
        let mut found = Vec::new();
        for place in &mut *places {
            found.extend(place.report(report)?);
            place.crowd = None;
        }
        tokio::time::sleep(self.idle).await;
        for place in places {
            report.number(place.name("idle_rss_mib"), place.site.processes.memory_mib());
        }
        if let [few, .., many] = found.as_slice() {
            many.compare(few, report);
        }
        Ok(())
    }
}

/// A server with its readers.
struct Place {
    rooms: usize,
    site: Site,
    crowd: Option<Crowd>,
    outcome: Option<Outcome>,
}

/// Readers who wait, and one who writes to them.
struct Crowd {
    readers: Readers,
    writer: Arc<Person>,
    shared: Arc<str>,
}

/// What delivery to readers of so many rooms cost.
#[derive(Debug)]
struct Found {
    rooms: usize,
    p50_ms: f64,
    p99_ms: f64,
    cpu_ms: f64,
}

impl Found {
    /// Reports how many times as much this is.
    fn compare(&self, few: &Self, report: &mut Report) {
        let of = format!("rooms_{}_to_{}", self.rooms, few.rooms);
        report.number(format!("{of}_delivery_p50_ratio"), self.p50_ms / few.p50_ms);
        report.number(format!("{of}_delivery_p99_ratio"), self.p99_ms / few.p99_ms);
        report.number(format!("{of}_cpu_ratio"), self.cpu_ms / few.cpu_ms);
    }
}

impl Place {
    fn name(&self, part: &str) -> String {
        format!("rooms_{}_{part}", self.rooms)
    }

    /// Starts the server, and makes people, rooms and messages.
    async fn make(&mut self, readers: usize, report: &mut Report) -> Result<()> {
        self.site.start().await?;
        self.crowd = Some(self.site.bounded(self.gather(readers, report)).await?);
        Ok(())
    }

    async fn gather(&self, count: usize, report: &mut Report) -> Result<Crowd> {
        let (site, name) = (&self.site, |part| self.name(part));
        let (people, shared) = self.found(count, report).await?;
        report.number(name("made_rss_mib"), site.processes.memory_mib());

        let syncs = name("first_syncs");
        let bulk = Bulk { what: &syncs, count, limit: MAKING };
        let synced = bulk.run(site, report, async |wire, n| people[n].become_reader(wire).await);
        let readers = Readers::start(site, synced.await?);
        // Before what is not needed any more goes back.
        report.number(name("loaded_rss_mib"), site.processes.memory_mib());
        at_rest(site).await;
        Ok(Crowd { readers, writer: people[count].clone(), shared })
    }

    /// Writes so many messages to the readers.
    async fn write(&mut self, count: usize) -> Result<()> {
        let Some(Crowd { readers, writer, shared }) = &mut self.crowd else { return Ok(()) };
        let letter = Letter { from: writer.clone(), room: shared.clone(), circle: 0 };
        let letters = vec![letter; count];
        let outcome = self.site.bounded(beat(&self.site, readers, &letters, RATE, |_, _| true)).await?;
        match &mut self.outcome {
            Some(before) => before.add(outcome),
            None => self.outcome = Some(outcome),
        }
        Ok(())
    }

    fn report(&mut self, report: &mut Report) -> Result<Option<Found>> {
        let what = format!("rooms_{}", self.rooms);
        let Some(outcome) = &mut self.outcome else { return Ok(None) };
        outcome.report(report, &what)?;
        Ok(Some(Found {
            rooms: self.rooms,
            p50_ms: outcome.delivery_ms(50),
            p99_ms: outcome.delivery_ms(99),
            cpu_ms: outcome.cpu_ms_per_reading(),
        }))
    }

    /// The readers, and one who writes; their rooms, and the one that they share.
    async fn found(&self, readers: usize, report: &mut Report) -> Result<(Vec<Arc<Person>>, Arc<str>)> {
        let (site, own) = (&self.site, self.rooms - 1);
        let name = |part| self.name(part);
        let part = name("accounts");
        let bulk = Bulk { what: &part, count: readers + 1, limit: MAKING };
        let people = bulk.run(site, report, async |wire, n| {
            Person::register(wire, NAME, &format!("shokuin{n}")).await.map(Arc::new)
        });
        let people = people.await?;
        let shared: Arc<str> =
            people[readers].create_room(&mut Wire::to(site.address), "全庁連絡").await?.into();
        let part = name("joins");
        let bulk = Bulk { what: &part, count: readers, limit: MAKING };
        bulk.run(site, report, async |wire, n| people[n].join(wire, &shared).await).await?;

        let part = name("rooms_created");
        let bulk = Bulk { what: &part, count: readers * own, limit: MAKING };
        let rooms = bulk.run(site, report, async |wire, n| {
            people[n % readers].create_room(wire, &format!("会議室{n}")).await
        });
        let rooms = rooms.await?;
        let part = name("messages");
        let count = rooms.len() * MESSAGES_PER_TWO_ROOMS / 2;
        let bulk = Bulk { what: &part, count, limit: MAKING };
        let messages = bulk.run(site, report, async |wire, n| {
            let room = n % rooms.len();
            let text = format!("議題{n}について意見を集めます。");
            people[room % readers].message(wire, &rooms[room], &text).await.map(drop)
        });
        messages.await?;
        Ok((people, shared))
    }
}

/// Waits until the server has done what the first syncs left it to do: gives memory back, sorts its files.
async fn at_rest(site: &Site) {
    let until = tokio::time::Instant::now() + LAST_REST;
    loop {
        let before = site.processes.cpu_ms();
        tokio::time::sleep(Duration::from_secs(1)).await;
        if site.processes.cpu_ms() - before <= AT_REST_MS || tokio::time::Instant::now() > until {
            return;
        }
    }
}
