//! The choice of the language.

use crate::language::wants_japanese;

fn spoken(set: &[(&str, &str)]) -> bool {
    wants_japanese(|name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
}

#[test]
fn the_first_variable_that_is_set_decides_the_language() {
    assert!(!spoken(&[]));
    assert!(spoken(&[("LANG", "ja_JP.UTF-8")]));
    assert!(!spoken(&[("LC_ALL", "C"), ("LANG", "ja_JP.UTF-8")]));
    assert!(spoken(&[("YAKUBA_LANG", "ja"), ("LC_ALL", "C")]));
    assert!(spoken(&[("LC_ALL", ""), ("LC_MESSAGES", "ja")]));
}
