//! [`Prefecture`]: the server, and what is done at its desk by the program's commands.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::site::Site;

/// Who approves: two people of this machine.
const APPROVERS: [(u32, &str); 2] = [(2_001, "personnel"), (2_002, "administrator")];
/// What they have seen of a set and mean.
const MEANT: [&str; 6] = ["empty", "many_end", "unit_emptied", "duplicates", "many_wrong", "unread"];
/// How often is looked how far rooms are.
const LOOK: Duration = Duration::from_millis(250);

/// How often it is told how far they are.
const TELL: Duration = Duration::from_secs(15);

/// The server whose people move.
pub(super) struct Prefecture {
    pub(super) site: Site,
}

/// What is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Followed {
    /// So many runs over all rooms came to their end since the server started.
    Runs(u64),
    /// So many times somebody came or left since the server started.
    Steps(u64),
}

impl Prefecture {
    /// Makes a change set of a file; returns its number.
    pub(super) async fn import(&self, file: &str, day: Option<&str>) -> Result<String> {
        let path = self.site.file("meibo.csv");
        fs::write(&path, file)?;
        let path = path.to_str().context("a directory whose name is no text")?;
        let mut arguments = vec!["org", "import", path];
        if let Some(day) = day {
            arguments.extend(["--body", "知事部局", "--new", "--as-of", day]);
        }
        let said = self.site.command(&arguments).await?;
        let rest = said.split_once("change set ").map(|(_, rest)| rest);
        let number = rest.and_then(|rest| rest.split_once(':')).map(|(number, _)| number.to_owned());
        number.with_context(|| format!("no change set was made: {said}"))
    }

    /// Two people approve a set.
    pub(super) async fn approve(&self, set: &str) -> Result<()> {
        self.approve_once(set, 0).await?;
        self.approve_once(set, 1).await
    }

    /// One of the two approves a set.
    pub(super) async fn approve_once(&self, set: &str, who: usize) -> Result<()> {
        let (person, role) = APPROVERS[who];
        let mut arguments = vec!["org", "approve", set, "--as", role];
        arguments.extend(MEANT.iter().flat_map(|guard| ["--meant", guard]));
        self.site.command_by(Some(person), &arguments).await.map(drop)
    }

    /// Waits until a set that is approved is applied.
    pub(super) async fn applied(&self, set: &str) -> Result<()> {
        self.site.command(&["org", "apply", set]).await.map(drop)
    }

    pub(super) async fn set_rule(&self, rule: &Value) -> Result<()> {
        let path = self.site.file("rule.json");
        fs::write(&path, rule.to_string())?;
        let path = path.to_str().context("a directory whose name is no text")?;
        self.site.command(&["org", "rules", "set", path]).await.map(drop)
    }

    /// How many times somebody came into a room or left one by rule since the server started.
    pub(super) async fn steps(&self) -> Result<u64> {
        let gauges = self.site.gauges();
        let of = |step| gauges.sum("yakuba_rules_steps_total", step);
        Ok(of("step=\"join\"").await? + of("step=\"leave\"").await?)
    }

    /// Waits for rooms.
    pub(super) async fn follow(&self, what: Followed, limit: Duration) -> Result<()> {
        let (begun, gauges) = (Instant::now(), self.site.gauges());
        let mut told = begun;
        while begun.elapsed() < limit {
            let is_there = match what {
                Followed::Runs(wanted) => {
                    gauges.sum("yakuba_rules_runs_total", "outcome=\"followed\"").await? >= wanted
                }
                Followed::Steps(wanted) => self.steps().await? >= wanted,
            };
            if is_there {
                return Ok(());
            }
            if told.elapsed() > TELL {
                told = Instant::now();
                let (steps, left) = (self.steps().await?, gauges.sum("yakuba_rules_rooms_left", "").await?);
                eprintln!("{steps} came or left, {left} rooms left ({:.0} s)", begun.elapsed().as_secs_f64());
            }
            tokio::time::sleep(LOOK).await;
        }
        bail!("{what:?} did not come within {} s", limit.as_secs())
    }
}
