//! Keys about what follows from the organisation of an authority.

use serde::{Deserialize, Serialize};

/// What follows from the organisation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrganisationConfig {
    /// What the names of people with a post are made of: text with `{name}`, `{unit}`, `{path}` and `{post}` in it. Unset, people
    /// name themselves, and the organisation says nothing in their profiles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
}
