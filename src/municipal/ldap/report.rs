//! How a run went, as it is kept and told.

use base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::words::{Words, short};

/// Notes of a report, and lines of a preview, that are told one by one.
const MOST_TOLD: usize = 200;

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The accounts follow.
    Followed,
    /// The directory told something absurd, and nothing was done.
    Refused,
    /// The directory was not read, and nothing was done.
    Failed,
    /// It was only to be shown what would be done.
    Previewed,
}

impl Outcome {
    /// Its word, for metrics and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Followed => "followed",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Previewed => "previewed",
        }
    }
}

/// Something about somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Whom it is about: a user id, or where an entry stands.
    pub who: String,
    /// What.
    pub what: Words,
}

/// How many people something happened to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Got an account, or had the one that was there become the source's.
    pub made: usize,
    /// Are called otherwise, or have another address.
    pub renamed: usize,
    /// Stand elsewhere in the directory.
    pub moved: usize,
    /// Are out.
    pub ended: usize,
    /// Are in again.
    pub restored: usize,
    /// Administer now, by the group of administrators.
    pub promoted: usize,
    /// Administer no more.
    pub demoted: usize,
    /// Were not followed for now, as something failed: the next run does it.
    pub left: usize,
}

impl Counts {
    /// Whether anything was done.
    #[must_use]
    pub fn is_something(&self) -> bool {
        *self != Self::default()
    }
}

/// How a run went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// When it began.
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    #[serde(default)]
    pub took_ms: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// Why nothing was done, where that is so.
    #[serde(default)]
    pub why: Option<Words>,
    /// People that the directory told of.
    #[serde(default)]
    pub found: usize,
    /// Those among them who are in the group of administrators, where one is set.
    #[serde(default)]
    pub administrators: Option<usize>,
    /// References to other servers, which were passed over.
    #[serde(default)]
    pub references: usize,
    /// How many would have ended, where that is why it was refused.
    #[serde(default)]
    pub endings: Option<usize>,
    /// What happened to people.
    #[serde(default)]
    pub counts: Counts,
    /// What somebody should look at, or what would be done to whom; the first of them.
    #[serde(default)]
    pub notes: Vec<Note>,
    /// How many such there are.
    #[serde(default)]
    pub noted: usize,
}

impl Report {
    /// Of a run that begins.
    pub(crate) fn begun(at: Timestamp, outcome: Outcome) -> Self {
        Self {
            at,
            took_ms: 0,
            outcome,
            why: None,
            found: 0,
            administrators: None,
            references: 0,
            endings: None,
            counts: Counts::default(),
            notes: Vec::new(),
            noted: 0,
        }
    }

    /// Adds something about somebody.
    pub(crate) fn note(&mut self, note: Note) {
        self.noted += 1;
        if self.notes.len() < MOST_TOLD {
            self.notes.push(Note { who: short(&note.who), ..note });
        }
    }

    /// Nothing was done, for this reason.
    pub(crate) fn stopped(mut self, outcome: Outcome, why: Words) -> Self {
        (self.outcome, self.why) = (outcome, Some(why));
        self
    }

    /// Whether a run tells nothing new beside another one.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let told = |report: &Self| (report.outcome, report.why.clone(), report.endings, report.noted);
        told(self) == told(other) && !self.counts.is_something() && !other.counts.is_something()
    }
}
