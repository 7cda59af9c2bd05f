//! What rows say of each other.

use super::{Case, case};
use crate::Reason;

fn appointments(rows: &str) -> Vec<u8> {
    format!("職員番号,氏名,所属,職名,兼務,発令日,任期満了日\n{rows}").into_bytes()
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case(
            "a main appointment and additional ones",
            appointments(
                "1,山田 花子,総務課,課長,,2026/4/1,\n\
                 1,山田 花子,防災課,参事,兼務,2026/4/1,\n\
                 1,山田 花子,秘書室,,○,2026/4/1,\n",
            ),
        )
        .rows(&[
            "2:1 山田 花子 総務課 課長 2026-04-01~",
            "3:1 山田 花子 防災課 参事 兼 2026-04-01~",
            "4:1 山田 花子 秘書室 兼 2026-04-01~",
        ]),
        case(
            "本務 and 兼務 in words",
            appointments("1,山田 花子,総務課,課長,本務,,\n1,山田 花子,防災課,参事,併任,,\n"),
        )
        .rows(&["2:1 山田 花子 総務課 課長", "3:1 山田 花子 防災課 参事 兼"]),
        case(
            "a mark of main appointments",
            "職員番号,氏名,所属,主務フラグ\n1,山田 花子,総務課,0\n1,山田 花子,防災課,1\n",
        )
        .rows(&["2:1 山田 花子 総務課 兼", "3:1 山田 花子 防災課"]),
        case(
            "a fiscal year after the other",
            appointments(
                "1,山田 花子,総務課,,,2025/4/1,2026/3/31\n\
                 1,山田 花子,総務課,,,2026/4/1,2027/3/31\n",
            ),
        )
        .rows(&["2:1 山田 花子 総務課 2025-04-01~2026-03-31", "3:1 山田 花子 総務課 2026-04-01~2027-03-31"]),
        case(
            "two main appointments on one day: nothing of the person is taken",
            appointments(
                "1,山田 花子,総務課,,,2026/4/1,\n\
                 1,山田 花子,防災課,,,2026/4/1,\n\
                 2,田中 太郎,総務課,,,,\n",
            ),
        )
        .rows(&["4:2 田中 太郎 総務課"])
        .problems(&["! 2 HeldBack 3", "! 3 SecondMain 2"]),
        case(
            "a main appointment that begins on the last day of another",
            appointments(
                "1,山田 花子,総務課,,,2025/4/1,2026/3/31\n\
                 1,山田 花子,防災課,,,2026/3/31,\n",
            ),
        )
        .problems(&["! 2 HeldBack 3", "! 3 SecondMain 2"]),
        case(
            "one number with two accounts",
            "職員番号,氏名,所属,兼務,アカウント\n\
             1,山田 花子,総務課,,yamada\n\
             1,山田 花子,防災課,兼,yamada2\n\
             2,田中 太郎,総務課,,tanaka\n\
             2,田中 太郎,防災課,兼,\n",
        )
        .rows(&["4:2 田中 太郎 総務課 @tanaka", "5:2 田中 太郎 防災課 兼"])
        .problems(&["! 2 HeldBack 3", "! 3 OtherAccount 2"]),
        case(
            "one number with two names",
            appointments(
                "1,山田 花子,総務課,,,,\n\
                 1,田中 太郎,防災課,,兼務,,\n\
                 2,佐藤 次郎,総務課,,,,\n",
            ),
        )
        .rows(&["4:2 佐藤 次郎 総務課"])
        .problems(&["! 2 OtherName 3", "! 3 OtherName 2"]),
        case(
            "one number with a name in two spellings",
            appointments(
                "1,髙橋 花子,総務課,,,,\n\
                 1,高橋　花子,防災課,,兼務,,\n\
                 1,髙橋花子,秘書室,,兼務,,\n",
            ),
        )
        .rows(&["2:1 髙橋 花子 総務課", "3:1 髙橋 花子 防災課 兼", "4:1 髙橋 花子 秘書室 兼"])
        .problems(&["? 3 OtherLetters 2", "? 4 OtherLetters 2"]),
        case("two people of one name", appointments("1,山田 花子,総務課,,,,\n2,山田 花子,総務課,,,,\n"))
            .rows(&["2:1 山田 花子 総務課", "3:2 山田 花子 総務課"]),
        case(
            "numbers that differ in capitals",
            appointments(
                "K01,山田 花子,総務課,,,,\n\
                 k01,山田 花子,防災課,,兼務,,\n\
                 K02,田中 太郎,総務課,,,,\n",
            ),
        )
        .rows(&["4:K02 田中 太郎 総務課"])
        .problems(&["! 2 OtherCase 3", "! 3 OtherCase 2", "? 3 NoMain"]),
        case("the same row twice", appointments("1,山田 花子,総務課,課長,,,\n1,山田 花子,総務課,課長,,,\n"))
            .rows(&["2:1 山田 花子 総務課 課長"])
            .problems(&["? 3 Repeated 2"]),
        case(
            "no column for 兼務: the first is the main one",
            "職員番号,氏名,所属\n\
             1,山田 花子,総務課\n\
             1,山田 花子,防災課\n",
        )
        .rows(&["2:1 山田 花子 総務課", "3:1 山田 花子 防災課 兼"])
        .problems(&["? 3 TakenAsAdditional 2"]),
        case(
            "additional appointments without a main one",
            appointments(
                "1,山田 花子,総務課,,兼務,,\n\
                 2,田中 太郎,総務課,,,,\n",
            ),
        )
        .rows(&["2:1 山田 花子 総務課 兼", "3:2 田中 太郎 総務課"])
        .problems(&["? 2 NoMain"]),
        case(
            "nobody is taken by half",
            appointments(
                "1,山田 花子,総務課,,,2026/4/1,\n\
                 1,山田 花子,防災課,,兼務,2026/4/31,\n\
                 2,田中 太郎,総務課,,,,\n",
            ),
        )
        .rows(&["4:2 田中 太郎 総務課"])
        .problems(&["! 2 HeldBack 3", "! 3:6 Date Impossible"]),
        case(
            "a kind that is none",
            appointments(
                "1,山田 花子,総務課,,たぶん,,\n\
                 2,田中 太郎,総務課,,兼,,\n\
                 2,田中 太郎,防災課,,,,\n\
                 3,佐藤 次郎,防災課,,本務,,\n\
                 4,鈴木 三郎,防災課,,本務,,\n\
                 5,高橋 四郎,防災課,,本務,,\n",
            ),
        )
        .rows(&[
            "3:2 田中 太郎 総務課 兼",
            "4:2 田中 太郎 防災課",
            "5:3 佐藤 次郎 防災課",
            "6:4 鈴木 三郎 防災課",
            "7:5 高橋 四郎 防災課",
        ])
        .problems(&["! 2:5 UnknownKind"]),
        case(
            "a mail address of two people",
            "職員番号,氏名,メール\n\
             1,山田 花子,soumu@city.example\n\
             2,田中 太郎,Soumu@city.example\n",
        )
        .rows(&["2:1 山田 花子 soumu@city.example", "3:2 田中 太郎 Soumu@city.example"])
        .problems(&["? 3 SharedMail 2"]),
        case(
            "an account of two people: neither is taken",
            "職員番号,氏名,アカウント\n\
             1,山田 花子,yamada\n\
             2,山田 太郎,Yamada\n\
             3,田中 次郎,tanaka\n",
        )
        .rows(&["4:3 田中 次郎 @tanaka"])
        .problems(&["! 2 SharedAccount 3", "! 3 SharedAccount 2"]),
    ]
}

#[test]
fn more_rows_of_one_person_than_there_may_be_are_held_back_together() {
    let rows: String = (0..60).map(|unit| format!("1,山田 花子,{unit}課,,兼務,,\n")).collect();
    let file = appointments(&format!("2,田中 太郎,総務課,,,,\n{rows}"));
    let intake = case("many rows", file).run().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(intake.rows.len(), 1);
    let reasons: Vec<_> = intake.problems.iter().map(|problem| problem.reason.clone()).collect();
    assert_eq!(reasons.iter().filter(|reason| **reason == Reason::ManyAppointments).count(), 1);
    assert_eq!(reasons.iter().filter(|reason| **reason == Reason::HeldBack(53)).count(), 59);
}
