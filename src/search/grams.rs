//! Grams: what a text is looked up by.
//!
//! Scripts that are written without spaces (Japanese, Chinese, Thai; Korean too, whose words take endings) are looked up by
//! each letter with the one behind it, so that any two letters of a sentence find it. What stands behind nothing, at the end
//! of such a stretch, is a gram with nothing: so every letter begins exactly one gram, and a single letter is
//! found by all grams that begin with it. Other scripts are looked up by the beginnings of their words: `meet` finds
//! meeting, and not helpmeet.
//!
//! All of it is of the folded text ([`base::legible`]): ﾊﾞｯﾀ, バッタ and ばった are one, 髙 and 高, small kana and large. The
//! long-vowel mark is a letter behind kana, and a hyphen elsewhere. Spaces between two letters of such scripts are none
//! (山田　太郎; lines broken within a sentence); all other marks divide.

use base::legible;

/// Letters of a text that are searched: as many as an event has bytes.
pub const MOST_LETTERS: usize = 65_536;

/// How many letters of a word's beginning are a gram, ascending. A word of one letter is found whole alone.
const BEGINNINGS: [usize; 5] = [2, 3, 5, 8, 13];

/// Letters take so many bits.
const LETTER_BITS: u32 = 21;
const OF_WORD: u64 = 1 << 43;
const OF_SENDER: u64 = 1 << 44;
const OF_FIELD: u64 = 1 << 45;

/// What divides, in a text made ready.
const GAP: char = ' ';

/// What a letter is for whoever looks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Of a script that is written without spaces; also signs and emoji, which stand alone.
    Unspaced,
    /// Of a script that is written in words, or a digit.
    Word,
    /// Neither.
    Gap,
}

/// A text made ready to be looked up and looked through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Legible(Vec<char>);

/// A gram as it stands in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Gram(pub(crate) u64);

impl Gram {
    /// Two letters of an unspaced script; the second is NUL where there is none.
    pub(crate) fn pair(first: char, second: char) -> Self {
        Self(u64::from(u32::from(first)) << LETTER_BITS | u64::from(u32::from(second)))
    }

    /// The first and the last gram that begin with a letter.
    pub(crate) fn beginning_with(first: char) -> (Self, Self) {
        (Self::pair(first, '\0'), Self(Self::pair(first, '\0').0 | ((1 << LETTER_BITS) - 1)))
    }

    /// A whole beginning of a word.
    pub(crate) fn word(beginning: &[char]) -> Self {
        let text: String = beginning.iter().collect();
        Self(OF_WORD | hash(text.as_bytes()))
    }

    /// What somebody said.
    pub(crate) fn sender(user: &str) -> Self {
        Self(OF_SENDER | hash(user.as_bytes()))
    }

    /// What is no message.
    pub(crate) fn field(field: crate::Field) -> Self {
        let number = match field {
            crate::Field::Body => 0,
            crate::Field::Name => 1,
            crate::Field::Topic => 2,
        };
        Self(OF_FIELD | number)
    }

    /// By this the page is chosen on which a gram stands: all that begin with one letter are on one.
    pub(crate) fn shelf(self) -> u32 {
        let key = if self.0 < OF_WORD { self.0 >> LETTER_BITS } else { self.0 };
        let hash = hash(&key.to_be_bytes());
        u32::try_from(hash & u64::from(u32::MAX)).unwrap_or(0)
    }
}

/// FNV-1a, folded to 32 bits: two that are alike cost a look at an event.
fn hash(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ (hash >> 32)) & u64::from(u32::MAX)
}

fn class(letter: char) -> Class {
    let code = u32::from(letter);
    if letter.is_ascii() {
        return if letter.is_ascii_alphanumeric() { Class::Word } else { Class::Gap };
    }
    let is_unspaced = matches!(code,
        0x0e00..=0x0eff | 0x1000..=0x109f | 0x1100..=0x11ff | 0x1780..=0x17ff | 0x1950..=0x19ff | 0x1a20..=0x1aaf
        | 0x2e80..=0x2fdf | 0x3005..=0x3007 | 0x3021..=0x3029 | 0x3031..=0x303c | 0x3041..=0x30fa | 0x30fc..=0xd7ff
        | 0xf900..=0xfaff | 0x16fe0..=0x18cff | 0x1aff0..=0x1b2ff | 0x20000..=0x3fffd);
    let divides = matches!(code, 0x80..=0xbf | 0x2000..=0x206f | 0x3000..=0x303f | 0x30fb | 0xfe10..=0xfe6f | 0xfff0..=0xffff);
    match () {
        () if is_unspaced => Class::Unspaced,
        () if divides => Class::Gap,
        () if letter.is_alphanumeric() => Class::Word,
        () if matches!(code, 0x0300..=0x1fff) => Class::Word,
        // Arrows, signs, emoji.
        () => Class::Unspaced,
    }
}

impl Legible {
    /// What a text says, as it is looked up.
    pub(crate) fn new(text: &str) -> Self {
        let mut letters: Vec<char> = Vec::new();
        let mut space = false;
        for letter in legible(text, MOST_LETTERS).chars() {
            if letter == ' ' {
                space = true;
                continue;
            }
            let before = letters.last().copied();
            let is_mark =
                letter == '-' && !space && before.is_some_and(|before| is_kana(before) || before == '-');
            let class = if is_mark { Class::Unspaced } else { class(letter) };
            if space {
                space = false;
                let joins = class == Class::Unspaced && before.is_some_and(is_unspaced);
                if !joins && before.is_some_and(|before| before != GAP) {
                    letters.push(GAP);
                }
            }
            match class {
                Class::Gap if letters.last().is_some_and(|before| *before != GAP) => letters.push(GAP),
                Class::Gap => {}
                Class::Unspaced | Class::Word => letters.push(letter),
            }
        }
        if letters.last() == Some(&GAP) {
            letters.pop();
        }
        Self(letters)
    }

    pub(crate) fn letters(&self) -> &[char] {
        &self.0
    }

    /// The grams by which it is found, each once.
    pub(crate) fn grams(&self) -> Vec<Gram> {
        let mut grams = Vec::with_capacity(self.0.len());
        let mut place = 0;
        while let Some(letter) = self.0.get(place).copied() {
            match class_here(letter) {
                Class::Gap => place += 1,
                Class::Unspaced => {
                    let next = self.0.get(place + 1).copied().filter(|next| is_unspaced(*next));
                    grams.push(Gram::pair(letter, next.unwrap_or('\0')));
                    place += 1;
                }
                Class::Word => {
                    let word = word_at(&self.0, place);
                    match word.len() {
                        1 => grams.push(Gram::word(word)),
                        length => grams.extend(
                            BEGINNINGS
                                .iter()
                                .filter(|most| **most <= length)
                                .map(|most| Gram::word(&word[..*most])),
                        ),
                    }
                    place += word.len();
                }
            }
        }
        grams.sort_unstable();
        grams.dedup();
        grams
    }
}

/// The word that begins at a place.
pub(crate) fn word_at(letters: &[char], place: usize) -> &[char] {
    let rest = letters.get(place..).unwrap_or_default();
    let end = rest.iter().position(|letter| class_here(*letter) != Class::Word).unwrap_or(rest.len());
    &rest[..end]
}

/// The longest gram of a word that begins so.
pub(crate) fn beginning(word: &[char]) -> Option<Gram> {
    if word.len() == 1 {
        return Some(Gram::word(word));
    }
    let most = BEGINNINGS.iter().rev().find(|most| **most <= word.len())?;
    Some(Gram::word(&word[..*most]))
}

/// The class of a letter of a text that was made ready, where a hyphen is a long-vowel mark.
pub(crate) fn class_here(letter: char) -> Class {
    match letter {
        '-' => Class::Unspaced,
        GAP => Class::Gap,
        letter => class(letter),
    }
}

pub(crate) fn is_unspaced(letter: char) -> bool {
    class_here(letter) == Class::Unspaced
}

/// Whether it is a letter of hiragana, as which katakana is folded.
pub(crate) fn is_kana(letter: char) -> bool {
    matches!(letter, 'ぁ'..='ゟ' | 'ァ'..='ヺ' | 'ヿ')
}

/// Whether it is a kanji: pairs of those are rare, of kana not.
pub(crate) fn is_kanji(letter: char) -> bool {
    matches!(u32::from(letter), 0x3005 | 0x3400..=0x9fff | 0x20000..=0x3fffd)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn legibly(text: &str) -> String {
        Legible::new(text).letters().iter().collect()
    }

    #[test]
    fn a_text_is_made_ready_as_it_is_looked_for() {
        for (text, wanted) in [
            ("ﾊﾞｯﾀと鈴虫", "ばつたと鈴虫"),
            ("山田　太郎", "山田太郎"),
            ("防災訓\n練", "防災訓練"),
            ("髙﨑サーバー", "高崎さ-ば-"),
            ("re-use e-mail", "re use e mail"),
            ("「Hello,  WORLD!」", "hello world"),
            ("３月〜５月", "3月 5月"),
            ("A棟 ２階", "a棟 2階"),
            ("了解👍🏽です。", "了解👍🏽です"),
            ("ー", ""),
            ("第2回 会議", "第2回会議"),
        ] {
            assert_eq!(legibly(text), wanted, "{text}");
        }
    }

    #[test]
    fn each_letter_of_an_unspaced_script_begins_one_gram() {
        let grams = Legible::new("鈴虫").grams();
        assert_eq!(grams, [Gram::pair('虫', '\0'), Gram::pair('鈴', '虫')]);
        let word = |word: &str| Gram::word(&word.chars().collect::<Vec<_>>());
        let mut wanted = vec![word("me"), word("mee"), word("meeti"), word("b"), Gram::pair('棟', '\0')];
        wanted.sort_unstable();
        assert_eq!(Legible::new("Meeting B棟").grams(), wanted);
    }
}
