//! Items: what a change set does to one person or one unit, as somebody reads it before he says yes.

use serde::{Deserialize, Serialize};

use crate::{
    ids::RecordId,
    statement::Statement,
    words::{Words, words},
};

/// What one record says before and after. Both are whole statements, so that what stands can be compared with the one and
/// undone to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which record.
    pub record: RecordId,
    /// What it said; none if it is new.
    pub before: Option<Statement>,
    /// What it is to say; none if it was wrong from the start.
    pub after: Option<Statement>,
}

/// A sentence as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// In Japanese.
    pub ja: String,
    /// In English.
    pub en: String,
}

impl From<Words> for Told {
    fn from(words: Words) -> Self {
        Self { ja: words.ja, en: words.en }
    }
}

/// What becomes of somebody or something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// 新規
    New,
    /// 復帰: somebody who had left has a post again.
    Returned,
    /// 異動
    Moved,
    /// 名称変更・改姓
    Renamed,
    /// Something else is different: the end of a contract, a reading, an address.
    Changed,
    /// 終了・退職
    Ended,
    /// 機構改革: units are merged, split, moved or closed.
    Reorganised,
    /// Nothing.
    Unchanged,
    /// Nothing, as what the source says cannot be taken.
    Wrong,
}

impl Kind {
    /// All of them, in the order in which people are shown them.
    pub const ALL: [Self; 9] = [
        Self::Wrong,
        Self::Ended,
        Self::New,
        Self::Returned,
        Self::Moved,
        Self::Renamed,
        Self::Changed,
        Self::Reorganised,
        Self::Unchanged,
    ];

    /// Its name for people.
    #[must_use]
    pub fn words(self) -> Words {
        match self {
            Self::New => words!("新規", "new"),
            Self::Returned => words!("復帰", "returned"),
            Self::Moved => words!("異動", "moved"),
            Self::Renamed => words!("名称変更", "renamed"),
            Self::Changed => words!("変更", "changed"),
            Self::Ended => words!("終了", "ended"),
            Self::Reorganised => words!("機構改革", "reorganised"),
            Self::Unchanged => words!("変更なし", "unchanged"),
            Self::Wrong => words!("誤り", "wrong"),
        }
    }
}

/// One line of a change set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// What becomes of it.
    pub kind: Kind,
    /// Whom or what it is about: `00123 山田 花子`, `防災課`.
    pub about: String,
    /// The rows of the source that say so, as a spreadsheet numbers them.
    pub rows: Vec<u32>,
    /// What is done, or why nothing is.
    pub told: Vec<Told>,
    /// The records that change; none if nothing does.
    pub changes: Vec<Change>,
}
