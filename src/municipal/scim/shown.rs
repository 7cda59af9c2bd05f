//! Which attributes of a resource an answer holds.

use serde_json::{Map, Value};

use crate::{
    error::{Error, Wrong},
    name::{self, Name, Named},
    schema::Type,
};

/// Longest list of names, in bytes.
const LONGEST: usize = 4_096;
/// Most names of a list.
const MOST: usize = 100;

/// What is wanted of resources.
#[derive(Clone, Debug)]
pub(crate) enum Shown {
    /// All of it.
    All,
    /// These alone, and what is always told.
    Only(Vec<Wish>),
    /// All but these.
    But(Vec<Wish>),
}

/// An attribute, or a whole extension.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wish {
    Attribute(Name),
    Extension(&'static str),
}

impl Shown {
    /// Reads the lists of a query; names that mean nothing are left out.
    ///
    /// # Errors
    /// [`Wrong::Value`] for lists that are too long, or both at once.
    pub(crate) fn parse(of: &'static Type, only: Option<&str>, but: Option<&str>) -> Result<Self, Error> {
        let only = only.filter(|text| !text.trim().is_empty());
        let but = but.filter(|text| !text.trim().is_empty());
        match (only, but) {
            (None, None) => Ok(Self::All),
            (Some(only), None) => Ok(Self::Only(wishes(of, only)?)),
            (None, Some(but)) => Ok(Self::But(wishes(of, but)?)),
            (Some(_), Some(_)) => {
                Err(Error::invalid(Wrong::Value, "attributes and excludedAttributes exclude each other"))
            }
        }
    }

    /// Whether an attribute of the type itself is told, at least in part: what is not need not be read.
    pub(crate) fn has(&self, attribute: &str) -> bool {
        let is = |wish: &Wish| matches!(wish, Wish::Attribute(name) if name.extension.is_none() && name.attribute.name == attribute);
        let is_whole = |wish: &Wish| is(wish) && matches!(wish, Wish::Attribute(name) if name.part.is_none());
        match self {
            Self::All => true,
            Self::Only(wishes) => wishes.iter().any(is),
            Self::But(wishes) => !wishes.iter().any(is_whole),
        }
    }

    /// Leaves of a whole resource what is wanted.
    pub(crate) fn of(&self, mut whole: Map<String, Value>) -> Map<String, Value> {
        match self {
            Self::All => whole,
            Self::But(wishes) => {
                for wish in wishes {
                    take_out(&mut whole, wish);
                }
                whole
            }
            Self::Only(wishes) => {
                let mut told = Map::new();
                for always in ["schemas", "id"] {
                    if let Some(value) = whole.get(always) {
                        told.insert(always.to_owned(), value.clone());
                    }
                }
                for wish in wishes {
                    put_in(&mut told, &whole, wish);
                }
                told
            }
        }
    }
}

fn wishes(of: &'static Type, text: &str) -> Result<Vec<Wish>, Error> {
    if text.len() > LONGEST || text.split(',').count() > MOST {
        return Err(Error::invalid(
            Wrong::Value,
            "a list of attributes has at most 100 names and 4,096 bytes",
        ));
    }
    let wish = |text: &str| match name::find(of, text.trim()) {
        Named::Attribute(name) => Some(Wish::Attribute(name)),
        Named::Extension(schema) => Some(Wish::Extension(schema.urn)),
        Named::PassedOver | Named::Nothing => None,
    };
    Ok(text.split(',').filter_map(wish).collect())
}

fn take_out(whole: &mut Map<String, Value>, wish: &Wish) {
    let name = match wish {
        Wish::Extension(urn) => {
            whole.remove(*urn);
            return;
        }
        Wish::Attribute(name) => name,
    };
    if name.attribute.always {
        return;
    }
    let holder = match name.extension {
        Some(schema) => whole.get_mut(schema.urn).and_then(Value::as_object_mut),
        None => Some(whole),
    };
    let Some(holder) = holder else { return };
    match name.part {
        None => {
            holder.remove(name.attribute.name);
        }
        Some(part) => match holder.get_mut(name.attribute.name) {
            Some(Value::Object(parts)) => {
                parts.remove(part.name);
            }
            Some(Value::Array(all)) => {
                for parts in all.iter_mut().filter_map(Value::as_object_mut) {
                    parts.remove(part.name);
                }
            }
            _ => {}
        },
    }
}

fn put_in(told: &mut Map<String, Value>, whole: &Map<String, Value>, wish: &Wish) {
    let name = match wish {
        Wish::Extension(urn) => {
            if let Some(value) = whole.get(*urn) {
                told.insert((*urn).to_owned(), value.clone());
            }
            return;
        }
        Wish::Attribute(name) => name,
    };
    let Some(value) = name.value(whole) else { return };
    let holder = match name.extension {
        Some(schema) => {
            let within = told.entry(schema.urn).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(within) = within else { return };
            within
        }
        None => told,
    };
    let key = name.attribute.name;
    let Some(part) = name.part else {
        holder.insert(key.to_owned(), value.clone());
        return;
    };
    match value {
        Value::Object(parts) => {
            let entry = holder.entry(key).or_insert_with(|| Value::Object(Map::new()));
            if let (Value::Object(entry), Some(value)) = (entry, parts.get(part.name)) {
                entry.insert(part.name.to_owned(), value.clone());
            }
        }
        Value::Array(all) => {
            let entry =
                holder.entry(key).or_insert_with(|| Value::Array(vec![Value::Object(Map::new()); all.len()]));
            let Value::Array(entry) = entry else { return };
            for (entry, value) in entry.iter_mut().zip(all) {
                if let (Value::Object(entry), Some(value)) = (entry, value.get(part.name)) {
                    entry.insert(part.name.to_owned(), value.clone());
                }
            }
        }
        _ => {}
    }
}
