//! Names that somebody types, where no file gives them: held to what is demanded of files.

use crate::{
    cell::{Fault, is_control, own_letter, trimmed},
    name::title,
    words::Words,
};

/// The name of a unit, a person or a matter as it is kept: composed, with one space between its words. Empty where nothing is
/// typed.
///
/// # Errors
/// The sentence for whoever typed it: letters that nobody sees or no other device knows, or too many of them.
pub fn typed_name(text: &str) -> Result<String, Words> {
    let text = trimmed(text);
    if let Some(control) = text.chars().find(|letter| is_control(*letter)) {
        return Err(Fault::Control(control).words());
    }
    if let Some(own) = own_letter(text) {
        return Err(own.words());
    }
    title(text).map_err(|fault| fault.words())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typed_name_is_spelt_as_files_spell_it() {
        for typed in ["防災\u{3000}企画課", " 防災  企画課\u{200b}", "防災\n企画課"] {
            assert_eq!(typed_name(typed), Ok("防災 企画課".to_owned()), "{typed:?}");
        }
        assert_eq!(typed_name("カ\u{3099}ス課"), Ok("ガス課".to_owned()));
        assert_eq!(typed_name(" \u{3000}"), Ok(String::new()));
        for (typed, why) in [
            ("防災\u{202e}課", "U+202E"),
            ("防\u{200b}災課", "U+200B"),
            ("防災\u{7}課", "U+0007"),
            ("防災\u{e000}課", "外字"),
        ] {
            assert!(typed_name(typed).is_err_and(|words| words.ja.contains(why)), "{typed:?}");
        }
        assert!(typed_name(&"長".repeat(101)).is_err() && typed_name(&"長".repeat(100)).is_ok());
    }
}
