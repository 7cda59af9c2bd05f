//! The ids that an event names, read where they stand in its JSON.
//!
//! An event names three or four others, and an id with what its memory needs takes more than its text: a list of them for each
//! event that is kept for readers, who never ask, was a good part of what the event took. So the text is kept, and read.

use std::fmt;

use ruma::{EventId, OwnedEventId};

use crate::members::{Span, items, string};

/// Where in an event's JSON a list of ids is.
#[derive(Clone, Debug)]
pub(crate) struct NamedAt {
    text: Span,
    count: u32,
    /// The ids, when the text cannot be lent as it stands: some are written with escapes.
    unescaped: Option<Box<[OwnedEventId]>>,
}

impl NamedAt {
    /// Of the list `raw` of so many ids, a part of the event `json`; both were checked.
    pub(crate) fn new(json: &str, raw: &str, count: u32) -> Self {
        let id = |item| EventId::parse(string(item)?.as_ref()).ok();
        let unescaped = raw.contains('\\').then(|| items(raw).filter_map(id).collect());
        Self { text: Span::of(raw, json), count, unescaped }
    }

    /// The ids, of the JSON that it was read from.
    pub(crate) fn of<'a>(&'a self, json: &'a str) -> Named<'a> {
        Named { text: self.text.part(json), count: self.count as usize, unescaped: self.unescaped.as_deref() }
    }

    /// What it owns, in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let id = |id: &OwnedEventId| size_of::<OwnedEventId>() + id.as_str().len();
        self.unescaped.iter().flatten().map(id).sum()
    }
}

/// The ids that an event names as its previous or its auth events, in their order.
#[derive(Clone, Copy)]
pub struct Named<'a> {
    text: &'a str,
    count: usize,
    unescaped: Option<&'a [OwnedEventId]>,
}

impl<'a> Named<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// One after the other.
    pub fn iter(&self) -> Ids<'a> {
        match self.unescaped {
            Some(ids) => Ids::Unescaped(ids.iter()),
            None => Ids::Text(self.text),
        }
    }

    /// Whether this one is among them.
    pub fn contains(&self, id: &EventId) -> bool {
        self.iter().any(|named| named == id)
    }

    /// Copies of them.
    pub fn to_vec(&self) -> Vec<OwnedEventId> {
        let mut ids = Vec::with_capacity(self.count);
        ids.extend(self.iter().map(ToOwned::to_owned));
        ids
    }
}

impl fmt::Debug for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> IntoIterator for Named<'a> {
    type Item = &'a EventId;
    type IntoIter = Ids<'a>;

    fn into_iter(self) -> Ids<'a> {
        self.iter()
    }
}

/// Iterates over a [`Named`].
#[derive(Clone, Debug)]
pub enum Ids<'a> {
    /// What is left of the text of a list without escapes.
    Text(&'a str),
    /// Those of a list with escapes.
    Unescaped(std::slice::Iter<'a, OwnedEventId>),
}

impl<'a> Iterator for Ids<'a> {
    type Item = &'a EventId;

    fn next(&mut self) -> Option<&'a EventId> {
        match self {
            Self::Unescaped(ids) => ids.next().map(AsRef::as_ref),
            Self::Text(rest) => {
                let (_, begun) = rest.split_once('"')?;
                let (id, after) = begun.split_once('"')?;
                *rest = after;
                // It was checked when the list was read.
                id.try_into().ok()
            }
        }
    }
}
