//! Why a row cannot be taken, though it is well written: it does not fit what is known.

use intake::Date;

use crate::{
    laws::Breach,
    words::{Words, words},
};

/// Why nothing is done with the rows of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The row names no unit.
    NoUnit,
    /// No unit is called so, and none is to be made.
    UnknownUnit(String),
    /// Several units are called so.
    ManyUnits(String),
    /// The unit has this code, and the row another.
    OtherCode { name: String, code: String },
    /// Rows with one code name different units.
    OtherName { code: String, name: String },
    /// The unit is no more, or will be no more, from a day on; who takes its place.
    UnitEnds { name: String, day: Date, successors: String },
    /// The unit is there only from a day on.
    NotYet { name: String, day: Date },
    /// Too many units above each other.
    Deep(String),
    /// The number lacks zeros: with them it is somebody's.
    ZerosLost { number: String, name: String },
    /// The number is or was another's, as the names say.
    OtherPerson { name: String },
    /// It is to be another's, and who has it is still there.
    StillThere { name: String },
    /// The account is another than the one that he has.
    OtherAccount { account: String },
    /// All that the file says of him is over.
    AllOver,
    /// It does not go together with what is known.
    Breach(Breach),
}

impl Why {
    pub(crate) fn words(&self) -> Words {
        match self {
            Self::NoUnit => words!(
                "所属が書かれていません。所属コードか所属名を入れてください。",
                "No unit is named; please give its code or its name."
            ),
            Self::UnknownUnit(name) => words!(
                "「{name}」という所属はまだありません。表記を確かめるか、新しい所属を作る設定で取り込んでください。",
                "There is no unit \"{name}\"; please check how it is written, or allow new units to be made."
            ),
            Self::ManyUnits(name) => words!(
                "「{name}」という所属が複数あります。部から順に書くか、所属コードを入れてください。",
                "Several units are called \"{name}\"; please write those above it too, or its code."
            ),
            Self::OtherCode { name, code } => words!(
                "「{name}」の所属コードは {code} です。どちらが正しいか決められません。",
                "The code of \"{name}\" is {code}; it cannot be known which of both is meant."
            ),
            Self::OtherName { code, name } => words!(
                "所属コード {code} は「{name}」のものです。所属名と合いません。",
                "The code {code} is that of \"{name}\", which is not what the row names."
            ),
            Self::UnitEnds { name, day, successors } => {
                let ja_day = day.in_era();
                words!(
                    "「{name}」は{ja_day}に終わる所属です。後継: {successors}",
                    "\"{name}\" is no more from {day} on; in its place: {successors}"
                )
            }
            Self::NotYet { name, day } => {
                let ja_day = day.in_era();
                words!("「{name}」は{ja_day}からの所属です。", "\"{name}\" is there only from {day} on.")
            }
            Self::Deep(name) => {
                words!("「{name}」の上の所属が多すぎます。", "Too many units are above \"{name}\".")
            }
            Self::ZerosLost { number, name } => words!(
                "先頭のゼロが失われた番号のようです。{number} は {name} さんの番号です。",
                "Zeros in front of the number seem to be lost: {number} is that of {name}."
            ),
            Self::OtherPerson { name } => words!(
                "この番号は「{name}」さんのものです。同じ人(改姓など)か別の人かを指定してください。",
                "This number is that of \"{name}\"; please say whether this is the same person or another."
            ),
            Self::StillThere { name } => words!(
                "この番号の「{name}」さんはまだ在職中です。先に退職を取り込んでください。",
                "\"{name}\", whose number this is, is still there; please let him leave first."
            ),
            Self::OtherAccount { account } => words!(
                "アカウント名は {account} から変えられません。",
                "The account is {account}, which cannot be changed."
            ),
            Self::AllOver => words!(
                "終わりの日がすべて過ぎており、知られていない人です。取り込むものがありません。",
                "All appointments of this person, who is not known, are over; there is nothing to take."
            ),
            Self::Breach(breach) => breach.words(),
        }
    }
}
