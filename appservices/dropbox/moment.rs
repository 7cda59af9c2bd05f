//! Moments and spans as people in Japan read them.

use std::time::Duration;

use base::Timestamp;

use crate::language::Language;

/// Japan has one time and no summer time.
const JAPAN: u64 = 9 * 3_600;

const DAY: u64 = 86_400;

/// A moment by the clocks of Japan.
struct Civil {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    weekday: usize,
}

impl Civil {
    /// By the proleptic Gregorian calendar, counted in years that begin in March.
    fn of(moment: Timestamp) -> Self {
        let seconds = moment.millis() / 1_000 + JAPAN;
        let (days, of_day) = (seconds / DAY, seconds % DAY);
        // Days since 1 March of the year 0.
        let z = days + 719_468;
        let (era, of_era) = (z / 146_097, z % 146_097);
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = era * 400 + year + u64::from(month <= 2);
        let weekday = usize::try_from((days + 4) % 7).unwrap_or_default();
        Self { year, month, day, hour: of_day / 3_600, minute: of_day % 3_600 / 60, weekday }
    }
}

/// `12月5日(土) 13:00` with its year; in English `2026-12-05 (Sat) 13:00 JST`.
pub(crate) fn written(moment: Timestamp, language: Language) -> String {
    let Civil { year, month, day, hour, minute, weekday } = Civil::of(moment);
    match language {
        Language::Japanese => {
            let weekday = ["日", "月", "火", "水", "木", "金", "土"][weekday];
            format!("{year}年{month}月{day}日({weekday}) {hour}:{minute:02}")
        }
        Language::English => {
            let weekday = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"][weekday];
            format!("{year}-{month:02}-{day:02} ({weekday}) {hour}:{minute:02} JST")
        }
    }
}

/// As records have it: `2026-12-05T13:00:09+09:00`.
pub(crate) fn recorded(moment: Timestamp) -> String {
    let Civil { year, month, day, hour, minute, .. } = Civil::of(moment);
    let second = moment.millis() / 1_000 % 60;
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}+09:00")
}

/// `7日`, `12時間`, `30分`: in the largest unit that leaves nothing over, or rounded down to minutes.
pub(crate) fn span(span: Duration, language: Language) -> String {
    let seconds = span.as_secs();
    let (number, ja, en) = match seconds {
        _ if seconds >= DAY && seconds.is_multiple_of(DAY) => (seconds / DAY, "日", "days"),
        _ if seconds >= 3_600 && seconds.is_multiple_of(3_600) => (seconds / 3_600, "時間", "hours"),
        _ => (seconds / 60, "分", "minutes"),
    };
    match language {
        Language::Japanese => format!("{number}{ja}"),
        Language::English => format!("{number} {en}"),
    }
}

/// `1.2 GB`, as phones and file managers show it.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    for (unit, factor) in UNITS {
        if bytes >= factor {
            let tenths = bytes / (factor / 10);
            let (whole, tenth) = (tenths / 10, tenths % 10);
            return if tenth == 0 { format!("{whole} {unit}") } else { format!("{whole}.{tenth} {unit}") };
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_told_by_the_clocks_of_japan() {
        let moment = Timestamp(1_796_443_209_000); // 2026-12-05T04:00:09Z
        assert_eq!(written(moment, Language::Japanese), "2026年12月5日(土) 13:00");
        assert_eq!(written(moment, Language::English), "2026-12-05 (Sat) 13:00 JST");
        assert_eq!(recorded(moment), "2026-12-05T13:00:09+09:00");
        assert_eq!(recorded(Timestamp(1_709_132_400_000)), "2024-02-29T00:00:00+09:00");
        assert_eq!(recorded(Timestamp(0)), "1970-01-01T09:00:00+09:00");
    }

    #[test]
    fn spans_and_sizes_are_short() {
        assert_eq!(span(Duration::from_secs(7 * DAY), Language::Japanese), "7日");
        assert_eq!(span(Duration::from_secs(36 * 3_600), Language::English), "36 hours");
        assert_eq!(span(Duration::from_secs(90), Language::Japanese), "1分");
        for (bytes, shown) in [(0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (2_000_000_000, "2 GB")] {
            assert_eq!(size(bytes), shown);
        }
    }
}
