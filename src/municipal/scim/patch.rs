//! Changing a resource by operations, as RFC 7644 has it and as Entra ID, Okta and others send it.
//!
//! What they do differently, and is taken: operations in any case (`Replace`), values without a path whose names are paths
//! (`"name.familyName": "山田"`, `"urn:…:User:department": "…"`), booleans as texts, a list of members to remove as a value, and
//! one value of a list that is set before it is there (`emails[type eq "work"].value`).

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::{
    error::{Error, Wrong},
    filter::{Filter, Names},
    name::{self, Name, Named},
    schema::{Attribute, Mutability, Type},
    value::{self, Resource, holder},
};

/// Most operations of a request.
const MOST_OPERATIONS: usize = 1_000;
/// Longest path, in bytes.
const LONGEST_PATH: usize = 2_048;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Add,
    Replace,
    Remove,
}

/// An operation, taken apart.
#[derive(Debug)]
struct Operation<'a> {
    deed: Deed,
    path: Option<&'a str>,
    value: Option<&'a Value>,
}

/// Where an operation leads.
enum Target {
    Attribute {
        name: Name,
        filter: Option<Filter>,
    },
    Extension(&'static str),
    /// What is known and not kept: it is done by doing nothing.
    PassedOver,
}

/// Makes of a resource what the operations of a request's body make of it.
///
/// # Errors
/// [`Error::Invalid`]; then nothing of it counts.
pub(crate) fn apply(
    of: &'static Type,
    before: &Resource,
    body: &Map<String, Value>,
) -> Result<Resource, Error> {
    let mut after = before.clone();
    for operation in operations(body)? {
        carry_out(of, &mut after, &operation)?;
    }
    after.retain(|_, value| !value.as_object().is_some_and(Map::is_empty));
    value::check(of, &after)?;
    Ok(after)
}

fn field<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn operations(body: &Map<String, Value>) -> Result<Vec<Operation<'_>>, Error> {
    let syntax = |detail: &str| Error::invalid(Wrong::Syntax, detail);
    let all =
        field(body, "Operations").and_then(Value::as_array).ok_or_else(|| syntax("Operations is a list"))?;
    if all.len() > MOST_OPERATIONS {
        return Err(syntax("there are more than 1,000 operations"));
    }
    all.iter().map(operation).collect()
}

fn operation(said: &Value) -> Result<Operation<'_>, Error> {
    let syntax = |detail: &str| Error::invalid(Wrong::Syntax, detail);
    let said = said.as_object().ok_or_else(|| syntax("an operation is an object"))?;
    let deed = field(said, "op").and_then(Value::as_str).unwrap_or_default();
    let deed = match deed.to_ascii_lowercase().as_str() {
        "add" => Deed::Add,
        "replace" => Deed::Replace,
        "remove" => Deed::Remove,
        _ => return Err(syntax("op is add, replace or remove")),
    };
    let path = match field(said, "path") {
        None | Some(Value::Null) => None,
        Some(Value::String(path)) if path.is_empty() => None,
        Some(Value::String(path)) if path.len() <= LONGEST_PATH => Some(path.as_str()),
        Some(_) => return Err(Error::invalid(Wrong::Path, "a path is a text of at most 2,048 bytes")),
    };
    Ok(Operation { deed, path, value: field(said, "value") })
}

fn carry_out(of: &'static Type, resource: &mut Resource, operation: &Operation<'_>) -> Result<(), Error> {
    let Some(path) = operation.path else {
        return without_path(of, resource, operation);
    };
    match target(of, path)? {
        Target::PassedOver => Ok(()),
        Target::Extension(urn) => match (operation.deed, operation.value) {
            (Deed::Remove, _) => {
                resource.remove(urn);
                Ok(())
            }
            (deed, Some(Value::Object(values))) => in_extension(of, resource, deed, urn, values),
            _ => Err(Error::value(format!("{urn} is an object"))),
        },
        Target::Attribute { name, filter } => {
            if name.attribute.mutability == Mutability::ReadOnly
                || name.part.is_some_and(|part| part.mutability == Mutability::ReadOnly)
            {
                return Err(Error::invalid(Wrong::Mutability, format!("{path} is the server's alone")));
            }
            change(resource, operation, &name, filter.as_ref())
        }
    }
}

/// A value whose names are paths.
fn without_path(of: &'static Type, resource: &mut Resource, operation: &Operation<'_>) -> Result<(), Error> {
    if operation.deed == Deed::Remove {
        return Err(Error::invalid(Wrong::NoTarget, "remove needs a path"));
    }
    let Some(Value::Object(values)) = operation.value else {
        return Err(Error::value("without a path the value is an object"));
    };
    for (path, value) in values {
        match target(of, path) {
            Ok(Target::Extension(urn)) => match value {
                Value::Object(values) => in_extension(of, resource, operation.deed, urn, values)?,
                Value::Null => {}
                _ => return Err(Error::value(format!("{urn} is an object"))),
            },
            Ok(Target::Attribute { name, filter }) => {
                let is_ours = name.attribute.mutability == Mutability::ReadOnly
                    || name.part.is_some_and(|part| part.mutability == Mutability::ReadOnly);
                // Okta sends the id along.
                if !is_ours {
                    let one = Operation { deed: operation.deed, path: None, value: Some(value) };
                    change(resource, &one, &name, filter.as_ref())?;
                }
            }
            // As in a whole resource: what is unknown is left out.
            Ok(Target::PassedOver) | Err(Error::Invalid { wrong: Wrong::Path, .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn in_extension(
    of: &'static Type,
    resource: &mut Resource,
    deed: Deed,
    urn: &'static str,
    values: &Map<String, Value>,
) -> Result<(), Error> {
    for (key, value) in values {
        if let Named::Attribute(name) = name::find(of, &format!("{urn}:{key}")) {
            change(resource, &Operation { deed, path: None, value: Some(value) }, &name, None)?;
        }
    }
    Ok(())
}

/// Where a path leads: `name`, `name.part`, `name[filter]`, `name[filter].part`.
fn target(of: &'static Type, path: &str) -> Result<Target, Error> {
    let none = || Error::invalid(Wrong::Path, format!("{path} is no attribute here"));
    let path = path.trim();
    let (before, filter, after) = match path.find('[') {
        None => (path, None, ""),
        Some(begin) => {
            let end = path.rfind(']').filter(|end| *end > begin).ok_or_else(none)?;
            (&path[..begin], Some(&path[begin + 1..end]), &path[end + 1..])
        }
    };
    let mut name = match name::find(of, before) {
        Named::Attribute(name) => name,
        Named::Extension(schema) if filter.is_none() => return Ok(Target::Extension(schema.urn)),
        Named::PassedOver => return Ok(Target::PassedOver),
        Named::Extension(_) | Named::Nothing => return Err(none()),
    };
    let Some(filter) = filter else { return Ok(Target::Attribute { name, filter: None }) };
    if !name.attribute.many || name.part.is_some() || name.attribute.parts().is_empty() {
        return Err(none());
    }
    if !after.is_empty() {
        let part = after.strip_prefix('.').and_then(|part| name.attribute.part(part));
        name.part = Some(part.ok_or_else(none)?);
    }
    let filter = Filter::parse_for(Names::PartsOf(name.attribute), filter)?;
    Ok(Target::Attribute { name, filter: Some(filter) })
}

fn change(
    resource: &mut Resource,
    operation: &Operation<'_>,
    name: &Name,
    filter: Option<&Filter>,
) -> Result<(), Error> {
    let place = holder(resource, name.extension.map(|schema| schema.urn));
    let (attribute, key) = (name.attribute, name.attribute.name);
    if operation.deed == Deed::Remove {
        return remove(place, name, filter, operation.value);
    }
    // What is set to nothing is taken away.
    let given = operation.value.unwrap_or(&Value::Null);
    match (attribute.many, name.part) {
        (true, _) if filter.is_some() || name.part.is_some() => {
            set_in_list(place, operation.deed, name, filter, given)
        }
        (true, _) => {
            let new = value::attribute(attribute, given)?;
            match (operation.deed, new) {
                (Deed::Replace, Some(new)) => {
                    place.insert(key.to_owned(), unique(new));
                }
                (Deed::Replace, None) => {
                    place.remove(key);
                }
                (_, Some(Value::Array(new))) => add(place, attribute, new)?,
                (_, _) => {}
            }
            Ok(())
        }
        (false, Some(part)) => {
            match value::single(part, given)? {
                Some(new) => {
                    holder(place, Some(key)).insert(part.name.to_owned(), new);
                    Ok(())
                }
                // With its last part the attribute goes as well, and none is made for nothing.
                None => remove(place, name, None, None),
            }
        }
        (false, None) => {
            match value::attribute(attribute, given)? {
                // Parts that are not named stay as they are.
                Some(Value::Object(new)) if !new.is_empty() => holder(place, Some(key)).extend(new),
                Some(Value::Object(_)) => {}
                Some(new) => {
                    place.insert(key.to_owned(), new);
                }
                None => {
                    place.remove(key);
                }
            }
            Ok(())
        }
    }
}

fn list<'a>(place: &'a mut Resource, key: &str) -> Option<&'a mut Vec<Value>> {
    place.get_mut(key).and_then(Value::as_array_mut)
}

/// A list without repetitions.
fn unique(list: Value) -> Value {
    let Value::Array(all) = list else { return list };
    let mut seen = HashSet::with_capacity(all.len());
    Value::Array(all.into_iter().filter(|value| seen.insert(value.to_string())).collect())
}

/// Adds values that are not there yet; a new preferred one takes the place of the old.
fn add(place: &mut Resource, attribute: &Attribute, new: Vec<Value>) -> Result<(), Error> {
    let entry = place.entry(attribute.name).or_insert_with(|| Value::Array(Vec::new()));
    let Value::Array(all) = entry else {
        *entry = unique(Value::Array(new));
        return Ok(());
    };
    if new.iter().any(value::is_primary) {
        end_primary(all);
    }
    let mut seen: HashSet<String> = all.iter().map(Value::to_string).collect();
    all.extend(new.into_iter().filter(|value| seen.insert(value.to_string())));
    // The bound is that of the whole list.
    value::attribute(attribute, entry).map(drop)
}

fn end_primary(all: &mut [Value]) {
    for value in all {
        if value::is_primary(value) {
            value["primary"] = false.into();
        }
    }
}

/// Sets values of a list, or a part of each: those that fit the filter, or all.
fn set_in_list(
    place: &mut Resource,
    deed: Deed,
    name: &Name,
    filter: Option<&Filter>,
    given: &Value,
) -> Result<(), Error> {
    let (attribute, key) = (name.attribute, name.attribute.name);
    if attribute.parts().iter().all(|part| part.mutability == Mutability::Immutable) {
        return Err(Error::invalid(
            Wrong::Mutability,
            format!("the values of {key} are added and removed, not changed"),
        ));
    }
    let new = match name.part {
        Some(part) => {
            value::single(part, given)?.map(|value| Map::from_iter([(part.name.to_owned(), value)]))
        }
        None => match value::single(attribute, given)? {
            Some(Value::Object(parts)) => Some(parts),
            _ => None,
        },
    };
    let Some(new) = new else {
        // Set to nothing.
        return remove(place, name, filter, None);
    };
    let becomes_primary = new.get("primary") == Some(&Value::Bool(true));
    let fits = |value: &Value| {
        value.as_object().is_some_and(|value| filter.is_none_or(|filter| filter.matches(value)))
    };
    let mut found = false;
    if let Some(all) = list(place, key) {
        let chosen: Vec<bool> = all.iter().map(fits).collect();
        found = chosen.contains(&true);
        if becomes_primary {
            if chosen.iter().filter(|chosen| **chosen).count() > 1 {
                return Err(Error::value(format!("of {key} only one is primary")));
            }
            if found {
                end_primary(all);
            }
        }
        for (value, _) in all.iter_mut().zip(chosen).filter(|(_, chosen)| *chosen) {
            if let Value::Object(parts) = value {
                parts.extend(new.clone());
            }
        }
    }
    if found {
        return Ok(());
    }
    // The first of its kind, as Entra ID sets one.
    let Some(mut made) = filter.map_or_else(|| Some(Map::new()), Filter::as_value) else {
        return match deed {
            Deed::Replace => Err(Error::invalid(Wrong::NoTarget, format!("no value of {key} fits"))),
            Deed::Add | Deed::Remove => Ok(()),
        };
    };
    made.extend(new);
    add(place, attribute, vec![Value::Object(made)])
}

/// Takes away an attribute, a part, values that fit the filter, or those that are named.
fn remove(
    place: &mut Resource,
    name: &Name,
    filter: Option<&Filter>,
    named: Option<&Value>,
) -> Result<(), Error> {
    let (attribute, key) = (name.attribute, name.attribute.name);
    if !attribute.many {
        match name.part {
            None => drop(place.remove(key)),
            Some(part) => {
                if let Some(Value::Object(parts)) = place.get_mut(key) {
                    parts.remove(part.name);
                    if parts.is_empty() {
                        place.remove(key);
                    }
                }
            }
        }
        return Ok(());
    }
    // Members by their ids, as Entra ID removes them. What names none must not mean all of them.
    let named = match (filter, name.part, named) {
        (None, None, Some(given @ (Value::Array(_) | Value::Object(_)))) => Some(named_by(attribute, given)?),
        (None, None, Some(Value::String(one))) if !one.is_empty() => {
            Some(named_by(attribute, &Value::Array(vec![one.as_str().into()]))?)
        }
        (None, None, Some(Value::String(_) | Value::Bool(_) | Value::Number(_))) => {
            return Err(Error::value(format!("the value says which of {key} are removed")));
        }
        _ => None,
    };
    let Some(all) = list(place, key) else { return Ok(()) };
    let fits = |value: &Value| {
        let by_filter =
            filter.is_none_or(|filter| value.as_object().is_some_and(|value| filter.matches(value)));
        by_filter
            && named.as_ref().is_none_or(|named| {
                value.get("value").is_some_and(|value| named.contains(&value.to_string()))
            })
    };
    match name.part {
        None => all.retain(|value| !fits(value)),
        Some(part) => {
            for value in all.iter_mut() {
                if fits(value)
                    && let Value::Object(parts) = value
                {
                    parts.remove(part.name);
                }
            }
            all.retain(|value| value.as_object().is_none_or(|parts| !parts.is_empty()));
        }
    }
    if all.is_empty() {
        place.remove(key);
    }
    Ok(())
}

/// Which values of a list are named.
fn named_by(attribute: &Attribute, given: &Value) -> Result<HashSet<String>, Error> {
    let values = value::attribute(attribute, given)?;
    Ok(values.as_ref().and_then(Value::as_array).map(|all| keys(all)).unwrap_or_default())
}

fn keys(all: &[Value]) -> HashSet<String> {
    all.iter().filter_map(|value| value.get("value")).map(Value::to_string).collect()
}
