//! What the columns of a file probably mean, for somebody to look at.
//!
//! Headers decide, and values are asked whether they fit: a column 兼務 that holds names of units is no mark. Columns without
//! a known header are proposed by their values alone, and only where a field is still without a column.

use std::collections::HashSet;

use crate::{
    cell,
    class::{Class, Kind},
    code::{PersonNumber, UnitCode},
    contact::{AccountName, MailAddress},
    date,
    field::Field,
    file_error::FileError,
    headers::{Confidence, headers, key, meaning},
    limits::MAX_TITLES,
    mapping::{Assigned, Column, Mapping},
    name,
    sheet::Sheet,
    split::{Record, is_empty},
};

/// How many rows are looked at.
const LOOKED_AT: usize = 300;

/// A column with what it probably means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guess {
    /// Its place, from 1.
    pub column: usize,
    /// Its header; empty where the file has none.
    pub header: String,
    /// What it probably means.
    pub field: Field,
    /// How sure that is.
    pub confidence: Confidence,
}

/// A field that several columns may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ambiguity {
    /// The field.
    pub field: Field,
    /// The columns, from 1; the first is the one in the proposal.
    pub columns: Vec<usize>,
}

/// A mapping for somebody to look at.
#[derive(Debug)]
pub struct Proposal {
    /// The mapping as far as it can be guessed; [`Mapping::is_complete`] says whether it can be used.
    pub mapping: Mapping,
    /// The row with the headers, as a spreadsheet shows it, if there is one.
    pub header_row: Option<u32>,
    /// The columns of the mapping, in the order of the file; last, a column of periods once more, for their first days.
    pub guesses: Vec<Guess>,
    /// Where somebody has to choose.
    pub ambiguous: Vec<Ambiguity>,
    /// Columns that are not used, with their headers.
    pub unused: Vec<(usize, String)>,
}

impl Proposal {
    /// Proposes a mapping.
    ///
    /// # Errors
    /// Nothing in the file looks like a column of people.
    pub fn of(sheet: &Sheet) -> Result<Self, FileError> {
        let records = sheet.records();
        let header = find_header(records);
        let rows = &records[header.map_or(0, |at| at + 1)..];
        let names = header.map_or_else(Vec::new, |at| headers(records, at));
        let width = || rows.iter().take(LOOKED_AT).map(Record::width).max().unwrap_or(0);
        let width = if header.is_some() { names.len() } else { width() };
        let name = |at: usize| names.get(at).map_or("", String::as_str);
        let mut columns: Vec<_> = (0..width).map(|at| Looked::new(at, name(at), rows)).collect();
        columns.iter_mut().for_each(Looked::ask_values);
        let ambiguous = keep_one_of_each(&mut columns);
        guess_by_values(&mut columns, header.is_some());
        let both = period(&columns).map(|column| (column, Field::From));
        let meant = columns.iter().filter_map(|column| Some((column, column.meaning?.0))).chain(both);
        let meant: Vec<_> = meant.collect();
        let guesses: Vec<_> = meant.iter().filter_map(|(column, field)| column.guess(*field)).collect();
        if guesses.is_empty() {
            return Err(FileError::NoHeader);
        }
        let is_unused = |column: &&Looked<'_>| column.meaning.is_none() && !is_empty(column.header);
        let unused = columns.iter().filter(is_unused).map(|c| (c.at + 1, c.header.to_owned())).collect();
        let assigned =
            meant.iter().map(|(column, field)| Assigned { field: *field, column: column.named(&names) });
        let mapping = Mapping { columns: assigned.collect(), ..Mapping::default() };
        Ok(Self { mapping, header_row: header.map(|at| records[at].row), guesses, ambiguous, unused })
    }
}

/// Where the headers are: the row near the top with most of them that are known, two at least.
fn find_header(records: &[Record]) -> Option<usize> {
    let known = |at: usize| headers(records, at).iter().filter(|cell| meaning(cell).is_some()).count();
    let rows = (0..records.len().min(MAX_TITLES)).map(|at| (known(at), at));
    let (known, at) = rows.max_by_key(|(known, at)| (*known, MAX_TITLES - at))?;
    (known > 1).then_some(at)
}

/// The column of last days that has the first days too (任期), where no other has them.
fn period<'c, 'a>(columns: &'c [Looked<'a>]) -> Option<&'c Looked<'a>> {
    let of = |field| columns.iter().find(|column| column.meaning.is_some_and(|(of, _)| of == field));
    of(Field::Until).filter(|column| of(Field::From).is_none() && column.mostly(8, date::is_period))
}

/// A column that is being looked at.
struct Looked<'a> {
    at: usize,
    header: &'a str,
    values: Vec<&'a str>,
    meaning: Option<(Field, Confidence)>,
}

impl<'a> Looked<'a> {
    fn new(at: usize, header: &'a str, rows: &'a [Record]) -> Self {
        let values = rows.iter().take(LOOKED_AT).filter(|row| row.damage.is_none()).map(|row| row.cell(at));
        let values = values.filter_map(|cell| cell::value(cell).ok()).filter(|value| !value.is_empty());
        Self { at, header, values: values.collect(), meaning: meaning(header) }
    }

    fn guess(&self, field: Field) -> Option<Guess> {
        let (_, confidence) = self.meaning?;
        Some(Guess { column: self.at + 1, header: self.header.to_owned(), field, confidence })
    }

    /// How the mapping finds it.
    fn named(&self, headers: &[String]) -> Column {
        Column::of(self.at + 1, self.header, headers.iter().take(self.at).map(String::as_str))
    }

    /// Whether so many of ten values are such.
    fn mostly(&self, of_ten: usize, is_such: impl Fn(&str) -> bool) -> bool {
        let such = self.values.iter().filter(|value| is_such(value)).count();
        !self.values.is_empty() && such * 10 >= self.values.len() * of_ten
    }

    /// Takes away the meaning that the values speak against, or makes it less sure.
    fn ask_values(&mut self) {
        let Some((field, confidence)) = self.meaning else { return };
        if self.values.is_empty() || self.mostly(8, |value| fits(field, value)) {
            return;
        }
        // Marks and classes that are none would be wrong in every row; so would a word of many meanings.
        let is_mark = matches!(field, Field::Additional | Field::Main | Field::Class);
        let keeps = !is_mark && confidence > Confidence::Low;
        self.meaning = keeps.then_some((field, Confidence::Low));
    }
}

/// Whether a value may be one of a field.
fn fits(field: Field, value: &str) -> bool {
    match field {
        Field::Number => PersonNumber::read(value).is_ok(),
        Field::UnitCode => UnitCode::read(value).is_ok(),
        Field::Name | Field::FamilyName | Field::GivenName => name::person(value).is_ok(),
        Field::Reading | Field::FamilyReading | Field::GivenReading => is_reading(value),
        Field::Class => Class::read(value).is_some(),
        Field::UnitName | Field::Post | Field::Rank => name::title(value).is_ok(),
        Field::Additional => Kind::read(value, Kind::Additional).is_some(),
        Field::Main => Kind::read(value, Kind::Main).is_some(),
        Field::From => date::begin(value).is_ok(),
        Field::Until | Field::Leaves => date::end(value).is_ok(),
        Field::Mail => MailAddress::read(value).is_ok(),
        Field::Account => AccountName::read(value).is_ok(),
    }
}

fn is_reading(value: &str) -> bool {
    name::reading(value).is_ok_and(|(reading, is_kana)| is_kana && !reading.is_empty())
}

/// Leaves each field to its surest column, the first of equals; tells where there were equals.
fn keep_one_of_each(columns: &mut [Looked<'_>]) -> Vec<Ambiguity> {
    let mut ambiguous = Vec::new();
    for field in Field::ALL.into_iter().filter(|field| !field.may_repeat()) {
        let of_field =
            |column: &Looked<'_>| column.meaning.filter(|(of, _)| *of == field).map(|(_, sure)| sure);
        let Some(surest) = columns.iter().filter_map(of_field).max() else { continue };
        let equals: Vec<_> = columns.iter().filter(|c| of_field(c) == Some(surest)).map(|c| c.at).collect();
        for column in columns.iter_mut() {
            if of_field(column).is_some() && equals.first() != Some(&column.at) {
                column.meaning = None;
            }
        }
        if equals.len() > 1 {
            ambiguous.push(Ambiguity { field, columns: equals.iter().map(|at| at + 1).collect() });
        }
    }
    ambiguous.extend(units_alike(columns));
    ambiguous
}

/// Columns of units with the same header are no levels: they are what was and what will be.
fn units_alike(columns: &mut [Looked<'_>]) -> Option<Ambiguity> {
    let mut seen = HashSet::new();
    let mut alike = Vec::new();
    for column in columns.iter_mut() {
        let is_unit = column.meaning.is_some_and(|(field, _)| field == Field::UnitName);
        if is_unit && !seen.insert(key(column.header)) {
            column.meaning = None;
            alike.push(column.at);
        }
    }
    let first = columns.iter().find(|c| alike.iter().any(|at| key(columns[*at].header) == key(c.header)))?;
    let all = std::iter::once(first.at).chain(alike.iter().copied());
    Some(Ambiguity { field: Field::UnitName, columns: all.map(|at| at + 1).collect() })
}

/// Gives fields that have no column to columns whose values look like theirs.
fn guess_by_values(columns: &mut [Looked<'_>], has_header: bool) {
    let has_space = |value: &str| value.contains(char::is_whitespace);
    let is_kanji = |letter: char| matches!(letter, '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}');
    let is_full_name =
        |value: &str| has_space(value) && value.contains(is_kanji) && name::person(value).is_ok();
    let is_name =
        |value: &str| value.contains(is_kanji) && name::person(value).is_ok() && value.chars().count() < 9;
    let is_number = |value: &str| PersonNumber::read(value).is_ok_and(|number| number.digits().is_some());
    let is_day = |value: &str| value.chars().count() > 5 && matches!(date::begin(value), Ok((Some(_), _)));
    let mut give = |field: Field, is_such: &dyn Fn(&Looked<'_>) -> bool| {
        let is_free = |field: Field| !columns.iter().any(|c| c.meaning.is_some_and(|(of, _)| of == field));
        let whole = match field {
            Field::Name => is_free(Field::FamilyName),
            Field::Reading => is_free(Field::FamilyReading),
            _ => true,
        };
        if is_free(field)
            && whole
            && let Some(column) =
                columns.iter_mut().find(|column| column.meaning.is_none() && is_such(column))
        {
            column.meaning = Some((field, Confidence::Low));
        }
    };
    give(Field::Mail, &|column| column.mostly(9, |value| MailAddress::read(value).is_ok()));
    give(Field::Reading, &|column| column.mostly(9, |value| is_reading(value) && value.chars().count() > 2));
    give(Field::Name, &|column| column.mostly(9, is_full_name));
    if has_header {
        return;
    }
    // Without a header there is nothing else to go by. Numbers are many, and hardly any is there twice.
    give(Field::From, &|column| column.mostly(9, is_day));
    give(Field::Number, &|column| {
        let distinct: HashSet<_> = column.values.iter().collect();
        column.mostly(9, is_number) && distinct.len() * 10 >= column.values.len() * 8
    });
    give(Field::Name, &|column| column.mostly(9, is_name));
}
