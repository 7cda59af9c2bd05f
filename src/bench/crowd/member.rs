//! One user of many rooms: what a sync costs after nothing happened, one message, a tag, a new name.
//!
//! What is measured is the sync alone; the change before it is not in the figure. Its CPU is that of the server's
//! threads, where the system tells it finely enough.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    bulk::Bulk,
    cost::Cost,
    crowd::{MAKING, NAME},
    people::{Ask, LITTLE, Person},
    readers::token_in,
    report::Report,
    site::Site,
    statistics::Times,
    wire::Wire,
};

/// Until the server has nothing left to do of a request that it has answered.
const SETTLED: Duration = Duration::from_millis(8);
/// The rooms show a new name by then, or not any more.
const SPREAD: Duration = Duration::from_secs(120);
/// How often the user's own name is changed, which all rooms show.
const OWN_NAMES: usize = 3;

#[derive(Debug)]
pub(super) struct Member {
    pub(super) rooms: usize,
    pub(super) repeats: usize,
}

/// The user of many rooms, who syncs.
struct Syncing<'a> {
    site: &'a Site,
    user: Arc<Person>,
    wire: Wire,
    since: String,
}

/// What syncs have taken.
#[derive(Default)]
struct Taken {
    times: Times,
    cpu_ms: f64,
    bytes: usize,
}

impl Member {
    pub(super) async fn run(&self, site: &Site, report: &mut Report) -> Result<()> {
        let bulk = Bulk { what: "member_accounts", count: 3, limit: MAKING };
        let people = bulk.run(site, report, async |wire, n| {
            Person::register(wire, NAME, &format!("shokuin{n}")).await.map(Arc::new)
        });
        let [user, other, stranger] =
            <[Arc<Person>; 3]>::try_from(people.await?).ok().context("three accounts")?;
        let bulk = Bulk { what: "member_rooms", count: self.rooms, limit: MAKING };
        let rooms =
            bulk.run(site, report, async |wire, n| user.create_room(wire, &format!("会議室{n}")).await);
        let rooms = rooms.await?;
        let (room, name) = (rooms.get(self.rooms / 2).context("a room")?, "member");
        let mut wire = Wire::to(site.address);
        other.join(&mut wire, room).await?;
        let elsewhere = stranger.create_room(&mut wire, "別室").await?;

        let mut syncing = Syncing::begin(site, user.clone(), report).await?;
        let mut turn = async |what: &str, holds: &str, change: Change<'_>| {
            let mut taken = Taken::default();
            for n in 0..self.repeats {
                change.make(&mut wire, n).await?;
                let answer = syncing.sync(&mut taken).await?;
                ensure!(answer.contains(holds), "{what}: the answer lacks {holds}: {answer}");
                let is_empty = !answer.contains(r#""rooms""#);
                ensure!(is_empty == holds.is_empty(), "{what}: the answer tells something else: {answer}");
            }
            taken.report(report, &format!("{name}_{what}"), self.repeats);
            anyhow::Ok(())
        };
        turn("nothing_at_all", "", Change::Nothing).await?;
        turn("nothing_new", "", Change::Message(&stranger, &elsewhere)).await?;
        turn("message", r#""body":"#, Change::Message(&other, room)).await?;
        turn("tag", "u.bench", Change::Tag(&user, room)).await?;
        turn("name_of_another", "m.room.member", Change::Name(&other, room)).await?;
        self.own_name(&mut syncing, report).await
    }

    /// The user's own new name, which each room shows by an event of its own: syncs until all have come.
    async fn own_name(&self, syncing: &mut Syncing<'_>, report: &mut Report) -> Result<()> {
        let mut wire = Wire::to(syncing.site.address);
        let mut spread = Times::default();
        let mut taken = Taken::default();
        let cost = Cost::start(&syncing.site.processes);
        for n in 0..OWN_NAMES {
            let begun = Instant::now();
            let name = format!("新しい名前{n}");
            syncing.user.rename(&mut wire, &name).await?;
            let mut shown = 0;
            let mark = format!(r#""displayname":"{name}","membership""#);
            while shown < self.rooms {
                ensure!(begun.elapsed() < SPREAD, "own name: {shown} of {} rooms showed it", self.rooms);
                let answer = syncing.waiting_sync(&mut taken).await?;
                shown += answer.matches(&mark).count();
            }
            spread.push(begun.elapsed());
            ensure!(shown == self.rooms, "own name: {shown} events of {} rooms", self.rooms);
        }
        cost.report_cpu(report, "member_own_name_cpu_ms_in_all", OWN_NAMES);
        report.number("member_own_name_in_all_rooms_ms", spread.percentile_ms(50));
        report.number("member_own_name_syncs", taken.times.len() as f64 / OWN_NAMES as f64);
        Ok(())
    }
}

/// What happens before a sync.
enum Change<'a> {
    Nothing,
    Message(&'a Person, &'a str),
    Tag(&'a Person, &'a str),
    /// Which is shown in the room a moment after it was taken.
    Name(&'a Person, &'a str),
}

impl Change<'_> {
    async fn make(&self, wire: &mut Wire, n: usize) -> Result<()> {
        match self {
            Self::Nothing => Ok(()),
            Self::Message(person, room) => person.message(wire, room, &format!("連絡{n}")).await.map(drop),
            Self::Tag(person, room) => person.tag(wire, room, 1.0 / (n + 1) as f64).await,
            Self::Name(person, room) => {
                let (name, begun) = (format!("職員{n}"), Instant::now());
                person.rename(wire, &name).await?;
                while person.name_in(wire, room, &person.id).await? != name {
                    ensure!(begun.elapsed() < SPREAD, "the room does not show a new name");
                }
                Ok(())
            }
        }
    }
}

impl<'a> Syncing<'a> {
    /// After a first sync, whose cost is reported.
    async fn begin(site: &'a Site, user: Arc<Person>, report: &mut Report) -> Result<Self> {
        let mut wire = Wire::to(site.address);
        let begun = Instant::now();
        let answer = user.sync(&mut wire, &Ask { filter: Some(LITTLE), ..Ask::default() }).await?;
        report.number("member_first_sync_ms", begun.elapsed().as_secs_f64() * 1000.0);
        let since = token_in(std::str::from_utf8(&answer)?)?.to_owned();
        Ok(Self { site, user, wire, since })
    }

    /// One that answers at once.
    async fn sync(&mut self, taken: &mut Taken) -> Result<String> {
        // What the change before it has set off is not part of it.
        tokio::time::sleep(SETTLED).await;
        let before = self.site.processes.fine_cpu_ms();
        let answer = self.ask(taken, 0).await?;
        tokio::time::sleep(SETTLED).await;
        let after = self.site.processes.fine_cpu_ms();
        taken.cpu_ms += after.zip(before).map_or(f64::NAN, |(after, before)| after - before);
        Ok(answer)
    }

    /// One that waits for news.
    async fn waiting_sync(&mut self, taken: &mut Taken) -> Result<String> {
        self.ask(taken, 10_000).await
    }

    async fn ask(&mut self, taken: &mut Taken, wait_ms: u64) -> Result<String> {
        let begun = Instant::now();
        let ask = Ask { since: Some(&self.since), wait_ms, ..Ask::default() };
        let answer = self.user.sync(&mut self.wire, &ask).await?;
        taken.times.push(begun.elapsed());
        taken.bytes += answer.len();
        let answer = String::from_utf8(answer.to_vec())?;
        self.since = token_in(&answer)?.to_owned();
        Ok(answer)
    }
}

impl Taken {
    fn report(&mut self, report: &mut Report, what: &str, count: usize) {
        report.number(format!("{what}_sync_p50_ms"), self.times.percentile_ms(50));
        report.number(format!("{what}_sync_p99_ms"), self.times.percentile_ms(99));
        report.number(format!("{what}_sync_cpu_ms"), self.cpu_ms / count as f64);
        report.number(format!("{what}_sync_bytes"), self.bytes as f64 / count as f64);
    }
}
