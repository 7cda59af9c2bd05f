//! Classes of records, and for how many years each is kept.
//!
//! Years are counted as those of public documents: from 1 April after the day. A record of 10 May 2026 that is kept for three
//! years goes on 1 April 2030.

use serde::{Deserialize, Serialize};

use crate::{day::Day, deed::Action};

/// What a record is about, as far as it decides how long that is kept.
///
/// Which class an action is of never changes: what has gone is judged by it for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Sign-ins, sign-outs, and attempts at them.
    SignIns,
    /// What somebody looked at, took away, or was refused.
    Reads,
    /// Accounts, with passwords, factors, addresses, devices, and the sources that say who is there.
    Accounts,
    /// Rooms, their aliases, files, reports.
    Rooms,
    /// The organisation, who administers and who has which duty.
    Organisation,
    /// Cases and deputies.
    Cases,
    /// Records whose links are of the first form, which does not prove what a record was about once it is gone: kept as long as
    /// the class that is kept longest.
    Former,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::SignIns,
        Self::Reads,
        Self::Accounts,
        Self::Rooms,
        Self::Organisation,
        Self::Cases,
        Self::Former,
    ];

    /// The class of what was done, by its word. None for what is kept for good: records of the log itself, of data as a
    /// whole, and what a newer program has written.
    #[must_use]
    pub fn of(what: &str) -> Option<Self> {
        Action::of_word(what).and_then(class_of)
    }

    /// The same, where its link may be of the first form.
    pub(crate) fn of_link(what: &str, is_former: bool) -> Option<Self> {
        Self::of(what).map(|class| if is_former { Self::Former } else { class })
    }

    /// Its word in records and settings, which never changes.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::SignIns => "sign_ins",
            Self::Reads => "reads",
            Self::Accounts => "accounts",
            Self::Rooms => "rooms",
            Self::Organisation => "organisation",
            Self::Cases => "cases",
            Self::Former => "former",
        }
    }

    /// The class of a word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.word() == word)
    }

    /// Its name for people, in Japanese and in English.
    #[must_use]
    pub const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::SignIns => ("サインイン・サインアウト", "sign-ins and sign-outs"),
            Self::Reads => ("閲覧・書き出し・拒否", "what was read, taken away or refused"),
            Self::Accounts => ("アカウント", "accounts"),
            Self::Rooms => ("ルーム・ファイル", "rooms and files"),
            Self::Organisation => ("組織・役割", "organisation and duties"),
            Self::Cases => ("案件", "cases"),
            Self::Former => ("以前の形式の記録", "rows of the form of before"),
        }
    }
}

/// Exhaustive: whoever adds an action chooses how long its records are kept.
const fn class_of(action: Action) -> Option<Class> {
    use Action as A;
    Some(match action {
        A::SignIn
        | A::SignInFailed
        | A::SignOut
        | A::SignOutEverywhere
        | A::SignOutAtProvider
        | A::SignOutRefused
        | A::ConfirmFailed
        | A::RegisterFailed
        | A::GiveLoginToken => Class::SignIns,
        A::ReadRoom | A::ReadAccount | A::ExportAudit | A::ExportTable | A::TryInVain | A::RetryPeer => {
            Class::Reads
        }
        A::Register
        | A::CreateAccount
        | A::CloseAccount
        | A::ReopenAccount
        | A::LockAccount
        | A::UnlockAccount
        | A::SuspendAccount
        | A::ResumeAccount
        | A::ChangePassword
        | A::SetPassword
        | A::AgreeToReset
        | A::AddFactor
        | A::RenameFactor
        | A::RemoveFactor
        | A::RenewCodes
        | A::VouchForDevice
        | A::AskRecovery
        | A::WithdrawRecovery
        | A::Recover
        | A::ResetPassword
        | A::AddAddress
        | A::RemoveAddress
        | A::LinkIdentity
        | A::UnlinkIdentity
        | A::RemoveDevices
        | A::RenameDevice
        | A::ChangeProfile
        | A::PutRegistrationToken
        | A::RemoveRegistrationToken
        | A::FollowSource
        | A::LeaveSource
        | A::RefuseReading
        | A::AcceptEndings
        | A::PutGroup
        | A::RemoveGroup => Class::Accounts,
        A::PutAlias
        | A::RemoveAlias
        | A::PublishRoom
        | A::WithdrawRoom
        | A::OrderPurge
        | A::PurgeRoom
        | A::VoidPurge
        | A::SendNotice
        | A::RemoveMedia
        | A::WithholdMedia
        | A::ReleaseMedia
        | A::ProtectMedia
        | A::UnprotectMedia
        | A::AdoptRoom
        | A::MakeRoom
        | A::MoveRoom
        | A::JoinByRule
        | A::LeaveByRule
        | A::ChangeByRule
        | A::CloseRoom
        | A::ReopenRoom
        | A::BlockRoom
        | A::UnblockRoom
        | A::EmptyRoom
        | A::JoinRoom
        | A::GrantRoomPower
        | A::RemoveReport
        | A::ReachByAddress => Class::Rooms,
        A::SaveMapping
        | A::ProposeChanges
        | A::ApproveChanges
        | A::TimeChanges
        | A::WithdrawChanges
        | A::ApplyChanges
        | A::VoidChanges
        | A::UndoChanges
        | A::SetRule
        | A::EndRule
        | A::GrantAdministration
        | A::RevokeAdministration
        | A::GiveDuty
        | A::TakeDuty
        | A::PutForward => Class::Organisation,
        A::AskCase
        | A::AskCaseAgain
        | A::ApproveCase
        | A::ReturnCase
        | A::RefuseCase
        | A::WithdrawCase
        | A::ExpireCase
        | A::VoidApproval
        | A::CarryOutCase
        | A::FailCase
        | A::RetryCase
        | A::UndoCase
        | A::EndCase
        | A::NameDeputy
        | A::EndDeputy => Class::Cases,
        A::BackUp
        | A::Restore
        | A::BeginAuthority
        | A::RetireRows
        | A::SetRetention
        | A::HoldRows
        | A::ReleaseRows => return None,
    })
}

/// For how many years the records of each class are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Years {
    /// Of [`Class::SignIns`].
    pub sign_ins: u16,
    /// Of [`Class::Reads`].
    pub reads: u16,
    /// Of [`Class::Accounts`].
    pub accounts: u16,
    /// Of [`Class::Rooms`].
    pub rooms: u16,
    /// Of [`Class::Organisation`].
    pub organisation: u16,
    /// Of [`Class::Cases`].
    pub cases: u16,
}

impl Years {
    /// No class is kept shorter: what the State's bodies keep logs for at least.
    pub const LEAST: u16 = 1;

    /// No class is kept longer by number.
    pub const MOST: u16 = 100;

    /// What holds as long as a chain says nothing else. It never changes: what has gone is judged by it for ever.
    pub const FIRST: Self =
        Self { sign_ins: 3, reads: 3, accounts: 5, rooms: 5, organisation: 10, cases: 10 };

    /// For how long a class is kept.
    #[must_use]
    pub fn of(&self, class: Class) -> u16 {
        match class {
            Class::SignIns => self.sign_ins,
            Class::Reads => self.reads,
            Class::Accounts => self.accounts,
            Class::Rooms => self.rooms,
            Class::Organisation => self.organisation,
            Class::Cases => self.cases,
            Class::Former => self.each().into_iter().map(|(_, years)| years).max().unwrap_or(Self::MOST),
        }
    }

    /// What is set, by class.
    #[must_use]
    pub fn each(&self) -> [(Class, u16); 6] {
        [
            (Class::SignIns, self.sign_ins),
            (Class::Reads, self.reads),
            (Class::Accounts, self.accounts),
            (Class::Rooms, self.rooms),
            (Class::Organisation, self.organisation),
            (Class::Cases, self.cases),
        ]
    }

    /// The years that this says of each class; nothing where a class is missing or its years are out of bounds.
    pub(crate) fn told(years: impl Fn(Class) -> Option<u16>) -> Option<Self> {
        let of = |class| years(class).filter(|years| (Self::LEAST..=Self::MOST).contains(years));
        Some(Self {
            sign_ins: of(Class::SignIns)?,
            reads: of(Class::Reads)?,
            accounts: of(Class::Accounts)?,
            rooms: of(Class::Rooms)?,
            organisation: of(Class::Organisation)?,
            cases: of(Class::Cases)?,
        })
    }
}

impl Default for Years {
    fn default() -> Self {
        Self::FIRST
    }
}

/// The day on which a record of a day is kept long enough.
pub(crate) fn due(day: Day, years: u16) -> Day {
    Day::april(day.fiscal_year().saturating_add(1).saturating_add(u32::from(years)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Day {
        text.parse().unwrap_or(Day(0))
    }

    #[test]
    fn years_are_counted_from_the_next_first_of_april() {
        for (of, years, until) in [
            ("2026-05-10", 3, "2030-04-01"),
            ("2027-03-31", 3, "2030-04-01"),
            ("2027-04-01", 3, "2031-04-01"),
            ("2026-04-01", 1, "2028-04-01"),
        ] {
            assert_eq!(due(day(of), years), day(until), "{of}");
        }
        assert_eq!(Day::april(2026).fiscal_year(), 2026);
        assert_eq!(Day(0).fiscal_year(), 1969);
        assert!(due(Day(u32::MAX), u16::MAX) > day("9998-01-01"));
    }

    /// Who changes a line of this makes what has gone look like a lie.
    #[test]
    fn the_class_of_an_action_is_the_one_that_it_always_had() {
        let told: String = Action::ALL
            .into_iter()
            .map(|action| format!("{} {}\n", action.word(), class_of(action).map_or("-", Class::word)))
            .collect();
        assert_eq!(told, include_str!("tests/classes.txt"));
        assert_eq!(Class::of("newer.action"), None);
        for class in Class::ALL {
            assert_eq!(Class::of_word(class.word()), Some(class));
        }
    }

    #[test]
    fn what_was_linked_before_is_kept_as_long_as_any_class() {
        assert_eq!(Years::FIRST.of(Class::Former), 10);
        assert_eq!(Years { reads: 30, ..Years::FIRST }.of(Class::Former), 30);
        assert_eq!(Years::told(|class| Some(Years::FIRST.of(class))), Some(Years::FIRST));
        assert_eq!(Years::told(|class| (class != Class::Cases).then_some(3)), None);
        assert_eq!(Years::told(|_| Some(0)), None);
    }
}
