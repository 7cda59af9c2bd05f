//! In which encoding a file is written.
//!
//! A mark at its begin decides. Without one an encoding counts only if the *whole* file is valid in it: a file that is
//! valid as UTF-8 is UTF-8, one that is not but as CP932 is CP932. Where two readings are possible that would show other
//! letters, the file is refused until somebody chooses: letters that nobody wrote must not become names.
//!
//! CP932 is Windows' Shift_JIS with the rows of NEC and IBM (①, 髙, 﨑), which Japanese Excel writes as "CSV". What
//! the web calls Shift_JIS is the same. Its user-defined letters (外字) become letters of Unicode's private area.

use encoding_rs::{DecoderResult, EUC_JP, SHIFT_JIS, UTF_8, UTF_16BE, UTF_16LE};
use serde::{Deserialize, Serialize};

use crate::words::{Words, words};

/// An encoding in which files come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// UTF-8, with or without a mark.
    Utf8,
    /// UTF-16, little end first.
    Utf16Le,
    /// UTF-16, big end first.
    Utf16Be,
    /// Windows' Shift_JIS.
    Cp932,
    /// EUC-JP of older UNIX systems. Read only where it is chosen: most of its files are valid CP932 too.
    EucJp,
}

impl Encoding {
    /// What people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "UTF-8",
            Self::Utf16Le => "UTF-16LE",
            Self::Utf16Be => "UTF-16BE",
            Self::Cp932 => "Shift_JIS (CP932)",
            Self::EucJp => "EUC-JP",
        }
    }

    fn coder(self) -> &'static encoding_rs::Encoding {
        match self {
            Self::Utf8 => UTF_8,
            Self::Utf16Le => UTF_16LE,
            Self::Utf16Be => UTF_16BE,
            Self::Cp932 => SHIFT_JIS,
            Self::EucJp => EUC_JP,
        }
    }
}

/// Why a file is read in its encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Somebody chose it.
    Chosen,
    /// The mark with which the file begins.
    Mark,
    /// There are letters of ASCII alone, which all encodings write alike.
    OnlyAscii,
    /// The whole file is valid in it, and would be so by chance hardly ever.
    Valid,
    /// The whole file is valid in it, and is not valid as UTF-8.
    ValidAndNotUtf8,
}

impl Evidence {
    /// The sentence for the preview.
    #[must_use]
    pub fn words(self) -> Words {
        match self {
            Self::Chosen => words!("指定された文字コードです。", "The encoding was chosen."),
            Self::Mark => words!(
                "ファイルの先頭の印 (BOM) で判定しました。",
                "The mark at the beginning of the file (BOM) says so."
            ),
            Self::OnlyAscii => {
                words!("半角の英数字と記号だけのファイルです。", "There are only ASCII letters in the file.")
            }
            Self::Valid => words!(
                "ファイル全体がこの文字コードとして正しく読めました。",
                "The whole file is valid in this encoding."
            ),
            Self::ValidAndNotUtf8 => words!(
                "UTF-8 としては読めず、ファイル全体がこの文字コードとして正しく読めました。",
                "The file is not valid as UTF-8, and the whole of it is valid in this encoding."
            ),
        }
    }
}

/// A file in letters.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) text: String,
    pub(crate) encoding: Encoding,
    pub(crate) evidence: Evidence,
}

/// Why a file could not be turned into letters.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Bytes that are no letter in the encoding that fits best; `before` is all that was read before them.
    Bytes { encoding: Encoding, offset: usize, bytes: Vec<u8>, before: String },
    /// It could be any of these, and they would show other letters.
    Ambiguous(Vec<Encoding>),
    /// UTF-16 without the mark that says which end comes first.
    Unmarked,
    /// ISO-2022-JP, which switches its letters by escapes.
    Escapes,
}

/// Reads a file, in the encoding that was chosen or else in the one that it shows.
pub(crate) fn decode(file: &[u8], chosen: Option<Encoding>) -> Result<Decoded, Failure> {
    let marked = mark(file);
    if let Some(encoding) = chosen {
        let skipped = marked.filter(|(of, _)| *of == encoding).map_or(0, |(_, length)| length);
        return read(file, skipped, encoding).map(|text| decoded(text, encoding, Evidence::Chosen));
    }
    if let Some((encoding, length)) = marked {
        return read(file, length, encoding).map(|text| decoded(text, encoding, Evidence::Mark));
    }
    if file.contains(&0) {
        return Err(Failure::Unmarked);
    }
    if file.windows(2).any(|pair| pair == b"\x1b$" || pair == b"\x1b(") {
        return Err(Failure::Escapes);
    }
    let utf8 = read(file, 0, Encoding::Utf8);
    let cp932 = || read(file, 0, Encoding::Cp932);
    match utf8 {
        Ok(text) if text.is_ascii() => Ok(decoded(text, Encoding::Utf8, Evidence::OnlyAscii)),
        // Kana and kanji take three bytes. Pairs alone may as well be half-width katakana of CP932.
        Ok(text) if text.chars().all(|letter| letter < '\u{800}') && cp932().is_ok() => {
            Err(Failure::Ambiguous(vec![Encoding::Cp932, Encoding::Utf8]))
        }
        Ok(text) => Ok(decoded(text, Encoding::Utf8, Evidence::Valid)),
        Err(as_utf8) => japanese(file, as_utf8, cp932()),
    }
}

/// Reads a file without a mark that is not UTF-8.
fn japanese(file: &[u8], as_utf8: Failure, cp932: Result<String, Failure>) -> Result<Decoded, Failure> {
    let is_euc_jp = || read(file, 0, Encoding::EucJp).is_ok();
    match cp932 {
        // A UTF-8 file with a broken letter is valid CP932 often enough, as other letters.
        Ok(_) if as_broken_utf8(file) == Likeness::Close => Err(as_utf8),
        Ok(_) if as_broken_utf8(file) == Likeness::Some => {
            Err(Failure::Ambiguous(vec![Encoding::Cp932, Encoding::Utf8]))
        }
        // Read as CP932, the kanji of EUC-JP are half-width katakana.
        Ok(text) if text.chars().any(is_half_width_kana) && is_euc_jp() => {
            Err(Failure::Ambiguous(vec![Encoding::EucJp, Encoding::Cp932]))
        }
        Ok(text) => Ok(decoded(text, Encoding::Cp932, Evidence::ValidAndNotUtf8)),
        Err(_) if is_euc_jp() => Err(Failure::Ambiguous(vec![Encoding::EucJp])),
        // The right encoding goes wrong later than the others.
        Err(as_cp932) => Err(if offset(&as_cp932) > offset(&as_utf8) { as_cp932 } else { as_utf8 }),
    }
}

#[derive(PartialEq, Eq)]
enum Likeness {
    None,
    Some,
    Close,
}

/// How much a file that is not UTF-8 looks like one that was, by the Japanese letters that it has as UTF-8 beside what is
/// broken. Of CP932 nearly everything is broken; a rare kanji makes a letter by chance.
fn as_broken_utf8(file: &[u8]) -> Likeness {
    let is_japanese = |letter: &char| matches!(*letter, '\u{3000}'..='\u{30ff}' | '\u{4e00}'..='\u{9fff}' | '\u{ff00}'..='\u{ffef}');
    let (mut japanese, mut broken) = (0, 0);
    for chunk in file.utf8_chunks() {
        japanese += chunk.valid().chars().filter(is_japanese).count();
        broken += usize::from(!chunk.invalid().is_empty());
    }
    match japanese {
        0 => Likeness::None,
        _ if japanese > 2 * broken => Likeness::Close,
        _ if japanese >= broken => Likeness::Some,
        _ => Likeness::None,
    }
}

fn is_half_width_kana(letter: char) -> bool {
    matches!(letter, '\u{ff61}'..='\u{ff9f}')
}

fn offset(failure: &Failure) -> usize {
    match failure {
        Failure::Bytes { offset, .. } => *offset,
        Failure::Ambiguous(_) | Failure::Unmarked | Failure::Escapes => 0,
    }
}

fn decoded(text: String, encoding: Encoding, evidence: Evidence) -> Decoded {
    Decoded { text, encoding, evidence }
}

/// The encoding that a mark names, and the mark's length.
fn mark(file: &[u8]) -> Option<(Encoding, usize)> {
    let (coder, length) = encoding_rs::Encoding::for_bom(file)?;
    let all = [Encoding::Utf8, Encoding::Utf16Le, Encoding::Utf16Be];
    all.into_iter().find(|encoding| encoding.coder() == coder).map(|encoding| (encoding, length))
}

/// Reads what comes after `skipped` bytes to the last byte, or fails at the first that is no letter.
fn read(file: &[u8], skipped: usize, encoding: Encoding) -> Result<String, Failure> {
    let bytes = &file[skipped..];
    let mut decoder = encoding.coder().new_decoder_without_bom_handling();
    // Of ASCII nothing grows; the rest is made room for as it comes.
    let mut text = String::with_capacity(bytes.len() + 16);
    let mut done = 0;
    loop {
        let (result, taken) = decoder.decode_to_string_without_replacement(&bytes[done..], &mut text, true);
        done += taken;
        match result {
            DecoderResult::InputEmpty => return Ok(text),
            DecoderResult::OutputFull => text.reserve(text.capacity().max(64)),
            DecoderResult::Malformed(length, after) => {
                let end = done.saturating_sub(usize::from(after));
                let start = end.saturating_sub(usize::from(length));
                return Err(Failure::Bytes {
                    encoding,
                    offset: skipped + start,
                    bytes: bytes[start..end].to_vec(),
                    before: text,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(file: &[u8]) -> (String, Encoding, Evidence) {
        let Decoded { text, encoding, evidence } = decode(file, None).unwrap_or_else(|f| panic!("{f:?}"));
        (text, encoding, evidence)
    }

    #[test]
    fn both_places_of_a_letter_in_cp932_are_the_same_letter() {
        let file = b"\xfb\xfc,\xee\xe0,\xfa\xb1,\xed\x95,\x87\x40,\x95\x5c,\x94\x5c\r\n";
        let wanted = "髙,髙,﨑,﨑,①,表,能\r\n".to_owned();
        assert_eq!(text(file), (wanted, Encoding::Cp932, Evidence::ValidAndNotUtf8));
    }

    #[test]
    fn a_short_file_of_letters_of_ibm_is_cp932() {
        let wanted = "no,name\r\n1,髙﨑\r\n2,箞\r\n".to_owned();
        assert_eq!(text(b"no,name\r\n1,\xfb\xfc\xfa\xb1\r\n2,\xfb\x88\r\n").0, wanted);
    }

    #[test]
    fn a_byte_that_is_no_letter_is_told_with_its_place() {
        let file = ["氏名,フリガナ\n".as_bytes(), b"\xe5\xb1"].concat();
        let failure = decode(&file, None);
        let Err(Failure::Bytes { encoding, offset, bytes, before }) = failure else { panic!("{failure:?}") };
        assert_eq!((encoding, offset, bytes.as_slice()), (Encoding::Utf8, 20, &b"\xe5\xb1"[..]));
        assert_eq!(before, "氏名,フリガナ\n");
    }

    #[test]
    fn broken_utf_8_is_not_read_as_other_letters() {
        // Valid CP932: 豌丞錐,螻
        let file = b"\xe6\xb0\x8f\xe5\x90\x8d,\xe5\xb1";
        assert!(read(file, 0, Encoding::Cp932).is_ok());
        let candidates = vec![Encoding::Cp932, Encoding::Utf8];
        assert_eq!(decode(file, None).err(), Some(Failure::Ambiguous(candidates)));
    }

    #[test]
    fn kanji_of_cp932_that_make_letters_of_utf_8_by_chance_are_read() {
        let text_of_names = "no,name\n1,邊見 花子\n2,齋藤 太郎\n";
        let (file, ..) = SHIFT_JIS.encode(text_of_names);
        assert_eq!(text(&file).0, text_of_names);
    }

    #[test]
    fn what_could_be_euc_jp_or_cp932_is_read_only_as_chosen() {
        let (euc_jp, ..) = EUC_JP.encode("職員番号,氏名\n1,山田花子\n");
        assert!(matches!(decode(&euc_jp, None), Err(Failure::Ambiguous(_))));
        let chosen = decode(&euc_jp, Some(Encoding::EucJp)).map(|decoded| decoded.text);
        assert_eq!(chosen, Ok("職員番号,氏名\n1,山田花子\n".to_owned()));
    }

    #[test]
    fn euc_jp_that_is_valid_cp932_is_not_taken_for_it() {
        let (file, ..) = EUC_JP.encode("id,name\n1,やまだ\n");
        assert!(read(&file, 0, Encoding::Cp932).is_ok());
        let candidates = vec![Encoding::EucJp, Encoding::Cp932];
        assert_eq!(decode(&file, None).err(), Some(Failure::Ambiguous(candidates)));
    }

    #[test]
    fn half_width_kana_that_are_valid_utf_8_by_chance_are_not_taken_for_it() {
        // ﾐｱ in CP932, б in UTF-8
        let candidates = vec![Encoding::Cp932, Encoding::Utf8];
        assert_eq!(decode(b"1,\xd0\xb1\n", None).err(), Some(Failure::Ambiguous(candidates)));
    }
}
