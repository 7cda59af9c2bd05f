//! The chain: how a record is bound to all before it. Pure; who carries it on and who checks it share it.

use bytes::Bytes;
use ruma::ServerName;
use sha2::{Digest, Sha256};
use store::{Position, Value};

use crate::{
    day::Day,
    deed::Record,
    tables::{ChainRow, Hash, LinkRow},
};

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
        self.hash = hash(authority, self.number, position, &self.hash, record);
        self.day = day_of(record).map_or(self.day, |day| day.max(self.day));
        LinkRow { position, hash: self.hash }
    }
}

/// The day of a record; `None` where it cannot be read, which is for others to find.
pub(crate) fn day_of(record: &Bytes) -> Option<Day> {
    Record::decode(record).ok().map(|record| Day::of(record.at))
}

/// What a link says: this record, as stored, has this number and place and follows that link.
fn hash(authority: &ServerName, number: u64, position: Position, before: &Hash, record: &[u8]) -> Hash {
    let name = authority.as_str();
    let mut hash = Sha256::new_with_prefix("yakuba audit link 1\n");
    hash.update(before);
    hash.update(number.to_be_bytes());
    hash.update(position.0.to_be_bytes());
    hash.update((name.len() as u64).to_be_bytes());
    hash.update(name);
    hash.update(record);
    hash.finalize().into()
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
        let mut chain = ChainRow::start();
        let name = ruma::server_name!("kanazawa.test");
        chain.take(name, Position(5), &Bytes::from_static(b"one"));
        let link = chain.take(name, Position(9), &Bytes::from_static(b"two"));
        assert_eq!(hex(&link.hash), "6f10fd9a3ea3cc01f717c7d6cbe820fe831322572cf378136a0412da1467f20b");
    }
}
