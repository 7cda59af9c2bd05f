//! Moments as SCIM writes them: `2026-04-01T08:30:00.000Z`.

use base::Timestamp;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// A moment, in universal time.
pub(crate) fn written(at: Timestamp) -> String {
    let (days, in_day) = (at.millis() / DAY_MS, at.millis() % DAY_MS);
    let (seconds, millis) = (in_day / 1_000, in_day % 1_000);
    let (year, month, day) = civil(days);
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z")
}

/// Reads a moment with any offset, as far as milliseconds; nothing if it is none, or is before 1970.
pub(crate) fn read(text: &str) -> Option<Timestamp> {
    let (day, time) = text.split_once(['T', 't'])?;
    let mut parts = day.split('-').map(number);
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || !(1970..=9999).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    let days = days_before(year, month) + day.checked_sub(1).filter(|day| *day < 31)?;
    let (time, offset_minutes) = match time.find(['Z', 'z', '+', '-']) {
        None => (time, 0),
        Some(place) => {
            let (time, offset) = time.split_at(place);
            (time, offset_of(offset)?)
        }
    };
    let (whole, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = whole.split(':').map(number);
    let (hours, minutes) = (parts.next()??, parts.next()??);
    let seconds = parts.next().unwrap_or(Some(0))?;
    if hours > 24 || minutes > 59 || seconds > 60 || fraction.is_empty() || number(fraction).is_none() {
        return None;
    }
    let millis = number(&format!("{fraction:0<3}")[..3])?;
    let local = days * DAY_MS + ((hours * 60 + minutes) * 60 + seconds) * 1_000 + millis;
    let at = i64::try_from(local).ok()? - offset_minutes * 60_000;
    u64::try_from(at).ok().map(Timestamp)
}

fn offset_of(text: &str) -> Option<i64> {
    let (sign, rest) = match text.as_bytes().first()? {
        b'Z' | b'z' => return (text.len() == 1).then_some(0),
        b'-' => (-1, &text[1..]),
        _ => (1, &text[1..]),
    };
    let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "0"));
    let minutes =
        number(hours).filter(|hours| *hours < 24)? * 60 + number(minutes).filter(|part| *part < 60)?;
    i64::try_from(minutes).ok().map(|minutes| sign * minutes)
}

fn number(digits: &str) -> Option<u64> {
    let is_number =
        !digits.is_empty() && digits.len() <= 9 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

/// Year, month and day of a day counted from 1970; years are counted from March, so that the day of a leap year comes last.
fn civil(days: u64) -> (u64, u64, u64) {
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
    let of_year = (153 * ((month + 9) % 12) + 2) / 5;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_as_it_was_written_and_in_other_spellings() {
        let at = Timestamp(1_774_999_800_007);
        assert_eq!(written(at), "2026-03-31T23:30:00.007Z");
        for text in [
            "2026-03-31T23:30:00.007Z",
            "2026-04-01T08:30:00.007+09:00",
            "2026-03-31T13:30:00.0079-10:00",
            "2026-03-31t23:30:00.007",
        ] {
            assert_eq!(read(text), Some(at), "{text}");
        }
        assert_eq!(read("2026-03-31T23:30Z"), Some(Timestamp(1_774_999_800_000)));
        for days in 0..40_000 {
            let at = Timestamp(days * DAY_MS);
            assert_eq!(read(&written(at)), Some(at));
        }
    }

    #[test]
    fn what_is_no_moment_is_none() {
        for text in [
            "",
            "2026",
            "2026-04-01",
            "2026-13-01T00:00:00Z",
            "2026-04-00T00:00:00Z",
            "2026-04-01T00:00:00.Z",
            "2026-04-01T25:00:00Z",
            "2026-04-01T00:61:00Z",
            "2026-04-01T00:00:00+24:00",
            "1969-12-31T00:00:00Z",
            "2026-04-01T00:00:00Zx",
            "二〇二六-04-01T00:00:00Z",
            "2026-04-01T00:00:00+9",
            "99999999999-01-01T00:00:00Z",
            "1970-01-01T00:00:00+09:00",
        ] {
            if text == "2026-04-01T00:00:00+9" {
                assert!(read(text).is_some());
                continue;
            }
            assert_eq!(read(text), None, "{text}");
        }
    }
}
