//! Change sets: what is to be done to an organisation, from the first look until it may be undone.
//!
//! A set is looked at (preview), approved by two people in two roles, applied at its minute, and can be undone. What it does
//! never changes once it can be looked at: whoever approves knows what he approves. Who has to agree, and to which hour, is
//! decided elsewhere, as a case; here it is noted what was decided.

use base::Timestamp;
use intake::Date;
use serde::{Deserialize, Serialize};

use crate::{
    compare::Guard,
    ids::PersonId,
    item::Kind,
    words::{Words, words},
};

/// As what somebody has approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// 人事担当
    Personnel,
    /// 全体管理者
    Administrator,
}

impl Role {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Personnel, Self::Administrator];

    /// Its word for programs and the audit log, which never changes.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Personnel => "personnel",
            Self::Administrator => "administrator",
        }
    }

    /// Its name for people.
    #[must_use]
    pub fn words(self) -> Words {
        match self {
            Self::Personnel => words!("人事担当", "personnel officer"),
            Self::Administrator => words!("全体管理者", "administrator"),
        }
    }
}

/// That somebody agreed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// As what.
    pub role: Role,
    /// By which account.
    pub account: String,
    /// Who that is, if the organisation knows: two accounts of one person are one person.
    pub person: Option<PersonId>,
    /// When.
    pub at: Timestamp,
}

/// How far a set has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It is still being written; nobody sees it.
    Gathering,
    /// It can be looked at, and waits for approvals.
    Preview,
    /// It waits for its minute.
    Approved,
    /// It is being applied; so many items are done.
    Applying {
        /// How many.
        done: u32,
    },
    /// All of it is done.
    Applied,
    /// It is being undone; so many items, from the first, are not yet.
    Undoing {
        /// How many.
        left: u32,
    },
    /// All of it is undone.
    Undone,
    /// Somebody took it back before it was applied.
    Withdrawn,
    /// When its minute came, what stood was no more what it was made for. Nothing of it was done.
    Stale,
}

impl State {
    /// What people are told of it.
    #[must_use]
    pub fn words(self) -> Words {
        match self {
            Self::Gathering => words!("作成中", "being written"),
            Self::Preview => words!("承認待ち", "waits for approvals"),
            Self::Approved => words!("承認済み(適用待ち)", "approved, waits for its hour"),
            Self::Applying { done } => {
                words!("適用中({done} 件まで)", "being applied, {done} lines are done")
            }
            Self::Applied => words!("適用済み", "applied"),
            Self::Undoing { left } => {
                words!("取り消し中(残り {left} 件)", "being undone, {left} lines are left")
            }
            Self::Undone => words!("取り消し済み", "undone"),
            Self::Withdrawn => words!("取り下げ", "withdrawn"),
            Self::Stale => words!(
                "適用できません(その間に別の変更がありました)",
                "not applied, as something else changed meanwhile"
            ),
        }
    }
}

/// A change set, without its items.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeSet {
    /// The source whose file it comes from; none if somebody wrote it here.
    pub source: Option<String>,
    /// The day as of which it speaks.
    pub day: Date,
    /// The minute at which it is applied, once it is approved.
    pub at: Timestamp,
    /// By whom it was made.
    pub made_by: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// How far it has come.
    pub state: State,
    /// How many items it has.
    pub items: u32,
    /// How many of them are of which kind.
    pub counts: Vec<(Kind, u32)>,
    /// What everybody who approves has to say that he means.
    pub guards: Vec<Guard>,
    /// Who has approved.
    pub approvals: Vec<Approval>,
    /// Where it is [`State::Stale`], the first items that do not fit any more.
    pub stale: Vec<u32>,
    /// Who took it back or had it undone, and when.
    pub ended_by: Option<(String, Timestamp)>,
}

/// Why something is not done to a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is not in a state in which that can be done.
    State(State),
    /// These items were changed by others since, so they cannot be undone.
    ChangedSince(Vec<u32>),
    /// Others lean on what would be undone.
    LeantOn(Vec<Words>),
    /// Another set is being applied or undone at the moment.
    Busy,
    /// There is no such item, or it does nothing, or is undone already.
    NothingToUndo,
}

impl Refusal {
    /// The sentence for whoever wanted it.
    #[must_use]
    pub fn words(&self) -> Words {
        match self {
            Self::State(_) => words!(
                "この変更案は、いまその操作ができる段階ではありません。",
                "That cannot be done to this change set as it is now."
            ),
            Self::ChangedSince(items) => {
                let count = items.len();
                words!(
                    "その後に別の変更があった項目が {count} 件あるため、元に戻せません。",
                    "{count} items were changed by others since, so this cannot be undone."
                )
            }
            Self::LeantOn(reasons) => {
                let (ja, en): (Vec<_>, Vec<_>) =
                    reasons.iter().map(|words| (words.ja.as_str(), words.en.as_str())).unzip();
                let (ja, en) = (ja.concat(), en.join(" "));
                words!("ほかの項目が使っているため、元に戻せません。{ja}", "Others lean on this. {en}")
            }
            Self::Busy => words!(
                "別の変更案を適用または取り消し中です。終わってからやり直してください。",
                "Another change set is being applied or undone; please try again when it is done."
            ),
            Self::NothingToUndo => {
                words!("元に戻すものがありません。", "There is nothing to undo.")
            }
        }
    }
}

impl ChangeSet {
    /// Notes that it is decided: by whom, and at which minute it is applied.
    ///
    /// # Errors
    /// [`Refusal::State`]; then nothing is changed.
    pub fn decide(&mut self, approvals: Vec<Approval>, at: Timestamp) -> Result<(), Refusal> {
        if self.state != State::Preview {
            return Err(Refusal::State(self.state));
        }
        (self.state, self.at, self.approvals) = (State::Approved, minute(at), approvals);
        Ok(())
    }

    /// Takes back that it is decided, so that it can be decided anew, for another hour.
    ///
    /// # Errors
    /// [`Refusal::State`] where it is applied by now, or never was decided; then nothing is changed.
    pub fn undecide(&mut self) -> Result<(), Refusal> {
        if self.state != State::Approved {
            return Err(Refusal::State(self.state));
        }
        self.state = State::Preview;
        self.approvals.clear();
        Ok(())
    }

    /// Takes it back.
    ///
    /// # Errors
    /// [`Refusal::State`]; then nothing is changed.
    pub fn withdraw(&mut self, by: &str, now: Timestamp) -> Result<(), Refusal> {
        self.must_wait()?;
        self.state = State::Withdrawn;
        self.ended_by = Some((by.to_owned(), now));
        Ok(())
    }

    fn must_wait(&self) -> Result<(), Refusal> {
        if self.waits() { Ok(()) } else { Err(Refusal::State(self.state)) }
    }

    /// Whether it waits for somebody or for its minute.
    #[must_use]
    pub fn waits(&self) -> bool {
        matches!(self.state, State::Preview | State::Approved)
    }

    /// Whether it is approved and its minute has come.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.state == State::Approved && self.at <= now
    }
}

/// The begin of the minute of a moment.
pub(crate) fn minute(at: Timestamp) -> Timestamp {
    Timestamp(at.millis() - at.millis() % 60_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> ChangeSet {
        ChangeSet {
            source: None,
            day: Date::new(2026, 4, 1).unwrap_or_else(|| panic!("a day")),
            at: Timestamp(60_000),
            made_by: "jinji".to_owned(),
            made_at: Timestamp(1),
            state: State::Preview,
            items: 1,
            counts: Vec::new(),
            guards: Vec::new(),
            approvals: Vec::new(),
            stale: Vec::new(),
            ended_by: None,
        }
    }

    fn approval(account: &str, role: Role) -> Approval {
        Approval { role, account: account.to_owned(), person: None, at: Timestamp(2) }
    }

    #[test]
    fn what_is_decided_is_due_at_its_minute_and_can_be_decided_anew_until_then() {
        let mut set = set();
        assert!(!set.is_due(Timestamp(u64::MAX)), "nobody has decided it");
        assert_eq!(set.undecide(), Err(Refusal::State(State::Preview)));
        let both = vec![approval("hana", Role::Personnel), approval("taro", Role::Administrator)];
        assert_eq!(set.decide(both.clone(), Timestamp(120_001)), Ok(()));
        assert_eq!((set.state, set.at), (State::Approved, Timestamp(120_000)));
        assert!(!set.is_due(Timestamp(119_999)) && set.is_due(Timestamp(120_000)));
        assert_eq!(set.decide(both, Timestamp(1)), Err(Refusal::State(State::Approved)), "once");

        assert_eq!(set.undecide(), Ok(()));
        assert_eq!((set.state, set.approvals.len()), (State::Preview, 0));
        assert_eq!(set.withdraw("hana", Timestamp(3)), Ok(()));
        assert_eq!(set.decide(Vec::new(), Timestamp(1)), Err(Refusal::State(State::Withdrawn)));
    }
}
