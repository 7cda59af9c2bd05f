//! Change sets: what is to be done to an organisation, from the first look until it may be undone.
//!
//! A set is looked at (preview), approved by two people in two roles, applied at its minute, and can be undone. What it does
//! never changes once it can be looked at: whoever approves knows what he approves. Only its hour may be set anew, and then both
//! are asked again.

use std::collections::BTreeSet;

use base::Timestamp;
use intake::Date;
use serde::{Deserialize, Serialize};

use crate::{
    compare::{Guard, GuardKind},
    ids::PersonId,
    item::Kind,
    words::{Words, words},
};

/// As what somebody approves. A set wants each of these once.
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

/// Somebody who acts in a role. Whoever calls has made sure that it is he and that the role is his.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// His account, or his name on the machine.
    pub account: String,
    /// As what he acts.
    pub role: Role,
    /// The hour of the set that he has seen, where that is known: he agrees to no other.
    pub seen: Option<Timestamp>,
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
    /// Nobody has said that these are meant.
    Guards(Vec<GuardKind>),
    /// It has another hour by now than whoever agrees has seen.
    OtherHour,
    /// Somebody has approved in this role before.
    RoleTaken(Role),
    /// The same person has approved in another role.
    SamePerson,
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
            Self::Guards(_) => words!(
                "確認が必要な警告があります。内容を読み、それぞれ承知したうえで承認してください。",
                "There are warnings; please read each of them and say that it is meant."
            ),
            Self::OtherHour => words!(
                "表示したあとに適用する時刻が変わりました。内容をもう一度確かめてください。",
                "Its hour was changed since you opened it; please look at it once more."
            ),
            Self::RoleTaken(role) => {
                let Words { ja, en } = role.words();
                words!("「{ja}」としての承認は済んでいます。", "Somebody has approved as {en} already.")
            }
            Self::SamePerson => words!(
                "一人で二つの承認はできません。別の人の承認が必要です。",
                "One person cannot approve twice; another one has to."
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
    /// Notes that somebody agrees. `person` is who he is, if the organisation knows.
    ///
    /// # Errors
    /// [`Refusal`]; then nothing is noted.
    pub fn approve(
        &mut self,
        by: &Signer,
        person: Option<PersonId>,
        means: &BTreeSet<GuardKind>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        if self.state != State::Preview {
            return Err(Refusal::State(self.state));
        }
        if by.seen.is_some_and(|seen| minute(seen) != self.at) {
            return Err(Refusal::OtherHour);
        }
        let open: Vec<_> =
            self.guards.iter().map(|guard| guard.kind).filter(|kind| !means.contains(kind)).collect();
        if !open.is_empty() {
            return Err(Refusal::Guards(open));
        }
        let is_same =
            |other: &Approval| other.account == by.account || (person.is_some() && other.person == person);
        if self.approvals.iter().any(is_same) {
            return Err(Refusal::SamePerson);
        }
        if self.approvals.iter().any(|other| other.role == by.role) {
            return Err(Refusal::RoleTaken(by.role));
        }
        self.approvals.push(Approval { role: by.role, account: by.account.clone(), person, at: now });
        let has = |role: &Role| self.approvals.iter().any(|approval| approval.role == *role);
        if Role::ALL.iter().all(has) {
            self.state = State::Approved;
        }
        Ok(())
    }

    /// Sets another minute; what was approved for the old one has to be approved again.
    ///
    /// # Errors
    /// [`Refusal::State`]; then nothing is changed.
    pub fn set_time(&mut self, at: Timestamp) -> Result<(), Refusal> {
        self.must_wait()?;
        self.at = minute(at);
        self.approvals.clear();
        self.state = State::Preview;
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
    use crate::item::Told;

    fn set(guards: &[GuardKind]) -> ChangeSet {
        let told = || Told { ja: "警告".to_owned(), en: "a warning".to_owned() };
        ChangeSet {
            source: None,
            day: Date::new(2026, 4, 1).unwrap_or_else(|| panic!("a day")),
            at: Timestamp(60_000),
            made_by: "jinji".to_owned(),
            made_at: Timestamp(1),
            state: State::Preview,
            items: 1,
            counts: Vec::new(),
            guards: guards.iter().map(|kind| Guard { kind: *kind, told: told() }).collect(),
            approvals: Vec::new(),
            stale: Vec::new(),
            ended_by: None,
        }
    }

    fn signer(account: &str, role: Role) -> Signer {
        Signer { account: account.to_owned(), role, seen: None }
    }

    #[test]
    fn two_people_in_two_roles_are_needed() {
        let none = BTreeSet::new();
        let mut set = set(&[]);
        let (hana, now) = (signer("hana", Role::Personnel), Timestamp(2));
        assert_eq!(set.approve(&hana, Some(PersonId(1)), &none, now), Ok(()));
        // Neither by the same account in another role, nor by another account of hers, nor by another in her role.
        let again = signer("hana", Role::Administrator);
        assert_eq!(set.approve(&again, None, &none, now), Err(Refusal::SamePerson));
        let other_account = signer("hana-admin", Role::Administrator);
        assert_eq!(set.approve(&other_account, Some(PersonId(1)), &none, now), Err(Refusal::SamePerson));
        let other_person = signer("taro", Role::Personnel);
        let taken = Err(Refusal::RoleTaken(Role::Personnel));
        assert_eq!(set.approve(&other_person, Some(PersonId(2)), &none, now), taken);
        assert!(!set.is_due(Timestamp(u64::MAX)));

        let taro = signer("taro", Role::Administrator);
        assert_eq!(set.approve(&taro, Some(PersonId(2)), &none, now), Ok(()));
        assert_eq!(set.state, State::Approved);
        assert!(!set.is_due(Timestamp(59_999)) && set.is_due(Timestamp(60_000)));
    }

    #[test]
    fn each_who_approves_says_of_each_guard_that_it_is_meant() {
        let mut set = set(&[GuardKind::Empty, GuardKind::ManyEnd]);
        let one = BTreeSet::from([GuardKind::Empty]);
        let both = BTreeSet::from([GuardKind::Empty, GuardKind::ManyEnd]);
        let (hana, taro) = (signer("hana", Role::Personnel), signer("taro", Role::Administrator));
        let open = Err(Refusal::Guards(vec![GuardKind::ManyEnd]));
        assert_eq!(set.approve(&hana, None, &one, Timestamp(2)), open);
        assert_eq!(set.approve(&hana, None, &both, Timestamp(2)), Ok(()));
        assert_eq!(set.approve(&taro, None, &one, Timestamp(2)), open);
        assert_eq!(set.approve(&taro, None, &both, Timestamp(2)), Ok(()));
    }

    #[test]
    fn another_hour_has_to_be_approved_again() {
        let mut set = set(&[]);
        let none = BTreeSet::new();
        for by in [signer("hana", Role::Personnel), signer("taro", Role::Administrator)] {
            assert_eq!(set.approve(&by, None, &none, Timestamp(2)), Ok(()));
        }
        assert_eq!(set.set_time(Timestamp(120_001)), Ok(()));
        assert_eq!((set.state, set.at, set.approvals.len()), (State::Preview, Timestamp(120_000), 0));
        assert_eq!(set.withdraw("hana", Timestamp(3)), Ok(()));
        assert_eq!(set.set_time(Timestamp(1)), Err(Refusal::State(State::Withdrawn)));
    }
}
