//! What duties there are.

/// What an account does for its authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Duty {
    /// 人事担当: brings in personnel files, and approves change sets as who sees to the people.
    Personnel,
    /// 監査担当: reads the audit log.
    Audit,
    /// 変更案承認: approves change sets as 全体管理者, if he administers too. Administration alone does not, since one
    /// administrator makes another.
    Approval,
    /// 閲覧担当: reads the organisation and change sets.
    Reading,
}

impl Duty {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Personnel, Self::Approval, Self::Audit, Self::Reading];

    /// Its word for programs, rows and the audit log, which never changes.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Personnel => "personnel",
            Self::Approval => "approval",
            Self::Audit => "audit",
            Self::Reading => "reading",
        }
    }

    /// Its name for people, in Japanese and in English.
    #[must_use]
    pub const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Personnel => ("人事担当", "personnel officer"),
            Self::Approval => ("変更案承認", "approver"),
            Self::Audit => ("監査担当", "auditor"),
            Self::Reading => ("閲覧担当", "reader"),
        }
    }

    /// The duty of a word; `None` for one of a newer program.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|duty| duty.word() == word)
    }
}
