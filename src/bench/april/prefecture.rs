//! [`Prefecture`]: the server, and what is done at its desk by the program's commands.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::site::Site;

/// Who asks for it and who approves, and the password of both.
pub(super) const OFFICER: &str = "jinji";
pub(super) const CHIEF: &str = "chief";
pub(super) const PASSWORD: &str = "a long password of both";

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

    /// Says who has which duty, once both have accounts.
    pub(super) async fn give_duties(&self) -> Result<()> {
        fs::write(self.site.file("password"), PASSWORD)?;
        self.site.command(&["user", "admin", CHIEF, "--grant"]).await?;
        for (who, duty) in [(OFFICER, "personnel"), (CHIEF, "approval")] {
            self.site.command(&["user", "duty", who, "--give", duty]).await?;
        }
        Ok(())
    }

    /// Two people agree to a set.
    pub(super) async fn approve(&self, set: &str) -> Result<()> {
        let case = self.ask(set).await?;
        self.agree(&case).await
    }

    /// The first of the two agrees by asking; returns the number of the case.
    pub(super) async fn ask(&self, set: &str) -> Result<String> {
        let field = format!("set={set}");
        let said = self.of_cases(OFFICER, &["ask", "changes", "--field", &field, "--reason", "異動"]).await?;
        let rest = said.split_once("case ").and_then(|(_, rest)| rest.split_once(' '));
        rest.map(|(number, _)| number.to_owned()).with_context(|| format!("no case was made: {said}"))
    }

    /// The second of the two agrees.
    pub(super) async fn agree(&self, case: &str) -> Result<()> {
        self.of_cases(CHIEF, &["approve", case]).await.map(drop)
    }

    async fn of_cases(&self, who: &str, arguments: &[&str]) -> Result<String> {
        let password = self.site.file("password");
        let password = password.to_str().context("a directory whose name is no text")?;
        let mut all = vec!["case"];
        all.extend(arguments);
        all.extend(["--user", who, "--password-file", password]);
        all.extend(MEANT.iter().flat_map(|guard| ["--meant", guard]));
        self.site.command(&all).await
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
