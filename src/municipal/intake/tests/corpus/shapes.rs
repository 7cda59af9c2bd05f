//! Separators, quotes, lines, and what stands around a table.

use super::{Case, HEADER, case, cp932, usual};
use crate::limits::{MAX_BYTES, MAX_COLUMNS, MAX_ROWS};

pub(super) fn cases() -> Vec<Case> {
    let columns = |separator: &str, end: &str| {
        let rows = [
            ["職員番号", "氏名", "所属"],
            ["00123", "山田 花子", "総務課"],
            ["00124", "田中 太郎", "防災課"],
        ];
        rows.map(|row| row.join(separator) + end).concat()
    };
    let rows = ["2:00123 山田 花子 総務課", "3:00124 田中 太郎 防災課"];
    vec![
        case("commas and LF", columns(",", "\n")).rows(&rows),
        case("tabs and CR LF", columns("\t", "\r\n")).rows(&rows),
        case("semicolons and CR", columns(";", "\r")).rows(&rows),
        case(
            "Excel's line that names the separator",
            format!(
                "sep=;\r\n\
                 {}",
                columns(";", "\r\n")
            ),
        )
        .rows(&rows),
        case("no line end at the end", columns(",", "\n").trim_end()).rows(&rows),
        case(
            "line breaks in quotes, CR LF and LF mixed",
            "職員番号,氏名,\"事務\r\n\
             分掌\",所属\r\n\
             1,\"山田\n\
             花子\",\"防災\n\
             避難所\",総務課\n\
             2,田中 太郎,,防災課\r\n",
        )
        .rows(&["2:1 山田 花子 総務課", "3:2 田中 太郎 防災課"]),
        case(
            "a fault behind a cell of two lines is told by its row",
            usual("1,山田 花子,,,\"総務\r\n課\",,,\n2,田中 太郎,,,,,2026/2/30,\n3,佐藤 次郎,,,,,,\n"),
        )
        .rows(&["2:1 山田 花子 総務/課", "4:3 佐藤 次郎"])
        .problems(&["! 3:7 Date Impossible"]),
        case(
            "a letter that is none behind a cell of two lines: row and line are told apart",
            [usual("1,山田 花子,,,\"総務\n課\",,,\n").as_slice(), b"2,\xe5\xb1,,,,,,\n"].concat(),
        )
        .refused("Undecodable { encoding: Utf8, row: 3, line: 4,"),
        case(
            "every cell in quotes, quotes and separators inside",
            "\"職員番号\",\"氏名\",\"所属\"\r\n\
             \"00123\",\"山田 \"\"花子\"\"\",\"総務,人事課\"\r\n",
        )
        .rows(&["2:00123 山田 \"花子\" 総務,人事課"]),
        case(
            "a stray quote in the middle: one row is wrong",
            usual(
                "1,山田 花子,,,,,,\n\
                 2,\"田中 太郎,,,,,,\n\
                 3,佐藤 次郎,,,\"総務課\",,,\n\
                 4,鈴木 三郎,,,,,,\n",
            ),
        )
        .rows(&["2:1 山田 花子", "4:3 佐藤 次郎 総務課", "5:4 鈴木 三郎"])
        .problems(&["! 3 Damage StrayQuote"]),
        case(
            "a quote that is never closed: one row is wrong",
            usual(
                "1,山田 花子,,,,,,\n\
                 2,\"田中 太郎,,,,,,\n\
                 3,佐藤 次郎,,,,,,\n",
            ),
        )
        .rows(&["2:1 山田 花子", "4:3 佐藤 次郎"])
        .problems(&["! 3 Damage OpenQuote"]),
        case(
            "a comma too many: the row is out of its columns",
            usual(
                "1,山田,花子,ヤマダ ハナコ,0101,総務課,課長,2026/4/1,\n\
                 2,田中 太郎,,,,,,\n",
            ),
        )
        .rows(&["3:2 田中 太郎"])
        .problems(&["? 2:3 NotKana", "! 2:4 Code Letter ' '", "! 2:7 Date NotADate"]),
        case("a comma too many at the end", usual("1,山田 花子,,,,,,,総務課\n2,田中 太郎,,,,,,\n"))
            .rows(&["3:2 田中 太郎"])
            .problems(&["! 2:9 PastHeader"]),
        case(
            "empty columns and rows to the right and below",
            format!(
                "{}{}",
                "職員番号,氏名,,,\n\
                 1,山田 花子,,,\n",
                ",,,,\n".repeat(2000)
            ),
        )
        .rows(&["2:1 山田 花子"]),
        case(
            "rows without their last separators, as Excel leaves them out",
            usual(
                "1,山田 花子\n\
                 2,田中 太郎,タナカ タロウ\n",
            ),
        )
        .rows(&["2:1 山田 花子", "3:2 田中 太郎 (タナカ タロウ)"]),
        case(
            "a title and an empty line above",
            cp932(
                "令和8年4月1日付け人事異動,,\r\n\
                 ,,\r\n\
                 職員番号,氏名,所属\r\n\
                 1,山田 花子,総務課\r\n",
            ),
        )
        .rows(&["4:1 山田 花子 総務課"]),
        case(
            "a title with words that are headers",
            "所属別職員名簿\n\
             作成日,2026/3/20\n\
             職員番号,氏名,所属\n\
             1,山田 花子,総務課\n",
        )
        .rows(&["4:1 山田 花子 総務課"]),
        case("notes and a sum below", "職員番号,氏名,所属\n1,山田 花子,総務課\n,以上,\n合計,1名,\n")
            .rows(&["2:1 山田 花子 総務課"])
            .problems(&["? 3 Note", "! 4:1 Code NoDigit"]),
        case(
            "notes below, and a name without a number among them",
            "職員番号,氏名,所属\n\
             1,山田 花子,総務課\n\
             ,田中 太郎,\n\
             ,,(育休中を含む)\n\
             ※以下は派遣,,\n\
             ,計,\n",
        )
        .rows(&["2:1 山田 花子 総務課"])
        .problems(&["! 3:1 Missing Number", "? 4 Note", "? 5 Note", "? 6 Note"]),
        case(
            "the headers again, where two files were joined",
            "職員番号,氏名\n\
             1,山田 花子\n\
             職員番号,氏名\n\
             2,田中 太郎\n",
        )
        .rows(&["2:1 山田 花子", "4:2 田中 太郎"])
        .problems(&["? 3 HeaderAgain"]),
        case("headers alone", HEADER).refused("NoRows"),
        case(
            "something that is no table of people",
            "日付,金額\n\
             2026/4/1,1200\n",
        )
        .refused("NoHeader"),
        case("prose", "関係各位\n人事異動のお知らせです。\n").refused("NoHeader"),
        case("a control character in a name", usual("1,山\u{7}田 花子,,,,,,\n2,田中 太郎,,,,,,\n"))
            .rows(&["3:2 田中 太郎"])
            .problems(&["! 2:2 Cell Control '\\u{7}'"]),
        case(
            "marks that nobody sees",
            usual(
                "1,山\u{202e}田 花子,,,,,,\n\
                 2,\u{200b}田中 太郎\u{feff},,,,,,\n\
                 3,佐藤\u{200b}次郎,,,,,,\n",
            ),
        )
        .rows(&["3:2 田中 太郎"])
        .problems(&["! 2:2 Cell Control '\\u{202e}'", "! 4:2 Cell Control '\\u{200b}'"]),
        case(
            "a cell that is longer than a cell may be",
            usual(&format!(
                "1,山田 花子,,,{},,,\n\
                 2,田中 太郎,,,,,,\n",
                "総".repeat(4001)
            )),
        )
        .rows(&["3:2 田中 太郎"])
        .problems(&["! 2 Damage LongCell"]),
        case(
            "a row that is wider than a row may be",
            usual(&format!(
                "1{}x\n\
                 2,田中 太郎,,,,,,\n",
                ",".repeat(MAX_COLUMNS)
            )),
        )
        .rows(&["3:2 田中 太郎"])
        .problems(&["! 2 Damage Wide"]),
        case("more rows than a file may have", "1,a\n".repeat(MAX_ROWS + 1)).refused("TooManyRows"),
        case("more bytes than a file may have", vec![b'x'; usize::try_from(MAX_BYTES).unwrap_or(0) + 1])
            .refused("TooLarge"),
        case("more cells than a file may have", format!("{}x\n", ",".repeat(250)).repeat(16_000))
            .refused("TooManyCells"),
        case("marks for the same as above", usual("1,山田 花子,,,総務課,,,\n2,田中 太郎,,,〃,,,\n"))
            .rows(&["2:1 山田 花子 総務課"])
            .problems(&["! 3:5 Cell Ditto"]),
        case("errors of a spreadsheet", usual("1,山田 花子,#N/A,,,,,\n2,田中 太郎,,,,,########,\n"))
            .problems(&["! 2:3 Cell SpreadsheetError", "! 3:7 Cell SpreadsheetError"]),
        case(
            "what would be computed stays text",
            usual(
                "1,=1+1花子,,,=HYPERLINK(1),+主査,,\n\
                 2,'@田中,,,-,,,\n",
            ),
        )
        .rows(&["2:1 =1+1花子 =HYPERLINK(1) +主査", "3:2 @田中"]),
    ]
}
