//! Lists that other servers send, bounded while they are read.
//!
//! A list of a million empty objects takes three MiB on the wire and fifty in memory. So the count is
//! bounded as well as the bytes, and the reading ends where the bound is passed.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// A list that is refused when it has more than `MOST` items.
#[derive(Debug)]
pub(crate) struct AtMost<T, const MOST: usize>(pub(crate) Vec<T>);

impl<T, const MOST: usize> Default for AtMost<T, MOST> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for AtMost<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Items::<T, MOST>(PhantomData)).map(Self)
    }
}

/// The same; items that are not what they should be are left out, and count all the same. It reads from text alone.
#[derive(Debug)]
pub(crate) struct Lenient<T, const MOST: usize>(pub(crate) Vec<T>);

impl<'de, T: DeserializeOwned, const MOST: usize> Deserialize<'de> for Lenient<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let items = deserializer.deserialize_seq(Items::<Perhaps<T>, MOST>(PhantomData))?;
        Ok(Self(items.into_iter().filter_map(|item| item.0).collect()))
    }
}

/// What is wanted, or nothing. An item is passed over as text first: what it is instead may be large, and is not
/// built.
struct Perhaps<T>(Option<T>);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Perhaps<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Ok(Self(serde_json::from_str(raw.get()).ok()))
    }
}

struct Items<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Items<T, MOST> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MOST} items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            if items.len() == MOST {
                return Err(A::Error::invalid_length(MOST + 1, &self));
            }
            items.push(item);
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use serde_json::value::RawValue;

    use super::{AtMost, Lenient};

    #[test]
    fn a_list_beyond_its_bound_is_refused_where_the_bound_is_passed() {
        assert_eq!(serde_json::from_str::<AtMost<u8, 3>>("[1,2,3]").unwrap().0, [1, 2, 3]);
        assert!(serde_json::from_str::<AtMost<u8, 3>>("[1,2,3,4]").is_err());
        // What follows is not even read: it is no JSON.
        let error = serde_json::from_str::<AtMost<Box<RawValue>, 3>>("[{},{},{},{},!!!").unwrap_err();
        assert!(error.to_string().contains("at most 3"), "{error}");
    }

    #[test]
    fn an_odd_item_is_not_looked_into() {
        // Nested deeper than serde_json builds anything: whoever builds what he finds fails here.
        let odd = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let list = format!(r#"["a",{odd},"b"]"#);
        assert_eq!(serde_json::from_str::<Lenient<String, 3>>(&list).unwrap().0, ["a", "b"]);
    }

    #[test]
    fn odd_items_are_left_out_and_count() {
        assert_eq!(serde_json::from_str::<Lenient<String, 3>>(r#"["a",5,"b"]"#).unwrap().0, ["a", "b"]);
        assert!(serde_json::from_str::<Lenient<String, 3>>(r#"["a",5,{},null]"#).is_err());
    }
}
