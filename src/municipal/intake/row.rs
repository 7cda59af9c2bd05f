//! One row as what it says of somebody: his number, his name, one appointment.

use std::collections::HashSet;

use crate::{
    cell::{self, trimmed},
    class::{Class, Kind},
    code::{PersonNumber, UnitCode},
    contact::{self, AccountName, MailAddress},
    date::{self, Date},
    field::Field,
    headers::key,
    letters::spaced,
    mapping::{Bound, BoundColumn, Digits, Mapping, OwnLetters},
    name,
    problem::{Place, Problem, Problems, Reason, Severity},
    split::{Record, is_empty},
};

/// A row of a personnel file: a person with one of his appointments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where it stands in the file.
    pub place: Place,
    /// 職員番号
    pub number: PersonNumber,
    /// 氏名, with one space between its parts where the file has one.
    pub name: String,
    /// フリガナ, in full-width katakana.
    pub reading: Option<String>,
    /// 任用区分
    pub class: Option<Class>,
    /// 所属コード
    pub unit_code: Option<UnitCode>,
    /// 所属 and the units above it, from the top.
    pub unit_path: Vec<String>,
    /// 職名
    pub post: Option<String>,
    /// 職階
    pub rank: Option<String>,
    /// 本務 or 兼務
    pub kind: Kind,
    /// The first day; none if the file does not say.
    pub from: Option<Date>,
    /// The last day, on which it still holds; none if there is no end or the file does not say.
    pub until: Option<Date>,
    /// メールアドレス
    pub mail: Option<MailAddress>,
    /// The name that the account is to have.
    pub account: Option<AccountName>,
}

/// What became of a row.
pub(crate) enum Outcome {
    Taken(Box<Row>),
    /// Whose it was, as far as that could be read.
    Refused(Option<PersonNumber>),
    /// It is no person.
    LeftOut,
}

/// Words that stand below lists of people.
const ENDS_OF_LISTS: [&str; 6] = ["以上", "合計", "計", "小計", "総計", "総数"];

/// Reads the rows of a file one after the other.
pub(crate) struct Reader<'a> {
    mapping: &'a Mapping,
    bound: &'a Bound<'a>,
    problems: &'a mut Problems,
    /// Words for classes that were told to be unknown.
    unknown_classes: HashSet<String>,
    /// Whether the row at hand has something that refuses it.
    refused: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(mapping: &'a Mapping, bound: &'a Bound<'a>, problems: &'a mut Problems) -> Self {
        Self { mapping, bound, problems, unknown_classes: HashSet::new(), refused: false }
    }

    pub(crate) fn read(&mut self, record: &Record) -> Outcome {
        let place = place_of(record);
        self.refused = false;
        if let Some(reason) = self.no_person(record) {
            let value = record.cells().find(|cell| !is_empty(cell)).unwrap_or_default();
            self.problems.add(Problem::of_row(place, trimmed(value), reason));
            return Outcome::LeftOut;
        }
        if let Some(damage) = record.damage {
            self.row_problem(place, record, Reason::Damage(damage));
            return Outcome::Refused(None);
        }
        let past = self
            .bound
            .headed
            .and_then(|headed| (headed..record.width()).find(|place| !is_empty(record.cell(*place))));
        if let Some(column) = past {
            self.problem(record, column, "", Reason::PastHeader);
        }
        let number = self.number(record);
        let row = self.person(record, place, number.clone());
        match row.filter(|_| !self.refused) {
            Some(row) => Outcome::Taken(Box::new(row)),
            None => Outcome::Refused(number),
        }
    }

    /// Why a row is nobody: the headers again, or a note.
    ///
    /// A name that stands alone is somebody whose number is missing, unless it is a word that ends lists.
    fn no_person(&self, record: &Record) -> Option<Reason> {
        let columns = &self.bound.columns;
        let is_header = |column: &BoundColumn| key(record.cell(column.place)) == key(&column.header);
        if self.bound.headed.is_some() && columns.iter().all(is_header) {
            return Some(Reason::HeaderAgain);
        }
        let mut places = (0..record.width()).filter(|place| !is_empty(record.cell(*place)));
        let (Some(place), None, None) = (places.next(), places.next(), record.damage) else { return None };
        let value = trimmed(record.cell(place));
        let is_note = value.starts_with(['※', '＊', '*', '注']) || ENDS_OF_LISTS.contains(&value);
        let names = [Field::Number, Field::Name, Field::FamilyName, Field::GivenName];
        let is_somebody = columns.iter().any(|column| column.place == place && names.contains(&column.field));
        (is_note || !is_somebody).then_some(Reason::Note)
    }

    fn columns(&self, field: Field) -> impl Iterator<Item = (usize, &'a str)> + use<'a> {
        let of_field = self.bound.columns.iter().filter(move |column| column.field == field);
        of_field.map(|column| (column.place, column.header.as_str()))
    }

    fn has(&self, field: Field) -> bool {
        self.columns(field).next().is_some()
    }

    fn row_problem(&mut self, place: Place, record: &Record, reason: Reason) {
        self.refused |= reason.severity() == Severity::Refuses;
        self.problems.add(Problem::of_row(place, record.cell(0), reason));
    }

    fn problem(&mut self, record: &Record, column: usize, header: &str, reason: Reason) {
        self.refused |= reason.severity() == Severity::Refuses;
        self.problems.add(Problem::of_cell(place_of(record), column, header, record.cell(column), reason));
    }

    /// The value in a column, if there is one that can be looked at.
    fn value<'r>(&mut self, record: &'r Record, column: usize, header: &str) -> Option<&'r str> {
        match cell::value(record.cell(column)) {
            Ok(value) => {
                match cell::own_letter(value) {
                    Some(fault) if self.mapping.own_letters == OwnLetters::Taken => {
                        self.problem(record, column, header, Reason::OwnLetterTaken(fault));
                    }
                    Some(fault) => {
                        self.problem(record, column, header, Reason::Cell(fault));
                        return None;
                    }
                    None => {}
                }
                (!value.is_empty()).then_some(value)
            }
            Err(fault) => {
                self.problem(record, column, header, Reason::Cell(fault));
                None
            }
        }
    }

    /// What a field says, by the function that reads it.
    fn take<T>(
        &mut self,
        record: &Record,
        field: Field,
        read: impl FnOnce(&mut Self, &str) -> Result<T, Reason>,
    ) -> Option<T> {
        let (column, header) = self.columns(field).next()?;
        let value = self.value(record, column, header)?;
        match read(self, value) {
            Ok(read) => Some(read),
            Err(reason) => {
                self.problem(record, column, header, reason);
                None
            }
        }
    }

    /// Says that a value is odd, and goes on.
    fn doubt(&mut self, record: &Record, field: Field, reason: Reason) {
        if let Some((column, header)) = self.columns(field).next() {
            self.problem(record, column, header, reason);
        }
    }

    fn missing(&mut self, record: &Record, field: Field) {
        if !self.refused {
            self.doubt(record, field, Reason::Missing(field));
        }
    }

    fn number(&mut self, record: &Record) -> Option<PersonNumber> {
        let number =
            self.take(record, Field::Number, |_, text| PersonNumber::read(text).map_err(Reason::Code));
        let Some(number) = number else {
            self.missing(record, Field::Number);
            return None;
        };
        match (self.mapping.digits, number.digits()) {
            (Digits::Exactly(width), Some(digits)) if digits < width => {
                self.doubt(record, Field::Number, Reason::ZerosLost(width));
                None
            }
            (Digits::FilledTo(width), Some(digits)) if digits < width => {
                self.doubt(record, Field::Number, Reason::ZerosFilled(width));
                Some(number.filled(width))
            }
            _ => Some(number),
        }
    }

    /// Reads everything else, so that all that is wrong with a row is told at once.
    fn person(&mut self, record: &Record, place: Place, number: Option<PersonNumber>) -> Option<Row> {
        let name = self.name(record);
        let reading = self.reading(record);
        let class = self.take(record, Field::Class, |reader, text| reader.class(text));
        let unit_code =
            self.take(record, Field::UnitCode, |_, text| UnitCode::read(text).map_err(Reason::Code));
        let unit_path = self.unit_path(record);
        let post = self.title(record, Field::Post);
        let rank = self.title(record, Field::Rank);
        let kind = self.kind(record);
        let from = self.day(record, Field::From, date::begin);
        let until = self.day(record, Field::Until, date::end);
        let leaves = self.day(record, Field::Leaves, date::end);
        let (end, until) = match (until, leaves) {
            (Some(until), Some(leaves)) if until <= leaves => (Field::Until, Some(until)),
            (until, None) => (Field::Until, until),
            (_, leaves) => (Field::Leaves, leaves),
        };
        if let (Some(from), Some(until)) = (from, until)
            && until < from
        {
            self.doubt(record, end, Reason::EndsFirst(from));
        }
        let contact = |fault: contact::Fault| Reason::Contact(fault);
        let mail = self.take(record, Field::Mail, |_, text| MailAddress::read(text).map_err(contact));
        let account = self.take(record, Field::Account, |_, text| AccountName::read(text).map_err(contact));
        let (number, name) = (number?, name?);
        let class = class.flatten();
        Some(Row {
            place,
            number,
            name,
            reading,
            class,
            unit_code,
            unit_path,
            post,
            rank,
            kind,
            from,
            until,
            mail,
            account,
        })
    }

    fn name(&mut self, record: &Record) -> Option<String> {
        let mut read = |field| self.take(record, field, |_, text| name::person(text).map_err(Reason::Name));
        let (whole, family, given) = (read(Field::Name), read(Field::FamilyName), read(Field::GivenName));
        let name = match (whole, family, given) {
            (_, Some(family), Some(given)) => Some(format!("{family} {given}")),
            (Some(name), ..) | (None, Some(name), None) | (None, None, Some(name)) => Some(name),
            (None, None, None) => None,
        };
        if name.is_none() {
            let field = if self.has(Field::Name) { Field::Name } else { Field::FamilyName };
            self.missing(record, field);
        }
        name
    }

    fn reading(&mut self, record: &Record) -> Option<String> {
        let mut read = |field| {
            let (reading, is_kana) =
                self.take(record, field, |_, text| name::reading(text).map_err(Reason::Name))?;
            if !is_kana {
                self.doubt(record, field, Reason::NotKana);
            }
            Some(reading)
        };
        let whole = read(Field::Reading);
        match (read(Field::FamilyReading), read(Field::GivenReading)) {
            (Some(family), Some(given)) => Some(format!("{family} {given}")),
            (family, given) => whole.or(family).or(given),
        }
    }

    /// The class that a word names, told once where it names none.
    fn class(&mut self, text: &str) -> Result<Option<Class>, Reason> {
        let text = spaced(text);
        let class = self.mapping.classes.get(&text).copied().or_else(|| Class::read(&text));
        if class.is_none() && self.unknown_classes.insert(text) {
            return Err(Reason::UnknownClass);
        }
        Ok(class)
    }

    /// The unit with those above it: each column is a level, or says the levels above it again.
    fn unit_path(&mut self, record: &Record) -> Vec<String> {
        let columns: Vec<_> = self.columns(Field::UnitName).collect();
        let mut path: Vec<String> = Vec::new();
        for (column, header) in columns {
            let Some(value) = self.value(record, column, header) else { continue };
            match name::path(value) {
                Ok(below) if below.starts_with(&path) => path = below,
                Ok(below) => path.extend(below),
                Err(fault) => self.problem(record, column, header, Reason::Name(fault)),
            }
        }
        path
    }

    fn title(&mut self, record: &Record, field: Field) -> Option<String> {
        self.take(record, field, |_, text| name::title(text).map_err(Reason::Name))
    }

    fn kind(&mut self, record: &Record) -> Kind {
        let (field, marked) = if self.has(Field::Additional) {
            (Field::Additional, Kind::Additional)
        } else if self.has(Field::Main) {
            (Field::Main, Kind::Main)
        } else {
            return Kind::Main;
        };
        let read = |text: &str| Kind::read(text, marked).ok_or(Reason::UnknownKind);
        let kind = self.take(record, field, |_, text| read(text));
        kind.or_else(|| Kind::read("", marked)).unwrap_or(Kind::Main)
    }

    fn day(&mut self, record: &Record, field: Field, read: impl Fn(&str) -> date::Read) -> Option<Date> {
        let (day, doubt) = self.take(record, field, |_, text| read(text).map_err(Reason::Date))?;
        if let Some(doubt) = doubt {
            self.doubt(record, field, Reason::DateDoubt(doubt));
        }
        day
    }
}

fn place_of(record: &Record) -> Place {
    Place { row: record.row, line: record.line }
}
