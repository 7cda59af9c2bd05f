//! Readers in few rooms each or in many: what a message to all of them costs, and what the rooms cost in memory.
//!
//! All readers share one room; the others each has for himself. So there are about as many rooms as the readers
//! have together, and each has a few messages.

use std::{sync::Arc, time::Duration};

use anyhow::Result;

use crate::{
    beat::{Letter, beat},
    bulk::Bulk,
    crowd::{MAKING, NAME},
    people::Person,
    readers::Readers,
    report::Report,
    site::Site,
    wire::Wire,
};

/// Messages a second to all readers.
const RATE: f64 = 5.0;
/// Rooms that a reader has beside the shared one have so many messages per two.
const MESSAGES_PER_TWO_ROOMS: usize = 5;

#[derive(Debug)]
pub(super) struct Delivery {
    /// Rooms of each reader.
    pub(super) rooms: usize,
    pub(super) readers: usize,
    pub(super) seconds: u64,
    pub(super) idle: Duration,
}

/// What delivery to readers of so many rooms cost.
#[derive(Debug)]
pub(super) struct Found {
    rooms: usize,
    p50_ms: f64,
    p99_ms: f64,
    cpu_ms: f64,
}

impl Found {
    /// Reports how many times as much this is.
    pub(super) fn compare(&self, few: &Self, report: &mut Report) {
        let of = format!("rooms_{}_to_{}", self.rooms, few.rooms);
        report.number(format!("{of}_delivery_p50_ratio"), self.p50_ms / few.p50_ms);
        report.number(format!("{of}_delivery_p99_ratio"), self.p99_ms / few.p99_ms);
        report.number(format!("{of}_cpu_ratio"), self.cpu_ms / few.cpu_ms);
    }
}

impl Delivery {
    pub(super) async fn run(&self, site: &Site, report: &mut Report) -> Result<Found> {
        let what = format!("rooms_{}", self.rooms);
        let name = |part: &str| format!("{what}_{part}");
        let (people, shared) = self.make(site, report, &what).await?;
        report.number(name("made_rss_mib"), site.processes.memory_mib());

        let syncs = name("first_syncs");
        let bulk = Bulk { what: &syncs, count: self.readers, limit: MAKING };
        let synced = bulk.run(site, report, async |wire, n| people[n].become_reader(wire).await);
        let mut readers = Readers::start(site, synced.await?);
        tokio::time::sleep(Duration::from_secs(1)).await;

        let from = people[self.readers].clone();
        let count = (self.seconds as f64 * RATE) as usize;
        let letters = vec![Letter { from, room: shared, circle: 0 }; count];
        let mut outcome = beat(site, &mut readers, &letters, RATE, |_, _| true).await?;
        outcome.report(report, &what)?;
        report.number(name("loaded_rss_mib"), site.processes.memory_mib());
        drop(readers);
        tokio::time::sleep(self.idle).await;
        report.number(name("idle_rss_mib"), site.processes.memory_mib());
        Ok(Found {
            rooms: self.rooms,
            p50_ms: outcome.delivery_ms(50),
            p99_ms: outcome.delivery_ms(99),
            cpu_ms: outcome.cpu_ms_per_reading(),
        })
    }

    /// The readers, and one who writes; their rooms, and the one that they share.
    async fn make(
        &self,
        site: &Site,
        report: &mut Report,
        what: &str,
    ) -> Result<(Vec<Arc<Person>>, Arc<str>)> {
        let name = |part: &str| format!("{what}_{part}");
        let (readers, own) = (self.readers, self.rooms - 1);
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
