//! Reading JSON that others wrote.
//!
//! `serde_json` keeps a few keys for itself, by which it hands raw texts to its own types. Its `Value` believes them wherever they stand,
//! so an object that somebody else wrote with such a key is read as something else, or not at all. What is read here has no such keys:
//! an object is an object, whatever it says.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};

/// Reads a value. Nesting beyond 127 levels is an error.
///
/// # Errors
/// When it is no JSON.
pub fn read(json: &[u8]) -> Result<Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let value = Plain.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// A field that is an object; for `#[serde(deserialize_with = "…")]`.
///
/// # Errors
/// When it is none.
pub(crate) fn object<'de, D: Deserializer<'de>>(json: D) -> Result<Map<String, Value>, D::Error> {
    // As a text first: what may stand in it must not depend on how deep it stands in another.
    let text = Box::<RawValue>::deserialize(json)?;
    match read(text.get().as_bytes()).map_err(Error::custom)? {
        Value::Object(object) => Ok(object),
        _ => Err(Error::custom("an object was expected")),
    }
}

/// What reads a value as it stands there.
#[derive(Clone, Copy)]
struct Plain;

impl<'de> DeserializeSeed<'de> for Plain {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Plain {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = entries.next_element_seed(Self)? {
            list.push(entry);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            object.insert(key, entries.next_value_seed(Self)?);
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_an_object_whatever_its_keys_are() {
        for key in ["$serde_json::private::RawValue", "$serde_json::private::Number"] {
            for value in [json!(5), json!("[[1]]"), json!("no json"), json!({ "x": null })] {
                let text = format!(r#"{{"a":[{{{}:{value},"b":1.5}}]}}"#, json!(key));
                let read = read(text.as_bytes()).expect("JSON");
                assert_eq!(read.to_string(), text);
            }
        }
        for text in ["null", "true", "-1", "18446744073709551615", "1.5", r#""\u3042""#, "[]", "{}"] {
            let same: Value = serde_json::from_str(text).expect("JSON");
            assert_eq!(read(text.as_bytes()).expect("JSON"), same, "{text}");
        }
        for wrong in ["", "{", "1 2", "[1,]", "\"\\ud800\""] {
            read(wrong.as_bytes()).expect_err(wrong);
        }
        read("[".repeat(128).as_bytes()).expect_err("too deep");
    }
}
