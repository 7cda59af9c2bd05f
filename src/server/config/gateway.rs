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
    /// The file of its maker's key at Apple, with `apns`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// The id of that key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The id of the maker's team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team_id: Option<String>,
    /// Apple's name of the app: its bundle id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Whether it is told over Apple's service for apps that are being developed.
    #[serde(default)]
    pub sandbox: bool,
    /// Where Google's or Apple's service is, if it is not theirs: scheme, host and port of what stands in for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

impl GatewayAppConfig {
    /// An app whose devices are reached so, without anything else.
    pub fn new(id: &str, kind: GatewayKind) -> Self {
        Self {
            id: id.to_owned(),
            kind,
            hosts: Vec::new(),
            account_file: None,
            key_file: None,
            key_id: None,
            team_id: None,
            topic: None,
            sandbox: false,
            service: None,
        }
    }

    /// What Apple's service needs, with the names of the keys; what is missing there is nothing.
    pub(super) fn apple(&self) -> [(&'static str, Option<&str>); 4] {
        let file = self.key_file.as_ref().and_then(|file| file.to_str());
        [
            ("key_file", file),
            ("key_id", self.key_id.as_deref()),
            ("team_id", self.team_id.as_deref()),
            ("topic", self.topic.as_deref()),
        ]
    }
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
    /// Phones by Apple's.
    Apns,
}

fn usual_key_file() -> PathBuf {
    "keys/push.pem".into()
}

/// Whether it is an address that push services may write to.
pub(super) fn is_subject(text: &str) -> bool {
    let rest = text.strip_prefix("mailto:").or_else(|| text.strip_prefix("https://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace))
}

/// Whether it is an id or a name that Apple gives: what stands in a header and a token.
pub(super) fn is_name(text: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
    !text.is_empty() && text.len() <= 255 && text.chars().all(is_letter)
}

/// Whether it is where a push service can be: https, a host, perhaps a port, and nothing else.
pub(super) fn is_service(text: &str) -> bool {
    let Ok(uri) = text.parse::<http::Uri>() else { return false };
    uri.scheme_str() == Some("https")
        && uri.authority().is_some_and(|authority| {
            !authority.as_str().contains('@') && text == format!("https://{authority}")
        })
}
