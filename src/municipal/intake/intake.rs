//! From a file and a mapping to rows and problems.

use std::collections::BTreeMap;

use crate::{
    code::PersonNumber,
    field::Field,
    file_error::FileError,
    mapping::{Digits, Mapping},
    people::{Held, Kinds, settle},
    problem::{Problem, Problems, Reason},
    row::{Outcome, Reader, Row},
    sheet::Sheet,
};

/// What was read of a personnel file.
#[derive(Debug)]
pub struct Intake {
    /// The rows that are taken, in the order of the file.
    pub rows: Vec<Row>,
    /// What is wrong, by row; at most [`crate::limits::MAX_PROBLEMS`], those that refuse a row before those that warn.
    pub problems: Vec<Problem>,
    /// How many more problems there are.
    pub problems_left_out: usize,
    /// People of whom the file has rows and nothing is taken, each with a row that is the reason. They are *not* missing
    /// in the file: whoever compares it with what is known leaves them as they are.
    pub held_back: BTreeMap<PersonNumber, u32>,
    /// How many rows were refused of which not even the number could be read: anybody who seems to be missing may be
    /// in one of them.
    pub unread: usize,
    /// How many rows below the header there are, without empty ones.
    pub seen: usize,
    /// How many numbers that are taken have how many digits. Where those that are known have more, zeros were lost.
    pub digits: BTreeMap<usize, usize>,
}

impl Intake {
    /// Reads a file as a mapping says. What is wrong with a row is told with it and keeps no other row from being read.
    ///
    /// # Errors
    /// The file has not the columns that the mapping names, or no rows; see [`FileError`].
    pub fn of(sheet: &Sheet, mapping: &Mapping) -> Result<Self, FileError> {
        let bound = mapping.bind(sheet)?;
        if bound.rows.is_empty() {
            return Err(FileError::NoRows);
        }
        let mut problems = Problems::default();
        let (mut rows, mut held, mut unread) = (Vec::new(), Held::new(), 0);
        let mut reader = Reader::new(mapping, &bound, &mut problems);
        for record in bound.rows {
            match reader.read(record) {
                Outcome::Taken(row) => rows.push(*row),
                Outcome::Refused(Some(number)) => {
                    held.entry(number).or_insert(record.row);
                }
                Outcome::Refused(None) => unread += 1,
                Outcome::LeftOut => {}
            }
        }
        if mapping.digits == Digits::AsWritten {
            unread += without_lost_zeros(&mut rows, &mut held, &mut problems);
        }
        let says_kind = |field: Field| matches!(field, Field::Additional | Field::Main);
        let kinds = if bound.columns.iter().any(|column| says_kind(column.field)) {
            Kinds::Said
        } else {
            Kinds::Unsaid
        };
        let rows = settle(rows, kinds, &mut held, &mut problems);
        let mut digits = BTreeMap::new();
        for length in rows.iter().filter_map(|row| row.number.digits()) {
            *digits.entry(length).or_default() += 1;
        }
        let (problems, problems_left_out) = problems.into_told();
        Ok(Self {
            rows,
            problems,
            problems_left_out,
            held_back: held,
            unread,
            seen: bound.rows.len(),
            digits,
        })
    }
}

/// Takes away the rows whose numbers have lost zeros, as far as the numbers themselves show it: where some begin with a
/// zero, all have as many digits. Where none does and lengths vary, it is only said. Answers how many there were, of
/// rows that were refused before too: whose they are cannot be known.
fn without_lost_zeros(rows: &mut Vec<Row>, held: &mut Held, problems: &mut Problems) -> usize {
    let begins_with_zero = |row: &&Row| row.number.as_str().starts_with('0');
    let width = rows.iter().filter(begins_with_zero).filter_map(|row| row.number.digits()).max();
    let Some(width) = width else {
        let mut lengths = rows.iter().filter_map(|row| Some((row.number.digits()?, row)));
        if let Some((length, _)) = lengths.next()
            && let Some((_, row)) = lengths.find(|(other, _)| *other != length)
        {
            problems.add(Problem::of_row(row.place, row.number.as_str(), Reason::LengthsVary));
        }
        return 0;
    };
    let is_whole = |number: &PersonNumber| number.digits().is_none_or(|digits| digits >= width);
    let before = rows.len() + held.len();
    held.retain(|number, _| is_whole(number));
    rows.retain(|row| {
        let is_whole = is_whole(&row.number);
        if !is_whole {
            problems.add(Problem::of_row(row.place, row.number.as_str(), Reason::ZerosLost(width)));
        }
        is_whole
    });
    before - rows.len() - held.len()
}
