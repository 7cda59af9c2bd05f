//! Sentences for people, in both languages.

use base::Timestamp;
use organisation::calendar::{begin_of, day_of};

pub(crate) use organisation::Told;

/// Both languages beside each other: `words!("日本語 {x}", "English {x}")`.
macro_rules! words {
    ($ja:literal, $en:literal $(,)?) => {
        $crate::words::Told { ja: ::std::format!($ja), en: ::std::format!($en) }
    };
}

pub(crate) use words;

/// A moment as people in Japan write it, to the minute.
#[must_use]
pub fn moment(at: Timestamp) -> Told {
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
