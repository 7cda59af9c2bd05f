//! Encodings, and files that are no text.

use encoding_rs::{EUC_JP, ISO_2022_JP};

use super::{Case, HEADER, case, cp932, marked, usual};
use crate::{Encoding, How, OwnLetters};

const TWO: &str = "00123,髙橋 花子,タカハシ ハナコ,0101,総務課,課長,2026/4/1,\r\n00124,宮﨑 太郎,ミヤザキ タロウ,0101,総務課,主査,2026/4/1,\r\n";
const ROWS: [&str; 2] = [
    "2:00123 髙橋 花子 (タカハシ ハナコ) #0101 総務課 課長 2026-04-01~",
    "3:00124 宮﨑 太郎 (ミヤザキ タロウ) #0101 総務課 主査 2026-04-01~",
];

fn utf16(text: &str, order: fn(u16) -> [u8; 2]) -> Vec<u8> {
    format!("\u{feff}{text}").encode_utf16().flat_map(order).collect()
}

pub(super) fn cases() -> Vec<Case> {
    let whole = format!("{HEADER}{TWO}");
    let tabs = whole.replace(',', "\t");
    let chosen = |encoding| How { encoding: Some(encoding), ..How::default() };
    let one = |name: &[u8]| [HEADER_CP932.as_slice(), b"1,", name, b",,,,,,\r\n"].concat();
    let broken = [whole.as_bytes(), b"00125,\xe5\xb1", ",,,,,,\r\n".as_bytes()].concat();
    vec![
        case("UTF-8 without a mark", whole.as_bytes()).rows(&ROWS),
        case("UTF-8 with a mark: the first header is known", marked(&whole)).rows(&ROWS),
        case("CP932, as Excel writes CSV", cp932(&whole)).rows(&ROWS),
        case("UTF-16, little end first, tabs: Excel's Unicode text", utf16(&tabs, u16::to_le_bytes))
            .rows(&ROWS),
        case("UTF-16, big end first", utf16(&whole, u16::to_be_bytes)).rows(&ROWS),
        case("UTF-16 without a mark", utf16(&tabs, u16::to_le_bytes)[2..].to_vec()).refused("UnmarkedUtf16"),
        case("UTF-16 without a mark, chosen", utf16(&tabs, u16::to_le_bytes)[2..].to_vec())
            .how(chosen(Encoding::Utf16Le))
            .rows(&ROWS),
        case("UTF-16 that ends in the middle of a letter", utf16(&tabs, u16::to_le_bytes)[..61].to_vec())
            .refused("Undecodable { encoding: Utf16Le"),
        case("both places of 髙 and 﨑 in CP932", one(b"\xfb\xfc\x8b\xb4 \xed\x95 \xee\xe0\xfa\xb1"))
            .rows(&["2:1 髙橋 﨑 髙﨑"]),
        case(
            "kanji whose second byte is a backslash",
            cp932(&format!("{HEADER}1,\"表 能ソ\",,,\"十予\",,,\r\n")),
        )
        .rows(&["2:1 表 能ソ 十予"]),
        case(
            "a backslash is one, escapes nothing, and is no ¥",
            [HEADER_CP932.as_slice(), &cp932("1,山田 花子,,,総務課,\"主\\査\\\",,\r\n")].concat(),
        )
        .rows(&["2:1 山田 花子 総務課 主\\査\\"]),
        case("the same in UTF-8", usual("1,山田 花子,,,総務課,\"主\\査\\\",,\r\n"))
            .rows(&["2:1 山田 花子 総務課 主\\査\\"]),
        case("letters of NEC: ① Ⅲ ㈱", cp932(&format!("{HEADER}1,山田 花子,,,総務課①,主査Ⅲ,,\r\n")))
            .rows(&["2:1 山田 花子 総務課① 主査Ⅲ"]),
        case("外字 in a name", one(b"\xf0\x40\x93\x63")).problems(&["! 2:2 Cell OwnLetter '\\u{e000}'"]),
        case("外字 in a name, taken by setting", one(b"\xf0\x40\x93\x63"))
            .mapping(|mapping| mapping.own_letters = OwnLetters::Taken)
            .rows(&["2:1 \u{e000}田"])
            .problems(&["? 2:2 OwnLetterTaken OwnLetter '\\u{e000}'"]),
        case("a broken letter in UTF-8", broken).refused(
            "Undecodable { encoding: Utf8, row: 4, line: 4, column: 2, offset: 248, bytes: [229, 177] }",
        ),
        case(
            "a byte that is no letter of CP932",
            [cp932(&whole), b"00125,\x8e\x52\xa0\r\n".to_vec()].concat(),
        )
        .refused("Undecodable { encoding: Cp932, row: 4, line: 4, column: 2,"),
        case(
            "EUC-JP, which CP932 would read as other letters",
            EUC_JP.encode(&TWO_PLAIN.replace("HEADER", HEADER)).0,
        )
        .refused("WhichEncoding"),
        case("EUC-JP, chosen", EUC_JP.encode(&TWO_PLAIN.replace("HEADER", HEADER)).0)
            .how(chosen(Encoding::EucJp))
            .rows(&["2:1 山田 花子 総務課"]),
        case("ISO-2022-JP", ISO_2022_JP.encode(&TWO_PLAIN.replace("HEADER", HEADER)).0).refused("Iso2022Jp"),
        case(
            "letters that were lost before",
            usual("1,山\u{fffd}花子,,,,,,\n2,〓橋 太郎,,,,,,\n3,?橋 次郎,,,,,,\n"),
        )
        .problems(&["! 2:2 Cell Lost", "! 3:2 Cell Lost", "! 4:2 Name QuestionMark"]),
        case("UTF-8 that was read as CP932 and saved again", usual("1,縺ゅ＞縺 繧九,,,,,,\n"))
            .problems(&["! 2:2 Cell Garbled"]),
        case("a workbook", b"PK\x03\x04\x14\x00".to_vec()).refused("Workbook"),
        case("a workbook of before 2007", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec()).refused("Workbook"),
        case("a web page called .xls", b"<html><table><tr><td>1</td></tr></table>".to_vec()).refused("Page"),
        case("an empty file", Vec::new()).refused("Empty"),
        case("a mark and line ends alone", marked("\r\n\r\n")).refused("Empty"),
        case(
            "a text of DOS with its end",
            usual(
                "1,山田 花子,,,,,,\r\n\
                 \u{1a}",
            ),
        )
        .rows(&["2:1 山田 花子"]),
    ]
}

/// `職員番号,氏名` and the other headers as bytes.
static HEADER_CP932: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| cp932(HEADER));

const TWO_PLAIN: &str = "HEADER1,山田 花子,,,総務課,,,\r\n";
