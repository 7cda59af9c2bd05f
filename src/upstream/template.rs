//! Templates: texts with the values of claims in them.
//!
//! `{preferred_username}` stands for a claim, `{address.locality}` for one within another, `{email@}` for what stands before
//! the first `@` of one. Everything else is text.

use std::{fmt, str::FromStr};

use serde_json::{Map, Value};

use crate::Error;

/// Longest text that a template gives, in bytes.
const LONGEST: usize = 1_024;

/// A template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Claim { path: Vec<String>, before_at: bool },
}

/// What was given is no template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no template: {0}")]
pub struct BadTemplate(&'static str);

impl FromStr for Template {
    type Err = BadTemplate;

    fn from_str(text: &str) -> Result<Self, BadTemplate> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let (name, after) = after.split_once('}').ok_or(BadTemplate("a { has no }"))?;
            let (name, before_at) = name.strip_suffix('@').map_or((name, false), |name| (name, true));
            let path: Vec<String> = name.split('.').map(str::to_owned).collect();
            if path.iter().any(|part| part.is_empty() || part.contains(['{', '}', '@'])) {
                return Err(BadTemplate("a claim has no name"));
            }
            parts.push(Part::Claim { path, before_at });
            rest = after;
        }
        if rest.contains('}') {
            return Err(BadTemplate("a } has no {"));
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        if !parts.iter().any(|part| matches!(part, Part::Claim { .. })) {
            return Err(BadTemplate("it names no claim"));
        }
        Ok(Template(parts))
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.0 {
            match part {
                Part::Text(text) => f.write_str(text)?,
                Part::Claim { path, before_at } => {
                    write!(f, "{{{}{}}}", path.join("."), if *before_at { "@" } else { "" })?;
                }
            }
        }
        Ok(())
    }
}

impl Template {
    /// The text that these claims give.
    ///
    /// # Errors
    /// [`Error::MissingClaim`] for one that is not there, or is empty, or neither text nor number; [`Error::Untrusted`] where
    /// the text would be too long.
    pub fn fill(&self, claims: &Map<String, Value>) -> Result<String, Error> {
        let mut filled = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Claim { path, before_at } => {
                    let value =
                        find(claims, path).ok_or_else(|| Error::MissingClaim { claim: path.join(".") })?;
                    let cut = before_at.then(|| value.split('@').next()).flatten();
                    filled.push_str(cut.unwrap_or(&value));
                }
            }
            if filled.len() > LONGEST {
                return Err(Error::Untrusted("a claim is too long"));
            }
        }
        Ok(filled.trim().to_owned())
    }

    /// The claims that it names; one within another with a dot between.
    pub fn claims(&self) -> impl Iterator<Item = String> {
        self.0.iter().filter_map(|part| match part {
            Part::Claim { path, .. } => Some(path.join(".")),
            Part::Text(_) => None,
        })
    }

    /// Whether all claims are there.
    pub(crate) fn is_filled_by(&self, claims: &Map<String, Value>) -> bool {
        self.fill(claims).is_ok()
    }
}

fn find(claims: &Map<String, Value>, path: &[String]) -> Option<String> {
    let (first, rest) = path.split_first()?;
    let mut value = claims.get(first)?;
    for name in rest {
        value = value.get(name)?;
    }
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    Some(text).filter(|text| !text.trim().is_empty())
}
