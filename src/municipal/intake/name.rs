//! Names of people, units and posts, and readings.

use crate::{
    letters::{composed, is_kana, katakana, spaced},
    limits::{MAX_LEVELS, MAX_NAME},
    words::{Words, words},
};

/// Why something is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no letter in it.
    NoLetter,
    /// A question mark, which programs write for a letter that they do not know.
    QuestionMark,
    /// It has more than [`MAX_NAME`] letters.
    Long,
}

impl Fault {
    /// The sentence for whoever sent the file.
    #[must_use]
    pub fn words(self) -> Words {
        match self {
            Self::NoLetter => words!("名前に文字がありません。", "There is no letter in the name."),
            Self::QuestionMark => words!(
                "名前に「?」があります。変換で失われた文字を元に直してください。",
                "There is a question mark in the name, where a letter was lost; please write what it was."
            ),
            Self::Long => words!(
                "名前が長すぎます(上限 {MAX_NAME} 文字)。",
                "The name is too long (at most {MAX_NAME} letters)."
            ),
        }
    }
}

/// A person's name as he writes it: variants of kanji stay; between its parts is one space.
pub(crate) fn person(text: &str) -> Result<String, Fault> {
    let name = title(text)?;
    if name.contains(['?', '？']) {
        return Err(Fault::QuestionMark);
    }
    if !name.chars().any(char::is_alphabetic) {
        return Err(Fault::NoLetter);
    }
    Ok(name)
}

/// The name of a unit or a post.
pub(crate) fn title(text: &str) -> Result<String, Fault> {
    let name = spaced(&composed(text));
    if name.chars().count() > MAX_NAME { Err(Fault::Long) } else { Ok(name) }
}

/// The names of a unit and of those above it, from the top: 総務部　人事課, 総務部/人事課, 総務部＞人事課.
pub(crate) fn path(text: &str) -> Result<Vec<String>, Fault> {
    let parts = text.split(|letter: char| {
        letter.is_whitespace() || matches!(letter, '/' | '／' | '>' | '＞' | '→' | '\\' | '￥')
    });
    let parts: Vec<_> = parts.filter(|part| !part.is_empty()).collect();
    if parts.len() > MAX_LEVELS {
        return Err(Fault::Long);
    }
    parts.into_iter().map(title).collect()
}

/// A reading in katakana, and whether it is kana to the last letter.
pub(crate) fn reading(text: &str) -> Result<(String, bool), Fault> {
    let reading = katakana(text);
    if reading.chars().count() > MAX_NAME {
        return Err(Fault::Long);
    }
    let is_whole = reading.chars().all(is_kana);
    Ok((reading, is_whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_as_they_are_written_but_for_spaces() {
        let cases = [
            ("山田　花子", "山田 花子"),
            ("山田\n花子", "山田 花子"),
            ("髙﨑 葛\u{e0100}", "髙﨑 葛\u{e0100}"),
            ("𠮷", "𠮷"),
            ("ＪＯＨＮ　Smith", "ＪＯＨＮ Smith"),
            ("Ｎｇｕｙễｎ", "Ｎｇｕｙễｎ"),
            ("=1+1さん", "=1+1さん"),
        ];
        for (text, wanted) in cases {
            assert_eq!(person(text).as_deref(), Ok(wanted));
        }
        assert_eq!(person("?橋"), Err(Fault::QuestionMark));
        assert_eq!(person("0123"), Err(Fault::NoLetter));
        assert_eq!(person(&"山".repeat(101)), Err(Fault::Long));
    }

    #[test]
    fn a_unit_is_found_below_those_above_it() {
        for text in ["総務部　人事課", "総務部/人事課", "総務部 ＞ 人事課", "総務部→人事課"]
        {
            assert_eq!(path(text), Ok(vec!["総務部".to_owned(), "人事課".to_owned()]));
        }
        assert_eq!(path("商工センター六丁目"), Ok(vec!["商工センター六丁目".to_owned()]));
        assert_eq!(path(&"課/".repeat(17)), Err(Fault::Long));
    }

    #[test]
    fn a_reading_with_kanji_is_told() {
        assert_eq!(reading("ﾔﾏﾀﾞ 花子"), Ok(("ヤマダ 花子".to_owned(), false)));
        assert_eq!(reading("やまだ・はなこ"), Ok(("ヤマダ・ハナコ".to_owned(), true)));
    }
}
