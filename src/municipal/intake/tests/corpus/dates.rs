//! Days of eras, of the common calendar, and of Excel.

use super::{Case, case, cp932};

fn dates(rows: &str) -> Vec<u8> {
    format!("職員番号,氏名,発令日,任期満了日\r\n{rows}").into_bytes()
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case(
            "days of 令和 in words",
            cp932(
                "職員番号,氏名,発令日,任期満了日\r\n\
                 1,山田 花子,令和8年4月1日,令和9年3月31日\r\n\
                 2,田中 太郎,令和８年４月１日,令和 9年 3月 31日\r\n\
                 3,佐藤 次郎,令和八年四月一日,令和九年三月三十一日\r\n",
            ),
        )
        .rows(&[
            "2:1 山田 花子 2026-04-01~2027-03-31",
            "3:2 田中 太郎 2026-04-01~2027-03-31",
            "4:3 佐藤 次郎 2026-04-01~2027-03-31",
        ]),
        case(
            "days of 令和 by a letter",
            dates(
                "1,山田 花子,R8.4.1,R09/03/31\n\
                 2,田中 太郎,r8-4-1,令9.3.31\n\
                 3,佐藤 次郎,R080401,㋿9年3月31日\n",
            ),
        )
        .rows(&[
            "2:1 山田 花子 2026-04-01~2027-03-31",
            "3:2 田中 太郎 2026-04-01~2027-03-31",
            "4:3 佐藤 次郎 2026-04-01~2027-03-31",
        ]),
        case(
            "days of the common calendar",
            dates(
                "1,山田 花子,2026/4/1,2027-03-31\n\
                 2,田中 太郎,20260401,2027.3.31\n\
                 3,佐藤 次郎,2026年4月1日(水),2027年3月31日\n",
            ),
        )
        .rows(&[
            "2:1 山田 花子 2026-04-01~2027-03-31",
            "3:2 田中 太郎 2026-04-01~2027-03-31",
            "4:3 佐藤 次郎 2026-04-01~2027-03-31",
        ]),
        case(
            "the border of 平成 and 令和",
            dates(
                "1,山田 花子,平成31年4月30日,\n\
                 2,田中 太郎,令和元年5月1日,\n\
                 3,佐藤 次郎,平成31年5月1日,\n\
                 4,鈴木 三郎,令和元年4月30日,\n\
                 5,高橋 四郎,R1.5.1,\n",
            ),
        )
        .rows(&[
            "2:1 山田 花子 2019-04-30~",
            "3:2 田中 太郎 2019-05-01~",
            "4:3 佐藤 次郎 2019-05-01~",
            "6:5 高橋 四郎 2019-05-01~",
        ])
        .problems(&["? 4:3 DateDoubt AfterEra", "! 5:3 Date BeforeEra"]),
        case(
            "the border of 昭和 and 平成",
            dates(
                "1,山田 花子,昭和64年1月7日,\n\
                 2,田中 太郎,平成元年1月8日,\n\
                 3,佐藤 次郎,昭和64年1月8日,\n\
                 4,鈴木 三郎,平成元年1月7日,\n",
            ),
        )
        .rows(&["2:1 山田 花子 1989-01-07~", "3:2 田中 太郎 1989-01-08~", "4:3 佐藤 次郎 1989-01-08~"])
        .problems(&["? 4:3 DateDoubt AfterEra", "! 5:3 Date BeforeEra"]),
        case("a contract of 平成 that ends in 令和", dates("1,山田 花子,平成28年4月1日,平成36年3月31日\n"))
            .rows(&["2:1 山田 花子 2016-04-01~2024-03-31"])
            .problems(&["? 2:4 DateDoubt AfterEra"]),
        case("serial numbers of Excel", dates("1,山田 花子,46113,46477\n"))
            .rows(&["2:1 山田 花子 2026-04-01~2027-03-31"])
            .problems(&["? 2:3 DateDoubt Serial", "? 2:4 DateDoubt Serial"]),
        case("seven digits with the number of an era", dates("1,山田 花子,5080401,5090331\n"))
            .rows(&["2:1 山田 花子 2026-04-01~2027-03-31"])
            .problems(&["? 2:3 DateDoubt EraDigit", "? 2:4 DateDoubt EraDigit"]),
        case(
            "no end in all its spellings",
            dates(
                "1,山田 花子,2026/4/1,\n\
                 2,田中 太郎,2026/4/1,9999/12/31\n\
                 3,佐藤 次郎,2026/4/1,99991231\n\
                 4,鈴木 三郎,2026/4/1,無期限\n\
                 5,高橋 四郎,2026/4/1,00000000\n\
                 6,伊藤 五郎,2026/4/1,令和99年12月31日\n",
            ),
        )
        .rows(&[
            "2:1 山田 花子 2026-04-01~",
            "3:2 田中 太郎 2026-04-01~",
            "4:3 佐藤 次郎 2026-04-01~",
            "5:4 鈴木 三郎 2026-04-01~",
            "6:5 高橋 四郎 2026-04-01~",
            "7:6 伊藤 五郎 2026-04-01~",
        ]),
        case(
            "days that are none",
            dates(
                "1,山田 花子,2026/2/29,\n\
                 2,田中 太郎,2026/4/31,\n\
                 3,佐藤 次郎,令和8年13月1日,\n\
                 4,鈴木 三郎,未定,\n\
                 5,高橋 四郎,2026/4/1,\n",
            ),
        )
        .rows(&["6:5 高橋 四郎 2026-04-01~"])
        .problems(&[
            "! 2:3 Date Impossible",
            "! 3:3 Date Impossible",
            "! 4:3 Date Impossible",
            "! 5:3 Date NotADate",
        ]),
        case(
            "days that could be two",
            dates(
                "1,山田 花子,26/4/1,\n\
                 2,田中 太郎,080401,\n\
                 3,佐藤 次郎,4月1日,\n\
                 4,鈴木 三郎,4/1/2026,\n\
                 5,高橋 四郎,2026年4月,\n",
            ),
        )
        .problems(&[
            "! 2:3 Date ShortYear",
            "! 3:3 Date ShortYear",
            "! 4:3 Date NoYear",
            "! 5:3 Date YearLast",
            "! 6:3 Date NoDay",
        ]),
        case(
            "times of day",
            dates(
                "1,山田 花子,2026/4/1 0:00:00,2027-03-31T00:00:00+09:00\n\
                 2,田中 太郎,2026-04-01 08:30,\n\
                 3,佐藤 次郎,2026-03-31T15:00:00Z,\n",
            ),
        )
        .rows(&["2:1 山田 花子 2026-04-01~2027-03-31", "3:2 田中 太郎 2026-04-01~"])
        .problems(&["? 3:3 DateDoubt Time", "! 4:3 Date OtherZone"]),
        case(
            "periods in one cell",
            "職員番号,氏名,任期\n\
             1,山田 花子,R8.4.1～R9.3.31\n\
             2,田中 太郎,令和8年4月1日から令和9年3月31日まで\n\
             3,佐藤 次郎,R9.3.31まで\n",
        )
        .rows(&[
            "2:1 山田 花子 ~2027-03-31",
            "3:2 田中 太郎 ~2027-03-31",
            "4:3 佐藤 次郎 ~2027-03-31",
        ]),
        case(
            "an end before the begin",
            dates(
                "1,山田 花子,2026/4/1,2026/3/31\n\
                 2,田中 太郎,2026/4/1,2026/4/1\n",
            ),
        )
        .rows(&["3:2 田中 太郎 2026-04-01~2026-04-01"])
        .problems(&["! 2:4 EndsFirst"]),
        case("never, where something begins", dates("1,山田 花子,9999/12/31,\n"))
            .problems(&["! 2:3 Date NeverBegins"]),
        case("the 29th of February of a leap year", dates("1,山田 花子,令和6年2月29日,R10.2.29\n"))
            .rows(&["2:1 山田 花子 2024-02-29~2028-02-29"]),
    ]
}
