//! Guards: what is hardly meant, though each row by itself could be. A set that has one is applied only if everybody who
//! approves it says of each that it is meant.

use std::collections::BTreeSet;

use intake::{Date, Intake, Reason};
use serde::{Deserialize, Serialize};

use super::Source;
use crate::{
    ids::UnitId,
    item::{Item, Kind, Told},
    limits::{EMPTIED, ENDING_FEW, ENDING_PERCENT, WRONG_PERCENT},
    organisation::{Key, Organisation},
    statement::What,
    words::{Words, listed, words},
};

/// What a guard is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum GuardKind {
    /// Nobody was read of the source.
    Empty,
    /// Many people end.
    ManyEnd,
    /// A unit loses everybody who was in it.
    UnitEmptied,
    /// One number, or one account, is written for several people.
    Duplicates,
    /// Many people's rows are wrong.
    ManyWrong,
    /// Rows were not even read as somebody's, so nobody who seems to be missing is ended.
    Unread,
}

impl GuardKind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Empty, Self::ManyEnd, Self::UnitEmptied, Self::Duplicates, Self::ManyWrong, Self::Unread];

    /// Its word for programs and the audit log, which never changes.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::ManyEnd => "many_end",
            Self::UnitEmptied => "unit_emptied",
            Self::Duplicates => "duplicates",
            Self::ManyWrong => "many_wrong",
            Self::Unread => "unread",
        }
    }
}

/// Something that somebody has to say he means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// What it is about.
    pub kind: GuardKind,
    /// The sentence.
    pub told: Told,
}

/// A draft before its guards are known.
pub(super) struct Weighing<'a> {
    pub(super) known: &'a Organisation,
    pub(super) next: &'a Organisation,
    pub(super) source: &'a Source,
    pub(super) day: Date,
}

impl Weighing<'_> {
    /// The guards of what a file does to these people; `withheld` seem to be missing and are not ended.
    pub(super) fn guards(&self, intake: &Intake, people: &[Item], withheld: usize) -> Vec<Guard> {
        let count = |kind| people.iter().filter(|item| item.kind == kind).count();
        let (ending, wrong, all) = (count(Kind::Ended), count(Kind::Wrong), people.len());
        let there = self.there();
        let mut guards = Vec::new();
        let mut guard = |kind, words: Words| guards.push(Guard { kind, told: words.into() });
        if intake.rows.is_empty() {
            guard(
                GuardKind::Empty,
                words!("取り込める職員が一人もいません。", "Nobody at all was read of the source."),
            );
        }
        if ending >= ENDING_FEW && ending * 100 > there * ENDING_PERCENT {
            guard(
                GuardKind::ManyEnd,
                words!(
                    "在職者 {there} 人のうち {ending} 人が終了になります(目安 {ENDING_PERCENT} %)。",
                    "{ending} of {there} people end (more than {ENDING_PERCENT} %)."
                ),
            );
        }
        let emptied = self.emptied();
        if !emptied.is_empty() {
            let Words { ja, en } = listed(&emptied);
            guard(
                GuardKind::UnitEmptied,
                words!("次の所属から全員がいなくなります: {ja}", "Nobody is left in these units: {en}"),
            );
        }
        let is_twice = |reason: &Reason| {
            matches!(reason, Reason::OtherName(_) | Reason::OtherCase(_) | Reason::SharedAccount(_))
        };
        let twice = intake.problems.iter().filter(|problem| is_twice(&problem.reason)).count();
        if twice > 0 {
            guard(
                GuardKind::Duplicates,
                words!(
                    "同じ職員番号またはアカウント名が別の人に使われています({twice} 行)。該当者は今のままにします。",
                    "One number or account is written for different people ({twice} rows), who stay as they are."
                ),
            );
        }
        if wrong * 100 > all * WRONG_PERCENT {
            guard(
                GuardKind::ManyWrong,
                words!(
                    "{all} 人のうち {wrong} 人の行に誤りがあります(目安 {WRONG_PERCENT} %)。列の対応を確かめてください。",
                    "The rows of {wrong} of {all} people are wrong (more than {WRONG_PERCENT} %); please check the columns."
                ),
            );
        }
        if withheld > 0 {
            let unread = intake.unread;
            guard(
                GuardKind::Unread,
                words!(
                    "職員番号の読めない行が {unread} 行あるため、見当たらない {withheld} 人を終了にしません。",
                    "As {unread} rows have no number that can be read, {withheld} people who seem to be missing are not ended."
                ),
            );
        }
        guards
    }

    /// How many people have a post by the source on the day.
    fn there(&self) -> usize {
        let people = self.known.records().filter_map(|(_, said)| match &said.what {
            What::Appointment(what) if said.span.holds(self.day) => {
                (what.source.as_deref() == Some(self.source.name.as_str())).then_some(what.person)
            }
            _ => None,
        });
        people.collect::<BTreeSet<_>>().len()
    }

    /// The names of units that had people on the day and have none from it on.
    fn emptied(&self) -> Vec<String> {
        let units: BTreeSet<UnitId> = self
            .known
            .records()
            .filter_map(|(_, said)| match &said.what {
                What::Unit(unit) if unit.body == self.source.body && said.span.holds(self.day) => {
                    Some(unit.unit)
                }
                _ => None,
            })
            .collect();
        let stays = |unit: &UnitId| {
            let posts = self.next.posts_under(&Key::PostsOf(*unit)).map(|(.., post)| post.post);
            let mut appointments =
                posts.flat_map(|post| self.next.appointments_under(&Key::AppointmentsTo(post)));
            appointments.any(|(_, span, _)| !span.is_over(self.day))
        };
        let lost = units
            .into_iter()
            .filter(|unit| !stays(unit) && self.known.members(*unit, self.day).len() >= EMPTIED);
        lost.filter_map(|unit| Some(self.known.unit(unit, self.day)?.name.clone())).collect()
    }
}
