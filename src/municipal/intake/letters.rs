//! Letters of one kind for what is compared and counted, and as they are for what people are called.

use unicode_normalization::UnicodeNormalization;

/// Half width where ASCII has the letter (１２３Ａ becomes 123A), for numbers and codes; dashes become hyphens.
pub(crate) fn half_width(text: &str) -> String {
    let half = |letter: char| match letter {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(letter) - 0xfee0).unwrap_or(letter),
        '‐' | '‑' | '–' | '—' | '―' | '−' => '-',
        '\u{3000}' | '\u{a0}' => ' ',
        other => other,
    };
    text.chars().map(half).collect()
}

/// Words with one space between them, whatever stood there: full-width spaces, tabs, line breaks.
pub(crate) fn spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Composed where that changes no shape: カ and its free voicing mark become ガ.
///
/// Normalisation would also turn variants of kanji into the usual ones (神 as U+FA19 into 神), and people are
/// particular about how their names are written. So what it would take away is left as it is: compatibility ideographs, and whatever
/// a variation selector stands behind.
pub(crate) fn composed(text: &str) -> String {
    let is_kept = |letter: char| {
        matches!(letter,
            '\u{f900}'..='\u{faff}' | '\u{2f800}'..='\u{2fa1f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
    };
    let mut whole = String::with_capacity(text.len());
    for part in text.split_inclusive(is_kept) {
        match part.chars().next_back().filter(|last| is_kept(*last)) {
            Some(last) => {
                whole.extend(part[..part.len() - last.len_utf8()].nfc());
                whole.push(last);
            }
            None => whole.extend(part.nfc()),
        }
    }
    whole
}

/// A reading in one spelling: full-width katakana (ﾔﾏﾀﾞ and やまだ become ヤマダ), words with one space between them.
pub(crate) fn katakana(text: &str) -> String {
    // The free-standing marks of voice are joined to their kana, which NFKC would put a space between.
    let joined = text.chars().map(|letter| match letter {
        '\u{309b}' => '\u{3099}',
        '\u{309c}' => '\u{309a}',
        other => other,
    });
    let katakana = |letter: char| match letter {
        'ぁ'..='ゖ' | 'ゝ' | 'ゞ' => char::from_u32(u32::from(letter) + 0x60).unwrap_or(letter),
        other => other,
    };
    spaced(&joined.nfkc().map(katakana).collect::<String>())
}

/// Whether a letter may stand in a reading in katakana.
pub(crate) fn is_kana(letter: char) -> bool {
    matches!(letter, 'ァ'..='ヺ' | 'ー' | '・' | 'ヽ' | 'ヾ' | ' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_and_selectors_stay_and_kana_are_composed() {
        let kept = ["神\u{fa19}", "葛\u{e0100}城", "\u{fa67}見", "\u{fa10}本", "髙﨑", "𠮷田", "龍ヶ崎"];
        for name in kept {
            assert_eq!(composed(name), name);
        }
        assert_eq!(composed("カ\u{3099}\u{fa19}ハ\u{309a}"), "ガ\u{fa19}パ");
    }

    #[test]
    fn a_reading_has_one_spelling() {
        for reading in
            ["ﾔﾏﾀﾞ ﾊﾅｺ", "ヤマダ\u{3000}ハナコ", "やまだ  はなこ", "ヤマタ\u{3099} ハナコ", "ヤマタ゛\nハナコ"]
        {
            assert_eq!(katakana(reading), "ヤマダ ハナコ");
        }
        assert_eq!(katakana("ｵｵﾉ ﾕｳｰｺﾞ"), "オオノ ユウーゴ");
    }

    #[test]
    fn numbers_are_half_width() {
        assert_eq!(half_width("００１２３ー−Ａ＿ｂ"), "00123ー-A_b");
    }
}
