//! What a column can mean.

use serde::{Deserialize, Serialize};

use crate::words::{Words, words};

/// The meaning of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// 職員番号
    Number,
    /// 氏名, whole.
    Name,
    /// 姓
    FamilyName,
    /// 名
    GivenName,
    /// フリガナ, whole.
    Reading,
    /// フリガナ of 姓
    FamilyReading,
    /// フリガナ of 名
    GivenReading,
    /// 任用区分
    Class,
    /// 所属コード
    UnitCode,
    /// 所属. Of several columns each is a level, from the top: 部, 課, 係.
    UnitName,
    /// 職名
    Post,
    /// 職階
    Rank,
    /// A mark of additional appointments (兼務), or the kind in words.
    Additional,
    /// A mark of main appointments (本務).
    Main,
    /// 発令日, the first day.
    From,
    /// 任期満了日, the last day.
    Until,
    /// 退職日, the last day of the person: of both ends the earlier counts.
    Leaves,
    /// メールアドレス
    Mail,
    /// アカウント名
    Account,
}

impl Field {
    /// All of them, in the order in which people are shown them.
    pub const ALL: [Self; 19] = [
        Self::Number,
        Self::Name,
        Self::FamilyName,
        Self::GivenName,
        Self::Reading,
        Self::FamilyReading,
        Self::GivenReading,
        Self::Class,
        Self::UnitCode,
        Self::UnitName,
        Self::Post,
        Self::Rank,
        Self::Additional,
        Self::Main,
        Self::From,
        Self::Until,
        Self::Leaves,
        Self::Mail,
        Self::Account,
    ];

    /// Its name for people.
    #[must_use]
    pub fn words(self) -> Words {
        match self {
            Self::Number => words!("職員番号", "person's number"),
            Self::Name => words!("氏名", "name"),
            Self::FamilyName => words!("姓", "family name"),
            Self::GivenName => words!("名", "given name"),
            Self::Reading => words!("フリガナ", "reading"),
            Self::FamilyReading => words!("姓のフリガナ", "reading of the family name"),
            Self::GivenReading => words!("名のフリガナ", "reading of the given name"),
            Self::Class => words!("任用区分", "class of employment"),
            Self::UnitCode => words!("所属コード", "code of the unit"),
            Self::UnitName => words!("所属", "unit"),
            Self::Post => words!("職名", "post"),
            Self::Rank => words!("職階", "rank"),
            Self::Additional => words!("兼務", "additional appointment"),
            Self::Main => words!("本務", "main appointment"),
            Self::From => words!("発令日", "first day"),
            Self::Until => words!("任期満了日", "last day"),
            Self::Leaves => words!("退職日", "day of leaving"),
            Self::Mail => words!("メールアドレス", "mail address"),
            Self::Account => words!("アカウント名", "name of the account"),
        }
    }

    /// Whether several columns may have it.
    #[must_use]
    pub fn may_repeat(self) -> bool {
        self == Self::UnitName
    }
}
