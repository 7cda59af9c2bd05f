//! Keys about the log.

use base::telemetry::LogFormat;
use serde::{Deserialize, Serialize};

/// Logs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Text or JSON.
    pub format: LogFormat,
    /// Which lines: a level, or a list of `target=level`.
    pub filter: String,
}

impl Default for Log {
    fn default() -> Log {
        Log { format: LogFormat::Text, filter: "info,ruma_state_res=warn".to_owned() }
    }
}
