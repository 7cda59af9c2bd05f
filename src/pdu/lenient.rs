//! Content that somebody else wrote, read field by field.
//!
//! Anyone may put anything into content, so one field of the wrong type must cost that field alone: not the
//! object that it stands in, nor the list, nor the room. A reader of such content derives `Deserialize` with
//! `#[serde(default)]` on the struct, and names for each field how much of it can be lost:
//!
//! ```
//! #[derive(Default, serde::Deserialize)]
//! #[serde(default)]
//! struct JoinRules {
//!     #[serde(deserialize_with = "pdu::lenient::field")]
//!     join_rule: Option<String>,
//!     #[serde(deserialize_with = "pdu::lenient::list")]
//!     allow: Vec<String>,
//! }
//! let rules: JoinRules = pdu::lenient::read(r#"{"join_rule":"restricted","allow":["!a:b",5]}"#);
//! assert_eq!((rules.join_rule.as_deref(), rules.allow.len()), (Some("restricted"), 1));
//! ```
//!
//! A struct of a single field needs none of this: there, to lose the object is to lose the field. What was
//! read leniently must not be written back from what was understood; keep the JSON for that.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::value::RawValue;

/// Reads an object; one that is none has no fields.
pub fn read<'a, T: Deserialize<'a> + Default>(json: &'a str) -> T {
    serde_json::from_str(json).unwrap_or_default()
}

/// A field that counts as absent when it is of another type.
///
/// # Errors
/// None of its own.
pub fn field<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(json: D) -> Result<T, D::Error> {
    let raw = Box::<RawValue>::deserialize(json)?;
    Ok(serde_json::from_str(raw.get()).unwrap_or_default())
}

/// A list without the entries of another type; what is no list is the empty one.
///
/// # Errors
/// None of its own.
pub fn list<'de, D: Deserializer<'de>, T: DeserializeOwned>(json: D) -> Result<Vec<T>, D::Error> {
    let raw = Box::<RawValue>::deserialize(json)?;
    let entries: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
    Ok(entries.into_iter().filter_map(|entry| serde_json::from_str(entry.get()).ok()).collect())
}

/// A map without the entries whose key or value is of another type; what is no map is the empty one.
///
/// # Errors
/// None of its own.
pub fn map<'de, D, K, V>(json: D) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: TryFrom<String> + Ord,
    V: DeserializeOwned,
{
    let raw = Box::<RawValue>::deserialize(json)?;
    let entries: BTreeMap<String, &RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
    Ok(entries
        .into_iter()
        .filter_map(|(key, value)| Some((K::try_from(key).ok()?, serde_json::from_str(value.get()).ok()?)))
        .collect())
}

#[cfg(test)]
mod tests {
    use ruma::OwnedUserId;
    use serde::de::IgnoredAny;

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Content {
        #[serde(deserialize_with = "field")]
        name: Option<String>,
        #[serde(deserialize_with = "field")]
        flag: Option<bool>,
        #[serde(deserialize_with = "list")]
        names: Vec<String>,
        #[serde(deserialize_with = "map")]
        users: BTreeMap<OwnedUserId, IgnoredAny>,
    }

    #[test]
    fn a_field_of_another_type_costs_that_field_alone() {
        let content: Content = read(
            r#"{"name":"n","flag":null,"names":["a",5,{},"b"],"users":{"@a:b":{},"nobody":{},"@c:d":7},"more":[[]]}"#,
        );
        assert_eq!((content.name.as_deref(), content.flag), (Some("n"), None));
        assert_eq!(content.names, ["a", "b"]);
        assert_eq!(content.users.len(), 2);

        let content: Content = read(r#"{"name":["n"],"flag":true,"names":"a","users":[]}"#);
        assert_eq!((content.name, content.flag), (None, Some(true)));
        assert!(content.names.is_empty() && content.users.is_empty());
    }

    #[test]
    fn what_is_no_object_has_no_fields() {
        for json in ["[]", "5", "null", "\"x\"", "{", ""] {
            let content: Content = read(json);
            assert!(content.name.is_none() && content.names.is_empty(), "{json}");
        }
    }

    #[test]
    fn values_that_were_parsed_before_are_read_as_well() {
        let value = serde_json::json!({ "names": ["a", null], "name": 3 });
        let content = Content::deserialize(&value).unwrap_or_default();
        assert_eq!((content.names.as_slice(), content.name), (&["a".to_owned()][..], None));
    }
}
