//! Numbers of people and codes of units: texts of digits and letters, which are no numbers to count with.
//!
//! Spreadsheets take them for numbers all the same: zeros in front are lost, long ones become 1.23E+05, and 3-4 becomes
//! 4 March. What was lost cannot be known, so such are refused, with what to do about it.

use std::fmt;

use crate::{
    letters::half_width,
    limits::MAX_CODE,
    words::{Words, words},
};

/// Why something is no number or code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `1.23E+05`
    Scientific,
    /// `123.0`
    Fraction,
    /// `1,234`
    Thousands,
    /// `3月4日`, `2026/3/4`, `4-Mar`
    Day,
    /// A letter that does not belong into one.
    Letter(char),
    /// A person's number without a digit.
    NoDigit,
    /// It has more than [`MAX_CODE`] letters.
    Long,
}

impl Fault {
    /// The sentence for whoever sent the file.
    #[must_use]
    pub fn words(self) -> Words {
        match self {
            Self::Scientific => words!(
                "Excel が指数表記に変えた番号です。列の表示形式を「文字列」にして出し直してください。",
                "Excel turned this number into scientific notation; please export the column as text."
            ),
            Self::Fraction => words!(
                "番号に小数点が付いています。列を「文字列」として出し直してください。",
                "The number has a decimal point; please export the column as text."
            ),
            Self::Thousands => words!(
                "番号に桁区切りのカンマが付いています。",
                "The number has commas between its thousands."
            ),
            Self::Day => words!(
                "Excel がコードを日付に変えたものです。列の表示形式を「文字列」にして出し直してください。",
                "Excel turned this code into a date; please export the column as text."
            ),
            Self::Letter(letter) => words!(
                "番号やコードに使えない文字「{letter}」があります。",
                "The letter \"{letter}\" does not belong into a number or code."
            ),
            Self::NoDigit => {
                words!("職員番号に数字がありません。", "There is no digit in the person's number.")
            }
            Self::Long => words!(
                "番号やコードが長すぎます(上限 {MAX_CODE} 文字)。",
                "The number or code is too long (at most {MAX_CODE} letters)."
            ),
        }
    }
}

/// A person's number in his authority (職員番号), zeros in front included.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersonNumber(String);

impl PersonNumber {
    pub(crate) fn read(text: &str) -> Result<Self, Fault> {
        let number = code(text)?;
        // 合計, or a name where columns are out of place
        if number.contains(|letter: char| letter.is_ascii_digit()) {
            Ok(Self(number))
        } else {
            Err(Fault::NoDigit)
        }
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How many digits it has, if it is made of digits alone.
    pub(crate) fn digits(&self) -> Option<usize> {
        self.0.bytes().all(|byte| byte.is_ascii_digit()).then_some(self.0.len())
    }

    /// With zeros in front, up to so many digits; never more than a number may have.
    pub(crate) fn filled(&self, width: usize) -> Self {
        let width = width.min(MAX_CODE);
        Self(format!("{:0>width$}", self.0))
    }
}

impl fmt::Display for PersonNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The code of a unit (所属コード).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitCode(String);

impl UnitCode {
    pub(crate) fn read(text: &str) -> Result<Self, Fault> {
        code(text).map(Self)
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UnitCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn code(text: &str) -> Result<String, Fault> {
    if text.chars().count() > MAX_CODE {
        return Err(Fault::Long);
    }
    let code = half_width(text);
    if is_scientific(&code) {
        return Err(Fault::Scientific);
    }
    if is_day(&code) {
        return Err(Fault::Day);
    }
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b',');
    if code.contains(',') && is_number(&code) {
        return Err(Fault::Thousands);
    }
    let fraction = code.split_once('.').filter(|(whole, _)| !whole.is_empty() && is_number(whole));
    if fraction.is_some_and(|(_, rest)| !rest.is_empty() && rest.bytes().all(|byte| byte == b'0')) {
        return Err(Fault::Fraction);
    }
    let belongs = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_' | '.' | 'ー');
    match code.chars().find(|letter| !belongs(*letter)) {
        Some(letter) => Err(Fault::Letter(letter)),
        None => Ok(code),
    }
}

fn is_scientific(code: &str) -> bool {
    let parts = code.split_once(['E', 'e']);
    parts.is_some_and(|(number, power)| {
        let is_number = number.starts_with(|letter: char| letter.is_ascii_digit())
            && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let power = power.strip_prefix('+').filter(|power| !power.is_empty());
        is_number && power.is_some_and(|power| power.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

/// Whether Excel has made a day of it: 3月4日, 2026/3/4, 2026-03-04, 4-Mar, Mar-04.
fn is_day(code: &str) -> bool {
    let months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_month = |part: &str| months.iter().any(|month| part.eq_ignore_ascii_case(month));
    let by = |mark: char| code.split(mark).collect::<Vec<_>>();
    if let [.., month, day] = by('/')[..] {
        return is_number(month) && is_number(day);
    }
    let in_kanji = code.trim_end_matches('日').split_once('月');
    if let Some((month, day)) = in_kanji {
        let month = month.rsplit('年').next().unwrap_or(month);
        return is_number(month) && (is_number(day) || day.is_empty());
    }
    match by('-')[..] {
        [a, b] => (is_month(a) && is_number(b)) || (is_number(a) && is_month(b)),
        [day, month, year] if is_month(month) => is_number(day) && is_number(year),
        [year, month, day] => {
            let is_year = year.len() == 4 && (year.starts_with("19") || year.starts_with("20"));
            is_year && [year, month, day].into_iter().all(is_number) && month.len() == 2 && day.len() == 2
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_zeros_and_letters() {
        let cases = [("00123", "00123"), ("００１２３", "00123"), ("K-0012", "K-0012"), ("3-4", "3-4")];
        let more = [("会計０１", "会計01"), ("1E5", "1E5"), ("E05", "E05"), ("1.2", "1.2"), ("12−3", "12-3")];
        for (text, wanted) in cases.into_iter().chain(more) {
            assert_eq!(code(text).as_deref(), Ok(wanted));
        }
        assert_eq!(PersonNumber::read("123").map(|number| number.filled(5).to_string()), Ok("00123".into()));
        let longest = PersonNumber::read("1").map(|number| number.filled(usize::MAX).digits());
        assert_eq!(longest, Ok(Some(MAX_CODE)));
    }

    #[test]
    fn what_a_spreadsheet_made_of_them_is_refused() {
        let cases = [
            ("1.23E+05", Fault::Scientific),
            ("1E+10", Fault::Scientific),
            ("１．２３Ｅ＋０５", Fault::Scientific),
            ("123.0", Fault::Fraction),
            ("1,234", Fault::Thousands),
            ("3月4日", Fault::Day),
            ("2026年3月4日", Fault::Day),
            ("2026/3/4", Fault::Day),
            ("3/4", Fault::Day),
            ("4-Mar", Fault::Day),
            ("Mar-04", Fault::Day),
            ("04-Mar-26", Fault::Day),
            ("2026-03-04", Fault::Day),
            ("00 123", Fault::Letter(' ')),
            ("=SUM(A1)", Fault::Letter('=')),
        ];
        for (text, wanted) in cases {
            assert_eq!(code(text), Err(wanted), "{text}");
        }
        assert_eq!(code(&"1".repeat(33)), Err(Fault::Long));
    }
}
