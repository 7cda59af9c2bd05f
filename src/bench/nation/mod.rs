//! `bench nation`: up to 1,787 authorities are played around one real server, all in one room.
//!
//! Each has its own name, key, certificate and loopback address; they answer, call and check as servers do, and
//! nothing leaves this machine. The server under test is started here with a configuration that leads it to
//! them. Every scenario has a bound; what did not come to its end says so instead of giving a figure.
//!
//! Reading order: [`nation`] (all that is played), [`room`], [`peer`], [`answers`], [`arrivals`] (what came where, and
//! that it is right), [`subject`] (the real server), [`course`], then the scenarios: [`join`], [`out`], [`inward`],
//! [`black_hole`], [`newcomers`], [`forks`].

mod answers;
mod arrivals;
mod black_hole;
mod call;
mod course;
mod forks;
mod identity;
mod inward;
mod join;
mod names;
#[expect(clippy::module_inception, reason = "it is what all the others are about")]
mod nation;
mod newcomers;
mod out;
mod peer;
mod room;
mod subject;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use self::{course::Course, nation::Nation, subject::Subject};
use crate::{certificates::CertificateAuthority, report::Report};

/// The most servers, and the most members: those of the whole country, and some more.
const MOST_SERVERS: usize = 2_000;
const MOST_MEMBERS: usize = 100_000;
/// Files that are open at once: listeners, and a few connections from and to each peer.
const FILES: u64 = 16_384;

/// Plays a country of authorities around one server; prints a table, and the same as one JSON line.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The server's program: `yakuba`.
    #[arg(long)]
    yakuba: PathBuf,
    /// Servers in the room, with the one under test (2 to 2,000).
    #[arg(long, default_value_t = 45)]
    servers: usize,
    /// Members of the room; each peer has one at least (at most 100,000). Without it, 17 for each server.
    #[arg(long)]
    members: Option<usize>,
    /// What is done after the join; all of it without this.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Scenario>,
    /// Seconds that a scenario waits for what it waits for (at most 600).
    #[arg(long, default_value_t = 120)]
    bound: u64,
    /// Where data and logs are made, and removed at the end; a disk, not memory.
    #[arg(long, default_value = "/var/tmp")]
    directory: PathBuf,
}

/// What can be done once the server has joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// The user sends to all peers.
    Out,
    /// Peers send.
    In,
    /// Three in ten peers do not answer, and are back.
    Hole,
    /// New servers join.
    Newcomers,
    /// Five forks of the state, again and again.
    Forks,
}

impl Arguments {
    /// What the run is called in its report.
    pub(crate) fn title(&self) -> String {
        format!("nation-{}", self.servers())
    }

    fn servers(&self) -> usize {
        self.servers.clamp(2, MOST_SERVERS)
    }
}

/// Runs what is asked for; figures found before an error stay in the report.
///
/// # Errors
/// Also when a scenario did not come to its end, or something that came was not as it must be.
pub(crate) async fn run(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let servers = arguments.servers();
    let members =
        arguments.members.unwrap_or(servers * 17).clamp(servers.max(room::MODERATORS), MOST_MEMBERS);
    allow_files()?;
    report.number("servers", servers as f64);
    report.number("members", members as f64);
    let directory = tempfile::Builder::new().prefix("yakuba-nation.").tempdir_in(&arguments.directory)?;
    play(arguments, servers, members, directory.path(), report).await?;
    ensure!(report.is_whole(), "not everything came to its end, or was as it must be");
    Ok(())
}

async fn play(
    arguments: &Arguments,
    servers: usize,
    members: usize,
    directory: &Path,
    report: &mut Report,
) -> Result<()> {
    let begun = Instant::now();
    let authority = CertificateAuthority::new(directory)?;
    let founders = servers - 1;
    let nation = Nation::found(founders, members, 2 * newcomers::OF_EACH_KIND, &authority).await?;
    report.number("founding_s", begun.elapsed().as_secs_f64());
    let bound = Duration::from_secs(arguments.bound.min(600));
    let mut subject =
        Subject::start(&arguments.yakuba, directory, &nation, &authority, bound, report).await?;
    let outcome = scenarios(arguments, nation.clone(), founders, members, &subject, bound, report).await;
    subject.stop().await;

    let asked = nation.asked.lock().clone();
    eprintln!("what the peers were asked besides transactions: {asked:?}");
    report.number("arrivals_again", nation.arrivals.again() as f64);
    let (count, faults) = nation.arrivals.faults();
    report.number("faults", count as f64);
    faults.into_iter().for_each(|fault| report.missed(fault));
    outcome
}

async fn scenarios(
    arguments: &Arguments,
    nation: Arc<Nation>,
    founders: usize,
    members: usize,
    subject: &Subject,
    bound: Duration,
    report: &mut Report,
) -> Result<()> {
    let user = Arc::new(subject.server.register("hanako").await.context("no account can be made")?);
    let other = user.create_room("別室").await?;
    let room = nation.room.lock().id.clone();
    let mut course = Course { nation, subject, user, room, other, bound, report };
    let course = &mut course;
    let is_wanted = |scenario| arguments.only.is_empty() || arguments.only.contains(&scenario);

    join::run(course, members).await?;
    if is_wanted(Scenario::Out) {
        out::run(course).await.context("out")?;
    }
    if is_wanted(Scenario::In) {
        inward::run(course).await.context("in")?;
    }
    if is_wanted(Scenario::Hole) {
        black_hole::run(course).await.context("hole")?;
    }
    if is_wanted(Scenario::Newcomers) {
        newcomers::run(course, founders).await.context("newcomers")?;
    }
    if is_wanted(Scenario::Forks) {
        forks::run(course).await.context("forks")?;
    }
    let (resident, _) = subject.processes.resident_mib();
    course.report.number("loaded_rss_mib", resident);
    Ok(())
}

/// Lets this program have as many files open as it may, which must be enough.
fn allow_files() -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum })?;
    ensure!(now.maximum.is_none_or(|most| most >= FILES), "`ulimit -Hn` must be {FILES} at least");
    Ok(())
}
