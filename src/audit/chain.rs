//! The chain: how a record is bound to all before it. Pure; who carries it on and who checks it share it.
//!
//! A link is over the link before it, its own number and place, and its record. In the first form it was over the record's
//! bytes; now it is over their hash and what was done ([`Essence`]), so that it can still be computed when the record has gone,
//! and proves then what kind of record that was. Links of the first form stay as they are.

use bytes::Bytes;
use ruma::ServerName;
use sha2::{Digest, Sha256};
use store::{Position, Value};

use crate::{
    day::Day,
    deed::Record,
    gone::StubRow,
    tables::{ChainRow, Hash, LinkRow},
};

/// That of a record which its link is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Essence {
    /// What was done; nothing where the record cannot be read.
    pub(crate) what: String,
    /// SHA-256 of the record.
    pub(crate) digest: Hash,
}

impl Essence {
    /// Of a record as it is stored.
    pub(crate) fn of(record: &Bytes) -> Self {
        let what = Record::decode(record).map(|record| record.what).unwrap_or_default();
        Self { what, digest: Sha256::digest(record).into() }
    }

    /// Of a record that has gone.
    pub(crate) fn left(stub: &StubRow) -> Self {
        Self { what: stub.what.clone(), digest: stub.digest }
    }
}

/// The forms of links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Over the record.
    First,
    /// Over what stays of it.
    Second,
}

impl ChainRow {
    /// Before the first record.
    pub(crate) fn start() -> Self {
        Self { number: 0, position: Position::START, hash: [0; 32], day: Day(0), sealed: 0 }
    }

    /// Whether the day that is open has to be sealed before anything of this day goes on.
    pub(crate) fn is_due(&self, day: Day) -> bool {
        self.sealed < self.number && self.day < day
    }

    /// The open day was sealed: what comes now belongs to a later one, whatever its clock says.
    pub(crate) fn close_day(&mut self) {
        self.sealed = self.number;
        self.day = self.day.next();
    }

    /// Whether a chain that ended so can end as `self` says now, as far as the two ends tell: without new links only its
    /// open day may have been sealed.
    pub(crate) fn may_follow(&self, seen: &Self) -> bool {
        if self.number == seen.number {
            let mut closed = seen.clone();
            closed.close_day();
            return self == seen || (seen.sealed < seen.number && *self == closed);
        }
        let goes_on = seen.number < self.number && seen.position < self.position;
        goes_on && seen.sealed <= self.sealed && self.sealed <= self.number && seen.day <= self.day
    }

    /// The next record takes its place; gives its link.
    pub(crate) fn take(&mut self, authority: &ServerName, position: Position, record: &Bytes) -> LinkRow {
        self.number += 1;
        self.position = position;
        let before = Before { authority, number: self.number, position, hash: &self.hash };
        self.hash = before.link(&Essence::of(record));
        self.day = day_of(record).map_or(self.day, |day| day.max(self.day));
        LinkRow { position, hash: self.hash }
    }

    /// Where the next record stands, if it has this place.
    pub(crate) fn next<'a>(&'a self, authority: &'a ServerName, position: Position) -> Before<'a> {
        Before { authority, number: self.number + 1, position, hash: &self.hash }
    }

    /// The record of a link that was found right.
    pub(crate) fn pass(&mut self, link: &LinkRow, day: Option<Day>) {
        self.number += 1;
        self.position = link.position;
        self.hash = link.hash;
        self.day = day.map_or(self.day, |day| day.max(self.day));
    }
}

/// The day of a record; `None` where it cannot be read, which is for others to find.
pub(crate) fn day_of(record: &Bytes) -> Option<Day> {
    Record::decode(record).ok().map(|record| Day::of(record.at))
}

/// The place of a record: whose log, its number, its position, and the link before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Before<'a> {
    pub(crate) authority: &'a ServerName,
    pub(crate) number: u64,
    pub(crate) position: Position,
    pub(crate) hash: &'a Hash,
}

impl Before<'_> {
    /// The link of what stays of the record here.
    pub(crate) fn link(&self, essence: &Essence) -> Hash {
        let mut hash = self.begun("yakuba audit link 2\n");
        hash.update((essence.what.len() as u64).to_be_bytes());
        hash.update(&essence.what);
        hash.update(essence.digest);
        hash.finalize().into()
    }

    /// The link of the first form.
    pub(crate) fn former_link(&self, record: &[u8]) -> Hash {
        let mut hash = self.begun("yakuba audit link 1\n");
        hash.update(record);
        hash.finalize().into()
    }

    /// In which form a link is that of this record, if it is.
    pub(crate) fn form(&self, record: &Bytes, link: &Hash) -> Option<Form> {
        if self.link(&Essence::of(record)) == *link {
            return Some(Form::Second);
        }
        (self.former_link(record) == *link).then_some(Form::First)
    }

    fn begun(&self, prefix: &str) -> Sha256 {
        let name = self.authority.as_str();
        let mut hash = Sha256::new_with_prefix(prefix);
        hash.update(self.hash);
        hash.update(self.number.to_be_bytes());
        hash.update(self.position.0.to_be_bytes());
        hash.update((name.len() as u64).to_be_bytes());
        hash.update(name);
        hash
    }
}

/// A hash for people.
pub(crate) fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Links that are on disk must stay right.
    #[test]
    fn a_link_has_the_hash_that_is_on_disk() {
        let name = ruma::server_name!("kanazawa.test");
        let start = ChainRow::start();
        let one = start.next(name, Position(5)).former_link(b"one");
        let two = Before { authority: name, number: 2, position: Position(9), hash: &one };
        let link = two.former_link(b"two");
        assert_eq!(hex(&link), "6f10fd9a3ea3cc01f717c7d6cbe820fe831322572cf378136a0412da1467f20b");
        assert_eq!(two.form(&Bytes::from_static(b"two"), &link), Some(Form::First));
        assert_eq!(two.form(&Bytes::from_static(b"tow"), &link), None);

        // By the record 1, which says what was done, and by one that cannot be read.
        let essence = Essence { what: "session.sign_in".to_owned(), digest: Sha256::digest(b"one").into() };
        let one = start.next(name, Position(5)).link(&essence);
        let two = Before { authority: name, number: 2, position: Position(9), hash: &one };
        let record = Bytes::from_static(b"two");
        let link = two.link(&Essence::of(&record));
        assert_eq!(hex(&link), "04c84f9793b618f524ede681c39472fb0904bbdeeb0b9259d4fb7a464dc4fd89");
        assert_eq!(two.form(&record, &link), Some(Form::Second));
    }
}
