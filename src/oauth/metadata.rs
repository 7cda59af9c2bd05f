//! What clients say of themselves, and the rules for it.
//!
//! A client is known by where its answers go: whoever can receive at a redirect URI is the client. So
//! these are held to the page that the client names as its own.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#client-metadata>

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::{Host, Url};

use crate::{Code, Error};

/// Longest text or URI that a client says of itself, in bytes.
const LONGEST: usize = 2_048;
/// Most redirect URIs.
const MOST_REDIRECTS: usize = 16;
/// Longest name, in characters; a longer one is refused.
const LONGEST_NAME: usize = 200;

pub(crate) const AUTHORIZATION_CODE: &str = "authorization_code";
pub(crate) const REFRESH_TOKEN: &str = "refresh_token";
pub(crate) const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// The ways to get tokens that there are.
const GRANT_TYPES: [&str; 3] = [AUTHORIZATION_CODE, REFRESH_TOKEN, DEVICE_CODE];

/// What kind of program a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApplicationType {
    /// It runs in a browser.
    Web,
    /// It runs on a device.
    Native,
}

impl ApplicationType {
    /// Its word in metadata.
    pub const fn word(self) -> &'static str {
        match self {
            ApplicationType::Web => "web",
            ApplicationType::Native => "native",
        }
    }
}

/// A client, as far as it matters what it says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// The page that tells of it, whose host it is known by.
    pub client_uri: String,
    /// Its name for people.
    pub client_name: Option<String>,
    /// Its name in Japanese.
    pub client_name_ja: Option<String>,
    /// Its terms.
    pub tos_uri: Option<String>,
    /// Its policy.
    pub policy_uri: Option<String>,
    /// Its picture; it is kept for the answer and never shown.
    pub logo_uri: Option<String>,
    /// Where answers may go.
    pub redirect_uris: Vec<String>,
    /// In which ways it gets tokens.
    pub grant_types: Vec<String>,
    /// What kind of program it is.
    pub application_type: ApplicationType,
}

impl Client {
    /// Reads what a client says of itself.
    ///
    /// # Errors
    /// [`Code::InvalidClientMetadata`] and [`Code::InvalidRedirectUri`], with the rule that is broken.
    pub fn parse(said: &Map<String, Value>) -> Result<Client, Error> {
        let client_uri = text(said, "client_uri")?.ok_or_else(|| bad("client_uri is missing"))?;
        let home = https("client_uri", &client_uri)?;
        let application_type = match text(said, "application_type")?.as_deref() {
            None | Some("web") => ApplicationType::Web,
            Some("native") => ApplicationType::Native,
            Some(_) => return Err(bad("application_type is neither web nor native")),
        };
        let grant_types = match words(said, "grant_types")? {
            Some(all) => all.into_iter().filter(|word| GRANT_TYPES.contains(&word.as_str())).collect(),
            // As RFC 7591 has it, with what every grant comes with.
            None => vec![AUTHORIZATION_CODE.to_owned(), REFRESH_TOKEN.to_owned()],
        };
        let by_code = grant_types.iter().any(|word| word == AUTHORIZATION_CODE);
        if !by_code && !grant_types.iter().any(|word| word == DEVICE_CODE) {
            return Err(bad("grant_types holds no way to get tokens that is offered here"));
        }
        let answers = words(said, "response_types")?;
        if by_code && answers.is_some_and(|all| !all.iter().any(|word| word == "code")) {
            return Err(bad("response_types has to hold code"));
        }
        let redirect_uris = words(said, "redirect_uris")?.unwrap_or_default();
        if redirect_uris.len() > MOST_REDIRECTS {
            return Err(bad_redirect("", "there are more than 16 redirect URIs"));
        }
        if by_code && redirect_uris.is_empty() {
            return Err(bad_redirect("", "redirect_uris is needed for the authorization code grant"));
        }
        for uri in &redirect_uris {
            check_redirect(uri, &home, application_type).map_err(|rule| bad_redirect(uri, rule))?;
        }
        let linked = |field: &'static str| -> Result<Option<String>, Error> {
            let Some(uri) = text(said, field)? else { return Ok(None) };
            match is_below(&https(field, &uri)?, &home) {
                true => Ok(Some(uri)),
                false => Err(bad(format!("{field} is not on the host of client_uri or below it"))),
            }
        };
        Ok(Client {
            client_name: name(said, "client_name")?,
            client_name_ja: name(said, "client_name#ja")?,
            tos_uri: linked("tos_uri")?,
            policy_uri: linked("policy_uri")?,
            logo_uri: linked("logo_uri")?,
            client_uri,
            redirect_uris,
            grant_types,
            application_type,
        })
    }

    /// Whether it registered for this way to get tokens.
    pub fn may(&self, grant_type: &str) -> bool {
        self.grant_types.iter().any(|word| word == grant_type)
    }

    /// Whether an answer may go to this URI: one of those that it registered; on the loopback interface
    /// at any port.
    pub fn may_be_answered_at(&self, uri: &str) -> bool {
        // A reader of URIs leaves out what does not belong there; whoever is sent to one may not.
        if uri.len() > LONGEST || !uri.bytes().all(|byte| byte.is_ascii_graphic()) {
            return false;
        }
        if self.redirect_uris.iter().any(|known| known == uri) {
            return true;
        }
        let Ok(mut asked) = Url::parse(uri) else { return false };
        if self.application_type != ApplicationType::Native
            || !is_loopback(&asked)
            || has_user(&asked)
            || !is_plain(uri, &asked)
            || asked.fragment().is_some()
            || asked.set_port(None).is_err()
        {
            return false;
        }
        let mut known = self.redirect_uris.iter().filter_map(|known| Url::parse(known).ok());
        known.any(|known| known == asked)
    }

    /// The host of the page that it names as its own. It may be anybody's: see [`Destination`].
    pub fn host(&self) -> String {
        let url = Url::parse(&self.client_uri).ok();
        url.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
    }
}

/// Where an answer goes, as far as that is certain: what a client says of itself is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To the web site at this host.
    Site(String),
    /// To a program on the user's own machine.
    Loopback,
    /// To whatever app on the user's device has this scheme.
    App(String),
}

impl Destination {
    /// That of a redirect URI.
    pub fn of(redirect_uri: &str) -> Destination {
        match Url::parse(redirect_uri) {
            Ok(url) if is_loopback(&url) => Destination::Loopback,
            Ok(url) if matches!(url.scheme(), "https" | "http") => {
                Destination::Site(url.host_str().unwrap_or_default().to_owned())
            }
            Ok(url) => Destination::App(url.scheme().to_owned()),
            Err(_) => Destination::App(String::new()),
        }
    }
}

fn bad(text: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::refused(Code::InvalidClientMetadata, text)
}

fn bad_redirect(uri: &str, rule: &str) -> Error {
    let text = if uri.is_empty() { rule.to_owned() } else { format!("{uri}: {rule}") };
    Error::refused(Code::InvalidRedirectUri, text)
}

fn text(said: &Map<String, Value>, field: &str) -> Result<Option<String>, Error> {
    match said.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() <= LONGEST => Ok(Some(text.clone())),
        Some(Value::String(_)) => Err(bad(format!("{field} is too long"))),
        Some(_) => Err(bad(format!("{field} is no string"))),
    }
}

/// Whether a character is not seen itself, but changes how others are read.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
            | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

fn name(said: &Map<String, Value>, field: &str) -> Result<Option<String>, Error> {
    let name = text(said, field)?.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    match name {
        Some(name) if name.chars().count() > LONGEST_NAME || name.chars().any(is_unseen) => {
            Err(bad(format!("{field} is too long, or holds control characters")))
        }
        name => Ok(name),
    }
}

fn words(said: &Map<String, Value>, field: &str) -> Result<Option<Vec<String>>, Error> {
    let words = match said.get(field) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(words)) if words.len() <= 4 * MOST_REDIRECTS => words,
        Some(_) => return Err(bad(format!("{field} is no list of strings, or too long"))),
    };
    let word = |word: &Value| word.as_str().filter(|word| word.len() <= LONGEST).map(str::to_owned);
    let all: Option<Vec<String>> = words.iter().map(word).collect();
    all.map(Some).ok_or_else(|| bad(format!("{field} is no list of strings of a sensible length")))
}

/// A page that a client names: over HTTPS, without a user in it.
fn https(field: &str, uri: &str) -> Result<Url, Error> {
    let url = Url::parse(uri).map_err(|_| bad(format!("{field} is no URI")))?;
    if url.scheme() == "https" && !is_plain(uri, &url) {
        return Err(bad(format!(
            "{field} does not name its host as it is: https://, small letters, no other spelling"
        )));
    }
    if url.scheme() != "https" || url.host_str().is_none() {
        return Err(bad(format!("{field} does not use the https scheme")));
    }
    if has_user(&url) {
        return Err(bad(format!("{field} names a user or a password")));
    }
    Ok(url)
}

fn has_user(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Whether a host is that of `home`, or a subdomain of it.
fn is_below(url: &Url, home: &Url) -> bool {
    match (url.host(), home.host()) {
        (Some(Host::Domain(host)), Some(Host::Domain(base))) => {
            host == base || host.strip_suffix(base).is_some_and(|front| front.ends_with('.'))
        }
        (host, base) => host.is_some() && host == base,
    }
}

/// Whether a URI is written as every reader of URIs understands it: `https:host`, `https:///host`, `https://2130706433` and
/// `https://127.1` are read in one way by us and in another by a browser that is sent there, or by a person.
fn is_plain(uri: &str, url: &Url) -> bool {
    if uri.contains('\\') {
        return false;
    }
    let Some(rest) = uri.strip_prefix(url.scheme()).and_then(|rest| rest.strip_prefix("://")) else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let Some(host) = url.host_str() else { return false };
    let port = authority.strip_prefix(host);
    port.is_some_and(|port| port.is_empty() || port.starts_with(':'))
}

/// Whether this is `http` on the loopback interface. A host that only begins so is another.
fn is_loopback(url: &Url) -> bool {
    let is_here = match url.host() {
        Some(Host::Domain(host)) => host == "localhost",
        Some(Host::Ipv4(ip)) => ip == std::net::Ipv4Addr::LOCALHOST,
        Some(Host::Ipv6(ip)) => ip == std::net::Ipv6Addr::LOCALHOST,
        None => false,
    };
    url.scheme() == "http" && is_here
}

/// Whether answers may go to a URI; the error is the rule that it breaks.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#redirect-uri-validation>
fn check_redirect(uri: &str, home: &Url, kind: ApplicationType) -> Result<(), &'static str> {
    let url = Url::parse(uri).map_err(|_| "it is no URI")?;
    if uri.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err("it holds a character that no URI has");
    }
    if uri.contains('#') {
        return Err("it has a fragment");
    }
    if matches!(url.scheme(), "http" | "https") && !has_user(&url) && !is_plain(uri, &url) {
        return Err("it does not name its host as it is: two slashes, small letters, no other spelling");
    }
    match (url.scheme(), kind) {
        ("https", _) if has_user(&url) => Err("it names a user or a password"),
        ("https", _) if !is_below(&url, home) => Err("it is not on the host of client_uri or below it"),
        ("https", _) => Ok(()),
        (_, ApplicationType::Web) => Err("a web client's does not use the https scheme"),
        ("http", ApplicationType::Native) => {
            if !is_loopback(&url) {
                Err("with the http scheme the host has to be localhost, 127.0.0.1 or [::1]")
            } else if has_user(&url) {
                Err("it names a user or a password")
            } else if url.port().is_some() || names_port(uri) {
                Err("on the loopback interface it names no port; any will do")
            } else {
                Ok(())
            }
        }
        // RFC 8252, 7.1: else it could be one that browsers or systems have a meaning for.
        (scheme, ApplicationType::Native) if !scheme.contains('.') => {
            Err("a scheme of its own is a host's name in reverse order, with a dot")
        }
        (scheme, ApplicationType::Native) => {
            let after = uri.get(scheme.len() + 1..).unwrap_or_default();
            if after.starts_with("//") {
                return Err("with a scheme of its own it has no authority: one slash or none");
            }
            let host = home.host_str().unwrap_or_default();
            let mut labels: Vec<&str> = host.split('.').collect();
            labels.reverse();
            let reversed = labels.join(".");
            match scheme.strip_prefix(&reversed) {
                Some("") => Ok(()),
                Some(rest) if rest.starts_with('.') => Ok(()),
                _ => Err("its scheme does not begin with the host of client_uri in reverse order"),
            }
        }
    }
}

/// Whether a URI names a port, also the one that its scheme has anyway.
fn names_port(uri: &str) -> bool {
    let rest = uri.split_once("//").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'))
}
