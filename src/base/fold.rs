//! Folding: what people take for the same text becomes the same text.
//!
//! Every search compares folded texts. What is stored is never folded: it is shown as it was written.

use unicode_normalization::UnicodeNormalization;

/// A text as searches compare it.
///
/// The same become: upper and lower case; full and half width, composed and decomposed (NFKC); katakana and
/// hiragana, and small kana and large (龍ヶ崎, 龍ケ崎; 四ッ谷, 四ツ谷); the long-vowel mark, hyphens, dashes and
/// wave dashes; common variants of kanji in names (髙橋, 高橋). Variation selectors, invisible characters and spaces
/// are left out (山田　太郎, 山田太郎).
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.bytes().filter_map(|byte| simplest(char::from(byte.to_ascii_lowercase()))).collect();
    }
    let visible = text.chars().filter_map(visible);
    // Lower case may come apart, and marks stand alone until a space is gone: so the text is composed again.
    let lower: String = visible.nfkc().flat_map(char::to_lowercase).collect();
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

/// The usual form of a kanji that names and places write in several ways, where Unicode keeps them apart.
fn usual(kanji: char) -> char {
    match kanji {
        '髙' => '高',
        '﨑' | '嵜' | '㟢' => '崎',
        '邊' | '邉' => '辺',
        '齋' => '斎',
        '齊' => '斉',
        '濱' | '濵' => '浜',
        '澤' => '沢',
        '櫻' => '桜',
        '嶋' | '嶌' => '島',
        '廣' => '広',
        '德' => '徳',
        '惠' => '恵',
        '國' => '国',
        '冨' => '富',
        '眞' => '真',
        '瀨' => '瀬',
        '龍' => '竜',
        '栁' => '柳',
        '𠮷' => '吉',

        '薗' => '園',
        '縣' => '県',
        '區' => '区',
        '學' => '学',
        '條' => '条',
        '藏' => '蔵',
        '鐵' => '鉄',
        '榮' => '栄',
        '萬' => '万',
        kanji => kanji,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::fold;

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
            ("山田　太郎", "山田太郎"),
            ("Straße", "STRAßE"),
            ("İzmir", "i\u{307}zmir"),
            ("ΟΔΟΣ", "οδος"),
            ("㍿やくば", "株式会社ヤクバ"),
            ("神\u{fe00}奈川", "神奈川"),
            ("zero\u{200b}width", "Zero Width"),
            ("é", "e\u{301}"),
        ] {
            assert_eq!(fold(one), fold(other), "{one} {other}");
        }
    }

    #[test]
    fn what_is_different_stays_different() {
        for (one, other) in [("か", "が"), ("は", "ぱ"), ("東", "西"), ("a", "b"), ("斎", "斉"), ("1", "2")]
        {
            assert_ne!(fold(one), fold(other));
        }
    }

    proptest! {
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
