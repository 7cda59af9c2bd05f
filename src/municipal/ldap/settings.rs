//! What is set about a source: where its directory is, what it holds, and what follows from that.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use tokio_rustls::rustls::ClientConfig;
use upstream::Template;
use url::Url;

/// How a connection is kept from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// TLS from the first byte on (`ldaps://`).
    Tls,
    /// TLS before anything else is said (RFC 4511, section 4.14).
    StartTls,
    /// None.
    Clear,
}

/// Where a directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its host: a name, or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is kept from others.
    pub security: Security,
}

/// What was given is no place of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a URL such as ldaps://dc1.example.test or ldap://dc1.example.test:389 is needed")]
pub struct NoPlace;

impl Place {
    /// Reads a URL: `ldaps://` or `ldap://`, with host and perhaps port.
    ///
    /// # Errors
    /// [`NoPlace`], also where it holds more than that.
    pub fn parse(text: &str, starttls: bool) -> Result<Self, NoPlace> {
        let url = Url::parse(text).map_err(|_| NoPlace)?;
        let (security, usual) = match (url.scheme(), starttls) {
            ("ldaps", _) => (Security::Tls, 636),
            ("ldap", true) => (Security::StartTls, 389),
            ("ldap", false) => (Security::Clear, 389),
            _ => return Err(NoPlace),
        };
        let host = url.host_str().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let has_more = !url.username().is_empty()
            || url.password().is_some()
            || !matches!(url.path(), "" | "/")
            || url.query().is_some()
            || url.fragment().is_some();
        if host.is_empty() || has_more {
            return Err(NoPlace);
        }
        Ok(Self { host: host.to_owned(), port: url.port().unwrap_or(usual), security })
    }

    /// Whether nobody on a network reads what goes there.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        let is_here = || {
            self.host == "localhost"
                || self.host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
        };
        self.security != Security::Clear || is_here()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.security == Security::Tls { "ldaps" } else { "ldap" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        write!(f, "{scheme}://{host}:{}", self.port)
    }
}

/// Which kind of directory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Active Directory: everybody has `userAccountControl`, and whoever has none that can be read is told of.
    ActiveDirectory,
    /// OpenLDAP and others.
    OpenLdap,
}

/// As whom we speak to a directory.
#[derive(Clone)]
pub struct Bind {
    /// Its name there.
    pub dn: String,
    /// Its password.
    pub password: String,
}

/// What a directory may cost us, whatever it answers.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// How long a connection may take to be there, with TLS.
    pub connecting: Duration,
    /// How long the next answer may take.
    pub answering: Duration,
    /// How long all of it may take.
    pub whole: Duration,
    /// Largest message, in bytes.
    pub message: usize,
    /// The same where groups are read: all members of one come in a message, but for Active Directory.
    pub message_of_group: usize,
    /// Groups of a group, with those in them.
    pub groups: usize,
    /// Groups in groups in groups.
    pub depth: usize,
    /// Members that are none of the people and are looked at one by one.
    pub strangers: usize,
    /// All that is read from a connection, in bytes.
    pub bytes: usize,
    /// Entries of a reading.
    pub entries: usize,
    /// Values of all of them: an empty one costs two bytes on the way and many here.
    pub values: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connecting: Duration::from_secs(10),
            answering: Duration::from_secs(20),
            whole: Duration::from_secs(300),
            message: 256 << 10,
            message_of_group: 16 << 20,
            groups: 1_000,
            depth: 32,
            strangers: 5_000,
            bytes: 96 << 20,
            entries: 100_000,
            values: 2_000_000,
        }
    }
}

/// What is set about a source.
#[derive(Clone)]
pub struct Settings {
    /// What the configuration calls it: part of keys, so that it is not changed.
    pub name: String,
    /// Where it is.
    pub place: Place,
    /// The certificates that are believed.
    pub tls: Arc<ClientConfig>,
    /// As whom we speak to it; as nobody without it.
    pub bind: Option<Bind>,
    /// Which kind of directory it is.
    pub kind: Kind,
    /// Below what is looked.
    pub base: String,
    /// Who is a person there.
    pub filter: String,
    /// The attribute by which people are known, and which nothing changes.
    pub id: String,
    /// The localpart of a new account.
    pub localpart: Template,
    /// The name that an account shows.
    pub display_name: Template,
    /// Its address, where addresses follow.
    pub email: Option<Template>,
    /// The identity provider of the authority, and what it calls people.
    pub identity: Option<(String, Template)>,
    /// The group whose members are people, with the groups in it; all are who fit the filter, without it.
    pub people_group: Option<String>,
    /// The group whose members administer the authority, with the groups in it.
    pub administrators_group: Option<String>,
    /// How often the directory is read.
    pub interval: Duration,
    /// How many in a hundred of those who are there may end within a day.
    pub most_endings_percent: u8,
    /// Whether accounts that are there already become the source's.
    pub adopts_accounts: bool,
    /// Accounts that it never ends, by localpart or user id, besides those of administrators.
    pub excepted: BTreeSet<String>,
    /// What a reading may cost.
    pub bounds: Bounds,
}

impl fmt::Debug for Settings {
    /// Passwords do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Attributes by which directories say that somebody is not to come in, whatever their kind.
const OF_STANDING: [&str; 5] =
    ["userAccountControl", "accountExpires", "pwdAccountLockedTime", "shadowExpire", "nsAccountLock"];

/// The number of the group that somebody is in without being its `member` (MS-ADA3, 2.120).
pub(crate) const PRIMARY_GROUP: &str = "primaryGroupID";
/// `LDAP_MATCHING_RULE_IN_CHAIN` (MS-ADTS, 3.1.1.3.4.4.3).
const IN_CHAIN: &str = "1.2.840.113556.1.4.1941";

impl Settings {
    /// The attributes that are asked for, each once.
    pub(crate) fn attributes(&self) -> Vec<String> {
        let templates = [&self.localpart, &self.display_name]
            .into_iter()
            .chain(&self.email)
            .chain(self.identity.as_ref().map(|(_, subject)| subject));
        let named = templates.flat_map(Template::claims);
        let all =
            [self.id.clone(), "cn".to_owned()].into_iter().chain(named).chain(OF_STANDING.map(str::to_owned));
        let of_groups = self.groups().next().map(|_| PRIMARY_GROUP.to_owned());
        let all = all.chain(of_groups.filter(|_| self.kind == Kind::ActiveDirectory));
        let mut met = BTreeSet::new();
        all.filter(|name| met.insert(name.to_ascii_lowercase())).collect()
    }

    /// Whether an account is one that the source never ends, by its user id or the localpart of it, in any case.
    pub(crate) fn excepts(&self, user: &str) -> bool {
        let localpart = user.split(':').next().unwrap_or_default().trim_start_matches('@');
        let is_named = |name: &String| [user, localpart].iter().any(|known| name.eq_ignore_ascii_case(known));
        self.excepted.iter().any(is_named)
    }

    /// What is asked of the directory, as a text: where it is another one than the last time, whoever is missed may be missed
    /// for that reason.
    pub(crate) fn asked(&self) -> String {
        serde_json::json!([self.base, self.filter, self.id, self.people_group]).to_string()
    }

    /// The groups that are asked for.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &String> {
        self.people_group.iter().chain(&self.administrators_group)
    }

    /// What a connection may cost.
    pub(crate) fn bounds(&self) -> Bounds {
        let mut bounds = self.bounds.clone();
        if self.groups().next().is_some() {
            bounds.message = bounds.message.max(bounds.message_of_group);
        }
        bounds
    }

    /// Whether the filter has a rule that others than Active Directory do not know: they find nobody by it, and say so as if that
    /// were the truth.
    pub(crate) fn asks_for_chains(&self) -> bool {
        self.filter.contains(IN_CHAIN)
    }
}

/// Whether a filter can be sent (RFC 4515).
#[must_use]
pub fn is_filter(text: &str) -> bool {
    text.starts_with('(') && ldap3::parse_filter(text).is_ok()
}

/// Whether a name can be that of an attribute (RFC 4512, section 2.5).
#[must_use]
pub fn is_attribute(name: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    name.len() <= 64 && name.starts_with(|first: char| first.is_ascii_alphabetic()) && name.bytes().all(rest)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_place_is_a_scheme_a_host_and_perhaps_a_port() {
        let told =
            |text, starttls| Place::parse(text, starttls).map(|place| (place.to_string(), place.security));
        assert_eq!(
            told("ldaps://dc1.city.test", true),
            Ok(("ldaps://dc1.city.test:636".into(), Security::Tls))
        );
        assert_eq!(told("ldap://dc1/", true), Ok(("ldap://dc1:389".into(), Security::StartTls)));
        assert_eq!(told("ldap://[::1]:3890", false), Ok(("ldap://[::1]:3890".into(), Security::Clear)));
        for wrong in ["", "dc1", "ldap://", "http://dc1", "ldap://u:p@dc1", "ldap://dc1/dc=x", "ldap://dc1?x"]
        {
            assert_eq!(told(wrong, true), Err(NoPlace), "{wrong}");
        }
        assert!(Place::parse("ldap://127.0.0.1", false).unwrap().is_safe());
        assert!(Place::parse("ldap://[::1]", false).unwrap().is_safe());
        assert!(!Place::parse("ldap://dc1", false).unwrap().is_safe());
    }

    #[test]
    fn filters_and_names_of_attributes_are_told_from_what_is_none() {
        for good in ["(uid=*)", "(&(objectCategory=person)(objectClass=user))", "(cn=山田*)"] {
            assert!(is_filter(good), "{good}");
        }
        for wrong in ["", " ", "(", "(&", "(uid=", "((uid=x)", "uid=*"] {
            assert!(!is_filter(wrong), "{wrong}");
        }
        assert!(is_attribute("sAMAccountName") && is_attribute("ms-DS-ConsistencyGuid"));
        assert!(
            !is_attribute("") && !is_attribute("1a") && !is_attribute("a b") && !is_attribute("cn;lang-ja")
        );
    }
}
