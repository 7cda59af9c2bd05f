//! The built-in push gateway.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Settings of the built-in push gateway. There is one where they stand.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    /// The file of the key with which browsers subscribe; it is made where it is missing.
    #[serde(default = "usual_key_file")]
    pub key_file: PathBuf,
    /// Whom push services may write to: `mailto:` or `https:`. Without it, the server's contact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The apps whose pushers are served.
    pub apps: Vec<GatewayAppConfig>,
}

/// An app whose pushers are served.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayAppConfig {
    /// The `app_id` of its pushers.
    pub id: String,
    /// How its devices are reached.
    pub kind: GatewayKind,
    /// At which hosts its push services may be; empty: at all that `[push]` lets through.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// The file of the service account of its maker, with `fcm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_file: Option<PathBuf>,
}

/// How the devices of an app are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GatewayKind {
    /// Browsers.
    WebPush,
    /// Phones with a distributor.
    UnifiedPush,
    /// Phones by Google's push service.
    Fcm,
}

fn usual_key_file() -> PathBuf {
    "keys/push.pem".into()
}

/// Whether it is an address that push services may write to.
pub(super) fn is_subject(text: &str) -> bool {
    let rest = text.strip_prefix("mailto:").or_else(|| text.strip_prefix("https://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace))
}
