//! Text into rows of cells.
//!
//! Quotes are read as RFC 4180 has them and Excel writes them: one opens only at the begin of a cell, two are one inside
//! it, and line breaks inside stay. Lines end by CR LF, LF or CR, mixed as they come.
//!
//! A quote that is never closed would swallow the rows below it into one cell. So a row whose quotes do not come out
//! (something stands behind a closing one, or a cell goes on for too long) is given up: its *first line* alone is a
//! damaged row, and reading goes on with the next line. That is why the `csv` crate is not used, which takes the
//! end of a file for a closing quote and says nothing.

use crate::{
    limits::{MAX_CELL_BYTES, MAX_CELL_LINES, MAX_COLUMNS},
    words::{Words, words},
};

/// What is wrong with how a row is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// A quote is opened and not closed, or a cell in quotes is longer than a cell may be.
    OpenQuote,
    /// Something stands behind a closing quote.
    StrayQuote,
    /// A cell is longer than [`MAX_CELL_BYTES`].
    LongCell,
    /// There are more than [`MAX_COLUMNS`] cells.
    Wide,
}

impl Damage {
    /// The sentence for whoever sent the file.
    #[must_use]
    pub fn words(self) -> Words {
        match self {
            Self::OpenQuote => words!(
                "引用符「\"」が閉じられていないか、セルが長すぎます。この行だけを読み飛ばしました。",
                "A quotation mark is not closed, or a cell is too long; only this line was left out."
            ),
            Self::StrayQuote => words!(
                "引用符「\"」の使い方が正しくありません。セルの中の「\"」は二つ重ねてください。この行だけを読み飛ばしました。",
                "A quotation mark is out of place; inside a cell it has to be doubled. Only this line was left out."
            ),
            Self::LongCell => words!(
                "セルが長すぎます(上限 {MAX_CELL_BYTES} バイト)。",
                "A cell is too long (at most {MAX_CELL_BYTES} bytes)."
            ),
            Self::Wide => words!(
                "列が多すぎます(上限 {MAX_COLUMNS} 列)。",
                "There are too many columns (at most {MAX_COLUMNS})."
            ),
        }
    }
}

/// A row as it was written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    /// Its number as a spreadsheet shows it, from 1; empty rows count.
    pub(crate) row: u32,
    /// The line on which it begins as an editor shows it, from 1.
    pub(crate) line: u32,
    /// How many lines it takes.
    pub(crate) lines: u32,
    pub(crate) damage: Option<Damage>,
    /// All cells without separators and quotes, and where each ends.
    text: String,
    ends: Vec<usize>,
}

impl Record {
    /// A cell by its place from 0; cells that are not there are empty.
    pub(crate) fn cell(&self, index: usize) -> &str {
        let Some(end) = self.ends.get(index) else { return "" };
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..*end]
    }

    /// How many cells there are up to the last with something in it.
    pub(crate) fn width(&self) -> usize {
        (0..self.ends.len()).rev().find(|index| !is_empty(self.cell(*index))).map_or(0, |last| last + 1)
    }

    /// How many cells there are, empty ones too.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// All cells up to the last with something in it.
    pub(crate) fn cells(&self) -> impl Iterator<Item = &str> {
        (0..self.width()).map(|index| self.cell(index))
    }

    fn end_cell(&mut self) {
        if self.ends.len() < MAX_COLUMNS {
            self.ends.push(self.text.len());
            return;
        }
        self.text.truncate(self.ends.last().copied().unwrap_or(0));
        self.damage = Some(Damage::Wide);
    }
}

/// Whether a cell has nothing that can be seen.
pub(crate) fn is_empty(cell: &str) -> bool {
    cell.chars().all(char::is_whitespace)
}

/// The rows of a text, one after the other.
#[derive(Clone)]
pub(crate) struct Splitter<'a> {
    text: &'a str,
    separator: u8,
    at: usize,
    row: u32,
    line: u32,
}

impl<'a> Splitter<'a> {
    /// Begins with a text that stands from `first_line` on.
    pub(crate) fn new(text: &'a str, separator: u8, first_line: u32) -> Self {
        Self { text, separator, at: 0, row: 0, line: first_line }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    /// How many bytes end a line here.
    fn line_end(&self, at: usize) -> Option<usize> {
        match (self.byte(at)?, self.byte(at + 1)) {
            (b'\r', Some(b'\n')) => Some(2),
            (b'\r' | b'\n', _) => Some(1),
            _ => None,
        }
    }

    /// A row that begins here, and where the next one does.
    fn record(&self) -> Result<(Record, usize), Damage> {
        let mut record = Record { lines: 1, ..Record::default() };
        let mut at = self.at;
        loop {
            at = if self.byte(at) == Some(b'"') {
                self.quoted(at + 1, &mut record)?
            } else {
                self.plain(at, &mut record)
            };
            record.end_cell();
            match self.line_end(at) {
                Some(length) => return Ok((record, at + length)),
                None if at >= self.text.len() => return Ok((record, at)),
                None => at += 1,
            }
        }
    }

    /// A line that begins here, whose quotes are letters.
    fn damaged(&self, damage: Damage) -> (Record, usize) {
        let mut record = Record { lines: 1, ..Record::default() };
        let mut at = self.at;
        loop {
            at = self.plain(at, &mut record);
            record.end_cell();
            record.damage = Some(damage);
            match self.line_end(at) {
                Some(length) => return (record, at + length),
                None if at >= self.text.len() => return (record, at),
                None => at += 1,
            }
        }
    }

    /// Takes what stands up to the next separator or line end; answers where that is.
    fn plain(&self, start: usize, record: &mut Record) -> usize {
        let ends = |byte: u8| byte == self.separator || byte == b'\r' || byte == b'\n';
        let rest = &self.text.as_bytes()[start..];
        let length = rest.iter().position(|byte| ends(*byte)).unwrap_or(rest.len());
        if length > MAX_CELL_BYTES {
            record.damage = Some(Damage::LongCell);
        } else {
            record.text.push_str(&self.text[start..start + length]);
        }
        start + length
    }

    /// Takes what stands in quotes, from behind the first; answers where the separator or line end behind it is.
    fn quoted(&self, start: usize, record: &mut Record) -> Result<usize, Damage> {
        let (mut at, mut from, mut lines) = (start, start, 0);
        loop {
            if at - start > MAX_CELL_BYTES || lines > MAX_CELL_LINES {
                return Err(Damage::OpenQuote);
            }
            match self.byte(at).ok_or(Damage::OpenQuote)? {
                b'"' if self.byte(at + 1) == Some(b'"') => {
                    record.text.push_str(&self.text[from..=at]);
                    at += 2;
                    from = at;
                }
                b'"' => break,
                b'\r' | b'\n' => {
                    record.text.push_str(&self.text[from..at]);
                    record.text.push('\n');
                    at += self.line_end(at).unwrap_or(1);
                    from = at;
                    lines += 1;
                }
                _ => at += 1,
            }
        }
        record.text.push_str(&self.text[from..at]);
        record.lines += lines;
        at += 1;
        while self.byte(at) == Some(b' ') {
            at += 1;
        }
        let is_over = at >= self.text.len() || self.byte(at) == Some(self.separator);
        if is_over || self.line_end(at).is_some() { Ok(at) } else { Err(Damage::StrayQuote) }
    }
}

impl Iterator for Splitter<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        if self.at >= self.text.len() {
            return None;
        }
        let (mut record, next) = self.record().unwrap_or_else(|damage| self.damaged(damage));
        self.row += 1;
        (record.row, record.line) = (self.row, self.line);
        self.at = next;
        self.line += record.lines;
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<(u32, u32, Vec<String>, Option<Damage>)> {
        let all = Splitter::new(text, b',', 1);
        all.map(|r| (r.row, r.line, (0..r.len()).map(|i| r.cell(i).to_owned()).collect(), r.damage)).collect()
    }

    fn cells(text: &str) -> Vec<Vec<String>> {
        rows(text).into_iter().map(|(_, _, cells, _)| cells).collect()
    }

    #[test]
    fn lines_end_in_three_ways_and_quotes_keep_them() {
        let text = "a,b\r\nc,\"d\r\ne\"\rf,\"g \"\"h\"\"\"\ni,";
        assert_eq!(cells(text), [["a", "b"], ["c", "d\ne"], ["f", "g \"h\""], ["i", ""]]);
        let lines: Vec<_> = rows(text).into_iter().map(|(row, line, ..)| (row, line)).collect();
        assert_eq!(lines, [(1, 1), (2, 2), (3, 4), (4, 5)]);
    }

    #[test]
    fn a_quote_that_is_not_closed_costs_one_line() {
        let text = "1,a\n2,\"b\n3,\"c\"\n4,d\n";
        let wrong: Vec<_> = rows(text).into_iter().map(|(row, _, _, damage)| (row, damage)).collect();
        assert_eq!(wrong, [(1, None), (2, Some(Damage::StrayQuote)), (3, None), (4, None)]);
        assert_eq!(rows("1,\"a\n2,b\n")[0].3, Some(Damage::OpenQuote));
        assert_eq!(rows("1,\"a\n2,b\n")[1].2, ["2", "b"]);
        assert_eq!(
            rows("\"a\"b,c\nd")[0],
            (1, 1, vec!["\"a\"b".into(), "c".into()], Some(Damage::StrayQuote))
        );
    }

    #[test]
    fn a_quote_inside_a_cell_is_a_letter() {
        assert_eq!(cells("5\" nail,b\n"), [["5\" nail", "b"]]);
        assert_eq!(cells("表,\"ソ\"\n"), [["表", "ソ"]]);
    }

    #[test]
    fn what_is_over_a_bound_is_said() {
        assert_eq!(rows(&",".repeat(MAX_COLUMNS))[0].3, Some(Damage::Wide));
        assert_eq!(rows(&",".repeat(MAX_COLUMNS - 1))[0].3, None);
        assert_eq!(rows(&"x".repeat(MAX_CELL_BYTES + 1))[0].3, Some(Damage::LongCell));
        let many_lines = format!("\"{}\"", "\n".repeat(200));
        assert_eq!(rows(&many_lines)[0].3, Some(Damage::OpenQuote));
    }
}
