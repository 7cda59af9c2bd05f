//! Sentences for people, in both languages.

use base::Timestamp;
use organisation::calendar::{begin_of, day_of};

pub(crate) use intake::Words;

/// Both languages beside each other: `words!("日本語 {x}", "English {x}")`.
macro_rules! words {
    ($ja:literal, $en:literal $(,)?) => {
        $crate::words::Words { ja: ::std::format!($ja), en: ::std::format!($en) }
    };
}

pub(crate) use words;

/// A moment as people in Japan write it, to the minute.
#[must_use]
pub fn moment(at: Timestamp) -> Words {
    let day = day_of(at);
    let since = day.and_then(begin_of).map_or(0, |begin| at.since(begin).as_secs() / 60);
    let (hour, minute) = (since / 60, since % 60);
    match day {
        Some(day) => {
            let era = day.in_era();
            words!("{era} {hour}:{minute:02}", "{day} {hour:02}:{minute:02} in Japan")
        }
        None => words!("{at} ミリ秒", "{at} ms"),
    }
}

/// Names in a row.
pub(crate) fn names(names: &[&str]) -> String {
    names.join("、")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn midnight_in_japan_is_written_as_the_begin_of_its_day() {
        let begin = Timestamp(1_774_969_200_000);
        assert_eq!(moment(begin), words!("令和8年4月1日 0:00", "2026-04-01 00:00 in Japan"));
        let later = Timestamp(begin.millis() + (9 * 60 + 5) * 60_000);
        assert_eq!(moment(later).ja, "令和8年4月1日 9:05");
    }
}
