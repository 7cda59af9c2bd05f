//! ZIP files, read strictly and written plainly.
//!
//! The directory at the end and the headers before each entry must agree, entries must not share bytes, and nothing
//! may stand before the first: readers differ in which of these they believe, and an archive that two readers see
//! differently cannot be checked. What entries unpack to is charged to a [`Budget`] while it is unpacked, whatever
//! their headers claim.
//!
//! Format: PKWARE's APPNOTE 6.3.

use std::{
    cell::Cell,
    collections::{HashMap, HashSet},
    io::{Read, Write},
};

use encoding_rs::SHIFT_JIS;
use flate2::{Compression, Crc, read::DeflateDecoder, write::DeflateEncoder};
use unicode_normalization::UnicodeNormalization;

use crate::{
    settings::Limits,
    verdict::{Reason, Refusal, malformed},
};

/// Longest name of an entry, in bytes.
const LONGEST_NAME: usize = 1024;

/// The general purpose flags that matter: encrypted (in three ways), and named in UTF-8.
const ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
const UTF8: u16 = 1 << 11;

/// What all that lies in one file may unpack to, and how many entries there may be, archives in archives included.
pub(crate) struct Budget {
    bytes: Cell<u64>,
    entries: Cell<u32>,
}

impl Budget {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { bytes: Cell::new(limits.unpacked_bytes), entries: Cell::new(limits.entries) }
    }

    fn take_entries(&self, count: usize) -> Result<(), Refusal> {
        let left = u32::try_from(count).ok().and_then(|count| self.entries.get().checked_sub(count));
        self.entries
            .set(left.ok_or_else(|| Refusal::new(Reason::TooManyEntries, format!("{count} entries")))?);
        Ok(())
    }
}

/// An archive whose directory has been read and found consistent.
pub(crate) struct Archive<'a> {
    file: &'a [u8],
    /// In the order of the directory.
    pub(crate) entries: Vec<Entry>,
    /// Where entries are among these, by their names with ASCII's letters small. One document may ask for a million.
    places: HashMap<String, usize>,
}

/// An entry of an archive.
#[derive(Debug)]
pub(crate) struct Entry {
    /// A path that stays inside: parts divided by `/`, none of them empty or dots, in Unicode's composed form.
    pub(crate) name: String,
    pub(crate) is_folder: bool,
    /// DOS time and date, as they stood.
    pub(crate) time: [u8; 4],
    stored: bool,
    sum: u32,
    size: u64,
    /// Where its packed bytes lie.
    data: std::ops::Range<usize>,
}

impl<'a> Archive<'a> {
    /// Reads and checks the directory.
    pub(crate) fn read(file: &'a [u8], budget: &Budget) -> Result<Self, Refusal> {
        let (count, directory) = find_directory(file)?;
        budget.take_entries(count)?;
        let mut at = directory.start;
        let (mut entries, mut spans) = (Vec::new(), Vec::new());
        let mut names = HashSet::new();
        for _ in 0..count {
            let (entry, span, next) = read_entry(file, at, &directory)?;
            // Names that Windows and macOS take for one are one.
            if !names.insert(entry.name.to_lowercase()) {
                return Err(Refusal::new(Reason::DuplicateName, &entry.name));
            }
            spans.push(span);
            entries.push(entry);
            at = next;
        }
        if at != directory.end {
            return Err(malformed("the directory is longer than its entries"));
        }
        spans.sort_unstable_by_key(|span| span.start);
        if spans.windows(2).any(|two| two[0].end > two[1].start) {
            return Err(Refusal::new(Reason::Overlap, "entries share bytes"));
        }
        match spans.first() {
            Some(first) if first.start > 0 => {
                Err(Refusal::new(Reason::TwoTypes, "something before the first entry"))
            }
            _ => {
                let names = entries.iter().map(|entry: &Entry| entry.name.to_ascii_lowercase());
                let places = names.zip(0..).collect();
                Self { file, entries, places }.without_hidden_pdf()
            }
        }
    }

    /// Readers of PDF look for its mark in the first 1,024 bytes. It may be there only as the begin of a PDF that is
    /// stored as an entry, which is written packed later.
    fn without_hidden_pdf(self) -> Result<Self, Refusal> {
        let head = &self.file[..self.file.len().min(1024)];
        let is_entry = |at: usize| self.entries.iter().any(|entry| entry.stored && entry.data.start == at);
        match memchr::memmem::find_iter(head, b"%PDF-").all(is_entry) {
            true => Ok(self),
            false => Err(Refusal::new(Reason::TwoTypes, "a PDF header inside")),
        }
    }

    /// The entry of a name, letters of either case being equal as Office takes them.
    pub(crate) fn find(&self, name: &str) -> Option<&Entry> {
        self.places.get(&name.to_ascii_lowercase()).and_then(|place| self.entries.get(*place))
    }

    /// Refuses an archive that says itself that all of it is more than is left.
    pub(crate) fn fits(&self, budget: &Budget) -> Result<(), Refusal> {
        // A directory has less than 65,535 rows, each with a number of 32 bits.
        let told: u64 = self.entries.iter().map(|entry| entry.size).sum();
        match told <= budget.bytes.get() {
            true => Ok(()),
            false => Err(Refusal::new(Reason::Expansion, format!("{told} bytes by its directory"))),
        }
    }

    /// Unpacks an entry.
    pub(crate) fn unpack(&self, entry: &Entry, budget: &Budget) -> Result<Vec<u8>, Refusal> {
        let too_much = || Refusal::new(Reason::Expansion, &entry.name);
        let packed = &self.file[entry.data.clone()];
        let left = budget.bytes.get();
        if entry.size > left {
            return Err(too_much());
        }
        let mut bytes = Vec::new();
        if entry.stored {
            bytes.extend_from_slice(packed);
        } else {
            // One byte more than told, so that a lie is seen.
            let mut unpacked = DeflateDecoder::new(packed).take(entry.size + 1);
            unpacked.read_to_end(&mut bytes).map_err(|error| malformed(error).inside(&entry.name))?;
        }
        if u64::try_from(bytes.len()).ok() != Some(entry.size) {
            return Err(malformed("another size than told").inside(&entry.name));
        }
        let mut sum = Crc::new();
        sum.update(&bytes);
        if sum.sum() != entry.sum {
            return Err(malformed("a wrong checksum").inside(&entry.name));
        }
        budget.bytes.set(left.checked_sub(entry.size).ok_or_else(too_much)?);
        Ok(bytes)
    }
}

/// The number of entries, and where the directory lies.
fn find_directory(file: &[u8]) -> Result<(usize, std::ops::Range<usize>), Refusal> {
    let from = file.len().saturating_sub(22 + 0xffff);
    let tail = file.get(from..).unwrap_or_default();
    let ends = |at: &usize| {
        let comment = u16_at(tail, at + 20).map(usize::from);
        comment.is_some_and(|comment| at + 22 + comment == tail.len())
    };
    let end = memchr::memmem::rfind_iter(tail, b"PK\x05\x06").find(ends);
    let end = end.map(|at| from + at).ok_or_else(|| malformed("no ZIP directory"))?;
    let field = |at| u16_at(file, end + at).ok_or_else(|| malformed("cut off"));
    if field(4)? != 0 || field(6)? != 0 || field(8)? != field(10)? {
        return Err(Refusal::new(Reason::NotAllowed, "an archive of several parts"));
    }
    let count = field(10)?;
    let size = u32_at(file, end + 12).ok_or_else(|| malformed("cut off"))?;
    let start = u32_at(file, end + 16).ok_or_else(|| malformed("cut off"))?;
    if count == u16::MAX || start == u32::MAX {
        return Err(Refusal::new(Reason::NotAllowed, "ZIP64"));
    }
    let number = |number: u32| usize::try_from(number).map_err(malformed);
    let (size, start) = (number(size)?, number(start)?);
    match start.checked_add(size) {
        Some(stop) if stop == end => Ok((usize::from(count), start..stop)),
        // Something was put before or between.
        _ => Err(Refusal::new(Reason::TwoTypes, "the directory is not where it is told to be")),
    }
}

/// The entry whose row of the directory is at a place; the bytes that it takes; where the next row is.
fn read_entry(
    file: &[u8],
    at: usize,
    directory: &std::ops::Range<usize>,
) -> Result<(Entry, std::ops::Range<usize>, usize), Refusal> {
    let cut = || malformed("a row of the directory is cut off");
    let row = file.get(at..directory.end).ok_or_else(cut)?;
    let short = |at| u16_at(row, at).ok_or_else(cut);
    let long = |at| u32_at(row, at).ok_or_else(cut);
    if !row.starts_with(b"PK\x01\x02") {
        return Err(malformed("no row of the directory"));
    }
    let (flags, method) = (short(8)?, short(10)?);
    let raw = row.get(46..46 + usize::from(short(28)?)).ok_or_else(cut)?;
    let (name, is_folder) = safe_name(&name_of(raw, flags)?)?;
    if flags & ENCRYPTED != 0 {
        return Err(Refusal::new(Reason::Encrypted, name));
    }
    // The upper half are Unix's modes: a link, a device, a pipe.
    let mode = long(38)? >> 16 & 0o170_000;
    if !matches!(mode, 0 | 0o100_000 | 0o040_000) {
        return Err(Refusal::new(Reason::UnsafeName, format!("{name} is no file, mode {mode:o}")));
    }
    if !matches!(method, 0 | 8) {
        return Err(Refusal::new(Reason::NotAllowed, format!("{name} is packed by method {method}")));
    }
    let number = |number: u32| usize::try_from(number).map_err(malformed);
    let (packed, size, start) = (number(long(20)?)?, long(24)?, number(long(42)?)?);
    let is_stored = method == 0;
    if is_stored && u32::try_from(packed).ok() != Some(size) {
        return Err(malformed(format!("{name} is stored in two sizes")));
    }

    let head = file.get(start..directory.start).filter(|head| head.starts_with(b"PK\x03\x04"));
    let head = head.ok_or_else(|| malformed(format!("{name} has no header")))?;
    let head_short = |at| u16_at(head, at).ok_or_else(cut);
    let local = head.get(30..30 + usize::from(head_short(26)?)).ok_or_else(cut)?;
    if local != raw || head_short(8)? != method || (head_short(6)? ^ flags) & ENCRYPTED != 0 {
        return Err(Refusal::new(Reason::TwoTypes, format!("{name}: header and directory differ")));
    }
    let begin = start + 30 + local.len() + usize::from(head_short(28)?);
    let end = begin.checked_add(packed).filter(|end| *end <= directory.start);
    let end = end.ok_or_else(|| malformed(format!("{name} is cut off")))?;
    let entry = Entry {
        name,
        is_folder,
        time: [row[12], row[13], row[14], row[15]],
        stored: is_stored,
        sum: long(16)?,
        size: u64::from(size),
        data: begin..end,
    };
    let next = at + 46 + raw.len() + usize::from(short(30)?) + usize::from(short(32)?);
    Ok((entry, start..end, next))
}

/// A name in Unicode: as flagged; else UTF-8 where it is that (macOS leaves out the flag); else Windows' Japanese.
fn name_of(raw: &[u8], flags: u16) -> Result<String, Refusal> {
    let unreadable = || Refusal::new(Reason::UnsafeName, String::from_utf8_lossy(raw));
    if raw.is_empty() || raw.len() > LONGEST_NAME {
        return Err(unreadable());
    }
    match std::str::from_utf8(raw) {
        // Composed, as Windows writes it: macOS takes が apart into two.
        Ok(name) => Ok(name.nfc().collect()),
        Err(_) if flags & UTF8 != 0 => Err(unreadable()),
        Err(_) => {
            // Decoded before it is split: a second byte of a letter such as ソ may look like a backslash.
            let name = SHIFT_JIS.decode_without_bom_handling_and_without_replacement(raw);
            name.map(|name| name.into_owned()).ok_or_else(unreadable)
        }
    }
}

/// The path, if it stays inside, and whether it is a folder's.
fn safe_name(name: &str) -> Result<(String, bool), Refusal> {
    let refuse = || Refusal::new(Reason::UnsafeName, name);
    // Windows' own packer writes these between folders.
    let name = name.replace('\\', "/");
    let is_folder = name.ends_with('/');
    let path = name.strip_suffix('/').unwrap_or(&name);
    let is_odd = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}')
    };
    if path.contains(is_odd) || path.contains(['<', '>', ':', '"', '|', '?', '*']) {
        return Err(refuse());
    }
    for part in path.split('/') {
        // Windows drops dots and spaces at the end, and opens devices by these names whatever follows them.
        let bare = part.split('.').next().unwrap_or(part).trim_end().to_ascii_uppercase();
        // Its numbers may stand high as well.
        let is_number = |rest: &str| {
            let mut letters = rest.chars();
            let is_digit = letters.next().is_some_and(|one| matches!(one, '0'..='9' | '¹' | '²' | '³'));
            is_digit && letters.next().is_none()
        };
        let is_numbered = |device: &str| bare.strip_prefix(device).is_some_and(is_number);
        let is_device = ["CON", "CONIN$", "CONOUT$", "CLOCK$", "PRN", "AUX", "NUL"].contains(&bare.as_str())
            || is_numbered("COM")
            || is_numbered("LPT");
        if part.is_empty() || part.ends_with(['.', ' ']) || is_device {
            return Err(refuse());
        }
    }
    Ok((path.to_owned(), is_folder))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at.checked_add(2)?)?.try_into().ok().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_le_bytes)
}

/// Midnight of 1 January 1980, where DOS's time begins.
pub(crate) const NO_TIME: [u8; 4] = [0, 0, 0x21, 0];

/// Writes an archive into memory.
#[derive(Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    directory: Vec<u8>,
    count: u16,
}

impl Writer {
    /// Adds an entry, packed unless that would not make it smaller or `is_stored` asks for that.
    pub(crate) fn add(
        &mut self,
        name: &str,
        time: [u8; 4],
        data: &[u8],
        is_stored: bool,
    ) -> Result<(), Refusal> {
        let packed = match is_stored {
            true => None,
            false => {
                let mut encoder = DeflateEncoder::new(
                    Vec::new(),
                    Compression::new(if data.len() > LARGE { 1 } else { LEVEL }),
                );
                encoder.write_all(data).map_err(malformed)?;
                Some(encoder.finish().map_err(malformed)?)
            }
        };
        // A PDF that lies bare in front would make a second type of the file.
        let is_bare = data.len() < 1024 || data.starts_with(b"%PDF-");
        let packed = packed.filter(|packed| packed.len() < data.len() || is_bare && !data.is_empty());
        let mut sum = Crc::new();
        sum.update(data);
        let number = |length: usize| {
            u32::try_from(length).map_err(|_| Refusal::new(Reason::TooLarge, "an entry of four gigabytes"))
        };
        let start = number(self.bytes.len())?;
        let method: u16 = if packed.is_some() { 8 } else { 0 };
        let body = packed.as_deref().unwrap_or(data);

        // What headers and rows have in common, from the version that is needed on.
        let mut common = Vec::new();
        common.extend(20_u16.to_le_bytes());
        common.extend(if name.is_ascii() { 0 } else { UTF8 }.to_le_bytes());
        common.extend(method.to_le_bytes());
        common.extend(time);
        common.extend(sum.sum().to_le_bytes());
        common.extend(number(body.len())?.to_le_bytes());
        common.extend(number(data.len())?.to_le_bytes());
        common.extend(u16::try_from(name.len()).map_err(malformed)?.to_le_bytes());
        common.extend([0, 0]);

        self.bytes.extend(b"PK\x03\x04");
        self.bytes.extend(&common);
        self.bytes.extend(name.as_bytes());
        self.bytes.extend(body);
        self.directory.extend(b"PK\x01\x02\x14\0");
        self.directory.extend(&common);
        // No comment, first disk, no attributes.
        self.directory.extend([0; 10]);
        self.directory.extend(start.to_le_bytes());
        self.directory.extend(name.as_bytes());
        self.count = self
            .count
            .checked_add(1)
            .filter(|count| *count < u16::MAX)
            .ok_or_else(|| Refusal::new(Reason::TooManyEntries, "65,535 entries"))?;
        Ok(())
    }

    /// The whole archive.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>, Refusal> {
        let number = |length: usize| u32::try_from(length).map_err(malformed);
        let (start, size) = (number(self.bytes.len())?, number(self.directory.len())?);
        self.bytes.append(&mut self.directory);
        self.bytes.extend(b"PK\x05\x06\0\0\0\0");
        self.bytes.extend(self.count.to_le_bytes());
        self.bytes.extend(self.count.to_le_bytes());
        self.bytes.extend(size.to_le_bytes());
        self.bytes.extend(start.to_le_bytes());
        self.bytes.extend([0, 0]);
        Ok(self.bytes)
    }
}

/// Above this many bytes time counts more than size.
const LARGE: usize = 4 << 20;

/// Deflate's effort: most of the gain at a third of the time of 6.
const LEVEL: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside_and_are_read_as_they_were_meant() {
        let cases: &[(&[u8], u16, Option<&str>)] = &[
            ("図面/平面図.dxf".as_bytes(), UTF8, Some("図面/平面図.dxf")),
            ("図面/平面図.dxf".as_bytes(), 0, Some("図面/平面図.dxf")),
            (b"\x83\x5c\x83t\x83g.txt", 0, Some("ソフト.txt")),
            (b"\x83\x5c\x83t\x83g.txt", UTF8, None),
            ("か\u{3099}.txt".as_bytes(), UTF8, Some("が.txt")),
            (b"a\\b.txt", 0, Some("a/b.txt")),
            (b"../x", 0, None),
            (b"a/../../x", 0, None),
            (b"..\\x", 0, None),
            (b"/etc/passwd", 0, None),
            (b"C:\\x", 0, None),
            (b"\\\\host\\share", 0, None),
            (b"a/aux.txt", 0, None),
            (b"com1", 0, None),
            ("a/COM¹.txt".as_bytes(), UTF8, None),
            ("lpt³".as_bytes(), UTF8, None),
            (b"CONOUT$", 0, None),
            (b"conin$.txt", 0, None),
            ("COM１.txt".as_bytes(), UTF8, Some("COM１.txt")),
            (b"com10.txt", 0, Some("com10.txt")),
            ("a\u{61c}gpj.txt".as_bytes(), UTF8, None),
            (b"a\0.txt", 0, None),
            (b"a. /b", 0, None),
            ("a\u{202e}gpj.exe".as_bytes(), UTF8, None),
        ];
        for (raw, flags, wanted) in cases {
            let name = name_of(raw, *flags).and_then(|name| safe_name(&name));
            assert_eq!(name.ok().map(|(name, _)| name).as_deref(), *wanted, "{raw:?}");
        }
    }
}
