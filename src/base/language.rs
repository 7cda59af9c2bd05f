//! In which language the program speaks to the people at its command line.
//!
//! Every sentence stands in the code once, in both languages beside each other:
//! `tr!("動いていません", "not running")`; so none is translated by half. The language is one of the process,
//! as its locale is: the binary sets it before it says anything; until then, and so in tests, it is
//! English. Logs, and what other programs read, are in English always.

use std::{
    ffi::OsString,
    sync::atomic::{AtomicBool, Ordering},
};

static JAPANESE: AtomicBool = AtomicBool::new(false);

/// Has the process speak as its environment asks: by the first of `YAKUBA_LANG`, `LC_ALL`, `LC_MESSAGES`
/// and `LANG` that is set and not empty.
pub fn speak_as_asked(variable: impl Fn(&str) -> Option<OsString>) {
    JAPANESE.store(wants_japanese(variable), Ordering::Relaxed);
}

/// Whether people are spoken to in Japanese.
pub fn japanese() -> bool {
    JAPANESE.load(Ordering::Relaxed)
}

pub(crate) fn wants_japanese(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let mut set = ["YAKUBA_LANG", "LC_ALL", "LC_MESSAGES", "LANG"].into_iter().filter_map(variable);
    set.find(|value| !value.is_empty()).is_some_and(|value| value.to_string_lossy().starts_with("ja"))
}

/// The text in the language of whoever reads it: `tr!("日本語 {x}", "English {x}")`.
#[macro_export]
macro_rules! tr {
    ($ja:literal, $en:literal $(, $name:ident = $value:expr)* $(,)?) => {
        if $crate::language::japanese() {
            ::std::fmt::format(format_args!($ja $(, $name = $value)*))
        } else {
            ::std::fmt::format(format_args!($en $(, $name = $value)*))
        }
    };
}
