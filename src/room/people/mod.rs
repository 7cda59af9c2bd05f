//! People by name: whom a user of ours may find, without a look at the members of any room.
//!
//! Three things are kept. [`WORDS`] leads from a piece of a name or id to who is called so, somewhere; it is a hint and no more.
//! [`PEOPLE`] has one row for everybody who is in a room, with his rooms in it and, for others' users, the names that he goes by in
//! which of them. And [`DUE`] says whose row is behind. The truth stays where it is: nobody is found or told of but by a
//! room that the searcher may look into, by what the member event there says now.
//!
//! - One row a person, and not one for each of his rooms: who is in 1,200 rooms and takes another name causes one row for the
//!   name's pieces, however many member events say so; and who looks him up reads one row.
//! - The row comes later than the events (who writes rooms brings it after them): a batch of a room writes that somebody is due, or, where we come into a
//!   room, that all its members are, which is one row for 30,000 of them. A search reads what is due of those that
//!   it meets, so that it is behind in nothing but the names of others.
//! - Of our users the pieces are those of id and profile, and are written in the batches of the account ([`note_account`]): a name that
//!   somebody has taken is found at once. What he calls himself in one room is found by nobody.
//! - Pieces are the folded ends of a text, from each of its letters on, twelve letters long: Japanese names are written
//!   without spaces, and 太郎 has to find 山田太郎. What begins with the term is one range.
//!
//! Who is due is noted, and followed, by the one who writes rooms; the rows are made here.
//!
//! Reading order: [`words`], [`rows`], then [`find`].

pub(crate) mod find;
mod rows;
mod words;

use store::Topic;

pub use find::{Found, PeopleFound};
pub use rows::{DUE, NameRow, PEOPLE, PersonRow, WALKS, WalkRow, stage_person};
pub use words::{Begin, ELSEWHERE, NAME_LETTERS, WORDS, WordRow, note_account};

/// How a user appears in a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Display name.
    pub displayname: Option<String>,
    /// `mxc:` address of the picture.
    pub avatar_url: Option<String>,
}

/// Moves when somebody is due.
pub fn people_due() -> Topic {
    Topic::new(24, "room.people_due")
}
