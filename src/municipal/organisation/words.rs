//! Sentences for people, in both languages.

pub(crate) use intake::Words;

/// Both languages beside each other: `words!("日本語 {x}", "English {x}")`.
macro_rules! words {
    ($ja:literal, $en:literal $(,)?) => {
        $crate::words::Words { ja: ::std::format!($ja), en: ::std::format!($en) }
    };
}

pub(crate) use words;

/// Most names that a sentence lists.
const MOST_NAMES: usize = 20;

/// Names in a row, and how many more there are.
pub(crate) fn listed(names: &[String]) -> Words {
    let shown = names[..names.len().min(MOST_NAMES)].join("、");
    match names.len().saturating_sub(MOST_NAMES) {
        0 => Words { ja: shown.clone(), en: shown },
        more => words!("{shown} ほか{more}件", "{shown} and {more} more"),
    }
}
