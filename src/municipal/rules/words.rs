//! Sentences for people, in both languages.

pub(crate) use intake::Words;

/// Both languages beside each other: `words!("日本語 {x}", "English {x}")`.
macro_rules! words {
    ($ja:literal, $en:literal $(,)?) => {
        $crate::words::Words { ja: ::std::format!($ja), en: ::std::format!($en) }
    };
}

pub(crate) use words;
