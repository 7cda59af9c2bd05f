//! Tables: typed, named, owned by one crate; and ranges of their keys.

use std::marker::PhantomData;

use bytes::Bytes;

use crate::key::{AsKey, Key, PrefixOf};

/// A table's number in the stored data; never reused for something else.
///
/// Numbers belong to crates: store 1–19, room 20–99, account 100–149, federation 150–169,
/// sync 170–189, server 190–199 and 900, audit 200–209, media 210–229, to_device 240–249, encryption 250–279,
/// appservice 310–319, organisation 320–329, scim 330–339, ldap 340–349, duties 350–359,
/// factor 360–369.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u16);

/// How a table is used, for back ends that can arrange data accordingly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tuning {
    /// Looked up by whole keys, at random.
    Point,
    /// Written at the end, read in order.
    Append,
    /// Values of a kibibyte and more.
    Large,
    /// Rows live shortly: written, read once, deleted.
    Queue,
    /// Few rows, read often.
    Small,
}

impl Tuning {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Point, Self::Append, Self::Large, Self::Queue, Self::Small];
}

/// What a back end knows of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RawTable {
    /// Its number.
    pub id: TableId,
    /// Its use.
    pub tuning: Tuning,
}

/// A table: `pub static HEADS: Table<RoomSerial, Head> = Table::new(21, "room.heads", Tuning::Point);`
pub struct Table<K, V> {
    raw: RawTable,
    name: &'static str,
    types: PhantomData<fn(K) -> V>,
}

impl<K, V> Table<K, V> {
    /// Declares a table; `name` is `crate.what` and appears in errors only.
    #[must_use]
    pub const fn new(id: u16, name: &'static str, tuning: Tuning) -> Self {
        Self { raw: RawTable { id: TableId(id), tuning }, name, types: PhantomData }
    }

    /// What back ends know of it.
    #[must_use]
    pub const fn raw(&self) -> RawTable {
        self.raw
    }

    /// Its name, for people.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<K, V> std::fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name, self.raw.id.0)
    }
}

/// In which order a scan gives rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Smallest key first.
    Ascending,
    /// Largest key first.
    Descending,
}

/// A range of the keys of a table.
///
/// `Range::prefix(&room).after(&(room, order))`: bounds narrow, they never widen the prefix.
pub struct Range<K> {
    pub(crate) start: Bytes,
    pub(crate) end: Option<Bytes>,
    keys: PhantomData<fn(K)>,
}

impl<K> Clone for Range<K> {
    fn clone(&self) -> Self {
        Self { start: self.start.clone(), end: self.end.clone(), keys: PhantomData }
    }
}

impl<K> std::fmt::Debug for Range<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Range").field("start", &self.start).field("end", &self.end).finish()
    }
}

impl<K: Key> Range<K> {
    /// The whole table.
    #[must_use]
    pub fn all() -> Self {
        Self { start: Bytes::new(), end: None, keys: PhantomData }
    }

    /// The keys that begin with these elements.
    #[must_use]
    pub fn prefix<P: PrefixOf<K> + ?Sized>(prefix: &P) -> Self {
        let mut start = Vec::with_capacity(32);
        prefix.encode_prefix(&mut start);
        let end = successor(&start);
        Self { start: Bytes::from(start), end, keys: PhantomData }
    }

    /// Only keys greater than `key`.
    #[must_use]
    pub fn after<Q: AsKey<K> + ?Sized>(self, key: &Q) -> Self {
        let mut bound = encoded(key);
        bound.push(0);
        self.starting(bound)
    }

    /// Only `key` and keys greater than it.
    #[must_use]
    pub fn from<Q: AsKey<K> + ?Sized>(self, key: &Q) -> Self {
        self.starting(encoded(key))
    }

    /// Only keys smaller than `key`.
    #[must_use]
    pub fn before<Q: AsKey<K> + ?Sized>(self, key: &Q) -> Self {
        self.ending(encoded(key))
    }

    /// Only `key` and keys smaller than it.
    #[must_use]
    pub fn through<Q: AsKey<K> + ?Sized>(self, key: &Q) -> Self {
        let mut bound = encoded(key);
        bound.push(0);
        self.ending(bound)
    }

    fn starting(mut self, bound: Vec<u8>) -> Self {
        if bound > self.start {
            self.start = Bytes::from(bound);
        }
        self
    }

    fn ending(mut self, bound: Vec<u8>) -> Self {
        if self.end.as_ref().is_none_or(|end| bound < *end) {
            self.end = Some(Bytes::from(bound));
        }
        self
    }
}

fn encoded<K: Key, Q: AsKey<K> + ?Sized>(key: &Q) -> Vec<u8> {
    let mut out = Vec::with_capacity(32);
    key.encode_as(&mut out);
    out
}

/// The smallest bytes greater than everything that begins with `prefix`; none if there are none.
pub(crate) fn successor(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(Bytes::from(end))
}
