//! Names, readings, classes, addresses.

use super::{Case, case, cp932, usual};
use crate::Class;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case(
            "variants of kanji stay as they are",
            usual(
                "1,神\u{fa19}谷 逸\u{fa67}子,,,,,,\n\
                 2,葛\u{e0100}城 𠮷男,,,,,,\n\
                 3,\u{fa10}本 祐\u{fa4f}介,,,,,,\n",
            ),
        )
        .rows(&[
            "2:1 神\u{fa19}谷 逸\u{fa67}子",
            "3:2 葛\u{e0100}城 𠮷男",
            "4:3 \u{fa10}本 祐\u{fa4f}介",
        ]),
        case(
            "full-width spaces and line breaks in names",
            usual(
                "1,山田　花子,,,,,,\n\
                 2,\"田中\n\
                 太郎\",,,,,,\n\
                 3,　佐藤  次郎　,,,,,,\n",
            ),
        )
        .rows(&["2:1 山田 花子", "3:2 田中 太郎", "4:3 佐藤 次郎"]),
        case(
            "readings in four spellings",
            usual(
                "1,山田 花子,ﾔﾏﾀﾞ ﾊﾅｺ,,,,,\n\
                 2,山田 花子,ヤマダ　ハナコ,,,,,\n\
                 3,山田 花子,やまだ はなこ,,,,,\n\
                 4,山田 花子,ヤマタ\u{3099} ハナコ,,,,,\n",
            ),
        )
        .rows(&[
            "2:1 山田 花子 (ヤマダ ハナコ)",
            "3:2 山田 花子 (ヤマダ ハナコ)",
            "4:3 山田 花子 (ヤマダ ハナコ)",
            "5:4 山田 花子 (ヤマダ ハナコ)",
        ]),
        case(
            "a reading in kanji among others",
            usual(
                "1,山田 花子,山田 花子,,,,,\n\
                 2,田中 太郎,ﾀﾅｶ ﾀﾛｳ,,,,,\n\
                 3,佐藤 次郎,サトウ ジロウ,,,,,\n",
            ),
        )
        .rows(&[
            "2:1 山田 花子 (山田 花子)",
            "3:2 田中 太郎 (タナカ タロウ)",
            "4:3 佐藤 次郎 (サトウ ジロウ)",
        ])
        .problems(&["? 2:3 NotKana"]),
        case("decomposed kana in a name", usual("1,山田 か\u{3099}く,,,,,,\n")).rows(&["2:1 山田 がく"]),
        case(
            "names from abroad",
            usual(
                "1,ＪＯＨＮ Smith,ジョン・スミス,,,,,\n\
                 2,Nguyễn Văn A,グエン ヴァン アー,,,,,\n",
            ),
        )
        .rows(&["2:1 ＪＯＨＮ Smith (ジョン・スミス)", "3:2 Nguyễn Văn A (グエン ヴァン アー)"]),
        case(
            "family and given names apart",
            cp932(
                "職員番号,姓,名,セイ,メイ\r\n\
                 1,山田,花子,ﾔﾏﾀﾞ,ﾊﾅｺ\r\n\
                 2,田中,,タナカ,\r\n",
            ),
        )
        .rows(&["2:1 山田 花子 (ヤマダ ハナコ)", "3:2 田中 (タナカ)"]),
        case("a name that is a number", usual("1,00123,,,,,,\n2,田中 太郎,,,,,,\n"))
            .rows(&["3:2 田中 太郎"])
            .problems(&["! 2:2 Name NoLetter"]),
        case(
            "classes of employment",
            "職員番号,氏名,任用区分\n\
             1,山田 花子,正規職員\n\
             2,田中 太郎,パートタイム会計年度任用職員\n\
             3,佐藤 次郎,再任用短時間\n\
             4,鈴木 三郎,市議会議員\n\
             5,高橋 四郎,消防団員\n\
             6,伊藤 五郎,\n",
        )
        .rows(&[
            "2:1 山田 花子 Regular",
            "3:2 田中 太郎 FiscalYear",
            "4:3 佐藤 次郎 Reappointed",
            "5:4 鈴木 三郎 AssemblyMember",
            "6:5 高橋 四郎 CorpsMember",
            "7:6 伊藤 五郎",
        ]),
        case(
            "classes by the words of the source",
            "職員番号,氏名,任用区分\n\
             1,山田 花子,正規職員\n\
             2,田中 太郎,Ｂ職員\n\
             3,佐藤 次郎,正規\n\
             4,鈴木 三郎,正規\n\
             5,高橋 四郎,正規\n",
        )
        .mapping(|mapping| mapping.classes = [("Ｂ職員".to_owned(), Class::FiscalYear)].into())
        .rows(&[
            "2:1 山田 花子 Regular",
            "3:2 田中 太郎 FiscalYear",
            "4:3 佐藤 次郎 Regular",
            "5:4 鈴木 三郎 Regular",
            "6:5 高橋 四郎 Regular",
        ]),
        case(
            "a class that nobody knows is told once",
            "職員番号,氏名,任用区分\n\
             1,山田 花子,Ｂ職員\n\
             2,田中 太郎,Ｂ職員\n\
             3,佐藤 次郎,正規\n\
             4,鈴木 三郎,正規\n\
             5,高橋 四郎,正規\n\
             6,伊藤 五郎,正規\n\
             7,渡辺 六郎,正規\n\
             8,中村 七郎,正規\n\
             9,小林 八郎,正規\n\
             10,加藤 九郎,正規\n",
        )
        .rows(&[
            "2:1 山田 花子",
            "3:2 田中 太郎",
            "4:3 佐藤 次郎 Regular",
            "5:4 鈴木 三郎 Regular",
            "6:5 高橋 四郎 Regular",
            "7:6 伊藤 五郎 Regular",
            "8:7 渡辺 六郎 Regular",
            "9:8 中村 七郎 Regular",
            "10:9 小林 八郎 Regular",
            "11:10 加藤 九郎 Regular",
        ])
        .problems(&["? 2:3 UnknownClass", "? 11 LengthsVary"]),
        case(
            "addresses and accounts",
            "職員番号,氏名,メールアドレス,ログインID\n\
             1,山田 花子,Hanako@City.Example,Yamada.H\n\
             2,田中 太郎,ｔａｒｏ＠ｃｉｔｙ．ｅｘａｍｐｌｅ,ｔａｎａｋａ\n\
             3,佐藤 次郎,jiro,sato\n\
             4,鈴木 三郎,,鈴木\n\
             5,高橋 四郎,,\n",
        )
        .rows(&[
            "2:1 山田 花子 Hanako@city.example @yamada.h",
            "3:2 田中 太郎 taro@city.example @tanaka",
            "4:3 佐藤 次郎 @sato",
            "6:5 高橋 四郎",
        ])
        .problems(&["? 4:3 Contact Address", "! 5:4 Contact Account"]),
        case(
            "units in one cell and in several",
            "職員番号,氏名,部,課,係\n\
             1,山田 花子,総務部,人事課,給与係\n\
             2,田中 太郎,総務部,総務部　人事課,\n\
             3,佐藤 次郎,,議会事務局,\n",
        )
        .rows(&[
            "2:1 山田 花子 総務部/人事課/給与係",
            "3:2 田中 太郎 総務部/人事課",
            "4:3 佐藤 次郎 議会事務局",
        ]),
    ]
}
