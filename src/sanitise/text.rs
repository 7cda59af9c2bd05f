//! Text and CSV.
//!
//! Text passes as it is, in the encoding that it has (UTF-8, UTF-16 with a mark, Windows' Japanese, EUC-JP, the JIS of mails), if
//! it is text to the last byte. What programs would run, follow or show as a page is no text, wherever in it that stands
//! (`markup`, `script`): whoever saves it gives it a name of his own. What can be taken out or made harmless without loss of what
//! people read is: pages in calendars (`cards`), sheets of styles of XML (`prolog`), marks of a page within prose, formulas (`cells`).
//!
//! Bytes that are text in two encodings are judged in both, and what is changed is judged anew until nothing is left to change.
//! What is let through has a name that nothing runs ([`Kind::name_for`]).
//!
//! Reading order: [`sanitise`], [`Text::readings`], [`step`].

use std::borrow::Cow;

use encoding_rs::{EUC_JP, Encoding, ISO_2022_JP, SHIFT_JIS, UTF_8, UTF_16BE, UTF_16LE};

use crate::{
    blanks::is_nothing,
    cards,
    cells::{Harm, neutralise},
    kind::{Kind, is_letters_by_name},
    markup, prolog,
    script::{self, Under},
    settings::Cells,
    verdict::{Part, Parts, Reason, Refusal, Removed, note},
};

/// What a file is called, and by whom.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Called<'n> {
    /// Whoever uploaded it told this, or nothing. Whoever saves it may call it something else: the name that a message gives is
    /// another one, and unseen where that is encrypted.
    Told(Option<&'n str>),
    /// An archive calls it so, and is written anew with that name.
    Kept(&'n str),
}

impl<'n> Called<'n> {
    fn name(self) -> Option<&'n str> {
        match self {
            Self::Told(name) => name,
            Self::Kept(name) => Some(name),
        }
    }

    fn under(self) -> Under {
        match self {
            Self::Kept(name) if is_letters_by_name(name) => Under::ItsName,
            _ => Under::AnyName,
        }
    }
}

/// A text is changed and judged anew this often at most; one that is not settled by then reads otherwise each time.
const MOST_ROUNDS: u32 = 8;

/// What of a text may be given on.
pub(crate) fn sanitise(file: &[u8], called: Called<'_>, cells: Cells) -> Result<(Kind, Parts), Refusal> {
    let mut bytes = Cow::Borrowed(file);
    let mut removed = Vec::new();
    let mut kind = None;
    for _ in 0..MOST_ROUNDS {
        let readings = Text::readings(&bytes)?;
        let kind = *kind.get_or_insert_with(|| find_kind(&readings[0], called.name()));
        let judge =
            Judge { kind, under: if kind == Kind::Csv { Under::AnyName } else { called.under() }, cells };
        match step(&readings, &bytes, &judge, &mut removed)? {
            Some(changed) => bytes = Cow::Owned(changed),
            None => {
                let parts = match bytes {
                    Cow::Borrowed(_) => Parts::as_is(),
                    Cow::Owned(bytes) => Parts::rebuilt(bytes, removed),
                };
                return Ok((kind, parts));
            }
        }
    }
    Err(Refusal::new(Reason::TwoTypes, "a text that reads otherwise each time it is changed"))
}

/// By what a text is judged.
struct Judge {
    kind: Kind,
    under: Under,
    cells: Cells,
}

/// Judges bytes in each way that they can be read. New bytes are what is judged next; none: nothing is left to change.
fn step(
    readings: &[Text],
    file: &[u8],
    judge: &Judge,
    removed: &mut Vec<Removed>,
) -> Result<Option<Vec<u8>>, Refusal> {
    for text in readings {
        let letters = &text.letters;
        if let Some(left) =
            cards::without_harm(letters, removed).or_else(|| prolog::without_styles(letters, removed))
        {
            return Ok(Some(text.write(&left)));
        }
    }
    for text in readings {
        if let Some(changed) = text.check(file, judge.under, removed)? {
            return Ok(Some(changed));
        }
    }
    for (at, text) in readings.iter().enumerate() {
        // Text by its name: whoever saves it may do so under another one. So nothing may be in it that a spreadsheet would take
        // for a formula which does something; what prose, lists and source code begin lines with stays.
        let harm = if at == 0 && judge.kind == Kind::Csv { Harm::Computed } else { Harm::Calls };
        if let Some(left) = harmless(&text.letters, judge.cells, harm, removed) {
            return Ok(Some(text.write(&left)));
        }
        if text.encoding == ISO_2022_JP
            && harmless(&in_bytes(file), judge.cells, harm, &mut Vec::new()).is_some()
        {
            return Ok(Some(in_unicode(&text.letters)));
        }
    }
    Ok(None)
}

/// Whether letters are of the kinds that people write with here, but for one in five. Nearly all bytes are letters in UTF-16, those
/// of what is encrypted or packed as well: half of them are of none of these.
fn is_written_by_people(letters: &str) -> bool {
    let is_usual = |letter: &char| {
        matches!(letter, '\0'..='\u{5ff}' | '\u{2000}'..='\u{33ff}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
            | '\u{fe00}'..='\u{ffee}' | '\u{1f000}'..='\u{1faff}' | '\u{20000}'..='\u{2fa1f}' | '\u{e0100}'..='\u{e01ef}')
    };
    let usual = letters.chars().filter(is_usual).count();
    let hangul = letters.chars().filter(|letter| ('\u{ac00}'..='\u{d7a3}').contains(letter)).count();
    let all = letters.chars().count();
    // Letters of one's own (外字) stand here and there; Korean is either most of a text or none of it.
    let known = if hangul > all / 2 { usual + hangul } else { usual };
    known * 5 >= all * 4
}

/// A text in letters, and how it was written.
pub(crate) struct Text {
    pub(crate) letters: String,
    encoding: &'static Encoding,
    has_mark: bool,
}

impl Text {
    /// Reads bytes that are text to the last, in Unicode or Windows' Japanese.
    pub(crate) fn read(file: &[u8]) -> Result<Self, Refusal> {
        match Encoding::for_bom(file) {
            Some((encoding, mark)) => Self::read_as(encoding, file, mark),
            None if std::str::from_utf8(file).is_ok() => Self::read_as(UTF_8, file, 0),
            None => Self::read_as(SHIFT_JIS, file, 0),
        }
    }

    /// Each text that these bytes are, the likeliest first; there is one at least.
    fn readings(file: &[u8]) -> Result<Vec<Self>, Refusal> {
        if Encoding::for_bom(file).is_some() {
            return Ok(vec![Self::read(file)?]);
        }
        // Without its signs for other letters it is ASCII. They are control characters in any other text.
        if memchr::memchr(ESCAPE, file).is_some()
            && let Ok(mail) = Self::read_as(ISO_2022_JP, &in_ascii(file), 0)
        {
            return Ok(vec![mail]);
        }
        if std::str::from_utf8(file).is_ok() {
            return Ok(vec![Self::read_as(UTF_8, file, 0)?]);
        }
        match (Self::read_as(SHIFT_JIS, file, 0), Self::read_as(EUC_JP, file, 0)) {
            (Ok(windows), Ok(unix)) if is_likelier(&unix.letters, &windows.letters) => {
                Ok(vec![unix, windows])
            }
            (Ok(windows), Ok(unix)) => Ok(vec![windows, unix]),
            (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(vec![one]),
            (Err(refusal), Err(_)) => Err(refusal),
        }
    }

    fn read_as(encoding: &'static Encoding, file: &[u8], mark: usize) -> Result<Self, Refusal> {
        let letters = encoding.decode_without_bom_handling_and_without_replacement(&file[mark..]);
        let letters =
            letters.ok_or_else(|| Refusal::new(Reason::Unknown, "neither a known type nor text"))?;
        // DOS's programs end a text by 1A.
        let body = letters.strip_suffix('\u{1a}').unwrap_or(&letters);
        let is_odd =
            |letter: char| letter.is_control() && !matches!(letter, '\t' | '\n' | '\r' | '\u{c}' | '\u{85}');
        if let Some(odd) = body.chars().find(|letter| is_odd(*letter)) {
            return Err(Refusal::new(Reason::Unknown, format!("a control character, {odd:?}")));
        }
        Ok(Self { letters: letters.into_owned(), encoding, has_mark: mark > 0 })
    }

    /// The letters of bytes from the same file.
    pub(crate) fn of<'b>(&self, bytes: &'b [u8]) -> Cow<'b, str> {
        self.encoding.decode_without_bom_handling(bytes).0
    }

    /// Other letters as the text was written; in Unicode where its encoding has not all of them.
    fn write(&self, letters: &str) -> Vec<u8> {
        let mark = if self.has_mark { "\u{feff}" } else { "" };
        let marked = || format!("{mark}{letters}").encode_utf16().collect::<Vec<_>>();
        match self.encoding {
            encoding if encoding == UTF_16LE => marked().into_iter().flat_map(u16::to_le_bytes).collect(),
            encoding if encoding == UTF_16BE => marked().into_iter().flat_map(u16::to_be_bytes).collect(),
            encoding if encoding == UTF_8 => format!("{mark}{letters}").into_bytes(),
            encoding => match encoding.encode(letters) {
                (bytes, _, false) => bytes.into_owned(),
                (_, _, true) => in_unicode(letters),
            },
        }
    }

    /// What of text it is: refused if programs would run it or open it as more than letters. New bytes are those of a text whose
    /// marks of a page stand within prose: there they are made none.
    fn check(
        &self,
        file: &[u8],
        under: Under,
        removed: &mut Vec<Removed>,
    ) -> Result<Option<Vec<u8>>, Refusal> {
        let is_page = |letters: &str| letters.trim_start_matches(is_nothing).starts_with('<');
        let is_inert = |letters: &str| under == Under::ItsName && !is_page(letters);
        if !is_inert(&self.letters)
            && let Err(refusal) = markup::check(&self.letters)
        {
            if is_page(&self.letters) {
                return Err(refusal);
            }
            let (apart, count) = markup::apart(&self.letters);
            if count == 0 {
                return Err(refusal);
            }
            note(removed, Part::Markup, format!("{count} places"));
            return Ok(Some(self.write(&apart)));
        }
        script::check(&self.letters, under)?;
        script::check_short(&self.letters, under)?;
        if self.encoding == UTF_8 {
            return Ok(None);
        }
        // A program that reads other letters finds its own among the bytes.
        let bytes = in_bytes(file);
        let markup = if is_inert(&bytes) { Ok(()) } else { markup::check(&bytes) };
        // Where the bytes of its ASCII are those of any, its lines have been looked at, with what is told between them.
        let is_ascii = self.encoding == SHIFT_JIS || self.encoding == EUC_JP;
        let short = if is_ascii { Ok(()) } else { script::check_short(&bytes, under) };
        let is_wide = self.encoding == UTF_16LE || self.encoding == UTF_16BE;
        match markup.and_then(|()| script::check(&bytes, under)).and(short) {
            Ok(()) if is_wide && !is_written_by_people(&self.letters) => {
                Err(Refusal::new(Reason::Unknown, "nobody writes with letters of so many kinds"))
            }
            Ok(()) => Ok(None),
            // Two ASCII letters make one of these, which may look like anything by chance. In Unicode they are none.
            Err(_) if self.encoding == ISO_2022_JP => Ok(Some(in_unicode(&self.letters))),
            Err(refusal) => Err(refusal),
        }
    }
}

const ESCAPE: u8 = 0x1b;

/// Text of mails without JIS's own Roman letters, in which a yen sign stands for the backslash: programs take it for one.
fn in_ascii(file: &[u8]) -> Vec<u8> {
    let mut bytes = file.to_vec();
    for at in memchr::memmem::find_iter(file, b"\x1b(J") {
        bytes[at + 2] = b'B';
    }
    bytes
}

/// A letter for each byte, as programs read them that know none but ASCII's.
fn in_bytes(file: &[u8]) -> String {
    file.iter().copied().map(char::from).collect()
}

fn in_unicode(letters: &str) -> Vec<u8> {
    format!("\u{feff}{letters}").into_bytes()
}

/// Whether bytes that are text in EUC-JP as well as in Windows' Japanese are rather the former: kana are in every Japanese
/// sentence, and read as Windows' they are of half width.
fn is_likelier(unix: &str, windows: &str) -> bool {
    let is_kana = |letter: &char| ('ぁ'..='ヶ').contains(letter);
    let is_half = |letter: &char| ('\u{ff61}'..='\u{ff9f}').contains(letter);
    let count = |text: &str, is_one: &dyn Fn(&char) -> bool| text.chars().filter(|one| is_one(one)).count();
    count(unix, &is_kana) > 0
        && 2 * count(windows, &is_half) > count(windows, &|letter: &char| !letter.is_ascii())
}

/// Whether a text is a table: by its name, or if it has none by its look.
fn find_kind(text: &Text, name: Option<&str>) -> Kind {
    let end = name.and_then(|name| name.rsplit_once('.')).map(|(_, end)| end.to_lowercase());
    match end.as_deref() {
        // Excel opens these by a double click.
        Some("csv" | "tsv" | "xls" | "xlsx" | "xlsm" | "prn") => Kind::Csv,
        Some(_) => Kind::Text,
        None => {
            let columns = |line: &str| line.matches([',', '\t']).count();
            let mut lines = text.letters.lines().take(20).map(columns);
            let first = lines.next().unwrap_or(0);
            if first > 0 && lines.all(|count| count == first) { Kind::Csv } else { Kind::Text }
        }
    }
}

/// A text without formulas and lines that lead away, if there are any in it.
fn harmless(letters: &str, cells: Cells, harm: Harm, removed: &mut Vec<Removed>) -> Option<String> {
    let (left, changed) = match cells {
        Cells::Kept => (Cow::Borrowed(letters), 0),
        Cells::Neutralised => {
            let (left, changed) = neutralise(letters, harm);
            (Cow::Owned(left), changed)
        }
    };
    if changed > 0 {
        note(removed, Part::FormulaCell, format!("{changed} cells"));
    }
    let (here, away) = kept_here(&left);
    if away > 0 {
        note(removed, Part::Link, format!("{away} lines"));
    }
    (changed + away > 0).then_some(here)
}

/// What a line begins with that is no other machine of the own network: names that lead to none of the world's.
const OWN: &[&str] =
    &[".local", ".lan", ".internal", ".intra", ".corp", ".home", ".home.arpa", ".localdomain", ".lg.jp"];

/// Puts an apostrophe before each line that begins as a path to a machine of the world: a program that plays lists takes each
/// line for a file, and tells that machine who sits before it. Says how many there were; paths in a sentence stay.
fn kept_here(letters: &str) -> (String, usize) {
    let (mut out, mut changed) = (String::with_capacity(letters.len() + 16), 0);
    let is_played = is_list(letters);
    for line in letters.split_inclusive(['\n', '\r']) {
        if leads_away(line) || is_played && is_address(line) {
            out.push('\'');
            changed += 1;
        }
        out.push_str(line);
    }
    (out, changed)
}

/// Whether a line begins as a path to a machine of the world.
fn leads_away(line: &str) -> bool {
    let path = line.trim_start_matches(|letter| is_nothing(letter) || letter == '"');
    let path = match path.get(..5) {
        Some(scheme) if scheme.eq_ignore_ascii_case("file:") => &path[5..],
        _ => path,
    };
    let slashes = ['/', '\\'];
    let mut host = path.trim_start_matches(slashes);
    if path.len() - host.len() < 2 && !path.starts_with("\\??\\") {
        return false;
    }
    // What the system itself calls such a path.
    let device = host.strip_prefix("??").or_else(|| host.strip_prefix(['?', '.']));
    let device = device.map(|rest| rest.trim_start_matches(slashes));
    if let Some(device) = device
        && device.get(..3).is_some_and(|name| name.eq_ignore_ascii_case("unc"))
        && device[3..].starts_with(slashes)
    {
        host = device[3..].trim_start_matches(slashes);
    }
    let end = host.find(['/', '\\', '@', ':']).unwrap_or(host.len());
    let name = host[..end].to_ascii_lowercase();
    if end == host.len()
        || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
    {
        return false;
    }
    if let Ok(address) = name.parse::<std::net::Ipv4Addr>() {
        return !address.is_private() && !address.is_loopback() && !address.is_link_local();
    }
    // A name without a dot is looked for in the own network.
    name.contains('.') && !OWN.iter().any(|own| name.ends_with(own))
}

/// What files that are played end in.
const PLAYED: &[&str] = &[
    "mp3", "m4a", "aac", "wav", "wma", "ogg", "flac", "mp4", "m4v", "mov", "avi", "wmv", "mkv", "ts", "m3u8",
    "asf",
];

/// Ways to files that only programs which play or fetch them go.
const STREAMED: &[&str] = &["mms:", "mmsh:", "rtsp:", "rtmp:", "smb:", "nfs:"];

/// Whether a text is nothing but addresses of what is played: a list for programs that play it, which fetch them at once. In a
/// letter such an address is a link like others.
fn is_list(letters: &str) -> bool {
    let mut lines = letters.lines().map(|line| line.trim_matches(is_nothing));
    let mut has_address = false;
    let is_list = lines.all(|line| {
        let is_one = is_address(line);
        has_address |= is_one;
        is_one || line.is_empty() || line.starts_with('#')
    });
    is_list && has_address
}

/// Whether a line is the address of something that is played.
fn is_address(line: &str) -> bool {
    let line = line.trim_matches(is_nothing).to_ascii_lowercase();
    if line.contains(char::is_whitespace) {
        return false;
    }
    let path = line.split(['?', '#']).next().unwrap_or(&line);
    let end = path.rsplit_once('.').map_or("", |(_, end)| end);
    STREAMED.iter().any(|way| line.starts_with(way))
        || line.starts_with("http") && line.contains("://") && PLAYED.contains(&end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_a_path_to_a_machine_of_the_world_leads_there_no_more() {
        for line in [
            "\\\\evil.example\\s\\leak.mp3",
            "//evil.example/s/a.mp3",
            "\\/evil.example@80/s/a b.mp3",
            "file://\\evil.example/s/leak",
            " \"FILE:////203.0.113.5/s/a.wav\"",
            "\u{feff}\\\\203.0.113.5\\a",
            "\\\\?\\UNC\\evil.example\\a",
            "\\??\\unc\\evil.example\\a",
            "\\\\.\\UNC\\203.0.113.5\\a",
        ] {
            let (made, changed) = kept_here(&format!("a\r\n{line}\r\nb"));
            assert_eq!((made, changed), (format!("a\r\n'{line}\r\nb"), 1));
        }
        for line in [
            "\\\\fs1\\土木\\図面.dwg",
            "\\\\192.168.1.5\\共有\\a.xlsx",
            "\\\\fs.city.local\\a",
            "\\\\fs1.city.kanazawa.lg.jp\\a",
            "// a comment. It ends here.",
            "//",
            "/etc/hosts.conf",
            "音声: https://www.city.example.jp/a.mp3",
            "保存先: \\\\evil.example\\s",
            "file:///C:/temp/a.txt",
        ] {
            assert_eq!(kept_here(line).1, 0, "{line}");
        }
        for cells in [Cells::Kept, Cells::Neutralised] {
            let made = sanitise(b"\\\\evil.example\\a\r\n", Called::Told(None), cells);
            assert_eq!(
                made.ok().and_then(|(_, made)| made.bytes).as_deref(),
                Some(&b"'\\\\evil.example\\a\r\n"[..])
            );
        }
    }

    #[test]
    fn a_table_keeps_its_encoding() {
        let file = SHIFT_JIS.encode("表,能\r\n=1,ソ\r\n").0.into_owned();
        let made =
            |cells| sanitise(&file, Called::Told(Some("a.csv")), cells).ok().map(|(_, made)| made.bytes);
        assert_eq!(
            made(Cells::Neutralised),
            Some(Some(SHIFT_JIS.encode("表,能\r\n'=1,ソ\r\n").0.into_owned()))
        );
        assert_eq!(made(Cells::Kept), Some(None));
    }

    #[test]
    fn pages_and_sheets_in_text_are_refused() {
        let made = |file: &[u8]| sanitise(file, Called::Told(None), Cells::Kept);
        let reason = |file: &[u8]| made(file).map_err(|refusal| refusal.reason).err();
        assert_eq!(reason(b"\xef\xbb\xbf <!DOCTYPE html><p>"), Some(Reason::Page));
        assert_eq!(reason(b"<?xml version='1.0'?><svg onload='x'/>"), Some(Reason::Svg));
        assert_eq!(reason(b"ID;PWXL;N;E\n"), Some(Reason::NotAllowed));
        assert_eq!(reason(b"\xff\xfe<\0s\0v\0g\0>\0"), Some(Reason::Svg));
        let word = b"<?xml version=\"1.0\"?><?mso-application progid=\"Word.Document\"?><w:wordDocument/>";
        assert_eq!(reason(word), Some(Reason::NotAllowed));
        assert_eq!(reason(b"a\x1b[2Jb"), Some(Reason::Unknown));
        // Bytes of other letters that are those of a page.
        let page = [&b"\xff\xfe"[..], b"<script>x()</script>"].concat();
        assert_eq!(reason(&page), Some(Reason::Page));
        assert_eq!(reason("こんにちは\r\n\u{1a}".as_bytes()), None);
    }
}
