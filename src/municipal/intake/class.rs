//! Classes of people by how they are employed (任用区分), and whether an appointment is the main one.

use serde::{Deserialize, Serialize};

use crate::{
    letters::{half_width, spaced},
    words::{Words, words},
};

/// How somebody belongs to his authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// 正規: without an end.
    Regular,
    /// 会計年度任用: for a fiscal year at most.
    FiscalYear,
    /// 再任用: again, after the age at which people retire.
    Reappointed,
    /// 任期付: for some years.
    FixedTerm,
    /// 臨時・非常勤: for a time, or not every day.
    Temporary,
    /// 特別職: mayors, their deputies, members of committees.
    Special,
    /// 議員: of the assembly.
    AssemblyMember,
    /// 団員: of the volunteer fire corps.
    CorpsMember,
    /// 受入: sent here by another authority or company.
    Received,
}

/// Words by which a class is known, the longer before those that are in them.
const WORDS: &[(&str, Class)] = &[
    ("会計年度", Class::FiscalYear),
    ("再任用", Class::Reappointed),
    ("任期付", Class::FixedTerm),
    ("任期の定めのない", Class::Regular),
    ("特別職", Class::Special),
    ("臨時", Class::Temporary),
    ("非常勤", Class::Temporary),
    ("議員", Class::AssemblyMember),
    ("団員", Class::CorpsMember),
    ("出向受入", Class::Received),
    ("派遣受入", Class::Received),
    ("正規", Class::Regular),
    ("正職員", Class::Regular),
    ("常勤", Class::Regular),
    ("一般職", Class::Regular),
];

impl Class {
    /// Its name for people.
    #[must_use]
    pub fn words(self) -> Words {
        match self {
            Self::Regular => words!("正規", "regular"),
            Self::FiscalYear => words!("会計年度任用", "for a fiscal year"),
            Self::Reappointed => words!("再任用", "reappointed"),
            Self::FixedTerm => words!("任期付", "fixed term"),
            Self::Temporary => words!("臨時・非常勤", "temporary"),
            Self::Special => words!("特別職", "special"),
            Self::AssemblyMember => words!("議員", "member of the assembly"),
            Self::CorpsMember => words!("団員", "member of the corps"),
            Self::Received => words!("受入", "received"),
        }
    }

    /// The class that a word names.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let text = spaced(&half_width(text));
        // The opposite of one word begins with another: 非正規
        if text.contains("非正規") {
            return Some(Self::Temporary);
        }
        WORDS.iter().find(|(word, _)| text.contains(word)).map(|(_, class)| *class)
    }
}

/// Whether an appointment is somebody's main one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// 本務
    Main,
    /// 兼務, 併任, 充て職
    Additional,
}

impl Kind {
    /// What a cell says that marks appointments of the kind `marked`, or names it.
    pub(crate) fn read(text: &str, marked: Self) -> Option<Self> {
        let text = spaced(&half_width(text)).to_lowercase();
        let other = if marked == Self::Main { Self::Additional } else { Self::Main };
        Some(match text.as_str() {
            "本務" | "本務所属" | "主務" | "主" | "本" | "主所属" | "専任" | "main" => {
                Self::Main
            }
            "兼務" | "兼" | "兼任" | "併任" | "併" | "従" | "副" | "兼務所属" | "充て職" | "充職"
            | "事務取扱" => Self::Additional,
            "○" | "〇" | "◯" | "●" | "◎" | "✓" | "✔" | "レ" | "1" | "有" | "有り" | "あり" | "yes"
            | "true" | "y" => marked,
            "" | "×" | "✕" | "x" | "0" | "無" | "無し" | "なし" | "-" | "no" | "false" | "n" => other,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_known_by_the_words_of_authorities() {
        let cases = [
            ("正規職員", Some(Class::Regular)),
            ("一般職(任期の定めのない常勤職員)", Some(Class::Regular)),
            ("パートタイム会計年度任用職員", Some(Class::FiscalYear)),
            ("会計年度任用(フルタイム)", Some(Class::FiscalYear)),
            ("定年前再任用短時間勤務職員", Some(Class::Reappointed)),
            ("暫定再任用(常勤)", Some(Class::Reappointed)),
            ("任期付職員", Some(Class::FixedTerm)),
            ("非正規", Some(Class::Temporary)),
            ("臨時的任用職員", Some(Class::Temporary)),
            ("市議会議員", Some(Class::AssemblyMember)),
            ("消防団員", Some(Class::CorpsMember)),
            ("一般事務", None),
        ];
        for (text, wanted) in cases {
            assert_eq!(Class::read(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_mark_says_what_its_column_is_called() {
        assert_eq!(Kind::read("○", Kind::Additional), Some(Kind::Additional));
        assert_eq!(Kind::read("１", Kind::Main), Some(Kind::Main));
        assert_eq!(Kind::read("", Kind::Additional), Some(Kind::Main));
        assert_eq!(Kind::read("兼務", Kind::Main), Some(Kind::Additional));
        assert_eq!(Kind::read("総務課", Kind::Additional), None);
    }
}
