//! Sentences for people, in both languages.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A whole sentence, in Japanese and in English. Which one is shown is for the page or the command to say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words {
    /// In Japanese.
    pub ja: String,
    /// In English.
    pub en: String,
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} / {}", self.ja, self.en)
    }
}

/// Both languages beside each other: `words!("日本語 {x}", "English {x}")`.
macro_rules! words {
    ($ja:literal, $en:literal $(,)?) => {
        $crate::words::Words { ja: ::std::format!($ja), en: ::std::format!($en) }
    };
}

pub(crate) use words;

/// The beginning of a text that somebody else chose, as much of it as a sentence bears.
pub(crate) fn short(text: &str) -> String {
    const MOST: usize = 200;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
