//! Days and moments: an appointment begins with a day of Japan's calendar, whatever clock and zone the machine has.
//!
//! Japan is nine hours ahead of UTC all the year. A day is no moment; only what is done at its begin needs one.

use base::Timestamp;
use intake::Date;

const A_DAY_MS: i64 = 24 * 60 * 60 * 1_000;
const AHEAD_MS: i64 = 9 * 60 * 60 * 1_000;

/// The moment at which a day begins in Japan; none before 1970.
#[must_use]
pub fn begin_of(day: Date) -> Option<Timestamp> {
    u64::try_from(number(day) * A_DAY_MS - AHEAD_MS).ok().map(Timestamp)
}

/// The day that it is in Japan at a moment; none after the year 9999.
#[must_use]
pub fn day_of(at: Timestamp) -> Option<Date> {
    numbered(i64::try_from(at.millis()).ok()?.checked_add(AHEAD_MS)?.div_euclid(A_DAY_MS))
}

/// A minute in Japan as it is typed, and as browsers send one: `2026-04-01T00:00`; none where it is no such minute.
#[must_use]
pub fn minute_of(text: &str) -> Option<Timestamp> {
    let two = |text: &str, below: u64| -> Option<u64> {
        let is_two = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number| is_two && *number < below)
    };
    let (day, time) = text.split_once(['T', ' '])?;
    let (hour, minute) = time.split_once(':')?;
    let minutes = two(hour, 24)? * 60 + two(minute, 60)?;
    Some(Timestamp(begin_of(day.parse().ok()?)?.millis() + minutes * 60_000))
}

/// The day before: the last one on which something holds that ends with `day`.
#[must_use]
pub fn before(day: Date) -> Option<Date> {
    numbered(number(day) - 1)
}

/// How many days after 1 January 1970 it is. Years are counted from March, so that the leap day is the last.
fn number(day: Date) -> i64 {
    let (year, month) = (i64::from(day.year()), i64::from(day.month()));
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_year = (153 * month + 2) / 5 + i64::from(day.day()) - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year - 719_468
}

fn numbered(number: i64) -> Option<Date> {
    let days = number + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = u8::try_from(of_year - (153 * month + 2) / 5 + 1).ok()?;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    Date::new(u16::try_from(era * 400 + year + later).ok()?, u8::try_from(month).ok()?, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Date {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_day_begins_in_japan_nine_hours_before_it_does_in_greenwich() {
        let begin = Timestamp(1_774_969_200_000); // 2026-03-31T15:00:00Z
        assert_eq!(begin_of(day("2026-04-01")), Some(begin));
        assert_eq!(day_of(begin), Some(day("2026-04-01")));
        assert_eq!(day_of(Timestamp(begin.millis() - 1)), Some(day("2026-03-31")));
        assert_eq!(day_of(Timestamp(0)), Some(day("1970-01-01")));
        assert_eq!(begin_of(day("1969-12-31")), None);
        assert_eq!(day_of(Timestamp(u64::MAX)), None);
    }

    #[test]
    fn every_day_has_one_before_it() {
        let mut at = day("1896-01-01");
        while at < day("2104-03-02") {
            let next = at.next().unwrap_or(at);
            assert_eq!(before(next), Some(at), "{next}");
            at = next;
        }
        assert_eq!(before(day("0001-01-01")), None);
    }
}
