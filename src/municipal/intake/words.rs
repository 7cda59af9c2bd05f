//! What people are told, in both languages.

use std::fmt;

/// A whole sentence for whoever sent the file, in Japanese and in English.
///
/// Which one is shown is for the page or the command to say; a report that is kept has both.
#[derive(Clone, Debug, PartialEq, Eq)]
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
