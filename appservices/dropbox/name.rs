//! Names of files that strangers chose, made harmless. What they chose stays in the record.

use unicode_normalization::UnicodeNormalization;

/// Letters of a harmless name; 80 letters of Japanese are 240 bytes, which every file system takes.
const LONGEST: usize = 80;

/// Letters of its ending that are kept when it is too long.
const LONGEST_ENDING: usize = 10;

/// Bytes of an original name that the record keeps; what is longer is cut at a letter.
pub(crate) const LONGEST_ORIGINAL: usize = 2_048;

/// What file systems take for something else, whatever ending it has.
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "com", "lpt"];

/// A name that no program takes for a path, a command or another name than it looks like.
///
/// Letters are composed, as phones of one maker send them apart. What cannot be seen (controls, marks that turn the direction of
/// writing, spaces of no width) is gone; what means something to a file system becomes `_`.
pub(crate) fn harmless(original: &str) -> String {
    // Enough for any name, whatever was sent.
    let beginning = clipped(original, LONGEST_ORIGINAL);
    let plain: String = beginning.nfc().filter(|letter| !is_unseen(*letter)).map(plain).collect();
    // Windows drops dots and spaces at the end; dots in front hide a file.
    let plain = plain.trim_matches(|letter: char| letter == '.' || letter.is_whitespace());
    let name = shortened(plain);
    if name.chars().all(|letter| letter == '_' || letter.is_whitespace()) {
        return "file".to_owned();
    }
    if is_device(&name) { format!("_{name}") } else { name }
}

/// The name with an ending that fits what the file is; endings are compared without case.
pub(crate) fn ending_in(name: &str, endings: &[&str]) -> String {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_lowercase());
    match (ending, endings.first()) {
        (Some(ending), _) if endings.contains(&ending.as_str()) => name.to_owned(),
        (_, Some(first)) => format!("{name}.{first}"),
        (_, None) => name.to_owned(),
    }
}

/// The beginning of a text, of so many bytes at most.
pub(crate) fn clipped(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// A line of text that a stranger wrote: one line, of so many letters, without what cannot be seen.
pub(crate) fn line(text: &str, letters: usize) -> String {
    let seen =
        clipped(text, letters * 8).nfc().filter(|letter| !is_unseen(*letter) || letter.is_whitespace());
    let words: String = seen.map(|letter| if letter.is_whitespace() { ' ' } else { letter }).collect();
    words.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(letters).collect()
}

fn plain(letter: char) -> char {
    match letter {
        '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|' => '_',
        letter if letter.is_whitespace() => ' ',
        letter => letter,
    }
}

/// Whether a letter shows nothing, or changes how others are shown.
pub(crate) fn is_unseen(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= LONGEST {
        return name.to_owned();
    }
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    let length = ending.chars().count();
    if length == 0 || length > LONGEST_ENDING {
        return name.chars().take(LONGEST).collect();
    }
    let stem: String = name.chars().take(LONGEST - 1 - length).collect();
    format!("{}.{ending}", stem.trim_end())
}

fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim().to_lowercase();
    let bare = stem.trim_end_matches(|letter: char| letter.is_ascii_digit());
    DEVICES.contains(&bare) && stem.len() <= bare.len() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_be_a_path_nor_look_like_another() {
        for (original, name) in [
            ("工事 写真.jpg", "工事 写真.jpg"),
            ("../../etc/passwd", "_.._etc_passwd"),
            (r"C:\windows\x.exe", "C__windows_x.exe"),
            ("a\0b\r\n.pdf", "ab.pdf"),
            ("請求書\u{202e}fdp.exe", "請求書fdp.exe"),
            ("ポスター.pdf", "ポスター.pdf"),
            ("   \u{3000}  ", "file"),
            ("...", "file"),
            ("///", "file"),
            ("", "file"),
            ("nul.txt", "_nul.txt"),
            ("COM1", "_COM1"),
            ("comet.txt", "comet.txt"),
            (".htaccess", "htaccess"),
            ("x.pdf. . ", "x.pdf"),
        ] {
            assert_eq!(harmless(original), name, "{original:?}");
        }
    }

    #[test]
    fn a_long_name_keeps_its_ending() {
        let name = harmless(&format!("{}.xlsx", "長".repeat(300)));
        assert_eq!((name.chars().count(), name.ends_with("長.xlsx")), (LONGEST, true));
        assert_eq!(harmless(&"あ".repeat(9_000)).chars().count(), LONGEST);
    }

    #[test]
    fn an_ending_that_does_not_fit_gets_another() {
        assert_eq!(ending_in("x.JPEG", &["jpg", "jpeg"]), "x.JPEG");
        assert_eq!(ending_in("x.exe", &["jpg", "jpeg"]), "x.exe.jpg");
        assert_eq!(ending_in("x", &[]), "x");
    }

    #[test]
    fn a_line_is_one_line() {
        assert_eq!(line("  金沢\n建設\u{202e}  (株) ", 40), "金沢 建設 (株)");
        assert_eq!(line(&"長".repeat(100), 40).chars().count(), 40);
    }
}
