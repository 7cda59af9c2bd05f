//! Keys about the identity provider of an authority.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The identity provider at which the users of an authority sign in, by OpenID Connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamConfig {
    /// The provider's name for itself: a URL, exactly as it writes it.
    pub issuer: String,
    /// Who we are to it.
    pub client_id: String,
    /// A file with the secret that goes with that; a public client has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_file: Option<PathBuf>,
    /// A PEM file with a certificate authority that its certificate may be of, besides those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The claim by which people are known.
    #[serde(default = "subject")]
    pub subject: String,
    /// What is asked for besides `openid`.
    #[serde(default = "scopes")]
    pub scopes: Vec<String>,
    /// The localpart of a new account.
    #[serde(default = "localpart")]
    pub localpart: String,
    /// The name that a new account shows.
    #[serde(default = "display_name")]
    pub display_name: String,
    /// The e-mail address of a new account.
    #[serde(default = "email")]
    pub email: String,
    /// Whether whoever is not known gets an account; otherwise only those come in who have linked theirs.
    #[serde(default)]
    pub makes_accounts: bool,
    /// Whether passwords remain possible beside it.
    #[serde(default = "yes")]
    pub passwords: bool,
    /// Ways of authentication (`acr`) of which one is demanded.
    #[serde(default)]
    pub acr_values: Vec<String>,
    /// Methods of authentication (`amr`) of which one is demanded, or all that stand in one with spaces between.
    #[serde(default)]
    pub required_amr: Vec<String>,
    /// What its claims say of people as staff.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staff: Option<StaffClaimsConfig>,
    /// What stands on the button, in Japanese.
    #[serde(default = "label_ja")]
    pub label_ja: String,
    /// And in English.
    #[serde(default = "label_en")]
    pub label_en: String,
}

/// What a provider's claims say of people as staff: templates, such as `{department}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaffClaimsConfig {
    /// 職員番号
    pub number: String,
    /// The name.
    #[serde(default = "display_name")]
    pub name: String,
    /// Its reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reading: Option<String>,
    /// The unit, with those above it before it.
    pub unit: String,
    /// 職名
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

impl StaffClaimsConfig {
    /// The templates by key.
    pub(crate) fn templates(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let needed = [("number", Some(&self.number)), ("name", Some(&self.name)), ("unit", Some(&self.unit))];
        let others = [("reading", self.reading.as_ref()), ("title", self.title.as_ref())];
        needed.into_iter().chain(others).filter_map(|(key, text)| Some((key, text?.as_str())))
    }
}

fn subject() -> String {
    "sub".to_owned()
}

fn scopes() -> Vec<String> {
    vec!["profile".to_owned(), "email".to_owned()]
}

fn localpart() -> String {
    "{preferred_username}".to_owned()
}

fn display_name() -> String {
    "{name}".to_owned()
}

fn email() -> String {
    "{email}".to_owned()
}

fn label_ja() -> String {
    "職員認証でサインイン".to_owned()
}

fn label_en() -> String {
    "Sign in with your organisation".to_owned()
}

const fn yes() -> bool {
    true
}

impl UpstreamConfig {
    /// The templates by key: localpart, name to show, address.
    pub(crate) fn templates(&self) -> [(&'static str, &str); 3] {
        [("localpart", &self.localpart), ("display_name", &self.display_name), ("email", &self.email)]
    }

    /// Whether nobody on the way reads what goes to the provider.
    pub(crate) fn is_safe(&self) -> bool {
        let here = ["http://localhost", "http://127.0.0.1", "http://[::1]"];
        let is_end = |rest: &str| rest.is_empty() || rest.starts_with([':', '/']);
        self.issuer.starts_with("https://")
            || here.iter().any(|here| self.issuer.strip_prefix(here).is_some_and(is_end))
    }
}
