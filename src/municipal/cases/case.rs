//! A case as a value: what was asked, who has agreed, how far it has come. Pure; what is written of it is decided elsewhere.

use std::time::Duration;

use base::Timestamp;
use organisation::{PersonId, PostId, UnitId};
use ruma::OwnedUserId;
use serde::{Deserialize, Serialize};

use crate::{
    limits::LOOKED_AT_AFTER,
    words::{Told, words},
};

/// Who may decide a step. New ones are added at the end: rows have their places.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Who {
    /// Whoever has a duty, by its word.
    Duty(String),
    /// 全体管理者: administers and has the duty to approve, since one administrator makes another.
    Administrator,
    /// Who heads a unit, or what became of it; above it where nobody there can.
    Head(UnitId),
    /// Who has a post, or else who heads its unit.
    Post(PostId),
}

/// A step of a case: who decides, and how many of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Any of these.
    pub who: Vec<Who>,
    /// So many different people.
    pub count: u8,
    /// Whether who asks may be one of them.
    pub asker_may: bool,
    /// After so many hours those whom it waits for are reminded.
    pub reminds_after_hours: u32,
}

/// That somebody agreed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// To which step, from 0.
    pub step: u8,
    /// By which account.
    pub user: OwnedUserId,
    /// Who that is, if the organisation knows.
    pub person: Option<PersonId>,
    /// For whom, where it is a deputy.
    pub for_whom: Option<OwnedUserId>,
    /// When.
    pub at: Timestamp,
}

/// How far a case has come. New ones are added at the end: rows have their places.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It waits for those who decide.
    Asked,
    /// It was given back to be asked differently.
    Returned,
    /// It was refused.
    Refused,
    /// It was taken back.
    Withdrawn,
    /// Nobody decided it in time.
    Expired,
    /// It is decided, and is being carried out.
    Approved,
    /// It is decided and could not be carried out.
    Failed(Told),
    /// It is carried out.
    Done,
    /// What it did has ended on its day.
    Ended,
    /// What it did was undone.
    Undone,
}

impl State {
    /// Their words, by which they are searched for.
    pub const WORDS: [&'static str; 10] = [
        "asked",
        "returned",
        "refused",
        "withdrawn",
        "expired",
        "approved",
        "failed",
        "done",
        "ended",
        "undone",
    ];

    /// Its word for programs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Returned => "returned",
            Self::Refused => "refused",
            Self::Withdrawn => "withdrawn",
            Self::Expired => "expired",
            Self::Approved => "approved",
            Self::Failed(_) => "failed",
            Self::Done => "done",
            Self::Ended => "ended",
            Self::Undone => "undone",
        }
    }

    /// What people are told of it.
    #[must_use]
    pub fn words(&self) -> Told {
        match Self::words_of(self.word()) {
            Some(told) => told,
            None => unreachable!("each state has its word in the list"),
        }
    }

    /// The same of a state's word.
    #[must_use]
    pub fn words_of(word: &str) -> Option<Told> {
        Some(match word {
            "asked" => words!("承認待ち", "waits for approvals"),
            "returned" => words!("差し戻し", "returned to who asked"),
            "refused" => words!("却下", "refused"),
            "withdrawn" => words!("取り下げ", "withdrawn"),
            "expired" => words!("期限切れ", "expired"),
            "approved" => words!("承認済み(実施中)", "approved, being carried out"),
            "failed" => words!("実施できませんでした", "could not be carried out"),
            "done" => words!("実施済み", "carried out"),
            "ended" => words!("期間終了", "ended on its day"),
            "undone" => words!("取り消し済み", "undone"),
            _ => return None,
        })
    }

    /// Whether somebody or something has still to act before what was asked for is done or not.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Asked | Self::Returned | Self::Approved | Self::Failed(_))
    }
}

/// A case, without its history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// Its kind, by its word.
    pub kind: String,
    /// What it is about, in a line.
    pub title: Told,
    /// Who asks.
    pub asker: OwnedUserId,
    /// Who that is, if the organisation knows.
    pub asker_person: Option<PersonId>,
    /// Accounts that it is about, beside who asks: they decide nothing either.
    pub subjects: Vec<OwnedUserId>,
    /// What was asked, by the words of its fields.
    pub fields: Vec<(String, String)>,
    /// Why.
    pub reason: String,
    /// When it was asked first.
    pub asked_at: Timestamp,
    /// Who decides, step by step.
    pub steps: Vec<Step>,
    /// Who has agreed.
    pub approvals: Vec<Approval>,
    /// How far it has come.
    pub state: State,
    /// Since when it waits for its step.
    pub waits_since: Timestamp,
    /// Whether those whom it waits for were reminded.
    pub reminded: bool,
    /// When it expires, undecided.
    pub expires: Timestamp,
    /// When what it does ends by itself.
    pub until: Option<Timestamp>,
    /// When something has to be done about it next.
    pub due: Option<Timestamp>,
    /// How many lines its history has: who has seen another number has seen another case.
    pub version: u32,
}

impl Case {
    /// The step that it waits for, if one is left.
    #[must_use]
    pub fn step(&self) -> Option<usize> {
        (0..self.steps.len()).find(|at| self.missing(*at) > 0)
    }

    /// How many have still to agree to a step.
    #[must_use]
    pub fn missing(&self, at: usize) -> usize {
        let Some(step) = self.steps.get(at) else { return 0 };
        let given = self.approvals.iter().filter(|approval| usize::from(approval.step) == at).count();
        usize::from(step.count).saturating_sub(given)
    }

    /// When those whom it waits for are reminded, if they were not.
    pub(crate) fn reminds_at(&self) -> Option<Timestamp> {
        let step = self.step().and_then(|at| self.steps.get(at)).filter(|_| !self.reminded)?;
        Some(after(self.waits_since, Duration::from_secs(u64::from(step.reminds_after_hours) * 3_600)))
    }

    /// When something has to be done next, as it stands.
    pub(crate) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        match &self.state {
            State::Asked => {
                let looked_at = (!self.approvals.is_empty()).then(|| after(now, LOOKED_AT_AFTER));
                self.reminds_at().into_iter().chain(looked_at).chain([self.expires]).min()
            }
            State::Returned | State::Failed(_) => Some(self.expires),
            State::Approved => Some(now),
            State::Done => self.until,
            State::Refused | State::Withdrawn | State::Expired | State::Ended | State::Undone => None,
        }
    }
}

/// A moment so long after another one.
pub(crate) fn after(at: Timestamp, duration: Duration) -> Timestamp {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Timestamp(at.millis().saturating_add(millis))
}

/// What was done to a case. New ones are added at the end: rows have their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deed {
    /// It was asked for.
    Asked,
    /// It was asked for again, differently.
    AskedAgain,
    /// Somebody agreed.
    Approved,
    /// Somebody gave it back.
    Returned,
    /// Somebody refused it.
    Refused,
    /// It was taken back.
    Withdrawn,
    /// Its time was over.
    Expired,
    /// An approval counts no more.
    Voided,
    /// What it is about was done.
    CarriedOut,
    /// What it is about could not be done.
    Failed,
    /// It is tried again.
    Retried,
    /// What it did was undone.
    Undone,
    /// What it did has ended.
    Ended,
}

impl Deed {
    /// What people are told of it.
    #[must_use]
    pub fn words(self) -> Told {
        match self {
            Self::Asked => words!("申請", "asked"),
            Self::AskedAgain => words!("再申請", "asked again"),
            Self::Approved => words!("承認", "approved"),
            Self::Returned => words!("差し戻し", "returned"),
            Self::Refused => words!("却下", "refused"),
            Self::Withdrawn => words!("取り下げ", "withdrawn"),
            Self::Expired => words!("期限切れ", "expired"),
            Self::Voided => words!("承認の失効", "an approval counts no more"),
            Self::CarriedOut => words!("実施", "carried out"),
            Self::Failed => words!("実施できず", "could not be carried out"),
            Self::Retried => words!("やり直し", "tried again"),
            Self::Undone => words!("取り消し", "undone"),
            Self::Ended => words!("期間終了", "ended"),
        }
    }
}

/// One line of a case's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// Who: a user id, or what this machine knows somebody by; empty for the server.
    pub by: String,
    /// For whom, where it was a deputy.
    pub for_whom: Option<OwnedUserId>,
    /// What.
    pub deed: Deed,
    /// Which step it was about, from 0.
    pub step: Option<u8>,
    /// What was said with it.
    pub text: String,
    /// What was asked, where that was said.
    pub fields: Vec<(String, String)>,
}
