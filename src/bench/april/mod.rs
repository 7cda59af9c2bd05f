//! `bench april`: the first of April of a prefecture, on a server of ours.
//!
//! 12,000 people in 900 units, which have thirty rooms each by rule: 27,000 rooms. Three in ten people move on one day. A
//! personnel file says so; the change set is made, approved by two and applied; rooms follow, while somebody else sends in
//! a room of his own and a second server is told of what happens in some of the rooms. Then all is undone. Then it happens
//! once more, and the server is killed again and again. After each, every room is read and compared with what ought to be:
//! with the generator's own account of who sits where, and, after undoing, with what it was before.
//!
//! Reading order: [`office`] (who there is), [`prefecture`] (the server and what is done at its desk), [`rooms`] (what is
//! compared), [`neighbour`] (the second server), and this file: what happens.

mod neighbour;
mod office;
mod prefecture;
mod rooms;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use self::{
    neighbour::{Flow, Neighbour},
    office::{Day, Office},
    prefecture::{Followed, Prefecture},
    rooms::{Read, Rooms},
};
use crate::{
    bulk::Bulk,
    certificates::CertificateAuthority,
    cost::Cost,
    people::Person,
    report::Report,
    site::Ground,
    steady::{Steady, report_sending},
    wire::Wire,
};

/// The prefecture, and the server beside it.
const NAME: &str = "pref.example.jp";

/// How often who may not join yet tries again, and after which time.
const MOST_TRIES: u32 = 600;
const AGAIN: Duration = Duration::from_millis(500);

/// Three in ten people of a prefecture move on one day.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// People with accounts (at most 20,000).
    #[arg(long, default_value_t = 12_000)]
    people: usize,
    /// Units in which they are (at most 2,000).
    #[arg(long, default_value_t = 900)]
    units: usize,
    /// Rooms of each unit, the first of them a space (2 to 30).
    #[arg(long, default_value_t = 30)]
    rooms: usize,
    /// Rooms in which the second server has somebody (at most one of each unit).
    #[arg(long, default_value_t = 300)]
    shared: usize,
    /// Messages a second that somebody else sends meanwhile (at most 500).
    #[arg(long, default_value_t = 50.0)]
    rate: f64,
    /// Seconds of sending before (at most 120).
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// How often the server is killed while it applies the set the second time (at most 50).
    #[arg(long, default_value_t = 5)]
    kills: u32,
    /// Minutes after which each part is given up (at most 60).
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Where the servers are.
    #[command(flatten)]
    ground: Ground,
}

/// Runs everything; figures found before an error stay in the report.
///
/// # Errors
/// Also when a room was not as it ought to be.
pub(crate) async fn run(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let office = Office::new(arguments.people, arguments.units, arguments.rooms)?;
    let limit = Duration::from_secs(60 * arguments.minutes.clamp(1, 60));
    let directory = tempfile::Builder::new().prefix("yakuba-april.").tempdir_in("/var/tmp")?;
    let authority = CertificateAuthority::new(directory.path())?;
    let (mut prefecture, mut neighbour) = neighbour::pair(&arguments.ground, NAME, &authority)?;
    let mut april = April { arguments, office, limit, report };
    let outcome = april.all(&mut prefecture, &mut neighbour).await;
    if outcome.is_err() {
        eprintln!("the server's log ends so: {}", prefecture.site.complaints());
    }
    prefecture.site.stop().await;
    neighbour.site.stop().await;
    outcome?;
    ensure!(report.is_whole(), "not everything was as it must be");
    Ok(())
}

struct April<'a> {
    arguments: &'a Arguments,
    office: Office,
    limit: Duration,
    report: &'a mut Report,
}

/// Who is there besides the office.
struct Cast {
    people: Vec<Arc<Person>>,
    /// Administers the authority, and reads its rooms.
    chief: Arc<Person>,
    /// Sends meanwhile, in a room of his own.
    writer: Arc<Person>,
    room: String,
}

impl April<'_> {
    async fn all(&mut self, prefecture: &mut Prefecture, neighbour: &mut Neighbour) -> Result<()> {
        prefecture.site.start().await?;
        neighbour.site.start().await?;
        let cast = self.people(prefecture).await?;
        self.first_rooms(prefecture).await?;
        let rooms = Rooms::of(prefecture, &self.office).await?;
        self.report.number("rooms", rooms.len() as f64);
        self.share(prefecture, neighbour, &cast, &rooms).await?;
        let before = self.read(prefecture, &cast, &rooms, "before").await?;
        self.expect(&before, Day::Before, &[neighbour.user()?], "before");

        self.report.number("memory_before_mib", prefecture.site.processes.memory_mib());
        prefecture.site.processes.forget_peak();
        let sending = Steady {
            site: &prefecture.site,
            writer: &cast.writer,
            room: &cast.room,
            rate: self.arguments.rate,
        };
        let seconds = Duration::from_secs(self.arguments.seconds.clamp(1, 120));
        let mut alone = sending.during("alone", seconds).await?;
        report_sending(self.report, "alone", &mut alone);

        // The day itself.
        let flow = Flow::of(&neighbour.site);
        let set = self.propose(prefecture, &sending, "propose").await?;
        self.apply(prefecture, &sending, &set).await?;
        flow.report(self.report).await;
        self.report.number("memory_peak_mib", prefecture.site.processes.resident_mib().1);
        let after = self.read(prefecture, &cast, &rooms, "after").await?;
        self.expect(&after, Day::After, &[neighbour.user()?], "after");

        // All of it is a mistake.
        self.undo(prefecture, &sending, &set).await?;
        let undone = self.read(prefecture, &cast, &rooms, "undone").await?;
        self.same(&before, &undone, "undone");

        // And the same once more, with kills.
        self.killed(prefecture).await?;
        let again = self.read(prefecture, &cast, &rooms, "killed").await?;
        self.expect(&again, Day::After, &[neighbour.user()?], "killed");
        self.same(&after, &again, "killed");
        let twice = rooms.said_twice(prefecture, &cast.chief, self.limit, self.report).await?;
        if twice > 0 {
            self.report.missed(format!("{twice} member events say what was so already"));
        }
        prefecture.site.stop().await;
        let verified = prefecture.site.command(&["verify"]).await;
        self.report.number("verified", f64::from(u8::from(verified.is_ok())));
        verified.map(drop)
    }

    /// Everybody has an account.
    async fn people(&mut self, prefecture: &Prefecture) -> Result<Cast> {
        let bulk = Bulk { what: "accounts", count: self.office.people(), limit: self.limit };
        let people = bulk
            .run(&prefecture.site, self.report, async |wire, n| {
                Person::register(wire, NAME, &Office::account(n)).await.map(Arc::new)
            })
            .await?;
        let mut wire = Wire::to(prefecture.site.address);
        let chief = Person::register_with(&mut wire, NAME, prefecture::CHIEF, Some(prefecture::PASSWORD));
        let chief = Arc::new(chief.await?);
        Person::register_with(&mut wire, NAME, prefecture::OFFICER, Some(prefecture::PASSWORD)).await?;
        prefecture.give_duties().await?;
        let writer = Arc::new(Person::register(&mut wire, NAME, "kakarichou").await?);
        let room = writer.create_room(&mut wire, "係の部屋").await?;
        Ok(Cast { people, chief, writer, room })
    }

    /// The organisation as it was, and its rooms.
    async fn first_rooms(&mut self, prefecture: &Prefecture) -> Result<()> {
        let begun = Instant::now();
        let set = prefecture.import(&self.office.file(Day::Before), Some("2020-04-01")).await?;
        self.report.number("first_file_s", begun.elapsed().as_secs_f64());
        prefecture.approve(&set).await?;
        prefecture.applied(&set).await?;
        let cost = Cost::start(&prefecture.site.processes);
        let begun = Instant::now();
        prefecture.set_rule(&self.office.rule()).await?;
        prefecture.follow(Followed::Runs(1), self.limit).await?;
        let seconds = begun.elapsed().as_secs_f64();
        self.report.number("first_rooms_s", seconds);
        self.report.number("first_rooms_cpu_s", cost.cpu_ms() / 1000.0);
        self.report.number("first_joins_per_s", self.office.seats() as f64 / seconds);
        Ok(())
    }

    /// The heads of some units invite somebody of the second server, who comes.
    async fn share(
        &mut self,
        prefecture: &Prefecture,
        neighbour: &mut Neighbour,
        cast: &Cast,
        rooms: &Rooms,
    ) -> Result<()> {
        let guest = neighbour.register().await?;
        let count = self.arguments.shared.min(self.office.units());
        let bulk = Bulk { what: "guests_over_federation", count, limit: self.limit };
        // One after the other in each room: of somebody who does not answer, a server takes few invites.
        bulk.run(&prefecture.site, self.report, async |wire, unit| {
            let room = rooms.of_unit(unit, office::SHARED).context("a room that is shared")?;
            cast.people[Office::head(unit)].invite(wire, room, &guest.id).await?;
            let mut there = Wire::to(neighbour.site.address);
            let mut tries = 0;
            loop {
                match guest.join(&mut there, room).await {
                    // So many joins of one server at a time, says the prefecture.
                    Err(error) if tries < MOST_TRIES && format!("{error:#}").contains("M_LIMIT_EXCEEDED") => {
                        tries += 1;
                        tokio::time::sleep(AGAIN).await;
                    }
                    done => return done,
                }
            }
        })
        .await
        .map(drop)
    }

    /// Reads every room.
    async fn read(
        &mut self,
        prefecture: &Prefecture,
        cast: &Cast,
        rooms: &Rooms,
        when: &str,
    ) -> Result<Vec<Read>> {
        let begun = Instant::now();
        let read = rooms.read(prefecture, &cast.chief, self.limit).await?;
        eprintln!("read {} rooms ({when}) in {:.0} s", read.len(), begun.elapsed().as_secs_f64());
        Ok(read)
    }

    /// Compares every room with who ought to be in it.
    fn expect(&mut self, read: &[Read], day: Day, guests: &[String], when: &str) {
        let wrong = rooms::wrong(read, &self.office, day, (NAME, guests), self.arguments.shared);
        self.report.number(format!("rooms_wrong_{when}"), wrong.len() as f64);
        if let Some(first) = wrong.first() {
            self.report.missed(format!("{} rooms are not as they ought to be {when}: {first}", wrong.len()));
        }
    }

    /// Compares every room with what it was.
    fn same(&mut self, before: &[Read], now: &[Read], when: &str) {
        let other = rooms::different(before, now);
        self.report.number(format!("rooms_different_{when}"), other.len() as f64);
        if let Some(first) = other.first() {
            self.report.missed(format!("{} rooms are different {when}: {first}", other.len()));
        }
    }

    /// A file makes a change set, while somebody sends.
    async fn propose(&mut self, prefecture: &Prefecture, sending: &Steady<'_>, what: &str) -> Result<String> {
        let file = self.office.file(Day::After);
        let begun = Instant::now();
        let (mut times, set) = sending.until(what, prefecture.import(&file, None)).await?;
        self.report.number("change_set_computed_s", begun.elapsed().as_secs_f64());
        report_sending(self.report, what, &mut times);
        Ok(set)
    }

    /// It is applied, and rooms follow.
    async fn apply(&mut self, prefecture: &Prefecture, sending: &Steady<'_>, set: &str) -> Result<()> {
        let steps = self.office.steps();
        let already = prefecture.steps().await?;
        let case = prefecture.ask(set).await?;
        let (cost, begun) = (Cost::start(&prefecture.site.processes), Instant::now());
        let work = async {
            prefecture.agree(&case).await?;
            prefecture.applied(set).await?;
            let organisation = begun.elapsed();
            prefecture.follow(Followed::Steps(already + steps), self.limit).await?;
            Ok(organisation)
        };
        let (mut times, organisation) = sending.until("apply", work).await?;
        let seconds = begun.elapsed().as_secs_f64();
        self.report.number("organisation_applied_s", organisation.as_secs_f64());
        self.report.number("applied_s", seconds);
        self.report.number("applied_cpu_s", cost.cpu_ms() / 1000.0);
        self.report.number("member_events", steps as f64);
        self.report.number("member_events_per_s", steps as f64 / seconds);
        report_sending(self.report, "apply", &mut times);
        Ok(())
    }

    async fn undo(&mut self, prefecture: &Prefecture, sending: &Steady<'_>, set: &str) -> Result<()> {
        let wanted = prefecture.steps().await? + self.office.steps();
        let begun = Instant::now();
        let work = async {
            prefecture.site.command(&["org", "undo", set]).await?;
            let organisation = begun.elapsed();
            prefecture.follow(Followed::Steps(wanted), self.limit).await?;
            Ok(organisation)
        };
        let (mut times, organisation) = sending.until("undo", work).await?;
        self.report.number("organisation_undone_s", organisation.as_secs_f64());
        self.report.number("undone_s", begun.elapsed().as_secs_f64());
        report_sending(self.report, "undo", &mut times);
        Ok(())
    }

    /// Applies the file once more, and kills the server meanwhile, at even steps of the work.
    async fn killed(&mut self, prefecture: &mut Prefecture) -> Result<()> {
        let set = prefecture.import(&self.office.file(Day::After), None).await?;
        let steps = self.office.steps();
        let kills = self.arguments.kills.min(50);
        prefecture.approve(&set).await?;
        let begun = Instant::now();
        // The first one while the organisation itself changes.
        for kill in 0..kills {
            if kill > 0 {
                let part = steps / u64::from(kills + 1);
                prefecture.follow(Followed::Steps(part), self.limit).await?;
            }
            prefecture.site.kill().await?;
            prefecture.site.start().await?;
        }
        prefecture.applied(&set).await?;
        // A run that is under way may have begun before; this one comes after it, and takes the steps that are left.
        prefecture.site.command(&["org", "rules", "run"]).await?;
        self.report.number("kills", f64::from(kills));
        self.report.number("applied_with_kills_s", begun.elapsed().as_secs_f64());
        Ok(())
    }
}
