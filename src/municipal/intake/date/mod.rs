//! Days as people write them: with the years of eras (和暦) or of the common calendar.

mod era;
mod written;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub use written::{Doubt, Fault};
pub(crate) use written::{Read, begin, end, is_period};

/// A day of the calendar. It is a day, not a moment: it has no hour and belongs to no time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

/// The first and the last year that are taken for one in which people work.
const YEARS: std::ops::RangeInclusive<u32> = 1900..=2199;

impl Date {
    /// The day, if there is such a one.
    #[must_use]
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let is_day = (1..=9999).contains(&year) && (1..=days_of(year, month)?).contains(&day);
        is_day.then_some(Self { year, month, day })
    }

    /// The year of the common calendar.
    #[must_use]
    pub fn year(self) -> u16 {
        self.year
    }

    /// The month, from 1.
    #[must_use]
    pub fn month(self) -> u8 {
        self.month
    }

    /// The day of the month, from 1.
    #[must_use]
    pub fn day(self) -> u8 {
        self.day
    }

    /// How many days after 1 January of the year 1 it is.
    fn number(self) -> u32 {
        let before = u32::from(self.year) - 1;
        let months = (1..self.month).filter_map(|month| days_of(self.year, month)).map(u32::from);
        before * 365 + before / 4 - before / 100 + before / 400 + months.sum::<u32>() + u32::from(self.day)
            - 1
    }

    /// The day so many days after 1 January of the year 1.
    fn numbered(number: u32) -> Option<Self> {
        // Never later than the year that it is in, and at most one too early.
        let mut year = u16::try_from(number / 366 + 1).ok()?;
        while Self::new(year + 1, 1, 1).is_some_and(|first| first.number() <= number) {
            year += 1;
        }
        let mut rest = number - Self::new(year, 1, 1)?.number();
        for month in 1..=12 {
            let days = days_of(year, month)?;
            if rest < u32::from(days) {
                return Self::new(year, month, u8::try_from(rest + 1).ok()?);
            }
            rest -= u32::from(days);
        }
        None
    }

    /// The day after it.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        Self::numbered(self.number() + 1)
    }

    /// The day of the week, from 0 for Monday.
    fn weekday(self) -> u32 {
        // 1 January of the year 1 was a Monday.
        self.number() % 7
    }

    /// The fiscal year (年度), which begins on 1 April.
    #[must_use]
    pub fn fiscal_year(self) -> u16 {
        if self.month < 4 { self.year.saturating_sub(1) } else { self.year }
    }

    /// Its fiscal year as offices write it: `令和7年度`, by the era that is there in May of it (令和元年度 had begun in 平成31年).
    #[must_use]
    pub fn fiscal_year_in_era(self) -> String {
        let year = self.fiscal_year();
        match era::of(Self { year, month: 5, day: 1 }) {
            Some((era, 1)) => format!("{}元年度", era.name),
            Some((era, year)) => format!("{}{year}年度", era.name),
            None => format!("{year}年度"),
        }
    }

    /// As an official letter writes it: `令和8年4月1日`. Days before the first era that is known are written by the common
    /// calendar.
    #[must_use]
    pub fn in_era(self) -> String {
        let Self { month, day, .. } = self;
        match era::of(self) {
            Some((era, 1)) => format!("{}元年{month}月{day}日", era.name),
            Some((era, year)) => format!("{}{year}年{month}月{day}日", era.name),
            None => format!("{}年{month}月{day}日", self.year),
        }
    }
}

/// How many days a month has, if there is such a month.
fn days_of(year: u16, month: u8) -> Option<u8> {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => Some(if is_leap { 29 } else { 28 }),
        4 | 6 | 9 | 11 => Some(30),
        1..=12 => Some(31),
        _ => None,
    }
}

/// `2026-04-01`
impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// What was given is no day such as `2026-04-01`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotADate;

impl fmt::Display for NotADate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a day such as 2026-04-01")
    }
}

impl std::error::Error for NotADate {}

impl FromStr for Date {
    type Err = NotADate;

    fn from_str(text: &str) -> Result<Self, NotADate> {
        let parts: Vec<_> = text.split('-').collect();
        let [year, month, day] = parts[..] else { return Err(NotADate) };
        let has_form = [year.len(), month.len(), day.len()] == [4, 2, 2];
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        if !has_form || !is_number {
            return Err(NotADate);
        }
        let date = (|| Self::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?))();
        date.ok_or(NotADate)
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_follow_each_other_over_four_centuries() {
        let mut date = Date { year: 1899, month: 12, day: 31 };
        for number in date.number().. {
            assert_eq!((date.number(), Date::numbered(number)), (number, Some(date)));
            assert_eq!(date.to_string().parse(), Ok(date));
            let Some(next) = date.next().filter(|next| next.year < 2300) else { break };
            assert!(next > date && next.weekday() == (date.weekday() + 1) % 7);
            date = next;
        }
        assert_eq!(date.to_string(), "2299-12-31");
        assert_eq!(Date::new(9999, 12, 31).map(Date::next), Some(None));
        assert_eq!(
            ["2025-2-1", "2025-02-29", "+025-01-01", "2025-13-01", ""].map(str::parse::<Date>),
            [Err(NotADate); 5]
        );
    }

    #[test]
    fn fiscal_years_begin_in_april() {
        let of = |text: &str| text.parse::<Date>().map(Date::fiscal_year);
        assert_eq!(["2026-03-31", "2026-04-01", "2026-01-01"].map(of), [Ok(2025), Ok(2026), Ok(2025)]);
        let shown = |text: &str| text.parse::<Date>().map(Date::fiscal_year_in_era).unwrap_or_default();
        for (day, year) in [
            ("2026-03-31", "令和7年度"),
            ("2026-04-01", "令和8年度"),
            ("2026-01-01", "令和7年度"),
            ("2019-04-01", "令和元年度"),
            ("2019-03-31", "平成30年度"),
            ("1989-04-01", "平成元年度"),
            ("1989-03-31", "昭和63年度"),
            ("1860-04-01", "1860年度"),
        ] {
            assert_eq!(shown(day), year, "{day}");
        }
    }

    #[test]
    fn border_days_are_written_in_their_own_era() {
        let shown = |text: &str| text.parse::<Date>().map(Date::in_era).unwrap_or_default();
        assert_eq!(shown("2019-05-01"), "令和元年5月1日");
        assert_eq!(shown("2019-04-30"), "平成31年4月30日");
        assert_eq!(shown("1989-01-08"), "平成元年1月8日");
        assert_eq!(shown("1989-01-07"), "昭和64年1月7日");
        assert_eq!(shown("2026-03-31"), "令和8年3月31日");
        assert_eq!(shown("1872-12-31"), "1872年12月31日");
    }
}
