//! Which column means what: a mapping that is saved for a source and serves for its next file too.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    class::Class, field::Field, file_error::FileError, headers::key, limits::MAX_TITLES, sheet::Sheet,
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
    /// The columns that are read; all others are left alone.
    pub columns: Vec<Assigned>,
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

/// A mapping's columns as they lie in a file.
#[derive(Debug)]
pub(crate) struct Bound<'a> {
    /// Field, place from 0, header.
    pub(crate) columns: Vec<(Field, usize, String)>,
    /// The row with the headers, if there is one.
    pub(crate) header: Option<&'a Record>,
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
            let rows = records.iter().position(|record| record.row > self.rows_above);
            let columns = self.columns.iter().filter_map(|a| Some((a.field, a.place(None)?, String::new())));
            let rows = rows.map_or(&[][..], |first| &records[first..]);
            return Ok(Bound { columns: columns.collect(), header: None, rows });
        }
        // The row that has all of them, or else the one that lacks the fewest.
        let candidates = records.iter().take(MAX_TITLES).enumerate();
        let lacks = |record: &Record| self.columns.iter().filter(|a| a.place(Some(record)).is_none()).count();
        let best = candidates.map(|(at, record)| (lacks(record), at)).min();
        let Some((lacking, at)) = best.filter(|(lacking, _)| *lacking < self.columns.len()) else {
            return Err(FileError::NoHeader);
        };
        let header = &records[at];
        if lacking > 0 {
            let missing = self.columns.iter().filter(|assigned| assigned.place(Some(header)).is_none());
            let names: BTreeSet<_> = missing.map(Assigned::name).collect();
            return Err(FileError::ColumnsMissing(names.into_iter().collect()));
        }
        let columns = self.columns.iter().filter_map(|assigned| {
            let place = assigned.place(Some(header))?;
            Some((assigned.field, place, header.cell(place).to_owned()))
        });
        Ok(Bound { columns: columns.collect(), header: Some(header), rows: &records[at + 1..] })
    }
}

impl Assigned {
    /// The place of the column, from 0, in a file with this header.
    fn place(&self, header: Option<&Record>) -> Option<usize> {
        let (wanted, nth) = match &self.column {
            Column::Numbered(number) => return number.checked_sub(1),
            Column::Headed(header) => (key(header), 1),
            Column::HeadedAgain(header, nth) => (key(header), *nth),
        };
        let cells = header?.cells().enumerate();
        cells.filter(|(_, cell)| key(cell) == wanted).nth(nth.checked_sub(1)?).map(|(place, _)| place)
    }

    fn name(&self) -> String {
        match &self.column {
            Column::Headed(header) => header.clone(),
            Column::HeadedAgain(header, nth) => format!("{header} ({nth})"),
            Column::Numbered(number) => number.to_string(),
        }
    }
}
