//! What a provider says of somebody as one of an authority's people: his number, his unit, his title.
//!
//! It is told at each sign-in to whoever keeps the organisation, and decides nothing by itself: whether it is so, and from when
//! on, people say there.

use async_trait::async_trait;
use ruma::UserId;
use serde_json::{Map, Value};

use crate::Template;

/// Most letters of each part that are taken.
const LONGEST: usize = 200;

/// From which claims it follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaffClaims {
    /// 職員番号
    pub number: Template,
    /// His name.
    pub name: Template,
    /// Its reading.
    pub reading: Option<Template>,
    /// The unit, with those above it before it.
    pub unit: Template,
    /// 職名
    pub title: Option<Template>,
}

/// What is said of somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staff {
    /// 職員番号
    pub number: String,
    /// His name.
    pub name: String,
    /// Its reading; empty where nothing is said.
    pub reading: String,
    /// The unit, with those above it before it.
    pub unit: String,
    /// 職名; empty where nothing is said.
    pub title: String,
}

/// Whoever keeps the organisation.
#[async_trait]
pub trait Hears: Send + Sync {
    /// Hears what is said of a user of ours. What goes wrong is his to log: a sign-in does not fail by it.
    async fn hear(&self, user: &UserId, staff: &Staff);
}

impl StaffClaims {
    /// The templates that have to be filled.
    pub(crate) fn needed(&self) -> [&Template; 3] {
        [&self.number, &self.name, &self.unit]
    }

    /// What claims say; nothing where a part is missing without which nobody is known.
    pub(crate) fn said(&self, claims: &Map<String, Value>) -> Option<Staff> {
        // Some providers tell of what can be several in a list, also where there is one.
        let only = |value: &Value| match value.as_array().map(Vec::as_slice) {
            Some([only]) => only.clone(),
            _ => value.clone(),
        };
        let claims: &Map<String, Value> =
            &claims.iter().map(|(name, value)| (name.clone(), only(value))).collect();
        let fill = |template: &Template| {
            let text = template.fill(claims).ok()?;
            let text: String = text.trim().chars().take(LONGEST).collect();
            // A name with a line end or a letter that cannot be seen is none, and would be a row or a file of its own for others.
            let is_odd = |letter: char| {
                letter.is_control()
                    || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
            };
            (!text.is_empty() && !text.contains(is_odd)).then_some(text)
        };
        let some = |template: &Option<Template>| template.as_ref().and_then(fill).unwrap_or_default();
        Some(Staff {
            number: fill(&self.number)?,
            name: fill(&self.name)?,
            reading: some(&self.reading),
            unit: fill(&self.unit)?,
            title: some(&self.title),
        })
    }
}
