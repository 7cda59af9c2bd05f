//! Numbers of people and codes of units, and what spreadsheets make of them.

use super::{Case, case, usual};
use crate::Digits;

pub(super) fn cases() -> Vec<Case> {
    let without_zeros = || usual("123,山田 花子,,,,,,\n4567,田中 太郎,,,,,,\n");
    vec![
        case(
            "zeros in front, in quotes or not",
            usual(
                "00123,山田 花子,,,,,,\n\
                 \"00124\",田中 太郎,,\"0012\",,,,\n",
            ),
        )
        .rows(&["2:00123 山田 花子", "3:00124 田中 太郎 #0012"]),
        case(
            "zeros kept from Excel by a formula",
            usual(
                "=\"00123\",山田 花子,,=\"0101\",,,,\n\
                 \"=\"\"00124\"\"\",田中 太郎,,,,,,\n",
            ),
        )
        .rows(&["2:00123 山田 花子 #0101", "3:00124 田中 太郎"]),
        case("zeros kept from Excel by an apostrophe", usual("'00123,山田 花子,,'0101,,,,\n"))
            .rows(&["2:00123 山田 花子 #0101"]),
        case("full-width digits", usual("００１２３,山田 花子,,０１−０１,,,,\n"))
            .rows(&["2:00123 山田 花子 #01-01"]),
        case(
            "numbers that Excel wrote in powers",
            usual(
                "1.23E+05,山田 花子,,,,,,\n\
                 00124,田中 太郎,,1E+10,,,,\n",
            ),
        )
        .problems(&["! 2:1 Code Scientific", "! 3:4 Code Scientific"]),
        case(
            "numbers with a fraction or commas",
            usual(
                "123.0,山田 花子,,,,,,\n\
                 \"1,234\",田中 太郎,,,,,,\n",
            ),
        )
        .problems(&["! 2:1 Code Fraction", "! 3:1 Code Thousands"]),
        case(
            "codes that Excel made days of",
            usual(
                "1,山田 花子,,3月4日,,,,\n\
                 2,田中 太郎,,2026/3/4,,,,\n\
                 3,佐藤 次郎,,4-Mar,,,,\n\
                 4,鈴木 三郎,,3-4,,,,\n",
            ),
        )
        .rows(&["5:4 鈴木 三郎 #3-4"])
        .problems(&["! 2:4 Code Day", "! 3:4 Code Day", "! 4:4 Code Day"]),
        case("some numbers lost their zeros", usual("00123,山田 花子,,,,,,\n456,田中 太郎,,,,,,\n"))
            .rows(&["2:00123 山田 花子"])
            .problems(&["! 3 ZerosLost 5"]),
        case(
            "a row that was refused had lost its zeros too",
            usual(
                "00123,山田 花子,,,,,,\n\
                 456,田中 太郎,,,,,2026/4/31,\n",
            ),
        )
        .rows(&["2:00123 山田 花子"])
        .problems(&["! 3:7 Date Impossible"]),
        case("perhaps all numbers lost their zeros", without_zeros())
            .rows(&["2:123 山田 花子", "3:4567 田中 太郎"])
            .problems(&["? 3 LengthsVary"]),
        case("numbers without zeros are refused by setting", without_zeros())
            .mapping(|mapping| mapping.digits = Digits::Exactly(4))
            .rows(&["3:4567 田中 太郎"])
            .problems(&["! 2:1 ZerosLost 4"]),
        case("zeros are filled by setting", without_zeros())
            .mapping(|mapping| mapping.digits = Digits::FilledTo(6))
            .rows(&["2:000123 山田 花子", "3:004567 田中 太郎"])
            .problems(&["? 2:1 ZerosFilled 6", "? 3:1 ZerosFilled 6"]),
        case("numbers with letters", usual("K-0012,山田 花子,,,,,,\n会計０１,田中 太郎,,,,,,\n"))
            .rows(&["2:K-0012 山田 花子", "3:会計01 田中 太郎"]),
        case(
            "no number, no name",
            usual(
                ",山田 花子,,0101,総務課,,,\n\
                 2,,,0101,総務課,,,\n\
                 3,\u{3000},,,総務課,,,\n",
            ),
        )
        .problems(&["! 2:1 Missing Number", "! 3:2 Missing Name", "! 4:2 Missing Name"]),
        case(
            "a number with a blank or a formula",
            usual(
                "00 123,山田 花子,,,,,,\n\
                 =SUM(A1:A3),田中 太郎,,,,,,\n",
            ),
        )
        .problems(&["! 2:1 Code Letter ' '", "! 3:1 Code Letter '='"]),
        case(
            "a number that is too long",
            usual(&format!(
                "{},山田 花子,,,,,,\n\
                 1,田中 太郎,,,,,,\n",
                "1".repeat(33)
            )),
        )
        .rows(&["3:1 田中 太郎"])
        .problems(&["! 2:1 Code Long"]),
    ]
}

#[test]
fn whose_row_was_refused_is_held_back_if_the_number_is_whole_and_unread_if_not() {
    let file = usual(
        "00123,山田 花子,,,,,2026/4/31,\n456,田中 太郎,,,,,2026/4/31,\n457,佐藤 次郎,,,,,,\n00124,鈴木 三郎,,,,,,\n",
    );
    let intake = case("numbers", file).run().unwrap_or_else(|error| panic!("{error}"));
    let held: Vec<_> = intake.held_back.keys().map(|number| number.as_str()).collect();
    assert_eq!((held, intake.unread, intake.seen), (vec!["00123"], 2, 4));
    assert_eq!(intake.digits, [(5, 1)].into());
}
