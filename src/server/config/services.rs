//! Registrations of application services: YAML files that the configuration names.
//!
//! What is wrong in one is told with the file, the line and the key. Keys that we do not know are left alone: each bridge
//! writes some of its own.
//!
//! Spec: <https://spec.matrix.org/v1.19/application-service-api/#registration>

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

use account::{AppService, Namespace, NewAppService, Reach, ServiceAddress, Told};
use ruma::{OwnedUserId, ServerName, UserId};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

use super::Config;
use crate::{causes, texts::tr};

/// Largest registration that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// Shorter tokens can be guessed.
const SHORTEST_TOKEN: usize = 16;

/// Whether a service is told what is of the moment: the name of today, and those of MSC2409, which bridges still write.
const EPHEMERAL: [&str; 3] = ["receive_ephemeral", "de.sorunome.msc2409.push_ephemeral", "push_ephemeral"];

/// Whether it is told what its users need for encryption.
const DEVICES: [&str; 1] = ["org.matrix.msc3202"];

/// The services of all authorities, and all that is wrong with their registrations.
#[derive(Default)]
pub(crate) struct Services {
    pub(crate) of: HashMap<ruma::OwnedServerName, Vec<Arc<AppService>>>,
    pub(crate) problems: Vec<String>,
}

impl Config {
    /// Reads the registrations of all application services.
    pub(crate) fn services(&self) -> Services {
        let mut services = Services::default();
        // By what must be one's alone: which file has it.
        let mut taken: HashMap<(&str, String), PathBuf> = HashMap::new();
        let mut registrations: Vec<(PathBuf, Registration)> = Vec::new();
        for authority in &self.authorities {
            for file in &authority.application_services {
                let path = self.path(file);
                let mut reading = Reading::of(&path, Lines::default());
                let registration = reading.registration(&authority.name);
                for Alone { kind, value, key } in registration.iter().flat_map(|it| it.alone()) {
                    match taken.get(&(kind, value.clone())) {
                        Some(other) => {
                            let other = other.display();
                            let message = tr!("{other} にも同じものがあります", "{other} has the same one");
                            reading.wrong(&key, &message);
                        }
                        None => {
                            taken.insert((kind, value), path.clone());
                        }
                    }
                }
                services.problems.append(&mut reading.problems);
                registrations.extend(registration.map(|registration| (path.clone(), registration)));
            }
        }
        for (path, registration) in &registrations {
            let Registration { service: NewAppService { sender, .. }, lines, .. } = registration;
            let mut others = registrations.iter().filter(|(_, other)| other.service.sender != *sender);
            if let Some((other, _)) = others.find(|(_, other)| other.keeps(sender)) {
                let mut reading = Reading::of(path, lines.clone());
                let other = other.display();
                reading.wrong(
                    "sender_localpart",
                    &tr!("{other} がこの利用者名を独占しています", "{other} keeps this user for itself"),
                );
                services.problems.append(&mut reading.problems);
            }
        }
        services.problems.append(&mut overlaps(&registrations));
        for (_, Registration { service, .. }) in registrations {
            let of = services.of.entry(service.sender.server_name().to_owned()).or_default();
            of.push(Arc::new(AppService::new(service)));
        }
        services
    }
}

/// What several services of an authority keep for themselves, by expressions that are written otherwise; each with an id that
/// none of them could use.
fn overlaps(registrations: &[(PathBuf, Registration)]) -> Vec<String> {
    let mut problems = Vec::new();
    for (kind, sigil) in [("users", '@'), ("aliases", '#')] {
        let kept = registrations.iter().flat_map(|(path, registration)| {
            let service = &registration.service;
            let namespaces = if sigil == '@' { &service.users } else { &service.aliases };
            let kept = namespaces.iter().enumerate().filter(|(_, names)| names.is_exclusive());
            kept.filter_map(move |(place, names)| {
                let key = expression_key(kind, place);
                Some(Kept { path, registration, names, key, reach: Reach::of(names)? })
            })
        });
        let kept: Vec<_> = kept.collect();
        for (index, Kept { path, registration, names, key, reach }) in kept.iter().enumerate() {
            let authority = registration.service.sender.server_name();
            let before = kept.iter().take(index).filter(|other| {
                other.path != *path
                    && other.registration.service.sender.server_name() == authority
                    && other.names.expression() != names.expression()
            });
            for other in before {
                let Some(both) = reach.meets(&other.reach, sigil, authority) else { continue };
                let mut reading = Reading::of(path, registration.lines.clone());
                let other = other.path.display();
                reading.wrong(
                    key,
                    &tr!(
                        "{other} と重なっています（例: {both}）",
                        "{other} keeps some of the same, for instance {both}"
                    ),
                );
                problems.append(&mut reading.problems);
            }
        }
    }
    problems
}

/// What a service keeps for itself.
struct Kept<'a> {
    path: &'a PathBuf,
    registration: &'a Registration,
    names: &'a Namespace,
    key: String,
    reach: Reach,
}

/// A registration that can be used.
struct Registration {
    service: NewAppService,
    hs_token: String,
    lines: Lines,
}

/// Something that no other service may have.
struct Alone {
    kind: &'static str,
    value: String,
    /// Where it is written.
    key: String,
}

/// The key of an expression in one of the namespaces.
fn expression_key(kind: &str, place: usize) -> String {
    format!("namespaces.{kind}.{place}.regex")
}

impl Registration {
    /// What no other service may have.
    fn alone(&self) -> Vec<Alone> {
        let NewAppService { id, sender, as_token, users, aliases, .. } = &self.service;
        let texts = [
            ("id", id.clone()),
            ("as_token", as_token.clone()),
            ("hs_token", self.hs_token.clone()),
            ("sender_localpart", sender.to_string()),
        ];
        let mut alone: Vec<_> =
            texts.into_iter().map(|(kind, value)| Alone { kind, value, key: kind.to_owned() }).collect();
        // Of its authority: what several services keep for themselves none of them could use.
        for (kind, namespaces) in [("users", users), ("aliases", aliases)] {
            // It may write an expression twice.
            let mut written = BTreeSet::new();
            let kept = namespaces.iter().enumerate();
            let kept = kept.filter(|(_, names)| names.is_exclusive() && written.insert(names.expression()));
            alone.extend(kept.map(|(place, names)| Alone {
                kind,
                value: format!("{} {}", sender.server_name(), names.expression()),
                key: expression_key(kind, place),
            }));
        }
        alone
    }

    /// Whether it keeps the user of another service for itself.
    fn keeps(&self, sender: &UserId) -> bool {
        let NewAppService { sender: own, users, .. } = &self.service;
        own.server_name() == sender.server_name()
            && users.iter().any(|names| names.is_exclusive() && names.covers(sender.as_str()))
    }
}

/// On which lines the values of a file stand, by their keys.
#[derive(Clone, Default)]
struct Lines(BTreeMap<String, u64>);

impl Lines {
    /// Of a file that is YAML with keys and values; nothing is known of parts that are not as they should be.
    fn of(text: &str) -> Self {
        type Keys = BTreeMap<String, Spanned<IgnoredAny>>;
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Namespaces {
            namespaces: BTreeMap<String, Vec<Keys>>,
        }
        let mut lines = BTreeMap::new();
        let mut note = |key: String, value: &Spanned<IgnoredAny>| lines.insert(key, value.referenced.line());
        for (key, value) in serde_saphyr::from_str::<Keys>(text).unwrap_or_default() {
            note(key, &value);
        }
        let Namespaces { namespaces } = serde_saphyr::from_str(text).unwrap_or_default();
        for (kind, list) in namespaces {
            for (place, entry) in list.iter().enumerate() {
                for (part, value) in entry {
                    note(format!("namespaces.{kind}.{place}.{part}"), value);
                }
            }
        }
        Self(lines)
    }

    /// Of a value, or of what it stands in.
    fn line(&self, key: &str) -> Option<u64> {
        let within = key.rsplit_once('.').map(|(within, _)| within);
        self.0.get(key).copied().or_else(|| self.line(within?))
    }
}

/// A file that is being read, and what was found wrong with it.
struct Reading<'a> {
    path: &'a Path,
    lines: Lines,
    problems: Vec<String>,
}

impl<'a> Reading<'a> {
    fn of(path: &'a Path, lines: Lines) -> Self {
        Self { path, lines, problems: Vec::new() }
    }

    fn wrong(&mut self, key: &str, message: &str) {
        let line = self.lines.line(key).map(|line| format!("{line}:")).unwrap_or_default();
        self.problems.push(format!("{}:{line} {key}: {message}", self.path.display()));
    }

    fn registration(&mut self, authority: &ServerName) -> Option<Registration> {
        let all = self.table()?;
        let id = self.text(&all, "id");
        let as_token = self.token(&all, "as_token");
        let hs_token = self.token(&all, "hs_token");
        let url = self.url(&all);
        let sender = self.sender(&all, authority);
        let limits_users = self.flag(&all, "rate_limited", true);
        let (users, aliases, rooms) = self.namespaces(&all);
        let ephemeral = self.any_flag(&all, &EPHEMERAL);
        let devices = self.any_flag(&all, &DEVICES);
        let protocols = self.protocols(&all);
        if !self.problems.is_empty() {
            return None;
        }
        let (id, sender, as_token, hs_token) = (id?, sender?, as_token?, hs_token?);
        let address = url.map(|url| ServiceAddress { url, hs_token: hs_token.clone() });
        let told = Told { address, rooms, ephemeral, devices, protocols };
        let service = NewAppService { id, sender, as_token, users, aliases, limits_users, told };
        Some(Registration { service, hs_token, lines: self.lines.clone() })
    }

    fn table(&mut self) -> Option<Map<String, Value>> {
        let text = match std::fs::metadata(self.path) {
            Ok(metadata) if metadata.len() > LARGEST => {
                let message = tr!("1 MiB より大きいファイルです", "the file is larger than 1 MiB");
                self.problems.push(format!("{}: {message}", self.path.display()));
                return None;
            }
            _ => std::fs::read_to_string(self.path),
        };
        let text = match text {
            Ok(text) => text,
            Err(error) => {
                self.problems.push(tr!(
                    "{path} を読めません: {cause}",
                    "{path} cannot be read: {cause}",
                    path = self.path.display(),
                    cause = causes::of_io(&error)
                ));
                return None;
            }
        };
        match serde_saphyr::from_str::<Value>(&text) {
            Ok(Value::Object(all)) => {
                self.lines = Lines::of(&text);
                Some(all)
            }
            Ok(_) => {
                let message = tr!("キーと値の YAML が必要です", "YAML with keys and values is needed");
                self.problems.push(format!("{}: {message}", self.path.display()));
                None
            }
            Err(error) => {
                let location = error.location().map_or(0, |at| at.line());
                let message =
                    tr!("YAML として読めません ({location} 行目)", "this is no YAML (line {location})");
                self.problems.push(format!("{}: {message}", self.path.display()));
                None
            }
        }
    }

    /// A text that must be there. Bare numbers in YAML are meant as texts.
    fn text(&mut self, all: &Map<String, Value>, key: &str) -> Option<String> {
        match all.get(key) {
            Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            None => {
                self.wrong(key, &tr!("キーがありません", "the key is missing"));
                None
            }
            Some(_) => {
                self.wrong(key, &tr!("空でない文字列が必要です", "a text is needed that is not empty"));
                None
            }
        }
    }

    fn token(&mut self, all: &Map<String, Value>, key: &str) -> Option<String> {
        let token = self.text(all, key)?;
        if token.chars().count() < SHORTEST_TOKEN || token.contains(char::is_whitespace) {
            self.wrong(
                key,
                &tr!(
                    "{SHORTEST_TOKEN} 文字以上の、空白のない無作為な文字列が必要です",
                    "a random text without spaces, of {SHORTEST_TOKEN} letters or more, is needed"
                ),
            );
        }
        Some(token)
    }

    /// Where the service is, without a slash at the end; none where it is told nothing.
    fn url(&mut self, all: &Map<String, Value>) -> Option<String> {
        match all.get("url") {
            Some(Value::Null) => {}
            // Some programs write so what they mean to be none.
            Some(Value::String(url)) if url.is_empty() => {}
            Some(Value::String(url))
                if (url.starts_with("http://") || url.starts_with("https://"))
                    && url.parse::<http::Uri>().is_ok_and(|uri| uri.host().is_some()) =>
            {
                return Some(url.trim_end_matches('/').to_owned());
            }
            None => self.wrong("url", &tr!("キーがありません", "the key is missing")),
            Some(_) => self.wrong("url", &tr!("URL か null が必要です", "a URL or null is needed")),
        }
        None
    }

    /// Whether one of these keys is true: a flag has several names while bridges write the old ones.
    fn any_flag(&mut self, all: &Map<String, Value>, keys: &[&str]) -> bool {
        let flags: Vec<bool> = keys.iter().map(|key| self.flag(all, key, false)).collect();
        flags.contains(&true)
    }

    fn protocols(&mut self, all: &Map<String, Value>) -> Vec<String> {
        let key = "protocols";
        let list = match all.get(key) {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Array(list)) => list,
            Some(_) => {
                self.wrong(key, &tr!("リストが必要です", "a list is needed"));
                return Vec::new();
            }
        };
        let mut found = Vec::new();
        for protocol in list {
            match protocol.as_str().filter(|protocol| !protocol.is_empty()) {
                Some(protocol) => found.push(protocol.to_owned()),
                None => {
                    self.wrong(key, &tr!("空でない文字列が必要です", "a text is needed that is not empty"))
                }
            }
        }
        found
    }

    fn sender(&mut self, all: &Map<String, Value>, authority: &ServerName) -> Option<OwnedUserId> {
        let key = "sender_localpart";
        let localpart = self.text(all, key)?;
        // Capitals too, which new users may not have: bridges on mautrix write a random text here.
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || "._=-/+".contains(letter);
        let user = UserId::parse_with_server_name(localpart.as_str(), authority).ok();
        let user = user.filter(|_| localpart.chars().all(allowed));
        if user.is_none() {
            self.wrong(
                key,
                &tr!(
                    "利用者名は A-Z, a-z, 0-9 と . _ = - / + で書きます",
                    "a user name is made of A-Z, a-z, 0-9 and . _ = - / +"
                ),
            );
        }
        user
    }

    fn flag(&mut self, all: &Map<String, Value>, key: &str, default: bool) -> bool {
        match all.get(key) {
            None | Some(Value::Null) => default,
            Some(Value::Bool(flag)) => *flag,
            Some(_) => {
                self.wrong(key, &tr!("true か false が必要です", "true or false is needed"));
                default
            }
        }
    }

    /// The namespaces of users, of aliases and of rooms.
    fn namespaces(&mut self, all: &Map<String, Value>) -> (Vec<Namespace>, Vec<Namespace>, Vec<Namespace>) {
        let namespaces = match all.get("namespaces") {
            Some(Value::Object(namespaces)) => namespaces.clone(),
            None => {
                self.wrong("namespaces", &tr!("キーがありません", "the key is missing"));
                return Default::default();
            }
            Some(_) => {
                self.wrong("namespaces", &tr!("表が必要です", "a table is needed"));
                return Default::default();
            }
        };
        let users = self.namespace(&namespaces, "users");
        let aliases = self.namespace(&namespaces, "aliases");
        let rooms = self.namespace(&namespaces, "rooms");
        (users, aliases, rooms)
    }

    fn namespace(&mut self, namespaces: &Map<String, Value>, kind: &str) -> Vec<Namespace> {
        let list = match namespaces.get(kind) {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Array(list)) => list,
            Some(_) => {
                self.wrong(&format!("namespaces.{kind}"), &tr!("リストが必要です", "a list is needed"));
                return Vec::new();
            }
        };
        let mut found = Vec::new();
        for (index, entry) in list.iter().enumerate() {
            let key = |part: &str| format!("namespaces.{kind}.{index}.{part}");
            let Some(expression) = entry.get("regex").and_then(Value::as_str) else {
                self.wrong(&key("regex"), &tr!("正規表現が必要です", "a regular expression is needed"));
                continue;
            };
            let Some(exclusive) = entry.get("exclusive").and_then(Value::as_bool) else {
                self.wrong(&key("exclusive"), &tr!("true か false が必要です", "true or false is needed"));
                continue;
            };
            match Namespace::new(expression, exclusive) {
                Ok(namespace) => found.push(namespace),
                Err(_) => self.wrong(
                    &key("regex"),
                    &tr!(
                        "使えない正規表現です: {expression}",
                        "{expression} cannot be used as a regular expression"
                    ),
                ),
            }
        }
        found
    }
}
