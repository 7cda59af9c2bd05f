//! Lists in answers of other servers, bounded while they are read.
//!
//! A list of a million empty objects takes three MiB on the wire and fifty in memory. So the count is
//! bounded as well as the bytes, and the reading ends where the bound is passed.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, SeqAccess, Visitor},
};

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
        let items = deserializer.deserialize_seq(Items::<T, T, MOST>(PhantomData))?;
        Ok(Self(items))
    }
}

/// The same; items that are not what they should be are left out, and count all the same.
#[derive(Debug)]
pub(crate) struct Lenient<T, const MOST: usize>(pub(crate) Vec<T>);

impl<T, const MOST: usize> Default for Lenient<T, MOST> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for Lenient<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let items = deserializer.deserialize_seq(Items::<T, Either<T>, MOST>(PhantomData))?;
        Ok(Self(items))
    }
}

/// What is wanted, or something else.
#[derive(Deserialize)]
#[serde(untagged)]
enum Either<T> {
    Wanted(T),
    Other(IgnoredAny),
}

impl<T> From<Either<T>> for Option<T> {
    fn from(item: Either<T>) -> Self {
        match item {
            Either::Wanted(item) => Some(item),
            Either::Other(IgnoredAny) => None,
        }
    }
}

struct Items<T, I, const MOST: usize>(PhantomData<(T, I)>);

impl<'de, T, I, const MOST: usize> Visitor<'de> for Items<T, I, MOST>
where
    I: Deserialize<'de> + Into<Option<T>>,
{
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MOST} items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        let mut count = 0_usize;
        while let Some(item) = list.next_element::<I>()? {
            count += 1;
            if count > MOST {
                return Err(A::Error::invalid_length(count, &self));
            }
            items.extend(item.into());
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
    fn odd_items_are_left_out_and_count() {
        assert_eq!(serde_json::from_str::<Lenient<String, 3>>(r#"["a",5,"b"]"#).unwrap().0, ["a", "b"]);
        assert!(serde_json::from_str::<Lenient<String, 3>>(r#"["a",5,{},null]"#).is_err());
    }
}
