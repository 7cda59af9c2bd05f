//! Keys about cases.

use serde::{Deserialize, Serialize};

/// What people are told of cases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CasesConfig {
    /// Whether the server tells people in a room of their own what waits for them and what became of what they asked for.
    pub reminders: bool,
}

impl Default for CasesConfig {
    fn default() -> Self {
        Self { reminders: true }
    }
}
