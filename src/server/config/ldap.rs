//! Keys about the directories that say who is there, by LDAP.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Longest name of a source.
const LONGEST_NAME: usize = 32;
/// The rule by which Active Directory goes through groups in groups, which others do not have.
const IN_CHAIN: &str = "1.2.840.113556.1.4.1941";

/// Which kind of directory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LdapKind {
    /// Active Directory.
    #[serde(rename = "active_directory")]
    ActiveDirectory,
    /// OpenLDAP, and others that speak as it does.
    #[serde(rename = "openldap")]
    OpenLdap,
}

/// A directory of an authority. What is not said is as it is usual with directories of its kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LdapConfig {
    /// Its name here: in the audit log, and part of what is kept of it.
    pub name: String,
    /// Which kind of directory it is.
    pub kind: LdapKind,
    /// Where it is: `ldaps://` or `ldap://` with a host.
    pub url: String,
    /// Whether TLS begins before anything is said, with `ldap://`.
    #[serde(default = "yes")]
    pub starttls: bool,
    /// A PEM file with a certificate authority that its certificate may be of, besides those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// As whom we speak to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind_dn: Option<String>,
    /// A file with the password that goes with that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Below what people stand.
    pub base: String,
    /// Who is a person there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// The attribute by which people are known, and which nothing changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The localpart of a new account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub localpart: Option<String>,
    /// The name that an account shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Its e-mail address.
    #[serde(default = "mail")]
    pub email: String,
    /// Whether accounts' e-mail addresses follow it.
    #[serde(default = "yes")]
    pub emails: bool,
    /// What the authority's identity provider calls people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The name of the group whose members are people, with the groups in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub people_group: Option<String>,
    /// The name of the group whose members administer the authority, with the groups in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub administrators_group: Option<String>,
    /// How often it is read.
    #[serde(default = "interval_seconds")]
    pub interval_seconds: u32,
    /// How many in a hundred of those who are in may end within a day.
    #[serde(default = "most_endings_percent")]
    pub most_endings_percent: u8,
    /// Whether accounts that are there already become its.
    #[serde(default)]
    pub adopts_accounts: bool,
    /// Localparts of accounts that it never ends.
    #[serde(default)]
    pub excepted: Vec<String>,
}

const fn yes() -> bool {
    true
}

fn mail() -> String {
    "{mail}".to_owned()
}

const fn interval_seconds() -> u32 {
    30
}

const fn most_endings_percent() -> u8 {
    5
}

impl LdapConfig {
    /// Whether the name can stand in keys and logs.
    pub(crate) fn has_good_name(&self) -> bool {
        let is_of_name = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        (1..=LONGEST_NAME).contains(&self.name.len()) && self.name.bytes().all(is_of_name)
    }

    fn usual<'a>(&self, said: Option<&'a String>, active_directory: &'a str, openldap: &'a str) -> &'a str {
        match (said, self.kind) {
            (Some(said), _) => said,
            (None, LdapKind::ActiveDirectory) => active_directory,
            (None, LdapKind::OpenLdap) => openldap,
        }
    }

    /// Who is a person.
    pub(crate) fn filter(&self) -> &str {
        // Computers are users there, too.
        let people = "(&(objectCategory=person)(objectClass=user))";
        self.usual(self.filter.as_ref(), people, "(objectClass=inetOrgPerson)")
    }

    /// By what people are known.
    pub(crate) fn id(&self) -> &str {
        self.usual(self.id.as_ref(), "objectGUID", "entryUUID")
    }

    /// The templates by key: localpart, name to show, address, and what the identity provider calls people.
    pub(crate) fn templates(&self) -> Vec<(&'static str, &str)> {
        let localpart = self.usual(self.localpart.as_ref(), "{sAMAccountName}", "{uid}");
        let display_name = self.usual(self.display_name.as_ref(), "{displayName}", "{cn}");
        let mut all = vec![("localpart", localpart), ("display_name", display_name), ("email", &self.email)];
        all.extend(self.subject.as_deref().map(|subject| ("subject", subject)));
        all
    }

    /// Whether the filter has a rule that this kind of directory does not know: it would find nobody, and say so as if that
    /// were the truth.
    pub(crate) fn asks_for_chains_in_vain(&self) -> bool {
        self.kind == LdapKind::OpenLdap && self.filter().contains(IN_CHAIN)
    }
}
