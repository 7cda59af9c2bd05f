//! Blanks and what is like them.

/// What programs pass over before a text begins.
pub(crate) fn is_nothing(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2060}')
}
