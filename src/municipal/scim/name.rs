//! Names of attributes as requests write them, and what they lead to.
//!
//! A name is an attribute's, perhaps with a part of it behind a dot (`name.familyName`), perhaps behind the urn of its
//! schema. Behind a urn stands a colon; a dot there is taken as well, since some write it so.

use serde_json::{Map, Value};

use crate::schema::{Attribute, COMMON, Schema, Type};

/// An attribute of a type, or a part of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    /// The schema, where it is not that of the type itself.
    pub(crate) extension: Option<&'static Schema>,
    pub(crate) attribute: &'static Attribute,
    pub(crate) part: Option<&'static Attribute>,
}

/// What a name leads to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Named {
    Attribute(Name),
    /// A whole extension.
    Extension(&'static Schema),
    /// What is known and not kept.
    PassedOver,
    /// Nothing.
    Nothing,
}

/// What a name means for a type.
pub(crate) fn find(of: &'static Type, text: &str) -> Named {
    if let Some(extension) = of.extension
        && let Some(rest) = behind(text, extension.urn)
    {
        return match rest {
            "" => Named::Extension(extension),
            _ => find_in(extension, &[], rest, Some(extension)),
        };
    }
    let rest = behind(text, of.core.urn).unwrap_or(text);
    find_in(of.core, &COMMON, rest, None)
}

fn find_in(
    schema: &'static Schema,
    common: &'static [Attribute],
    text: &str,
    extension: Option<&'static Schema>,
) -> Named {
    let (first, part) = text.split_once('.').map_or((text, None), |(first, part)| (first, Some(part)));
    let common = common.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(first));
    let Some(attribute) = schema.find(first).or(common) else {
        return if schema.passes_over(first) { Named::PassedOver } else { Named::Nothing };
    };
    let found = match part {
        None => Some(None),
        Some(part) => attribute.part(part).map(Some),
    };
    match found {
        Some(part) => Named::Attribute(Name { extension, attribute, part }),
        None => Named::Nothing,
    }
}

/// What stands behind a urn, if the text begins with it.
fn behind<'a>(text: &'a str, urn: &str) -> Option<&'a str> {
    let (begin, rest) = text.split_at_checked(urn.len())?;
    if !begin.eq_ignore_ascii_case(urn) {
        return None;
    }
    match rest.as_bytes().first() {
        None => Some(rest),
        Some(b':' | b'.') => Some(&rest[1..]),
        Some(_) => None,
    }
}

impl Name {
    /// The value of the whole attribute in a resource.
    pub(crate) fn value<'a>(&self, resource: &'a Map<String, Value>) -> Option<&'a Value> {
        let holder = match self.extension {
            Some(extension) => resource.get(extension.urn)?.as_object()?,
            None => resource,
        };
        holder.get(self.attribute.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{ENTERPRISE, USER, USERS};

    #[test]
    fn a_name_is_found_in_every_spelling_and_nothing_else_is() {
        let found = |text: &str| match find(&USERS, text) {
            Named::Attribute(name) => {
                format!(
                    "{}{}",
                    name.attribute.name,
                    name.part.map_or(String::new(), |part| format!(".{}", part.name))
                )
            }
            Named::Extension(schema) => schema.name.to_owned(),
            Named::PassedOver => "passed over".to_owned(),
            Named::Nothing => "nothing".to_owned(),
        };
        for (text, name) in [
            ("userName", "userName"),
            ("USERNAME", "userName"),
            ("name.FamilyName", "name.familyName"),
            (&format!("{USER}:userName"), "userName"),
            (&format!("{ENTERPRISE}:department"), "department"),
            (&format!("{ENTERPRISE}.department"), "department"),
            (&format!("{}:manager.value", ENTERPRISE.to_uppercase()), "manager.value"),
            (ENTERPRISE, "EnterpriseUser"),
            ("meta.lastModified", "meta.lastModified"),
            ("id", "id"),
            ("externalid", "externalId"),
            ("addresses", "passed over"),
            ("password", "passed over"),
            ("department", "nothing"),
            ("name.nothing", "nothing"),
            ("userName.value", "nothing"),
            ("", "nothing"),
            ("emails.value.value", "nothing"),
            (&format!("{ENTERPRISE}x"), "nothing"),
        ] {
            assert_eq!(found(text), name, "{text}");
        }
    }
}
