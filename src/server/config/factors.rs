//! Keys about second factors of an authority's accounts.

use serde::{Deserialize, Serialize};

/// Second factors: what accounts are asked for beside their passwords.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactorsConfig {
    /// Who has to have one.
    #[serde(default)]
    pub required: RequiredFactors,
}

/// Who has to have a second factor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequiredFactors {
    /// Nobody; who has one is asked for it.
    #[default]
    None,
    /// Whoever administers the authority or has a duty for it.
    Administrators,
    /// Everybody.
    All,
}
