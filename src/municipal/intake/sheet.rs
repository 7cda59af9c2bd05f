//! A file as rows of cells, before anybody says what the columns mean.

use std::io::Read;

use serde::{Deserialize, Serialize};

use crate::{
    encoding::{self, Encoding, Evidence, Failure},
    file_error::FileError,
    limits::{MAX_BYTES, MAX_CELLS, MAX_ROWS},
    separator::Separator,
    split::{Record, Splitter},
};

/// How to read a file, as far as somebody has chosen it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct How {
    /// The encoding; else it is found.
    #[serde(default)]
    pub encoding: Option<Encoding>,
    /// The separator; else it is found.
    #[serde(default)]
    pub separator: Option<Separator>,
}

/// A file as rows of cells. Rows without anything in them are left out, but count in the numbers of the others.
#[derive(Debug)]
pub struct Sheet {
    encoding: Encoding,
    evidence: Evidence,
    separator: Separator,
    records: Vec<Record>,
}

impl Sheet {
    /// Reads a file to its end.
    ///
    /// At most [`MAX_BYTES`] are taken from the input, and held while this runs together with their letters; what is
    /// returned holds the letters alone.
    ///
    /// # Errors
    /// The file is none, too large, or not in an encoding that is certain; see [`FileError`].
    pub fn read(input: impl Read, how: How) -> Result<Self, FileError> {
        let mut file = Vec::new();
        input.take(MAX_BYTES + 1).read_to_end(&mut file).map_err(FileError::Unreadable)?;
        if u64::try_from(file.len()).is_ok_and(|length| length > MAX_BYTES) {
            return Err(FileError::TooLarge);
        }
        refuse_other_kinds(&file)?;
        let decoded =
            encoding::decode(&file, how.encoding).map_err(|failure| explain(failure, how.separator))?;
        drop(file);
        // DOS's programs end a text by 1A.
        let text = decoded.text.strip_suffix('\u{1a}').unwrap_or(&decoded.text);
        let (splitter, separator) = split(text, how.separator);
        let mut records = Vec::new();
        let mut cells = 0;
        for record in splitter {
            if record.width() == 0 && record.damage.is_none() {
                continue;
            }
            cells += record.len();
            if records.len() == MAX_ROWS {
                return Err(FileError::TooManyRows);
            }
            if cells > MAX_CELLS {
                return Err(FileError::TooManyCells);
            }
            records.push(record);
        }
        if records.is_empty() {
            return Err(FileError::Empty);
        }
        Ok(Self { encoding: decoded.encoding, evidence: decoded.evidence, separator, records })
    }

    /// The encoding in which it was read.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Why it was read in that.
    #[must_use]
    pub fn evidence(&self) -> Evidence {
        self.evidence
    }

    /// The separator by which it was read.
    #[must_use]
    pub fn separator(&self) -> Separator {
        self.separator
    }

    /// The first rows as they are, for a preview: each with its number.
    pub fn preview(&self, rows: usize) -> impl Iterator<Item = (u32, Vec<&str>)> {
        self.records.iter().take(rows).map(|record| (record.row, record.cells().collect()))
    }

    pub(crate) fn records(&self) -> &[Record] {
        &self.records
    }
}

/// The rows of a text, and what stands between their cells.
fn split(text: &str, chosen: Option<Separator>) -> (Splitter<'_>, Separator) {
    match Separator::named(text) {
        Some((named, skipped)) => {
            let separator = chosen.unwrap_or(named);
            (Splitter::new(&text[skipped..], separator.byte(), 2), separator)
        }
        None => {
            let separator = chosen.unwrap_or_else(|| Separator::of(text));
            (Splitter::new(text, separator.byte(), 1), separator)
        }
    }
}

/// What people send in place of a table.
fn refuse_other_kinds(file: &[u8]) -> Result<(), FileError> {
    let begin = &file[..file.len().min(1024)];
    let text = String::from_utf8_lossy(begin).trim_start_matches('\u{feff}').trim_start().to_lowercase();
    let pages = ["<html", "<!doctype", "<table", "<?xml", "mime-version:"];
    if file.iter().all(u8::is_ascii_whitespace) {
        return Err(FileError::Empty);
    }
    // ZIP, in which Excel has kept workbooks since 2007, and the compound file of before.
    if file.starts_with(b"PK\x03\x04") || file.starts_with(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") {
        return Err(FileError::Workbook);
    }
    if pages.iter().any(|page| text.starts_with(page)) { Err(FileError::Page) } else { Ok(()) }
}

fn explain(failure: Failure, separator: Option<Separator>) -> FileError {
    match failure {
        Failure::Ambiguous(candidates) => FileError::WhichEncoding(candidates),
        Failure::Unmarked => FileError::UnmarkedUtf16,
        Failure::Escapes => FileError::Iso2022Jp,
        Failure::Bytes { encoding, offset, bytes, before } => {
            let (row, line, column) = end_of(before, separator);
            FileError::Undecodable { encoding, row, line, column, offset, bytes }
        }
    }
}

/// Row, line and column of what comes after a text.
fn end_of(mut before: String, separator: Option<Separator>) -> (u32, u32, usize) {
    let line_ends = before.matches('\n').count() + before.replace("\r\n", "").matches('\r').count();
    before.push(char::REPLACEMENT_CHARACTER);
    let last = split(&before, separator).0.last();
    let (row, column) = last.map_or((1, 1), |record| (record.row, record.width().max(1)));
    (row, u32::try_from(line_ends + 1).unwrap_or(u32::MAX), column)
}
