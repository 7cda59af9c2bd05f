//! Values as sources send them, made into those that are kept.
//!
//! Sources differ in small things: how they capitalise names, whether a boolean is a text, whether one value is a list of one.
//! What can mean one thing only is taken for it; what is of no use here is left out; what is wrong is refused, with its name.

use serde_json::{Map, Value};

use crate::{
    error::{Error, Wrong},
    name::{self, Named},
    schema::{Attribute, Kind, Mutability, Type},
};

/// Longest text of a value, in bytes.
const LONGEST: usize = 1_024;
/// Longest text by which something is found.
const LONGEST_KEY: usize = 255;
/// Most values of an attribute of a user.
const MOST_VALUES: usize = 50;
/// Most members of a group.
pub(crate) const MOST_MEMBERS: usize = 20_000;
/// Most bytes of all that is kept of a resource, but for members.
const LARGEST: usize = 32 << 10;

/// A resource as it is kept: what clients may set, under the names of the schema.
pub(crate) type Resource = Map<String, Value>;

/// Makes a resource of a request's body.
///
/// # Errors
/// [`Wrong::Value`], with the name of what is wrong.
pub(crate) fn resource(of: &'static Type, body: &Map<String, Value>) -> Result<Resource, Error> {
    let mut made = Resource::new();
    for (key, value) in body {
        match name::find(of, key) {
            Named::Attribute(found) if found.part.is_none() => {
                if found.attribute.mutability != Mutability::ReadOnly
                    && let Some(value) = attribute(found.attribute, value)?
                {
                    holder(&mut made, found.extension.map(|schema| schema.urn))
                        .insert(found.attribute.name.to_owned(), value);
                }
            }
            Named::Extension(schema) => {
                let Value::Object(parts) = value else {
                    if value.is_null() {
                        continue;
                    }
                    return Err(Error::value(format!("{} is an object", schema.urn)));
                };
                for (key, value) in parts {
                    if let Some(found) = schema.find(key)
                        && let Some(value) = attribute(found, value)?
                    {
                        holder(&mut made, Some(schema.urn)).insert(found.name.to_owned(), value);
                    }
                }
            }
            // What is not kept, and what only newer sources know.
            Named::Attribute(_) | Named::PassedOver | Named::Nothing => {}
        }
    }
    check(of, &made)?;
    Ok(made)
}

/// Where attributes stand in a resource: those of an extension within it.
pub(crate) fn holder<'a>(resource: &'a mut Resource, extension: Option<&str>) -> &'a mut Resource {
    let Some(urn) = extension else { return resource };
    let within = resource.entry(urn).or_insert_with(|| Value::Object(Map::new()));
    if !within.is_object() {
        *within = Value::Object(Map::new());
    }
    match within {
        Value::Object(within) => within,
        // Made an object a line above.
        _ => unreachable!("an extension is an object"),
    }
}

/// Refuses a resource that lacks something, or is too large.
///
/// # Errors
/// [`Wrong::Value`].
pub(crate) fn check(of: &'static Type, resource: &Resource) -> Result<(), Error> {
    for needed in of.core.attributes.iter().filter(|attribute| attribute.required) {
        let text = resource.get(needed.name).and_then(Value::as_str).unwrap_or_default();
        if text.trim().is_empty() {
            return Err(Error::value(format!("{} is needed", needed.name)));
        }
    }
    for key in ["userName", "externalId"] {
        if resource.get(key).and_then(Value::as_str).is_some_and(|text| text.len() > LONGEST_KEY) {
            return Err(Error::value(format!("{key} has at most {LONGEST_KEY} bytes")));
        }
    }
    let size: usize =
        resource.iter().filter(|(key, _)| *key != "members").map(|(_, value)| size(value)).sum();
    if size > LARGEST {
        return Err(Error::value("the resource is larger than 32 KiB"));
    }
    Ok(())
}

fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 3,
        Value::Array(all) => all.iter().map(size).sum::<usize>() + 2,
        Value::Object(all) => all.iter().map(|(key, value)| key.len() + 4 + size(value)).sum::<usize>() + 2,
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}

/// The value of a whole attribute; nothing if it is as good as none.
///
/// # Errors
/// [`Wrong::Value`].
pub(crate) fn attribute(attribute: &Attribute, value: &Value) -> Result<Option<Value>, Error> {
    if !attribute.many {
        // A list of one where one is meant.
        let one = match value {
            Value::Array(all) if all.len() <= 1 => all.first().unwrap_or(&Value::Null),
            other => other,
        };
        return single(attribute, one);
    }
    let all = match value {
        Value::Null => return Ok(None),
        Value::Array(all) => all.as_slice(),
        one => std::slice::from_ref(one),
    };
    let most = if attribute.name == "members" { MOST_MEMBERS } else { MOST_VALUES };
    if all.len() > most {
        return Err(Error::value(format!("{} has at most {most} values", attribute.name)));
    }
    let mut made: Vec<Value> = Vec::with_capacity(all.len());
    let mut has_primary = false;
    for value in all {
        let Some(value) = single(attribute, value)? else { continue };
        if is_primary(&value) {
            if has_primary {
                return Err(Error::value(format!("of {} only one is primary", attribute.name)));
            }
            has_primary = true;
        }
        made.push(value);
    }
    Ok((!made.is_empty()).then_some(Value::Array(made)))
}

/// Whether a value is the preferred one of its list.
pub(crate) fn is_primary(value: &Value) -> bool {
    value.get("primary") == Some(&Value::Bool(true))
}

/// One value of an attribute.
///
/// # Errors
/// [`Wrong::Value`].
pub(crate) fn single(attribute: &Attribute, value: &Value) -> Result<Option<Value>, Error> {
    let name = attribute.name;
    let made = match (attribute.kind, value) {
        (_, Value::Null) => return Ok(None),
        (Kind::Text | Kind::Reference(_) | Kind::DateTime, Value::String(text)) => {
            return text_of(name, text);
        }
        (Kind::Text, Value::Number(number)) => Value::from(number.to_string()),
        (Kind::Boolean, Value::Bool(is)) => Value::from(*is),
        // As Entra ID writes them.
        (Kind::Boolean, Value::String(text)) if text.eq_ignore_ascii_case("true") => Value::from(true),
        (Kind::Boolean, Value::String(text)) if text.eq_ignore_ascii_case("false") => Value::from(false),
        (Kind::Complex(parts), Value::Object(object)) => return complex(name, parts, object),
        // A manager by his id alone, a member likewise.
        (Kind::Complex(parts), Value::String(text)) if parts.iter().any(|part| part.name == "value") => {
            let Some(value) = text_of(name, text)? else { return Ok(None) };
            Value::Object(Map::from_iter([("value".to_owned(), value)]))
        }
        _ => return Err(Error::value(format!("{name} has a value of another type"))),
    };
    Ok(Some(made))
}

fn text_of(name: &str, text: &str) -> Result<Option<Value>, Error> {
    if text.len() > LONGEST {
        return Err(Error::value(format!("{name} has at most {LONGEST} bytes")));
    }
    if text.chars().any(|letter| letter.is_control() && !matches!(letter, '\n' | '\r' | '\t')) {
        return Err(Error::value(format!("{name} holds a control character")));
    }
    Ok((!text.is_empty()).then(|| Value::from(text)))
}

fn complex(name: &str, parts: &[Attribute], object: &Map<String, Value>) -> Result<Option<Value>, Error> {
    // Of a member the id alone is kept: the rest follows from it.
    let is_member = name == "members";
    let mut made = Map::new();
    for (key, value) in object {
        let Some(part) = parts.iter().find(|part| part.name.eq_ignore_ascii_case(key)) else { continue };
        if part.mutability == Mutability::ReadOnly || (is_member && part.name != "value") {
            continue;
        }
        if let Some(value) = single(part, value)? {
            made.insert(part.name.to_owned(), value);
        }
    }
    if is_member && !made.contains_key("value") {
        return Err(Error::value("a member has a value"));
    }
    Ok((!made.is_empty()).then_some(Value::Object(made)))
}

/// The name that others are shown, as far as the resource tells one.
pub(crate) fn shown_name(user: &Resource) -> String {
    let text =
        |key: &str| user.get(key).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    let part = |key: &str| user.get("name").and_then(|name| name.get(key)).and_then(Value::as_str);
    let parts = || {
        let both: Vec<&str> = ["familyName", "givenName"].into_iter().filter_map(part).collect();
        (!both.is_empty()).then(|| both.join(" "))
    };
    let name = text("displayName").or_else(|| part("formatted")).map(str::to_owned);
    name.or_else(parts).or_else(|| text("userName").map(str::to_owned)).unwrap_or_default()
}

/// The address at which the user is reached: the primary one, else that of work, else the first.
pub(crate) fn mail(user: &Resource) -> Option<&str> {
    let all = user.get("emails")?.as_array()?;
    let is_work = |value: &&Value| {
        value.get("type").and_then(Value::as_str).is_some_and(|kind| kind.eq_ignore_ascii_case("work"))
    };
    let chosen =
        all.iter().find(|value| is_primary(value)).or_else(|| all.iter().find(is_work)).or(all.first())?;
    chosen.get("value")?.as_str()
}

/// What is refused as no object.
pub(crate) fn not_an_object() -> Error {
    Error::invalid(Wrong::Syntax, "the body is an object")
}
