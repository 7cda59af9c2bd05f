//! Reading days in the spellings that people and programs use.
//!
//! What may be read in two ways is refused (25/4/1 is a day of 2025 or of 平成25年). What can mean one day only, but
//! was hardly written so on purpose, is read, and the day is shown with a doubt. For eras the rule is:
//!
//! - A day *after* the end of its era means what it says (平成31年5月1日 is 1 May 2019, 平成36年3月31日 is 31 March 2024): such
//!   were written before the next era was known, and stand in contracts. It is read with a doubt that gives the right form.
//! - A day *before* the begin of its era (令和元年4月30日) never was one. It is refused, with the right form.

use unicode_normalization::UnicodeNormalization;

use super::{Date, YEARS, era};
use crate::words::{Words, words};

/// Why something is no day that can be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is no day in any form that is known.
    NotADate,
    /// The calendar has no such day.
    Impossible,
    /// The year has two digits and no era.
    ShortYear,
    /// There is no year.
    NoYear,
    /// There is no day of the month.
    NoDay,
    /// The year comes last.
    YearLast,
    /// The era had not begun; this is the day as it is written rightly.
    BeforeEra(String),
    /// The year is not between 1900 and 2199.
    FarYear,
    /// It is a moment in a time zone that is not Japan's.
    OtherZone,
    /// The day of the week is another one.
    OtherWeekday,
    /// It says that there is no end, where something begins.
    NeverBegins,
}

impl Fault {
    /// The sentence for whoever sent the file.
    #[must_use]
    pub fn words(&self) -> Words {
        match self {
            Self::NotADate => words!(
                "日付として読めません。「令和8年4月1日」「R8.4.1」「2026/4/1」「20260401」のように書いてください。",
                "This is no date; please write it like 2026/4/1, 20260401 or R8.4.1."
            ),
            Self::Impossible => words!("暦にない日付です。", "There is no such day in the calendar."),
            Self::ShortYear => words!(
                "年が2桁で、和暦か西暦か決められません。「R8.4.1」か「2026/4/1」のように書いてください。",
                "The year has two digits, which may be of an era or of a century; please write 2026/4/1 or R8.4.1."
            ),
            Self::NoYear => words!("日付に年がありません。", "The date has no year."),
            Self::NoDay => words!("日付に日がありません。", "The date has no day of the month."),
            Self::YearLast => {
                words!("年・月・日の順に書いてください。", "Please write the year first, then month and day.")
            }
            Self::BeforeEra(right) => words!(
                "この元号が始まる前の日付です。正しくは「{right}」です。",
                "The era had not begun on this day, which is written {right}."
            ),
            Self::FarYear => {
                let (first, last) = (YEARS.start(), YEARS.end());
                words!(
                    "年が{first}年から{last}年までの範囲にありません。",
                    "The year is not between {first} and {last}."
                )
            }
            Self::OtherZone => words!(
                "日本時間でない時刻が付いています。日付だけにしてください。",
                "This is a moment in another time zone than Japan's; please give the day alone."
            ),
            Self::OtherWeekday => {
                words!("日付と曜日が合いません。", "The day of the week does not fit the date.")
            }
            Self::NeverBegins => words!(
                "始まりの日付に「期限なし」を表す値が入っています。",
                "A value that means \"without end\" stands where something begins."
            ),
        }
    }
}

/// What is odd about a day that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The era was over; this is the day as it is written rightly.
    AfterEra(String),
    /// It was a serial number of Excel.
    Serial(Date),
    /// It was a number whose first digit is an era.
    EraDigit(Date),
    /// A time of day stood with it and was left out.
    Time(Date),
}

impl Doubt {
    /// The sentence for whoever sent the file.
    #[must_use]
    pub fn words(&self) -> Words {
        match self {
            Self::AfterEra(right) => words!(
                "元号が変わった後の日付です。「{right}」として読みました。",
                "The era was over on this day; it was read as {right}."
            ),
            Self::Serial(date) => {
                let era = date.in_era();
                words!(
                    "Excel の日付の通し番号です。{era}({date})として読みました。",
                    "This is a serial number of Excel; it was read as {date}."
                )
            }
            Self::EraDigit(date) => {
                let era = date.in_era();
                words!(
                    "元号の番号で始まる7桁の日付とみて、{era}({date})として読みました。",
                    "This was taken for seven digits that begin with the number of an era, and read as {date}."
                )
            }
            Self::Time(date) => words!(
                "時刻を除き、{date} として読みました。",
                "The time of day was left out; it was read as {date}."
            ),
        }
    }
}

/// A day as it was read, if one is meant, and what is odd about it.
pub(crate) type Read = Result<(Option<Date>, Option<Doubt>), Fault>;

/// What stands between the days of a period, in the spellings of 任期.
const TO: [&str; 4] = ["～", "〜", "~", "から"];

/// The last day of something: nothing and the words and numbers for "never" mean that there is none. Of a period it is
/// the second day.
pub(crate) fn end(text: &str) -> Read {
    let last = TO.iter().fold(text, |text, to| text.rsplit(to).next().unwrap_or(text));
    Ok(match meant(last.trim_end().trim_end_matches("まで"))? {
        Meant::Day(date, doubt) => (Some(date), doubt),
        Meant::Nothing | Meant::Never => (None, None),
    })
}

/// The first day of something; of a period the first.
pub(crate) fn begin(text: &str) -> Read {
    let first = TO.iter().fold(text, |text, to| text.split(to).next().unwrap_or(text)).trim_end();
    // An end without a begin: 令和9年3月31日まで
    if first.ends_with("まで") {
        return Ok((None, None));
    }
    let first = ["付け", "付", "より"].iter().fold(first, |text, end| text.trim_end_matches(end));
    match meant(first)? {
        Meant::Day(date, doubt) => Ok((Some(date), doubt)),
        Meant::Nothing => Ok((None, None)),
        Meant::Never => Err(Fault::NeverBegins),
    }
}

/// Whether a text has both days of a period.
pub(crate) fn is_period(text: &str) -> bool {
    let is_day = |read: Read| matches!(read, Ok((Some(_), _)));
    TO.iter().any(|to| text.contains(to)) && is_day(begin(text)) && is_day(end(text))
}

enum Meant {
    Day(Date, Option<Doubt>),
    Nothing,
    Never,
}

/// More letters than any day has.
const LONGEST: usize = 48;

/// What Excel counts as 9999-12-31.
const LAST_SERIAL: &str = "2958465";

fn meant(text: &str) -> Result<Meant, Fault> {
    if text.chars().count() > LONGEST {
        return Err(Fault::NotADate);
    }
    // Full width to half, ㍻ to 平成.
    let text: String = text.nfkc().map(plain).collect();
    let (text, time) = without_time(text.trim())?;
    let (text, weekday) = without_weekday(&text);
    let text = text.replace(char::is_whitespace, "");
    match text.as_str() {
        "" | "-" | "00000000" | "なし" | "無し" | "無" => return Ok(Meant::Nothing),
        "99999999" | LAST_SERIAL | "無期限" | "期限なし" | "期限の定めなし" | "定めなし" => {
            return Ok(Meant::Never);
        }
        _ => {}
    }
    let meant = match era::named(&text) {
        Some((era, rest)) => in_era(era, rest)?,
        None => common(&text)?,
    };
    let Meant::Day(date, doubt) = meant else { return Ok(meant) };
    if weekday.is_some_and(|weekday| weekday != date.weekday()) {
        return Err(Fault::OtherWeekday);
    }
    Ok(Meant::Day(date, doubt.or(time.then_some(Doubt::Time(date)))))
}

/// One letter for all that look like it.
fn plain(letter: char) -> char {
    match letter {
        '‐' | '‑' | '–' | '—' | '―' | '−' | 'ー' => '-',
        '。' | '、' | ',' | '・' => '.',
        other => other,
    }
}

/// The text without a time of day at its end, and whether that was another than midnight.
fn without_time(text: &str) -> Result<(String, bool), Fault> {
    let Some(colon) = text.find(':') else { return Ok((text.to_owned(), false)) };
    let gap = text[..colon].rfind([' ', 'T']).ok_or(Fault::NotADate)?;
    let time = text[gap + 1..].trim();
    let clock = time.strip_suffix("+09:00").unwrap_or(time);
    if clock.contains(['Z', '+', '-']) {
        return Err(Fault::OtherZone);
    }
    if !clock.chars().all(|letter| letter.is_ascii_digit() || matches!(letter, ':' | '.')) {
        return Err(Fault::NotADate);
    }
    Ok((text[..gap].trim().to_owned(), clock.contains(|letter| ('1'..='9').contains(&letter))))
}

/// The text without `(火)` or `火曜日` at its end, and that day counted from Monday.
fn without_weekday(text: &str) -> (&str, Option<u32>) {
    let inside = text.strip_suffix(')').and_then(|text| text.rsplit_once('('));
    let (rest, name) = match inside {
        Some((rest, name)) => (rest, name),
        None => match text.rfind("曜") {
            Some(at) => {
                let before = text[..at].chars().next_back().map_or(0, char::len_utf8);
                text.split_at(at - before)
            }
            None => return (text, None),
        },
    };
    let mut letters = name.trim_end_matches('日').trim_end_matches('曜').chars();
    let name = letters.next().or_else(|| name.chars().next());
    let weekday = name.filter(|_| letters.next().is_none()).and_then(|name| "月火水木金土日".find(name));
    // Each of them takes three bytes.
    match weekday.and_then(|at| u32::try_from(at / '月'.len_utf8()).ok()) {
        Some(weekday) => (rest, Some(weekday)),
        None => (text, None),
    }
}

/// A day by its era.
fn in_era(era: &'static era::Era, rest: &str) -> Result<Meant, Fault> {
    let [of_era, month, day] = match numbers(rest)? {
        Shape::Three(parts) => parts,
        Shape::Digits(digits) if digits.len() == 6 => sliced(&digits, [2, 2, 2])?,
        Shape::Digits(_) => return Err(Fault::NotADate),
    };
    // 令和99年12月31日 is what programs write for a day that never comes.
    if of_era == 99 {
        return Ok(Meant::Never);
    }
    if !(1..99).contains(&of_era) {
        return Err(Fault::Impossible);
    }
    let year = u16::try_from(of_era).ok().and_then(|of_era| era.year(of_era)).ok_or(Fault::Impossible)?;
    let date = day_of(u32::from(year), month, day)?;
    if date < era.first {
        return Err(Fault::BeforeEra(date.in_era()));
    }
    let own = era::of(date).is_some_and(|(own, _)| own.name == era.name);
    Ok(Meant::Day(date, (!own).then(|| Doubt::AfterEra(date.in_era()))))
}

/// A day by the common calendar, or a number that stands for one.
fn common(text: &str) -> Result<Meant, Fault> {
    let parts = match numbers(text)? {
        Shape::Three(parts) => parts,
        Shape::Digits(digits) => match digits.len() {
            8 => sliced(&digits, [4, 2, 2])?,
            7 => return era_digit(&digits),
            6 => return Err(Fault::ShortYear),
            5 => return serial(&digits),
            _ => return Err(Fault::NotADate),
        },
    };
    match parts {
        [0, 0, 0] => Ok(Meant::Nothing),
        [9999, _, _] => Ok(Meant::Never),
        [1..=31, 1..=31, 1000..=9999] => Err(Fault::YearLast),
        [0..=99, _, _] => Err(Fault::ShortYear),
        [year, month, day] => Ok(Meant::Day(day_of(year, month, day)?, None)),
    }
}

/// `5070401`
fn era_digit(digits: &str) -> Result<Meant, Fault> {
    let era = era::ERAS.iter().find(|era| digits.starts_with(era.digit)).ok_or(Fault::NotADate)?;
    let meant = in_era(era, &digits[1..])?;
    let Meant::Day(date, _) = meant else { return Ok(meant) };
    Ok(Meant::Day(date, Some(Doubt::EraDigit(date))))
}

/// A day as Excel counts it, from 1954 to 2099. Day 0 is 30 December 1899, as for Excel 1900 was a leap year.
fn serial(digits: &str) -> Result<Meant, Fault> {
    let number: u32 = digits.parse().map_err(|_| Fault::NotADate)?;
    if !(20_000..73_051).contains(&number) {
        return Err(Fault::NotADate);
    }
    let zero = Date { year: 1899, month: 12, day: 30 };
    let date = Date::numbered(zero.number() + number).ok_or(Fault::NotADate)?;
    Ok(Meant::Day(date, Some(Doubt::Serial(date))))
}

fn day_of(year: u32, month: u32, day: u32) -> Result<Date, Fault> {
    if !YEARS.contains(&year) {
        return Err(Fault::FarYear);
    }
    let parts = (u16::try_from(year), u8::try_from(month), u8::try_from(day));
    let (Ok(year), Ok(month), Ok(day)) = parts else { return Err(Fault::Impossible) };
    Date::new(year, month, day).ok_or(Fault::Impossible)
}

/// The numbers of a day.
enum Shape {
    /// In the order in which they stand.
    Three([u32; 3]),
    /// Digits without anything between them.
    Digits(String),
}

/// `7年4月1日`, `2026/4/1`, `20260401`
fn numbers(text: &str) -> Result<Shape, Fault> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(Shape::Digits(text.to_owned()));
    }
    let is_mark = |letter: char| "年月日/.-".contains(letter);
    let marks: String = text.chars().filter(|letter| is_mark(*letter)).collect();
    let mut parts = Vec::new();
    for part in text.trim_end_matches(['日', '月', '年']).split(is_mark) {
        parts.push(number(part).ok_or(Fault::NotADate)?);
        if parts.len() > 3 {
            return Err(Fault::NotADate);
        }
    }
    match (marks.as_str(), &parts[..]) {
        ("年月日" | "年月" | "//" | ".." | "--", [year, month, day]) => {
            Ok(Shape::Three([*year, *month, *day]))
        }
        ("/" | "." | "-", [1000..=9999, _]) => Err(Fault::NoDay),
        ("/" | "." | "-" | "月日" | "月", [_, _]) => Err(Fault::NoYear),
        _ if text.ends_with('月') && text.contains('年') => Err(Fault::NoDay),
        _ => Err(Fault::NotADate),
    }
}

/// A number of at most four digits, or in kanji: 元, 二十九, 二〇二六.
fn number(text: &str) -> Option<u32> {
    if text == "元" {
        return Some(1);
    }
    if text.is_empty() || text.chars().count() > 4 {
        return None;
    }
    let digit = |letter: char| {
        let kanji = "〇一二三四五六七八九".chars().position(|kanji| kanji == letter);
        letter.to_digit(10).or_else(|| kanji.and_then(|digit| u32::try_from(digit).ok()))
    };
    let read = |text: &str| text.chars().try_fold(0, |sum, letter| Some(sum * 10 + digit(letter)?));
    let Some((tens, ones)) = text.split_once('十') else { return read(text) };
    let tens = if tens.is_empty() { 1 } else { read(tens)? };
    Some(tens * 10 + read(ones)?)
}

/// Digits cut into numbers of these lengths.
fn sliced(digits: &str, lengths: [usize; 3]) -> Result<[u32; 3], Fault> {
    let mut rest = digits;
    let mut parts = [0; 3];
    for (part, length) in parts.iter_mut().zip(lengths) {
        let (this, after) = rest.split_at_checked(length).ok_or(Fault::NotADate)?;
        *part = this.parse().map_err(|_| Fault::NotADate)?;
        rest = after;
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        match begin(text) {
            Ok((date, doubt)) => {
                let date = date.map_or_else(|| "-".to_owned(), |date| date.to_string());
                doubt.map_or_else(|| date.clone(), |doubt| format!("{date} {doubt:?}"))
            }
            Err(fault) => format!("{fault:?}"),
        }
    }

    #[test]
    fn days_are_read_in_all_the_ways_that_people_write_them() {
        let first_of_april = [
            "令和7年4月1日",
            "令和７年４月１日",
            "令和 7年 4月 1日",
            "令和七年四月一日",
            "令7.4.1",
            "㋿7年4月1日",
            "R7.4.1",
            "r7/4/1",
            "R07/04/01",
            "R7-4-1",
            "Ｒ７．４．１",
            "R070401",
            "2025/4/1",
            "2025/04/01",
            "2025-04-01",
            "2025−4−1",
            "2025.4.1",
            "2025年4月1日",
            "2025年4月1日(火)",
            "令和7年4月1日（火曜日）",
            "２０２５／４／１",
            "二〇二五年四月一日",
            "20250401",
            "2025/4/1 0:00:00",
            "2025-04-01T00:00:00",
            "2025-04-01T00:00:00+09:00",
            " 2025/4/1\u{3000}",
        ];
        for text in first_of_april {
            assert_eq!(read(text), "2025-04-01", "{text}");
        }
    }

    #[test]
    fn eras_are_kept_to_their_days() {
        let cases = [
            ("平成31年4月30日", "2019-04-30"),
            ("令和元年5月1日", "2019-05-01"),
            ("令和1年5月1日", "2019-05-01"),
            ("平成31年5月1日", "2019-05-01 AfterEra(\"令和元年5月1日\")"),
            ("平成36年3月31日", "2024-03-31 AfterEra(\"令和6年3月31日\")"),
            ("令和元年4月30日", "BeforeEra(\"平成31年4月30日\")"),
            ("平成元年1月8日", "1989-01-08"),
            ("平成元年1月7日", "BeforeEra(\"昭和64年1月7日\")"),
            ("昭和64年1月7日", "1989-01-07"),
            ("昭和64年1月8日", "1989-01-08 AfterEra(\"平成元年1月8日\")"),
            ("S38.4.1", "1963-04-01"),
            ("㍻3年4月1日", "1991-04-01"),
            ("大正元年7月30日", "1912-07-30"),
            ("令和0年4月1日", "Impossible"),
            ("令和8年2月29日", "Impossible"),
            ("令和6年2月29日", "2024-02-29"),
            ("5070401", "2025-04-01 EraDigit(Date { year: 2025, month: 4, day: 1 })"),
            ("4310430", "2019-04-30 EraDigit(Date { year: 2019, month: 4, day: 30 })"),
        ];
        for (text, wanted) in cases {
            assert_eq!(read(text), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_no_day_or_could_be_two_is_refused_with_the_reason() {
        let cases = [
            ("2025/2/29", "Impossible"),
            ("2025/4/31", "Impossible"),
            ("20250431", "Impossible"),
            ("2025/13/1", "Impossible"),
            ("25/4/1", "ShortYear"),
            ("070401", "ShortYear"),
            ("4月1日", "NoYear"),
            ("4/1", "NoYear"),
            ("2025/4", "NoDay"),
            ("令和7年4月", "NoDay"),
            ("4/1/2025", "YearLast"),
            ("1850/1/1", "FarYear"),
            ("3025/4/1", "FarYear"),
            ("2025-03-31T15:00:00Z", "OtherZone"),
            ("2025年4月1日(水)", "OtherWeekday"),
            ("01-Apr-25", "NotADate"),
            ("令和7年度", "NotADate"),
            ("1.23E+05", "NotADate"),
            ("未定", "NotADate"),
            ("2025/4/1/1", "NotADate"),
            ("２０２５/４.１", "NotADate"),
            ("123", "NotADate"),
            ("99999", "NotADate"),
            ("9999/12/31", "NeverBegins"),
            ("無期限", "NeverBegins"),
        ];
        for (text, wanted) in cases {
            assert_eq!(read(text), wanted, "{text}");
        }
        assert_eq!(read(&"1".repeat(100_000)), "NotADate");
    }

    #[test]
    fn serial_numbers_are_days_with_a_doubt() {
        assert_eq!(read("46113"), "2026-04-01 Serial(Date { year: 2026, month: 4, day: 1 })");
        assert_eq!(read("45658"), "2025-01-01 Serial(Date { year: 2025, month: 1, day: 1 })");
        assert_eq!(read("2025/4/1 8:30"), "2025-04-01 Time(Date { year: 2025, month: 4, day: 1 })");
    }

    #[test]
    fn of_a_period_each_end_is_read() {
        for text in [
            "R8.4.1～R9.3.31",
            "令和8年4月1日〜令和9年3月31日まで",
            "2026/4/1から2027/3/31",
            "20260401~20270331",
        ] {
            assert_eq!(read(text), "2026-04-01", "{text}");
            assert_eq!(end(text).map(|(day, _)| day), Ok(Date::new(2027, 3, 31)), "{text}");
        }
        assert_eq!(read("令和8年4月1日付け"), "2026-04-01");
        assert_eq!(read("令和9年3月31日まで"), "-");
        assert!(is_period("R8.4.1～R9.3.31") && !is_period("R8.4.1～") && !is_period("R9.3.31"));
        assert_eq!((end("R8.4.1～"), read("～R9.3.31")), (Ok((None, None)), "-".to_owned()));
    }

    #[test]
    fn nothing_and_never_are_no_end() {
        let texts = ["", "\u{3000}", "-", "－", "なし", "無期限", "9999/12/31", "9999-12-31", "99991231"];
        let more = ["99999999", "00000000", "0000/00/00", "2958465", "令和99年12月31日", "R99.12.31"];
        for text in texts.into_iter().chain(more) {
            assert_eq!(end(text), Ok((None, None)), "{text}");
        }
        assert_eq!(begin(""), Ok((None, None)));
    }
}
