//! A cell without what programs put around it, and without what must not be taken for a value.

use crate::words::{Words, words};

/// Why a cell has no value that can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A control character is in it, or one that nobody sees and that changes how others are shown.
    Control(char),
    /// It is an error of a spreadsheet, or a number that had no room: `#N/A`, `####`.
    SpreadsheetError,
    /// Letters were lost before: U+FFFD, or 〓 in the place of a letter.
    Lost,
    /// The letters are those that UTF-8 gives where it is read as Shift_JIS.
    Garbled,
    /// It says that it is as above: 〃, 同上.
    Ditto,
    /// A letter that the sender defined himself (外字).
    OwnLetter(char),
}

impl Fault {
    /// The sentence for whoever sent the file.
    #[must_use]
    pub fn words(self) -> Words {
        match self {
            Self::Control(letter) => {
                let code = u32::from(letter);
                words!(
                    "見えない制御文字 (U+{code:04X}) が入っています。入力し直してください。",
                    "There is an invisible control character (U+{code:04X}) in it; please type the value anew."
                )
            }
            Self::SpreadsheetError => words!(
                "表計算ソフトのエラー表示が入っています。",
                "This is an error of a spreadsheet and no value."
            ),
            Self::Lost => words!(
                "文字が失われています(「〓」や「\u{fffd}」)。元の文字に直してください。",
                "A letter was lost here before; please write what it was."
            ),
            Self::Garbled => words!(
                "文字化けしています。元のファイルから保存し直してください。",
                "The letters are garbled; please save the file anew from its source."
            ),
            Self::Ditto => words!(
                "「〃」「同上」は使えません。値を書いてください。",
                "Please write the value instead of a mark for \"as above\"."
            ),
            Self::OwnLetter(letter) => {
                let code = u32::from(letter);
                words!(
                    "外字 (U+{code:04X}) が入っています。外字はほかの端末で表示できないため、近い文字か異体字に直してください。",
                    "There is a user-defined letter (U+{code:04X}), which other devices cannot show; please replace it."
                )
            }
        }
    }
}

const SPREADSHEET_ERRORS: [&str; 8] =
    ["#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NULL!", "#NUM!", "#SPILL!"];

/// The value of a cell, empty where it says that there is none: without blanks around it, without the formula `="00123"` by which text is kept from Excel, and
/// without the apostrophe that marks text there and that exports put before what would be computed.
pub(crate) fn value(cell: &str) -> Result<&str, Fault> {
    let text = unwrapped(trimmed(cell));
    // What people and data bases write for nothing.
    if matches!(text, "-" | "－" | "―" | "—" | "ー" | "−" | "NULL") {
        return Ok("");
    }
    if let Some(control) = text.chars().find(|letter| is_control(*letter)) {
        return Err(Fault::Control(control));
    }
    let is_full = text.len() > 2 && text.bytes().all(|byte| byte == b'#');
    if is_full || SPREADSHEET_ERRORS.contains(&text) {
        return Err(Fault::SpreadsheetError);
    }
    if text.contains(['\u{fffd}', '〓']) {
        return Err(Fault::Lost);
    }
    // ぁ to ん and ァ to ン in UTF-8 begin with E3 81 to E3 83.
    if text.chars().filter(|letter| matches!(letter, '縺' | '繧' | '繝')).count() > 1 {
        return Err(Fault::Garbled);
    }
    if matches!(text, "〃" | "々" | "同上" | "″") {
        return Err(Fault::Ditto);
    }
    Ok(text)
}

/// The first letter of a text that no standard knows.
pub(crate) fn own_letter(text: &str) -> Option<Fault> {
    let is_own = |letter: &char| matches!(*letter, '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..);
    text.chars().find(is_own).map(Fault::OwnLetter)
}

/// The text without blanks and marks that nobody sees around it.
pub(crate) fn trimmed(text: &str) -> &str {
    text.trim_matches(|letter: char| letter.is_whitespace() || matches!(letter, '\u{feff}' | '\u{200b}'))
}

fn unwrapped(text: &str) -> &str {
    let inside = text.strip_prefix("=\"").and_then(|text| text.strip_suffix('"'));
    match inside.filter(|inside| !inside.contains('"')) {
        Some(inside) => trimmed(inside),
        None => text.strip_prefix('\'').map_or(text, trimmed),
    }
}

pub(crate) fn is_control(letter: char) -> bool {
    match letter {
        '\n' | '\t' => false,
        // Of no width, and marks that turn the direction of what follows.
        '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{ad}' => true,
        '\u{fff9}'..='\u{fffb}' => true,
        _ => letter.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_put_around_a_value_is_taken_away() {
        let cases = [
            ("=\"00123\"", "00123"),
            ("\u{3000}山田 花子 ", "山田 花子"),
            ("'00123", "00123"),
            ("'=1+1", "=1+1"),
            ("=1+1", "=1+1"),
            ("=\"a\"&\"b\"", "=\"a\"&\"b\""),
            ("=\"", "=\""),
            ("'", ""),
            ("－", ""),
            ("NULL", ""),
        ];
        for (cell, wanted) in cases {
            assert_eq!(value(cell), Ok(wanted), "{cell}");
        }
    }

    #[test]
    fn what_is_no_value_is_refused() {
        let cases = [
            ("a\u{7}b", Fault::Control('\u{7}')),
            ("山\0田", Fault::Control('\0')),
            ("山\u{202e}田", Fault::Control('\u{202e}')),
            ("山\u{200b}田", Fault::Control('\u{200b}')),
            ("#N/A", Fault::SpreadsheetError),
            ("########", Fault::SpreadsheetError),
            ("〓橋", Fault::Lost),
            ("山\u{fffd}", Fault::Lost),
            ("縺ゅ＞縺", Fault::Garbled),
            ("〃", Fault::Ditto),
        ];
        for (cell, wanted) in cases {
            assert_eq!(value(cell), Err(wanted), "{cell}");
        }
        assert_eq!(own_letter("山\u{e000}"), Some(Fault::OwnLetter('\u{e000}')));
        assert_eq!(own_letter("髙﨑"), None);
    }
}
