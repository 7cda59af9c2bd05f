//! The ids that an event names, read where they stand in its JSON.
//!
//! An event names three or four others, and an id with what its memory needs takes more than its text: a list of them for each
//! event that is kept for readers, who never ask, was a fifth of what the event took. So the text is kept, and read.

use std::fmt;

use ruma::{EventId, OwnedEventId};

use crate::{
    error::FormatError,
    event::id_string,
    members::{Span, items, string},
};

/// Where in an event's JSON a list of ids is.
#[derive(Clone, Debug)]
pub(crate) struct NamedAt {
    text: Span,
    count: u32,
    /// The ids, when the text cannot be lent as it stands: some are written with escapes.
    unescaped: Option<Box<[OwnedEventId]>>,
}

impl NamedAt {
    /// Reads and checks the list `raw` of the event `json`, which it is a part of.
    pub(crate) fn read(
        json: &str,
        field: &'static str,
        raw: &str,
        limit: usize,
    ) -> Result<Self, FormatError> {
        if !raw.starts_with('[') {
            return Err(FormatError::WrongType { field, expected: "an array" });
        }
        let mut count = 0_u32;
        for item in items(raw) {
            if count as usize == limit {
                return Err(FormatError::TooMany { field, limit });
            }
            let text = id_string(field, item)?;
            <&EventId>::try_from(text.as_ref()).map_err(|source| FormatError::Id { field, source })?;
            count += 1;
        }
        let has_escapes = raw.contains('\\');
        let id = |item| EventId::parse(string(item)?.as_ref()).ok();
        let unescaped = has_escapes.then(|| items(raw).filter_map(id).collect());
        Ok(Self { text: Span::of(raw, json), count, unescaped })
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn ids_are_read_where_they_stand_also_with_commas_and_escapes() {
        for (raw, expected) in [
            ("[]", vec![]),
            (r#"["$a"]"#, vec!["$a"]),
            (r#"["$a","$b,[]:c","$d"]"#, vec!["$a", "$b,[]:c", "$d"]),
            (r#"["$a","$b\"c","$d\\"]"#, vec!["$a", "$b\"c", "$d\\"]),
        ] {
            let json = format!(r#"{{"auth_events":{raw},"depth":1}}"#);
            let at = NamedAt::read(&json, "auth_events", &json[15..15 + raw.len()], 3).unwrap();
            let named = at.of(&json);
            assert_eq!(named.iter().map(EventId::as_str).collect::<Vec<_>>(), expected);
            assert_eq!((named.len(), named.is_empty()), (expected.len(), expected.is_empty()));
            assert_eq!(named.to_vec(), expected);
            assert!(expected.iter().all(|id| named.contains(<&EventId>::try_from(*id).unwrap())));
            assert!(!named.contains(<&EventId>::try_from("$x").unwrap()));
        }
    }

    #[test]
    fn what_is_no_list_of_ids_is_refused() {
        let read = |raw: &str| NamedAt::read(raw, "prev_events", raw, 2);
        assert!(matches!(read("{}"), Err(FormatError::WrongType { .. })));
        assert!(matches!(read("[1]"), Err(FormatError::WrongType { .. })));
        assert!(matches!(read(r#"["a"]"#), Err(FormatError::Id { .. })));
        assert!(matches!(read(r#"["$a","$b","$c"]"#), Err(FormatError::TooMany { .. })));
        let long = format!(r#"["${}"]"#, "a".repeat(300));
        assert!(matches!(read(&long), Err(FormatError::TooLong { .. })));
    }
}
