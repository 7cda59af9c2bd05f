//! The fields of a report, read one by one, of which each stays the text that it is until it is used.
//!
//! A body may be 32 MiB of whatever its sender likes: what is not needed is passed over, so that it takes no more memory than its text.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// Fields of no meaning to us that are shown.
pub(crate) const MOST_OTHERS: usize = 50;

/// The fields of an object.
#[derive(Default)]
pub(crate) struct Fields<'a> {
    known: Vec<(&'static str, &'a RawValue)>,
    /// The others in their order.
    pub(crate) others: Vec<(String, &'a RawValue)>,
    /// How many there were beyond that.
    pub(crate) more: usize,
}

impl<'a> Fields<'a> {
    /// Those of a body; none if it is no object.
    pub(crate) fn of(body: &'a RawValue, known: &'static [&'static str]) -> Option<Self> {
        let mut reader = serde_json::Deserializer::from_str(body.get());
        (&mut reader).deserialize_map(Reader { known }).ok()
    }

    /// One of the known fields; `null` is none.
    pub(crate) fn get(&self, key: &str) -> Option<&'a RawValue> {
        // The last counts, as elsewhere.
        let found = self.known.iter().rev().find(|(name, _)| *name == key)?;
        Some(found.1).filter(|value| value.get() != "null")
    }
}

struct Reader {
    known: &'static [&'static str],
}

impl<'de> Visitor<'de> for Reader {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields::default();
        while let Some(key) = entries.next_key::<String>()? {
            match self.known.iter().find(|known| **known == key) {
                // A key that is there a thousand times takes a thousand places otherwise.
                Some(known) => {
                    fields.known.retain(|(name, _)| name != known);
                    fields.known.push((known, entries.next_value()?));
                }
                None if fields.others.len() < MOST_OTHERS => fields.others.push((key, entries.next_value()?)),
                None => {
                    entries.next_value::<IgnoredAny>()?;
                    fields.more += 1;
                }
            }
        }
        Ok(fields)
    }
}

/// The first entries of a list, and how many there were beyond them.
pub(crate) struct First<'a, const MOST: usize> {
    pub(crate) entries: Vec<&'a RawValue>,
    pub(crate) more: usize,
}

impl<'de, const MOST: usize> Deserialize<'de> for First<'de, MOST> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Reader<const MOST: usize>;
        impl<'de, const MOST: usize> Visitor<'de> for Reader<MOST> {
            type Value = First<'de, MOST>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut first = First { entries: Vec::new(), more: 0 };
                while first.entries.len() < MOST {
                    match list.next_element()? {
                        Some(entry) => first.entries.push(entry),
                        None => return Ok(first),
                    }
                }
                while list.next_element::<IgnoredAny>()?.is_some() {
                    first.more += 1;
                }
                Ok(first)
            }
        }
        json.deserialize_seq(Reader)
    }
}
