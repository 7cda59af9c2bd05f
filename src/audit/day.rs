//! Days of Japan's calendar: nine hours ahead of UTC, without summer time.

use std::{fmt, str::FromStr, time::Duration};

use base::Timestamp;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const AHEAD: Duration = Duration::from_secs(9 * 60 * 60);

store::key_newtype!(
    /// A day in Japan, counted from 1 January 1970.
    Day(u32)
);

impl Day {
    /// The day that a moment belongs to.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        Self(u32::try_from((at + AHEAD).millis() / DAY_MS).unwrap_or(u32::MAX))
    }

    /// Its first moment.
    #[must_use]
    pub fn begin(self) -> Timestamp {
        Timestamp(u64::from(self.0) * DAY_MS).before(AHEAD)
    }

    /// The day after it.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The year in which its fiscal year began, on 1 April.
    #[must_use]
    pub fn fiscal_year(self) -> u32 {
        let (year, month, _) = civil(u64::from(self.0));
        u32::try_from(if month < 4 { year - 1 } else { year }).unwrap_or(u32::MAX)
    }

    /// 1 April of a year, of those in which this server may run.
    #[must_use]
    pub fn april(year: u32) -> Self {
        let year = u64::from(year.clamp(1970, 9999));
        Self(u32::try_from(days_before(year, 4)).unwrap_or(u32::MAX))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(u64::from(self.0));
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

/// What was given is no day such as `2026-04-01`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a day such as 2026-04-01")]
pub struct NotADay;

impl FromStr for Day {
    type Err = NotADay;

    fn from_str(text: &str) -> Result<Self, NotADay> {
        let mut parts = text.splitn(3, '-').map(|part| part.parse::<u64>().ok());
        let mut part = || parts.next().flatten().ok_or(NotADay);
        let (year, month, day) = (part()?, part()?, part()?);
        if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return Err(NotADay);
        }
        let days = days_before(year, month) + day - 1;
        // The 31st of a shorter month is no day.
        let is_day = civil(days) == (year, month, day);
        is_day.then(|| u32::try_from(days).ok().map(Self)).flatten().ok_or(NotADay)
    }
}

/// A moment as it is written in Japan: `2026-04-01T08:30:00.000+09:00`.
#[must_use]
pub fn written(at: Timestamp) -> String {
    let in_day = (at + AHEAD).millis() % DAY_MS;
    let (seconds, millis) = (in_day / 1000, in_day % 1000);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{}T{hours:02}:{minutes:02}:{:02}.{millis:03}+09:00", Day::of(at), seconds % 60)
}

/// Year, month and day of a day counted from 1970; years are counted from March, so that the day of a leap
/// year comes last.
fn civil(days: u64) -> (u64, u64, u64) {
    // From 1 March of the year 0; 146,097 days are 400 years.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

/// The days from 1970 up to a month; the opposite of [`civil`].
fn days_before(year: u64, month: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let from_march = (month + 9) % 12;
    let of_year = (153 * from_march + 2) / 5;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight_in_japan() {
        // 2026-03-31T15:00:00Z
        let midnight = Timestamp(1_774_969_200_000);
        let day = Day::of(midnight);
        assert_eq!((day.to_string().as_str(), day.begin()), ("2026-04-01", midnight));
        assert_eq!(Day::of(midnight.before(Duration::from_millis(1))).next(), day);
        assert_eq!(written(midnight + Duration::from_millis(30_601_007)), "2026-04-01T08:30:01.007+09:00");
    }

    #[test]
    fn days_are_written_and_read_over_a_century() {
        let mut last = String::new();
        for number in 0..47_000 {
            let text = Day(number).to_string();
            assert!(text > last, "{last} {text}");
            assert_eq!(text.parse(), Ok(Day(number)));
            last = text;
        }
        assert_eq!(Day(19_782).to_string(), "2024-02-29");
        for wrong in
            ["", "2026", "2026-02-29", "2026-13-01", "2026-00-01", "1969-12-31", "2026-01-01x", "-1-1-1"]
        {
            assert_eq!(wrong.parse::<Day>(), Err(NotADay), "{wrong}");
        }
    }
}
