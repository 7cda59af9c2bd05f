//! Folding: what people take for the same text becomes the same text.
//!
//! Every search compares folded texts. What is stored is never folded: it is shown as it was written.
//!
//! Texts come from strangers and some letters stand for eighteen others, so what one text costs is bounded: of a
//! long one only the beginning is folded. A search is a [`Term`], folded once however many texts it is looked for in.

use unicode_normalization::UnicodeNormalization;

use crate::variants::usual;

/// Most letters of a text that are folded, and most that come of it.
const MAX_LETTERS: usize = 1_024;

/// Most letters of a text that somebody looks for.
const MAX_SOUGHT: usize = 256;

/// A text that somebody looks for.
///
/// Nobody types more than a few words; of a text that was pasted the first 256 letters are looked for, so that it is
/// found where it stands.
pub struct Term(String);

impl Term {
    /// The term of what somebody wrote.
    pub fn new(text: &str) -> Term {
        Term(fold(beginning(text, MAX_SOUGHT)))
    }

    /// The folded text, for who looks it up in an index of [folded](folded) ones.
    pub fn folded(&self) -> &str {
        &self.0
    }

    /// Whether the text holds it, among the first 1,024 letters.
    pub fn is_in(&self, text: &str) -> bool {
        fold(text).contains(&self.0)
    }
}

/// The first letters of a text as searches compare it, for an index: [`Term::is_in`] finds in a text what stands in
/// these.
pub fn folded(text: &str, letters: usize) -> String {
    let folded = fold(text);
    beginning(&folded, letters).to_owned()
}

fn beginning(text: &str, letters: usize) -> &str {
    let end = text.char_indices().nth(letters);
    end.map_or(text, |(end, _)| &text[..end])
}

/// A text of any length as searches compare it, with its words apart: as [`Term`]s are folded, but each space and line end
/// is a space. At most so many letters come of it.
pub fn legible(text: &str, letters: usize) -> String {
    let text = beginning(text, letters);
    if text.is_ascii() {
        return text.bytes().map(|byte| apart(char::from(byte.to_ascii_lowercase()))).collect();
    }
    if text.chars().all(is_plain) {
        return text.chars().map(|letter| apart(letter.to_ascii_lowercase())).collect();
    }
    normalised(text, letters)
}

/// What [`legible`] is of any text.
fn normalised(text: &str, letters: usize) -> String {
    let visible = text.chars().filter_map(visible);
    let lower: String = visible.nfkc().flat_map(char::to_lowercase).take(letters).collect();
    let folded: String = lower.nfkc().map(apart).nfc().collect();
    beginning(&folded, letters).to_owned()
}

/// Whether a letter is of those of which most Japanese texts consist, which normalisation leaves as they are: ASCII, kana,
/// their marks, and kanji of the first block.
fn is_plain(letter: char) -> bool {
    letter.is_ascii()
        || matches!(letter, '\u{3001}'..='\u{3015}' | 'ぁ'..='ゖ' | 'ァ'..='ヺ' | '・' | 'ー' | '\u{4e00}'..='\u{9fff}')
}

/// [`simplest`], with a space for what is none of the letters.
fn apart(letter: char) -> char {
    simplest(letter).unwrap_or(' ')
}

/// A text as searches compare it.
///
/// The same become: upper and lower case; full and half width, composed and decomposed (NFKC); katakana and
/// hiragana, and small kana and large (龍ヶ崎, 龍ケ崎; 四ッ谷, 四ツ谷); the long-vowel mark, hyphens, dashes and
/// wave dashes; variants of kanji (髙橋, 高橋; `variants`). Variation selectors, invisible characters and spaces
/// are left out (山田　太郎, 山田太郎).
fn fold(text: &str) -> String {
    let text = beginning(text, MAX_LETTERS);
    if text.is_ascii() {
        return text.bytes().filter_map(|byte| simplest(char::from(byte.to_ascii_lowercase()))).collect();
    }
    let visible = text.chars().filter_map(visible);
    // Lower case may come apart, and marks stand alone until a space is gone: so the text is composed again.
    let lower: String = visible.nfkc().flat_map(char::to_lowercase).take(MAX_LETTERS).collect();
    lower.nfkc().filter_map(simplest).nfc().collect()
}

/// What is there to see before normalisation: the free-standing voicing marks are joined to their kana, which NFKC
/// would put a space between.
fn visible(letter: char) -> Option<char> {
    match letter {
        '\u{309b}' => Some('\u{3099}'),
        '\u{309c}' => Some('\u{309a}'),
        // Variation selectors, ideographic ones too.
        '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' | '\u{180b}'..='\u{180f}' => None,
        // Soft hyphens, joiners, marks of direction, byte order marks.
        '\u{ad}' | '\u{34f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' => None,
        '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{206f}' | '\u{feff}' => None,
        letter => Some(letter),
    }
}

/// The one that stands for all like it; nothing for spaces and what cannot be seen.
fn simplest(letter: char) -> Option<char> {
    if letter.is_whitespace() || letter.is_control() {
        return None;
    }
    let hiragana = match letter {
        'ァ'..='ヶ' => char::from_u32(u32::from(letter) - 0x60).unwrap_or(letter),
        'ヽ' => 'ゝ',
        'ヾ' => 'ゞ',
        letter => letter,
    };
    Some(match hiragana {
        'ぁ' => 'あ',
        'ぃ' => 'い',
        'ぅ' => 'う',
        'ぇ' => 'え',
        'ぉ' => 'お',
        'っ' => 'つ',
        'ゃ' => 'や',
        'ゅ' => 'ゆ',
        'ょ' => 'よ',
        'ゎ' => 'わ',
        'ゕ' => 'か',
        'ゖ' => 'け',
        'ー' | '~' | '〜' | '‐'..='―' | '−' | '─' | '━' | '∼' | '﹣' => '-',
        'ς' => 'σ',
        letter => usual(letter),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{MAX_LETTERS, MAX_SOUGHT, Term, fold, is_plain, legible, normalised};

    #[test]
    fn what_people_take_for_the_same_is_the_same() {
        for (one, other) in [
            ("が", "か\u{3099}"),
            ("が", "か\u{309b}"),
            ("ぱ", "は\u{309c}"),
            ("ボウサイ", "ﾎﾞｳｻｲ"),
            ("ぼうさい", "ﾎﾞｳｻｲ"),
            ("AB", "ＡＢ"),
            ("ab12", "ＡＢ１２"),
            ("龍ヶ崎", "龍ケ崎"),
            ("龍ヶ崎", "竜ケ﨑"),
            ("四ッ谷", "四ツ谷"),
            ("キヤノン", "キャノン"),
            ("サーバー", "さ-ば‐"),
            ("ラーメン", "ら〜めん"),
            ("ラ～メン", "ﾗｰﾒﾝ"),
            ("髙橋", "高橋"),
            ("渡邊", "渡邉"),
            ("葛城", "葛\u{e0101}城"),
            ("縣廳の學校", "県庁の学校"),
            ("﨑濵さん", "崎浜さん"),
            ("山田　太郎", "山田太郎"),
            ("Straße", "STRAßE"),
            ("İzmir", "i\u{307}zmir"),
            ("ΟΔΟΣ", "οδος"),
            ("㍿やくば", "株式会社ヤクバ"),
            ("神\u{fe00}奈川", "神奈川"),
            ("zero\u{200b}width", "Zero Width"),
            ("é", "e\u{301}"),
            ("ノースタワー36階", "のーすたわー３６階"),
            ("０９０ー１２３４ー５６７８", "090-1234-5678"),
            ("０９０ー１２３４ー５６７８", "090ｰ1234ｰ5678"),
            ("０９０ー１２３４ー５６７８", "090−1234−5678"),
            ("０９０ー１２３４ー５６７８", "090‐1234‐5678"),
            ("０９０ー１２３４ー５６７８", "090–1234–5678"),
            ("０９０ー１２３４ー５６７８", "090―1234―5678"),
            ("学び〜ん課", "学び～ん課"),
        ] {
            assert_eq!(fold(one), fold(other), "{one} {other}");
        }
    }

    #[test]
    fn what_is_different_stays_different() {
        for (one, other) in [
            ("か", "が"),
            ("は", "ぱ"),
            ("東", "西"),
            ("a", "b"),
            ("斎", "斉"),
            ("1", "2"),
            ("タワー36", "タワ36"),
        ] {
            assert_ne!(fold(one), fold(other));
        }
    }

    #[test]
    fn of_a_text_of_any_length_a_bounded_part_is_folded() {
        for letter in ["a", "山", "\u{fdfa}", "\u{301}", "\u{3300}", "İ", "\u{200b}"] {
            let folded = fold(&letter.repeat(100_000));
            assert!(folded.chars().count() <= MAX_LETTERS, "{letter}");
        }
        let Term(sought) = Term::new(&"\u{fdfa}".repeat(300_000));
        assert!(sought.chars().count() <= MAX_LETTERS);
    }

    #[test]
    fn a_long_text_is_found_where_it_stands_by_its_beginning() {
        let pasted = "防災訓練のお知らせ。".repeat(100);
        assert!(Term::new(&pasted).is_in(&pasted));
        assert!(Term::new(&pasted).is_in(&format!("町内会：{pasted}")));
        assert!(!Term::new(&format!("別{pasted}")).is_in(&pasted));
        assert!(!Term::new("別").is_in(&format!("{}別", "防".repeat(MAX_LETTERS))));
        assert!(Term::new("別").is_in(&format!("{}別", "防".repeat(MAX_SOUGHT))));
    }

    #[test]
    fn a_legible_text_is_the_folded_one_with_its_spaces() {
        for text in ["ﾊﾞｯﾀと鈴虫", "山田　太郎\n防災課", "Hello,\tWORLD", "髙﨑 ｻｰﾊﾞｰ", "か\u{309b}　x"]
        {
            let spaced = legible(text, 1_000);
            let joined: String = spaced.chars().filter(|letter| *letter != ' ').collect();
            assert_eq!(joined, fold(text), "{text}");
            assert_eq!(spaced.contains(' '), text.contains(char::is_whitespace), "{text}");
        }
        assert_eq!(legible(&"\u{fdfa}".repeat(100_000), 500).chars().count(), 500);
    }

    #[test]
    fn each_plain_letter_is_what_it_is_normalised() {
        for letter in (0..0xffff).filter_map(char::from_u32).filter(|letter| is_plain(*letter)) {
            let text = format!("あ{letter}い");
            assert_eq!(legible(&text, 10), normalised(&text, 10), "{letter:?}");
        }
    }

    proptest! {
        #[test]
        fn plain_texts_are_what_they_are_normalised(text in "[ -~、-〕ぁ-ゖァ-ヺ・ー一-龥]{0,40}") {
            prop_assert!(text.chars().all(is_plain));
            prop_assert_eq!(legible(&text, 30), normalised(&text, 30));
        }

        #[test]
        fn a_legible_text_stays_what_it_is(text in "\\PC{0,40}|[ぁ-ヿｦ-ﾟA-Za-zＡ-ｚー〜 　゛゜\u{3099}\u{309a}\n]{0,40}") {
            let once = legible(&text, 1_000);
            prop_assert_eq!(legible(&once, 1_000), once);
        }

        #[test]
        fn folding_twice_is_folding_once(text in "\\PC{0,40}|[ぁ-ヿｦ-ﾟA-Za-zＡ-ｚー〜 　゛゜\u{3099}\u{309a}]{0,40}") {
            let once = fold(&text);
            prop_assert_eq!(fold(&once), once);
        }

        #[test]
        fn a_part_in_plain_kana_is_found(before in "[あ-ん]{0,9}", part in "[あ-ん]{1,9}", after in "[あ-ん]{0,9}") {
            let text = format!("{before}{part}{after}");
            prop_assert!(fold(&text).contains(&fold(&part)));
        }
    }
}
