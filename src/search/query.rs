//! What somebody looks for.
//!
//! A query is words with spaces between; all of them have to be in a text, in any order. A word is found where it
//! stands in the folded text: anywhere, if it begins with a letter of a script without spaces; at the beginning of a word, if it
//! begins with another. One letter of the latter, or one digit, is found as a word of its own alone (`Message 4` is not
//! message 42); one kanji or kana is found wherever it is.
//!
//! A long-vowel mark is a letter (ビル is not ビール), but at the end of a word of four letters or more it may be missing in the text: サーバー
//! finds サーバ too, as authorities write it by JIS Z 8301.

use base::legible;

use crate::{
    Field,
    grams::{Class, Gram, Legible, beginning, class_here, is_kana, is_kanji, word_at},
};

/// Words of a query, and letters of each; what is beyond is not looked for.
const MOST_WORDS: usize = 8;
const MOST_LETTERS: usize = 64;

/// Grams that are looked up for a query, the rarest by their looks; the texts themselves have the last word.
const MOST_PROBES: usize = 8;

/// Letters of a text in which it is looked how what was found is written there, and ways of writing that are told.
const LOOKED_THROUGH: usize = 1_000;
const MOST_SURFACES: usize = 3;

/// From where on a mark at the end of a word may be missing.
const LONG_WORD: usize = 4;

/// What somebody looks for, made ready.
#[derive(Clone, Debug, Default)]
pub struct Query {
    words: Vec<Vec<char>>,
}

/// Grams of which a text must have at least one, and how rare they look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    /// From the first to the last, both included.
    pub(crate) ranges: Vec<(Gram, Gram)>,
    weight: u8,
}

impl Probe {
    pub(crate) fn any_of(grams: impl IntoIterator<Item = Gram>, weight: u8) -> Self {
        Self { ranges: grams.into_iter().map(|gram| (gram, gram)).collect(), weight }
    }
}

impl Query {
    /// What the text of a request looks for.
    pub fn new(text: &str) -> Self {
        let words = text.split_whitespace().map(|word| {
            let mut letters: Vec<char> =
                Legible::new(word).letters().iter().copied().take(MOST_LETTERS).collect();
            let is_long = letters.len() >= LONG_WORD && letters.last() == Some(&'-');
            if is_long && letters.iter().rev().nth(1).is_some_and(|before| is_kana(*before)) {
                letters.pop();
            }
            letters
        });
        let mut kept: Vec<Vec<char>> = Vec::new();
        for word in words.filter(|word| !word.is_empty()).take(MOST_WORDS) {
            if !kept.contains(&word) {
                kept.push(word);
            }
        }
        Self { words: kept }
    }

    /// Whether nothing is looked for: marks and spaces alone.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// What is looked up: a text in which the query is has a gram of each.
    pub(crate) fn probes(&self) -> Vec<Probe> {
        let mut probes: Vec<Probe> = self.words.iter().flat_map(|word| probes_of(word)).collect();
        probes.sort_by_key(|probe| std::cmp::Reverse(probe.weight));
        let mut kept: Vec<Probe> = Vec::new();
        for probe in probes {
            if kept.len() < MOST_PROBES && !kept.contains(&probe) {
                kept.push(probe);
            }
        }
        kept
    }

    /// How well a text fits; nothing, if not all of the query is in it.
    ///
    /// Often is better than once, a short text than a long one, the words side by side better than apart, a name or topic better
    /// than a message.
    pub(crate) fn score(&self, text: &str, field: Field) -> Option<f64> {
        let text = Legible::new(text);
        let letters = text.letters();
        let length = 0.25 + 0.75 * as_float(letters.len()) / 60.0;
        let mut score = 0.0;
        for word in &self.words {
            let times = as_float(places_of(word, letters).take(20).count());
            if times < 0.5 {
                return None;
            }
            score += times * 2.2 / (times + 1.2 * length);
        }
        if self.words.len() > 1 && places_of(&self.words.concat(), &without_gaps(letters)).next().is_some() {
            score += 1.0;
        }
        Some(if field == Field::Body { score } else { score + 0.5 })
    }

    /// How what is looked for is written in a text: by this clients show where it is.
    pub(crate) fn surfaces(&self, text: &str) -> Vec<String> {
        let end = text.char_indices().nth(LOOKED_THROUGH).map_or(text.len(), |(end, _)| end);
        let text = &text[..end];
        // Each letter as it is compared, and the part of the text from which it comes.
        let mut letters: Vec<(char, usize, usize)> = Vec::new();
        let mut begin = 0;
        while begin < text.len() {
            let mut rest = text[begin..].char_indices().skip(1);
            let part =
                rest.find(|(_, letter)| !clings(*letter)).map_or(text.len(), |(length, _)| begin + length);
            let folded = legible(&text[begin..part], 64);
            letters.extend(
                folded.chars().filter(|letter| class_here(*letter) != Class::Gap).map(|it| (it, begin, part)),
            );
            if !folded.is_empty() && folded.chars().all(|letter| class_here(letter) == Class::Gap) {
                letters.push((' ', begin, part));
            }
            begin = part;
        }
        let plain: Vec<char> = letters.iter().map(|(letter, ..)| *letter).collect();
        let mut found: Vec<String> = Vec::new();
        for word in &self.words {
            let mut ways = 0;
            for place in places_of(word, &plain) {
                let (Some((_, from, _)), Some((_, _, to))) =
                    (letters.get(place), letters.get(place + word.len() - 1))
                else {
                    continue;
                };
                let way = &text[*from..*to];
                if !found.iter().any(|known| known == way) {
                    found.push(way.to_owned());
                    ways += 1;
                }
                if ways == MOST_SURFACES {
                    break;
                }
            }
        }
        found
    }
}

/// Whether a letter belongs to the one before it: voicing marks, accents, variation selectors.
fn clings(letter: char) -> bool {
    matches!(u32::from(letter), 0x300..=0x36f | 0x3099..=0x309c | 0xff9e..=0xff9f | 0xfe00..=0xfe0f | 0xe0100..=0xe01ef)
}

fn without_gaps(letters: &[char]) -> Vec<char> {
    letters.iter().copied().filter(|letter| class_here(*letter) != Class::Gap).collect()
}

fn as_float(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}

/// Where a word stands in a text.
fn places_of(word: &[char], text: &[char]) -> impl Iterator<Item = usize> {
    let is_word = |letter: Option<&char>| letter.is_some_and(|letter| class_here(*letter) == Class::Word);
    let begins_word = is_word(word.first());
    let is_single = begins_word && word.len() == 1;
    let last = (text.len() + 1).checked_sub(word.len()).filter(|_| !word.is_empty()).unwrap_or(0);
    (0..last).filter(move |place| {
        text[*place..].starts_with(word)
            && !(begins_word && place.checked_sub(1).is_some_and(|before| is_word(text.get(before))))
            && !(is_single && is_word(text.get(place + 1)))
    })
}

/// What a word is looked up by.
fn probes_of(word: &[char]) -> Vec<Probe> {
    let mut probes = Vec::new();
    let mut place = 0;
    while let Some(letter) = word.get(place).copied() {
        match class_here(letter) {
            Class::Gap => place += 1,
            Class::Word => {
                let run = word_at(word, place);
                // The text may go on with this word where the query ends, and then it is not one of one letter.
                let is_open = run.len() == 1 && place > 0 && place + 1 == word.len();
                if let Some(gram) = beginning(run).filter(|_| !is_open) {
                    let weight = u8::try_from(run.len().min(12)).unwrap_or(0);
                    probes.push(Probe::any_of([gram], weight));
                }
                place += run.len();
            }
            Class::Unspaced => {
                let run =
                    word[place..].iter().take_while(|letter| class_here(**letter) == Class::Unspaced).count();
                for pair in word[place..place + run].windows(2) {
                    let weight = 2 + 4 * u8::from(is_kanji(pair[0])) + 4 * u8::from(is_kanji(pair[1]));
                    probes.push(Probe::any_of([Gram::pair(pair[0], pair[1])], weight));
                }
                if run == 1 {
                    let weight = u8::from(is_kanji(letter));
                    probes.push(Probe { ranges: vec![Gram::beginning_with(letter)], weight });
                }
                place += run;
            }
        }
    }
    probes
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn finds(query: &str, text: &str) -> bool {
        let query = Query::new(query);
        let found = query.score(text, Field::Body).is_some();
        // Whatever is found by its text is found by the index.
        let grams = Legible::new(text).grams();
        let is_looked_up = query.probes().iter().all(|probe| {
            probe.ranges.iter().any(|(first, last)| grams.iter().any(|gram| gram >= first && gram <= last))
        });
        assert!(is_looked_up || !found, "{query:?} {text}");
        found
    }

    #[test]
    fn a_query_finds_what_people_mean_by_it() {
        for (query, text) in [
            ("ばった", "ﾊﾞｯﾀと鈴虫"),
            ("ﾊﾞｯﾀ", "ばったと鈴虫"),
            ("鈴虫", "バッタと鈴虫"),
            ("高崎", "髙﨑さん"),
            ("渡邉", "渡辺です"),
            ("税", "住民税の窓口"),
            ("サーバー", "サーバの入替"),
            ("サーバー", "サーバーの入替"),
            ("サーバ", "サーバー室"),
            ("ター", "エレベーター点検"),
            ("龍ケ崎", "竜ヶ崎市"),
            ("山田　太郎", "太郎（山田）"),
            ("山田太郎", "山田　太郎"),
            ("meet", "The Meeting of today"),
            ("Message 4", "Message number 4"),
            ("hello", "hello, world"),
            ("A棟", "会議はＡ棟2階"),
            ("棟2", "会議はＡ棟22階"),
            ("2026年", "２０２６年度予算"),
            ("e-mail", "write an e-mail"),
            ("👍", "了解👍です"),
            ("が", "か\u{3099}"),
        ] {
            assert!(finds(query, text), "{query} {text}");
        }
    }

    #[test]
    fn a_query_finds_nothing_else() {
        for (query, text) in [
            ("search", "research"),
            ("4", "Message number 42"),
            ("26年", "2026年"),
            ("ビル", "ビール"),
            ("虫鈴", "鈴虫"),
            ("鈴虫 松虫", "鈴虫"),
            ("京都", "東京。都庁"),
            ("キー", "き"),
        ] {
            assert!(!finds(query, text), "{query} {text}");
        }
        for nothing in ["", " 　", "。、", "!?", "\u{200b}", "-"] {
            assert!(Query::new(nothing).is_empty(), "{nothing}");
        }
    }

    #[test]
    fn what_fits_better_comes_first() {
        let query = Query::new("防災 訓練");
        let score = |text: &str, field| query.score(text, field).unwrap();
        let plain = score("訓練は明日、防災課まで", Field::Body);
        assert!(score("防災訓練のお知らせ", Field::Body) > plain);
        assert!(score("訓練は明日、防災課まで", Field::Topic) > plain);
        assert!(score(&format!("訓練、防災{}", "。会議".repeat(200)), Field::Body) < plain);
        assert!(score("防災、防災、防災、訓練", Field::Body) > plain);
    }

    #[test]
    fn it_is_told_how_what_was_found_is_written() {
        for (query, text, wanted) in [
            ("ばった", "ﾊﾞｯﾀとバッタ", vec!["ﾊﾞｯﾀ", "バッタ"]),
            ("高崎", "髙﨑さん", vec!["髙﨑"]),
            ("hello world", "Hello, WORLD", vec!["Hello", "WORLD"]),
            ("サーバー", "サーバの", vec!["サーバ"]),
            ("葛城", "葛\u{e0101}城", vec!["葛\u{e0101}城"]),
        ] {
            assert_eq!(Query::new(query).surfaces(text), wanted, "{query} {text}");
        }
    }

    #[test]
    fn of_a_query_of_any_length_a_bounded_part_is_looked_for() {
        for text in ["防災 ".repeat(50_000), "防災訓練".repeat(50_000), "\u{fdfa}".repeat(50_000)] {
            let query = Query::new(&text);
            assert!(
                query.words.len() <= MOST_WORDS && query.words.iter().all(|word| word.len() <= MOST_LETTERS)
            );
            assert!(query.probes().len() <= MOST_PROBES);
        }
    }

    proptest! {
        #[test]
        fn any_two_letters_of_an_unbroken_sentence_find_it(sentence in "[ぁ-んァ-ヶー一-龠々ｱ-ﾝﾞ]{2,200}", at in 0_usize..200) {
            let letters: Vec<char> = sentence.chars().collect();
            let at = at % (letters.len() - 1);
            let two: String = letters[at..at + 2].iter().collect();
            // Half a letter is none: marks belong to the letter before them.
            prop_assume!(!clings(letters[at]) && !letters.get(at + 2).is_some_and(|next| clings(*next)));
            prop_assume!(!Query::new(&two).is_empty() && !two.starts_with('ー'));
            prop_assert!(finds(&two, &sentence), "{} in {}", two, sentence);
        }

        #[test]
        fn what_is_found_is_looked_up(text in "\\PC{0,60}", from in 0_usize..60, length in 1_usize..8) {
            let letters: Vec<char> = text.chars().collect();
            let part: String = letters.iter().skip(from).take(length).collect();
            finds(&part, &text);
        }
    }
}
