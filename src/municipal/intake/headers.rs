//! What columns are called, in the spellings of personnel systems, groupware and hand-made tables.

use std::{collections::HashMap, sync::LazyLock};

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use crate::{
    field::Field,
    letters::katakana,
    split::{Record, is_empty},
};

/// How sure it is that a column means what is proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// The values look like it, or the header says it in a word of many meanings.
    Low,
    /// The header says something that mostly means it.
    Medium,
    /// The header says it.
    High,
}

use Confidence::{High, Low, Medium};

/// Spellings as [`key`] has them; those of one line mean the same.
const SPELLINGS: &[(Field, Confidence, &str)] = &[
    (
        Field::Number,
        High,
        "職員番号 職員no 職員コード 職員cd 職員id 社員番号 社員no 社員コード 社員cd 社員id 従業員番号 従業員コード",
    ),
    (
        Field::Number,
        High,
        "職員識別番号 人事番号 職番 個人コード 個人cd staffid staffno employeeid employeeno employeenumber",
    ),
    (Field::Number, Medium, "識別番号 整理番号 personid personnelnumber 職員"),
    (Field::Number, Low, "id no 番号 コード code"),
    (
        Field::Name,
        High,
        "氏名 職員氏名 職員名 漢字氏名 氏名漢字 姓名 名前 オ名前 社員名 fullname displayname 表示名",
    ),
    (Field::Name, Medium, "name 担当者名 本名 戸籍氏名"),
    (
        Field::FamilyName,
        High,
        "姓 氏 苗字 名字 姓漢字 漢字姓 氏名姓 ユーザー名姓 familyname lastname surname sn",
    ),
    (Field::GivenName, High, "名 名漢字 漢字名 氏名名 ユーザー名名 givenname firstname"),
    (
        Field::Reading,
        High,
        "フリガナ 氏名フリガナ フリガナ氏名 カナ氏名 氏名カナ カナ氏名全角 職員氏名カナ 職員カナ氏名 ヨミガナ 氏名ヨミガナ 読ミ仮名 氏名読ミ",
    ),
    (
        Field::Reading,
        High,
        "カナ カナ名称 半角カナ 半角カナ氏名 氏名ヨミ kananame namekana kana reading phoneticname",
    ),
    (Field::Reading, Medium, "ヨミ 読ミ 読ミ方"),
    (
        Field::FamilyReading,
        High,
        "セイ 姓カナ カナ姓 姓フリガナ フリガナ姓 姓ヨミ 姓ヨミガナ 氏カナ 氏フリガナ lastnamekana familynamekana",
    ),
    (
        Field::GivenReading,
        High,
        "メイ 名カナ カナ名 名フリガナ フリガナ名 名ヨミ 名ヨミガナ firstnamekana givennamekana",
    ),
    (
        Field::Class,
        High,
        "任用区分 任用形態 任用種別 任用種類 職員区分 職員種別 雇用区分 雇用形態 身分区分 employmenttype employeetype",
    ),
    (Field::Class, Medium, "身分 勤務形態 勤務区分"),
    (Field::Class, Low, "職種 職種名 区分 種別"),
    (
        Field::UnitCode,
        High,
        "所属コード 所属cd 所属番号 所属id 所属課コード 部署コード 部署cd 課コード 課cd 係コード 組織コード 組織cd 部門コード",
    ),
    (Field::UnitCode, High, "所属no 所属部署コード 所属組織コード unitcode orgcode departmentcode deptcode"),
    (
        Field::UnitName,
        High,
        "所属 所属名 所属名称 所属課 所属課名 所属部署 所属部署名 所属組織 部署 部署名 課 課名 課室 課室名 課所名 組織 組織名 部門 部門名",
    ),
    (
        Field::UnitName,
        High,
        "局 局名 部局 部局名 部 部名 室 室名 係 係名 班 班名 グループ グループ名 担当 担当名 unit department dept section division",
    ),
    // Levels, from the top.
    (
        Field::UnitName,
        Medium,
        "組織1 組織2 組織3 組織4 組織名1 組織名2 組織名3 組織名4 第1階層 第2階層 第3階層 第4階層",
    ),
    (Field::UnitName, Medium, "配属先 配属 勤務先 勤務課 勤務場所 施設 施設名"),
    (
        Field::Post,
        High,
        "職名 職名称 役職 役職名 役職名称 補職 補職名 職務名 肩書 肩書キ post position jobtitle",
    ),
    (Field::Post, Medium, "職 職位 職位名 title"),
    (Field::Rank, High, "職階 職層 職級 級 職務ノ級 役職コード 役職cd 職名コード 職位コード 等級 rank grade"),
    (Field::Rank, Medium, "階級"),
    (
        Field::Additional,
        High,
        "兼務 兼務区分 兼務フラグ 兼務有無 兼任 兼任区分 併任 併任区分 本務兼務 本務兼務区分 本兼 本兼区分 主兼区分 主務兼務区分",
    ),
    (Field::Main, High, "本務 本務フラグ 本務区分 主務 主務フラグ 主所属 主所属フラグ"),
    (
        Field::From,
        High,
        "発令日 発令年月日 発令日付 異動日 異動年月日 発令開始日 任期開始日 任用開始日 任命日 任命年月日 着任日 適用日 適用開始日",
    ),
    (Field::From, High, "開始日 有効開始日 startdate effectivedate validfrom 発令"),
    (Field::From, Medium, "採用日 採用年月日 任用日 任用年月日 入庁日 入社日 就任日 入団日 hiredate"),
    (
        Field::Until,
        High,
        "任期満了日 任期満了年月日 任期終了日 任期末日 任期末 任用終了日 任用期限 任用満了日 満了日 契約終了日 発令終了日",
    ),
    (Field::Until, High, "終了日 有効終了日 適用終了日 enddate validto validuntil"),
    (Field::Until, Medium, "任期 期限"),
    (
        Field::Leaves,
        High,
        "退職日 退職年月日 退職予定日 退職予定年月日 離職日 解職日 退任日 退団日 退社日 retirementdate",
    ),
    (
        Field::Mail,
        High,
        "メールアドレス メール 電子メール 電子メールアドレス eメール eメールアドレス mail email mailaddress emailaddress 庁内メール 庁内メールアドレス",
    ),
    (
        Field::Account,
        High,
        "アカウント アカウント名 アカウントid ログインid ログイン名 ユーザーid ユーザid ユーザー名 ユーザ名 username userid login loginid",
    ),
    (Field::Account, High, "samaccountname uid account localpart"),
];

/// Words before or behind a header that say that it is how things will be.
const AFTER: [&str; 6] = ["発令後", "異動後", "変更後", "新", "現在ノ", "現"];

/// What stands above several headers, and says of all of them whether they are how things were or how they will be.
const GROUPS: [&str; 14] = [
    "発令後",
    "異動後",
    "変更後",
    "新",
    "現",
    "現在",
    "新所属等",
    "発令前",
    "異動前",
    "変更前",
    "旧",
    "前",
    "前所属等",
    "旧所属等",
];

/// The headers in a row. Where cells are joined in a spreadsheet, headers are in two rows: what is empty here stands
/// above, and a word for a group (発令後) stands above the first of the headers that it is about.
pub(crate) fn headers(records: &[Record], at: usize) -> Vec<String> {
    let header = &records[at];
    let own = || header.cells().map(str::to_owned).collect();
    let above = at.checked_sub(1).map(|above| &records[above]);
    let Some(above) = above.filter(|above| above.row + 1 == header.row && above.damage.is_none()) else {
        return own();
    };
    let mut group = "";
    let join = |place: usize| {
        let (up, own) = (above.cell(place), header.cell(place));
        if !is_empty(up) {
            group = if GROUPS.contains(&key(up).as_str()) { up } else { "" };
        }
        if is_empty(own) {
            group = "";
            return up.to_owned();
        }
        format!("{group}{own}")
    };
    (0..header.width().max(above.width())).map(join).collect()
}

static MEANINGS: LazyLock<HashMap<String, (Field, Confidence)>> = LazyLock::new(|| {
    let all = SPELLINGS.iter().flat_map(|(field, confidence, spellings)| {
        spellings.split(' ').map(|spelling| (key(spelling), (*field, *confidence)))
    });
    all.collect()
});

/// A header as it is compared: half width, small letters, katakana, without blanks, brackets and marks.
pub(crate) fn key(header: &str) -> String {
    // The letters of a header in full; nothing that is longer is one.
    let begin: String = header.chars().take(64).collect();
    let lower = katakana(&begin.nfkc().collect::<String>()).to_lowercase();
    let kept: String = lower.chars().filter(|letter| letter.is_alphanumeric() || *letter == 'ー').collect();
    for mark in ["必須", "任意"] {
        if let Some(rest) = kept.strip_suffix(mark).or_else(|| kept.strip_prefix(mark)) {
            return rest.to_owned();
        }
    }
    kept
}

/// What a header means.
pub(crate) fn meaning(header: &str) -> Option<(Field, Confidence)> {
    let key = key(header);
    let without = AFTER.iter().find_map(|word| key.strip_prefix(word).or_else(|| key.strip_suffix(word)));
    MEANINGS.get(&key).or_else(|| MEANINGS.get(without?)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_known_in_many_spellings() {
        let cases = [
            ("職員番号", Some((Field::Number, High))),
            ("職 員\n番 号", Some((Field::Number, High))),
            ("社員ＣＤ", Some((Field::Number, High))),
            ("職員№", Some((Field::Number, High))),
            ("※職員番号(必須)", Some((Field::Number, High))),
            ("ID", Some((Field::Number, Low))),
            ("氏　名", Some((Field::Name, High))),
            ("氏名(漢字)", Some((Field::Name, High))),
            ("氏名（ふりがな）", Some((Field::Reading, High))),
            ("ﾌﾘｶﾞﾅ", Some((Field::Reading, High))),
            ("ふりがな", Some((Field::Reading, High))),
            ("読み仮名", Some((Field::Reading, High))),
            ("姓(カナ)", Some((Field::FamilyReading, High))),
            ("Email Address", Some((Field::Mail, High))),
            ("E-mail", Some((Field::Mail, High))),
            ("新所属", Some((Field::UnitName, High))),
            ("発令後職名", Some((Field::Post, High))),
            ("旧所属", None),
            ("異動前所属", None),
            ("採用年月日", Some((Field::From, Medium))),
            ("個人番号", None),
            ("", None),
        ];
        for (header, wanted) in cases {
            assert_eq!(meaning(header), wanted, "{header}");
        }
    }

    #[test]
    fn no_spelling_stands_for_two_fields() {
        let mut seen = HashMap::new();
        for (field, _, spellings) in SPELLINGS {
            for spelling in spellings.split(' ') {
                assert_eq!(seen.insert(key(spelling), *field), None, "{spelling}");
                assert_eq!(key(spelling), spelling, "as it is compared");
            }
        }
    }
}
