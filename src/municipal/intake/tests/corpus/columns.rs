//! What columns are called, and mappings that were saved.

use super::{Case, case, cp932};
use crate::{Assigned, Column, Field};

fn numbered(field: Field, number: usize) -> Assigned {
    Assigned { field, column: Column::Numbered(number) }
}

fn headed(field: Field, header: &str) -> Assigned {
    Assigned { field, column: Column::Headed(header.to_owned()) }
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case(
            "headers of a personnel system",
            cp932(
                "職員コード,漢字氏名,カナ氏名,所属ｺｰﾄﾞ,所属名称,補職名,職務の級,\
                 発令年月日,任用期限,職員区分\r\n\
                 00123,山田　花子,ﾔﾏﾀﾞ ﾊﾅｺ,010203,総務部人事課,課長,6,5080401,99999999,正規職員\r\n",
            ),
        )
        .rows(&["2:00123 山田 花子 (ヤマダ ハナコ) Regular #010203 総務部人事課 課長 <6> 2026-04-01~"])
        .problems(&["? 2:8 DateDoubt EraDigit"]),
        case(
            "headers of a groupware",
            "ユーザーID,氏名,よみがな,メールアドレス,社員番号,役職,所属部署\n\
             yamada,山田 花子,やまだ はなこ,yamada@city.example,00123,課長,総務課\n",
        )
        .rows(&["2:00123 山田 花子 (ヤマダ ハナコ) 総務課 課長 yamada@city.example @yamada"]),
        case(
            "headers made by hand",
            "\"※職員番号\n(必須)\",氏　　名,氏名(ふりがな),新所属,新職名,\
             旧所属,旧職名,異動日\n\
             1,山田 花子,やまだ はなこ,防災課,課長,総務課,主幹,R8.4.1\n",
        )
        .rows(&["2:1 山田 花子 (ヤマダ ハナコ) 防災課 課長 2026-04-01~"]),
        case(
            "headers in English",
            "Employee ID,Name,Department,Title,Email,Start Date,End Date\n\
             E0012,山田 花子,総務課,課長,y@city.example,2026-04-01,\n",
        )
        .rows(&["2:E0012 山田 花子 総務課 課長 2026-04-01~ y@city.example"]),
        case("ID beside 職員番号", "ID,職員番号,氏名\n1,00123,山田 花子\n2,00124,田中 太郎\n")
            .rows(&["2:00123 山田 花子", "3:00124 田中 太郎"]),
        case("ID alone", "ID,氏名,課名\n00123,山田 花子,総務課\n").rows(&["2:00123 山田 花子 総務課"]),
        case(
            "個人番号 is never taken for a number of ours",
            "個人番号,氏名,所属\n\
             123456789012,山田 花子,総務課\n",
        )
        .refused("MappingIncomplete"),
        case(
            "two columns of the same header: the first, and it is told",
            "職員番号,氏名,所属,職名,所属,職名\n\
             1,山田 花子,防災課,課長,総務課,主幹\n",
        )
        .rows(&["2:1 山田 花子 防災課 課長"]),
        case(
            "the second of two columns, by a mapping",
            "職員番号,氏名,所属,所属\n1,山田 花子,防災課,総務課\n",
        )
        .mapping(|mapping| {
            mapping.columns.retain(|assigned| assigned.field != Field::UnitName);
            let column = Column::HeadedAgain("所属".to_owned(), 2);
            mapping.columns.push(Assigned { field: Field::UnitName, column });
        })
        .rows(&["2:1 山田 花子 総務課"]),
        case(
            "発令日 before 採用日",
            "職員番号,氏名,採用日,発令日,退職日,任期満了日\n\
             1,山田 花子,2001/4/1,2026/4/1,,2027/3/31\n",
        )
        .rows(&["2:1 山田 花子 2026-04-01~2027-03-31"]),
        case(
            "headers in two rows, where cells were joined",
            "職員番号,氏名,発令前,,発令後,,発令日\n\
             ,,所属,職名,所属,職名,\n\
             1,山田 花子,総務課,主幹,防災課,課長,R8.4.1\n",
        )
        .rows(&["3:1 山田 花子 防災課 課長 2026-04-01~"]),
        case(
            "a leaver before the end of the contract",
            "職員番号,氏名,発令日,任期満了日,退職日\n\
             1,山田 花子,2026/4/1,2027/3/31,2026/9/30\n\
             2,田中 太郎,2026/4/1,2027/3/31,\n\
             3,佐藤 次郎,2026/4/1,,2026/9/30\n\
             4,鈴木 三郎,2026/4/1,2026/9/30,2027/3/31\n\
             5,高橋 四郎,2026/4/1,2027/3/31,2026/3/31\n",
        )
        .rows(&[
            "2:1 山田 花子 2026-04-01~2026-09-30",
            "3:2 田中 太郎 2026-04-01~2027-03-31",
            "4:3 佐藤 次郎 2026-04-01~2026-09-30",
            "5:4 鈴木 三郎 2026-04-01~2026-09-30",
        ])
        .problems(&["! 6:5 EndsFirst"]),
        case(
            "columns for levels of the organisation",
            "職員番号,氏名,組織1,組織2,組織3\n\
             1,山田 花子,総務部,人事課,給与係\n",
        )
        .rows(&["2:1 山田 花子 総務部/人事課/給与係"]),
        case(
            "カナ姓 and カナ名",
            "社員番号,姓,名,カナ(姓),カナ(名),入社日,退社日\n\
             1,山田,花子,ヤマダ,ハナコ,2020/04/01,\n",
        )
        .rows(&["2:1 山田 花子 (ヤマダ ハナコ) 2020-04-01~"]),
        case("a mapping by places that are none", "1,山田 花子\n")
            .mapping(|mapping| {
                mapping.columns = vec![numbered(Field::Number, 0), numbered(Field::Name, 2)];
            })
            .refused("MappingIncomplete"),
        case(
            "兼務 that holds names of units is no mark",
            "職員番号,氏名,所属,兼務\n\
             1,山田 花子,防災課,総務課\n\
             2,田中 太郎,防災課,\n",
        )
        .rows(&["2:1 山田 花子 防災課", "3:2 田中 太郎 防災課"]),
        case(
            "職種 that holds trades is no class",
            "職員番号,氏名,職種\n1,山田 花子,一般事務\n2,田中 太郎,土木\n",
        )
        .rows(&["2:1 山田 花子", "3:2 田中 太郎"]),
        case(
            "no headers at all: proposed by the values",
            "00123,山田 花子,ヤマダ ハナコ,2026/4/1\n\
             00124,田中 太郎,タナカ タロウ,2026/4/1\n",
        )
        .rows(&[
            "1:00123 山田 花子 (ヤマダ ハナコ) 2026-04-01~",
            "2:00124 田中 太郎 (タナカ タロウ) 2026-04-01~",
        ]),
        case(
            "no headers: a mapping by places, below a title",
            "名簿\n\
             総務課,00123,山田 花子\n\
             防災課,00124,田中 太郎\n",
        )
        .mapping(|mapping| {
            mapping.columns =
                vec![numbered(Field::Number, 2), numbered(Field::Name, 3), numbered(Field::UnitName, 1)];
            mapping.rows_above = 1;
        })
        .rows(&["2:00123 山田 花子 総務課", "3:00124 田中 太郎 防災課"]),
        case(
            "a saved mapping, columns in another order and width",
            "所属,備考,氏　名,職員番号\n\
             総務課,,山田 花子,１\n",
        )
        .mapping(|mapping| {
            mapping.columns = vec![
                headed(Field::Number, "職員番号"),
                headed(Field::Name, "氏名"),
                headed(Field::UnitName, "所属"),
            ];
        })
        .rows(&["2:1 山田 花子 総務課"]),
        case("a saved mapping whose column is gone", "職員番号,氏名,課名\n1,山田 花子,総務課\n")
            .mapping(|mapping| {
                mapping.columns = vec![
                    headed(Field::Number, "職員番号"),
                    headed(Field::Name, "氏名"),
                    headed(Field::UnitName, "所属"),
                ];
            })
            .refused("ColumnsMissing([\"所属\"])"),
        case("a mapping without a name", "職員番号,氏名\n1,山田 花子\n")
            .mapping(|mapping| mapping.columns = vec![headed(Field::Number, "職員番号")])
            .refused("MappingIncomplete"),
    ]
}
