//! Personnel files: from the bytes that a personnel system or somebody's Excel wrote to rows about people.
//!
//! A file goes three ways, each of which can be shown before the next is gone: [`Sheet::read`] finds the encoding and the
//! separator and has rows of cells; [`Proposal::of`] says what the columns probably mean, for somebody to confirm as a
//! [`Mapping`] that is saved; [`Intake::of`] reads the rows by it, and tells what is wrong with which value in which row.
//! What the rows change is for others to find out: nothing here knows who is known already.
//!
//! Files are full of what spreadsheets do to them. Three rules decide what becomes of it:
//!
//! - What can mean one thing only is taken, with a warning where it was hardly meant so.
//! - What can mean two things is refused. No letter, zero or day is made up.
//! - Nobody is taken by half: a person of whom a row is refused is held back, which is not the same as missing.
//!
//! Everything is bounded ([`limits`]), and no input makes it panic. Sentences for people come in Japanese and English ([`Words`]).

mod cell;
mod class;
mod code;
mod contact;
mod date;
mod encoding;
mod field;
mod file_error;
mod guess;
mod headers;
mod intake;
mod letters;
pub mod limits;
mod mapping;
mod name;
mod people;
mod problem;
mod row;
mod separator;
mod sheet;
mod split;
#[cfg(test)]
mod tests;
mod typed;
mod words;

pub use cell::Fault as CellFault;
pub use class::{Class, Kind};
pub use code::{Fault as CodeFault, PersonNumber, UnitCode};
pub use contact::{AccountName, Fault as ContactFault, MailAddress};
pub use date::{Date, Doubt as DateDoubt, Fault as DateFault, NotADate};
pub use encoding::{Encoding, Evidence};
pub use field::Field;
pub use file_error::FileError;
pub use guess::{Ambiguity, Guess, Proposal};
pub use headers::Confidence;
pub use intake::Intake;
pub use mapping::{Assigned, Column, Digits, Mapping, OwnLetters};
pub use name::Fault as NameFault;
pub use problem::{Place, Problem, Reason, Severity};
pub use row::Row;
pub use separator::Separator;
pub use sheet::{How, Sheet};
pub use split::Damage;
pub use typed::typed_name;
pub use words::Words;
