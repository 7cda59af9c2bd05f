//! Sentences for people, in both languages.

use base::Timestamp;

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
    personnel::moment(at).into()
}
