//! Which column means what: a mapping that is saved for a source and serves for its next file too.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    class::Class,
    field::Field,
    file_error::FileError,
    headers::{headers, key},
    limits::MAX_TITLES,
    sheet::{How, Sheet},
    split::Record,
};

/// How a column is found in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Column {
    /// By its header, wherever it stands. Blanks, width and brackets in it do not matter.
    Headed(String),
    /// By its header, of which there are several: which of them, from 1.
    HeadedAgain(String, usize),
    /// By its place, from 1, in files without headers.
    Numbered(usize),
}

impl Column {
    /// How a column of this number, from 1, is found again: by its header, if it has one. `before` are the headers of the
    /// columns before it.
    #[must_use]
    pub fn of<'a>(number: usize, header: &str, before: impl Iterator<Item = &'a str>) -> Self {
        let own = key(header);
        if own.is_empty() {
            return Self::Numbered(number);
        }
        match before.filter(|header| key(header) == own).count() {
            0 => Self::Headed(header.to_owned()),
            before => Self::HeadedAgain(header.to_owned(), before + 1),
        }
    }
}

/// A column and its meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned {
    /// What it means.
    pub field: Field,
    /// Which it is.
    pub column: Column,
}

/// How many digits people's numbers have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Digits {
    /// As many as are written.
    #[default]
    AsWritten,
    /// So many; rows with fewer are refused.
    Exactly(usize),
    /// So many; zeros are put before those that have fewer.
    FilledTo(usize),
}

/// What becomes of letters that the sender defined himself (外字).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnLetters {
    /// The row is refused.
    #[default]
    Refused,
    /// They are taken as they are, with a warning for each.
    Taken,
}

/// Which column of a source means what, and how its values are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// The columns that are read; all others are left alone. Several may be levels of units ([`Field::may_repeat`]); of
    /// any other field the first counts.
    pub columns: Vec<Assigned>,
    /// How the source's files are read, as far as somebody has chosen it.
    #[serde(default)]
    pub how: How,
    /// How many rows stand above the first person where columns are numbered. Headers are found by themselves.
    #[serde(default)]
    pub rows_above: u32,
    /// How many digits people's numbers have.
    #[serde(default)]
    pub digits: Digits,
    /// What becomes of 外字.
    #[serde(default)]
    pub own_letters: OwnLetters,
    /// Classes by this source's own words, beside those that are known anyway.
    #[serde(default)]
    pub classes: BTreeMap<String, Class>,
}

/// A column as it lies in a file.
#[derive(Debug)]
pub(crate) struct BoundColumn {
    pub(crate) field: Field,
    /// From 0.
    pub(crate) place: usize,
    /// As the file has it; empty where there is none.
    pub(crate) header: String,
}

/// A mapping's columns as they lie in a file.
#[derive(Debug)]
pub(crate) struct Bound<'a> {
    pub(crate) columns: Vec<BoundColumn>,
    /// How many columns have a header, if any has.
    pub(crate) headed: Option<usize>,
    /// The rows below it.
    pub(crate) rows: &'a [Record],
}

impl Mapping {
    /// Whether it says where the number and the name are.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let has = |field| self.columns.iter().any(|assigned| assigned.field == field);
        has(Field::Number) && (has(Field::Name) || has(Field::FamilyName))
    }

    /// Finds the columns in a file.
    pub(crate) fn bind<'a>(&self, sheet: &'a Sheet) -> Result<Bound<'a>, FileError> {
        if !self.is_complete() {
            return Err(FileError::MappingIncomplete);
        }
        let records = sheet.records();
        let is_numbered = |assigned: &Assigned| matches!(assigned.column, Column::Numbered(_));
        if self.columns.iter().all(is_numbered) {
            let above = records.iter().take_while(|record| record.row <= self.rows_above).count();
            let columns = self.columns.iter().map(|assigned| assigned.bind(&[]));
            let columns = columns.collect::<Option<_>>().ok_or(FileError::MappingIncomplete)?;
            return Ok(Bound { columns, headed: None, rows: &records[above..] });
        }
        // The row that has all of them, or else the one that lacks the fewest.
        let lacking = |at: usize| {
            let headers = headers(records, at);
            let keys: Vec<_> = headers.iter().map(|header| key(header)).collect();
            self.columns.iter().filter(|assigned| assigned.place(&keys).is_none()).count()
        };
        let best = (0..records.len().min(MAX_TITLES)).map(|at| (lacking(at), at)).min();
        let best = best.filter(|(lacking, _)| *lacking < self.columns.len());
        let (_, at) = best.ok_or(FileError::NoHeader)?;
        let headers = headers(records, at);
        let columns: Vec<_> = self.columns.iter().map(|assigned| assigned.bind(&headers)).collect();
        let missing = columns.iter().zip(&self.columns).filter(|(bound, _)| bound.is_none());
        let missing: BTreeSet<_> = missing.map(|(_, assigned)| assigned.name()).collect();
        if !missing.is_empty() {
            return Err(FileError::ColumnsMissing(missing.into_iter().collect()));
        }
        let columns = columns.into_iter().flatten().collect();
        Ok(Bound { columns, headed: Some(headers.len()), rows: &records[at + 1..] })
    }
}

impl Assigned {
    /// The place of the column, from 0, in a file whose headers have these keys.
    fn place(&self, keys: &[String]) -> Option<usize> {
        let (wanted, nth) = match &self.column {
            Column::Numbered(number) => return number.checked_sub(1),
            Column::Headed(header) => (key(header), 1),
            Column::HeadedAgain(header, nth) => (key(header), *nth),
        };
        let alike = keys.iter().enumerate().filter(|(_, key)| **key == wanted);
        alike.map(|(place, _)| place).nth(nth.checked_sub(1)?)
    }

    fn bind(&self, headers: &[String]) -> Option<BoundColumn> {
        let keys: Vec<_> = headers.iter().map(|header| key(header)).collect();
        let place = self.place(&keys)?;
        let header = headers.get(place).cloned().unwrap_or_default();
        Some(BoundColumn { field: self.field, place, header })
    }

    fn name(&self) -> String {
        match &self.column {
            Column::Headed(header) => header.clone(),
            Column::HeadedAgain(header, nth) => format!("{header} ({nth})"),
            Column::Numbered(number) => number.to_string(),
        }
    }
}
