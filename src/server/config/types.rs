//! The keys of the configuration and their defaults.

use std::{collections::BTreeMap, path::PathBuf};

use base::ByteSize;
use ruma::{OwnedServerName, OwnedServerSigningKeyId};
use serde::{Deserialize, Serialize};
use web::Class;

use super::{
    AuditConfig, BucketConfig, CasesConfig, ClassConfig, FactorsConfig, GatewayConfig, LdapConfig, Listener,
    Log, MailConfig, OrganisationConfig, PresenceSettings, ScimConfig, SupportConfig, SyslogConfig,
    TermsConfig, UpstreamConfig, ZoneConfig, rates,
};

/// The whole configuration of a process.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The server names that this process answers for; at least one.
    pub authorities: Vec<AuthorityConfig>,
    /// Where it listens.
    pub listeners: Vec<Listener>,
    /// The networks that listeners stand in, by their names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub zones: BTreeMap<String, ZoneConfig>,
    /// Where its data are.
    pub store: StoreConfig,
    /// How passwords are guarded.
    pub passwords: Passwords,
    /// Which proxies are believed.
    pub proxies: ProxiesConfig,
    /// How much is taken at once.
    pub limits: LimitsConfig,
    /// Settings of rooms.
    pub rooms: Rooms,
    /// Files that users upload, and those of other servers.
    pub media: MediaSettings,
    /// How push gateways are told.
    pub push: PushSettings,
    /// Whether it is shown who is there.
    pub presence: PresenceSettings,
    /// How it talks with other servers.
    pub federation: FederationConfig,
    /// Logs.
    pub log: Log,
    /// The administrative interface.
    pub admin: Admin,
    /// Where relative paths begin; not a key.
    #[serde(skip)]
    pub directory: PathBuf,
    /// The file that all this was read from; not a key.
    #[serde(skip)]
    pub file: PathBuf,
    /// Whether secrets stand in that file itself; not a key.
    #[serde(skip)]
    pub tells_secrets: bool,
}

/// One server name of ours.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorityConfig {
    /// The server name: what stands behind the colon of its users' ids. It can never be changed.
    pub name: OwnedServerName,
    /// The file of its signing key.
    pub key_file: PathBuf,
    /// Keys that it signed with before.
    #[serde(default)]
    pub old_keys: Vec<OldKey>,
    /// Further hosts that stand for it, with or without a port.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Where its clients reach it; published in `.well-known/matrix/client`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_url: Option<String>,
    /// Whether clients may sign in by OAuth 2.0, besides passwords; for that `client_url` has to begin with `https`.
    #[serde(default = "yes")]
    pub oauth: bool,
    /// Where clients get their tokens for LiveKit, which carries calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub livekit_url: Option<String>,
    /// Where other servers reach it, host and port; published in `.well-known/matrix/server`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub federation_address: Option<String>,
    /// Whom to turn to; published in `.well-known/matrix/support`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub support: Option<SupportConfig>,
    /// Whether clients are offered a page of ours to sign in on.
    #[serde(default)]
    pub sign_in_page: bool,
    /// How it sends mails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail: Option<MailConfig>,
    /// The identity provider at which its users sign in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<UpstreamConfig>,
    /// Second factors.
    #[serde(default)]
    pub factors: FactorsConfig,
    /// The identity systems that say who is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scim: Vec<ScimConfig>,
    /// The directories that say who is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ldap: Vec<LdapConfig>,
    /// The log servers that its audit log goes to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub syslog: Vec<SyslogConfig>,
    /// For how many years its audit log is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditConfig>,
    /// What follows from its organisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation: Option<OrganisationConfig>,
    /// What people of a class of employment may, by class.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub classes: BTreeMap<intake::Class, ClassConfig>,
    /// The domains of its mail.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<String>,
    /// What its people are told of cases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cases: Option<CasesConfig>,
    /// What whoever registers has to accept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub terms: Vec<TermsConfig>,
    /// The registration files of its application services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub application_services: Vec<PathBuf>,
    /// Its certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
    /// Who may register.
    #[serde(default)]
    pub registration: Registration,
}

impl AuthorityConfig {
    /// An authority of this name, with the file of its key and nothing else set.
    pub fn new(name: OwnedServerName, key_file: PathBuf) -> AuthorityConfig {
        AuthorityConfig {
            name,
            key_file,
            old_keys: Vec::new(),
            hosts: Vec::new(),
            client_url: None,
            livekit_url: None,
            oauth: true,
            federation_address: None,
            support: None,
            sign_in_page: false,
            mail: None,
            upstream: None,
            factors: FactorsConfig::default(),
            scim: Vec::new(),
            ldap: Vec::new(),
            syslog: Vec::new(),
            audit: None,
            organisation: None,
            classes: BTreeMap::new(),
            domains: Vec::new(),
            cases: None,
            terms: Vec::new(),
            application_services: Vec::new(),
            tls: None,
            registration: Registration::default(),
        }
    }

    /// The page where its users see to their accounts, if it offers OAuth 2.0.
    pub fn account_page(&self) -> Option<String> {
        let url = self.client_url.as_deref().filter(|url| self.oauth && url.starts_with("https://"))?;
        Some(format!("{}/_yakuba/account", url.trim_end_matches('/')))
    }
}

const fn yes() -> bool {
    true
}

/// A key that an authority signed with before.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OldKey {
    /// `ed25519:` and its version.
    pub key_id: OwnedServerSigningKeyId,
    /// The public key in base64.
    pub public_key: String,
    /// When it was used last, in milliseconds since 1970.
    pub expired_ts: u64,
}

/// The PEM files of a certificate; read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate and those between it and its authority.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Who may register at an authority, and what its passwords must be.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Registration {
    /// Who may register over the client interface.
    pub mode: RegistrationMode,
    /// Registration tokens without a limit of uses.
    pub tokens: Vec<Secret>,
    /// A file with the secret of `/_synapse/admin/v1/register`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_secret_file: Option<PathBuf>,
    /// Whether guests are served, who need no password.
    pub guests: bool,
    /// The shortest password that is taken, in characters.
    pub min_password_length: usize,
}

impl Default for Registration {
    fn default() -> Registration {
        Registration {
            mode: RegistrationMode::Closed,
            tokens: Vec::new(),
            shared_secret_file: None,
            guests: false,
            min_password_length: 8,
        }
    }
}

/// Who may register over the client interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegistrationMode {
    /// Nobody.
    #[default]
    Closed,
    /// Whoever has a token.
    Token,
    /// Everybody.
    Open,
}

/// Text that is not printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where the data are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// Which storage.
    pub backend: Backend,
    /// The directory of RocksDB.
    pub path: PathBuf,
    /// The address of PostgreSQL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Secret>,
    /// A file that holds the address of PostgreSQL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_file: Option<PathBuf>,
    /// How connections to PostgreSQL are protected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<StoreTls>,
    /// A PEM file with the authorities that PostgreSQL's certificate may be of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// When a write counts as done.
    pub durability: Durability,
    /// All caches together, those of the store with them. What they are for and how much each has is in
    /// `convert.rs`, and in the crates.
    pub memory: ByteSize,
    /// What stays free on the disk of RocksDB.
    pub reserve: ByteSize,
    /// For so many days of running the log of changes is kept although all have read it.
    pub log_days: u32,
    /// After so many it is not kept either for who has not.
    pub log_days_at_most: u32,
    /// For so many days of running a message waits for a device that never asks for it.
    pub device_message_days: u32,
    /// Authorities that the data have users of and that are served no more.
    pub retired_authorities: Vec<OwnedServerName>,
}

impl Default for StoreConfig {
    fn default() -> StoreConfig {
        StoreConfig {
            backend: Backend::Rocksdb,
            path: PathBuf::from("data"),
            url: None,
            url_file: None,
            tls: None,
            ca_file: None,
            durability: Durability::Fsync,
            memory: ByteSize::mib(80),
            reserve: ByteSize::mib(64),
            log_days: 7,
            log_days_at_most: 30,
            device_message_days: 90,
            retired_authorities: Vec::new(),
        }
    }
}

/// Which storage is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Embedded, in a directory.
    #[default]
    Rocksdb,
    /// A PostgreSQL server.
    Postgres,
    /// In memory: everything is gone at the stop.
    Memory,
}

/// How connections to PostgreSQL are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreTls {
    /// They are not.
    Disable,
    /// Over TLS, whatever certificate the server shows.
    Require,
    /// Over TLS, with a certificate of a trusted authority for the name in the address.
    VerifyFull,
}

/// When a write counts as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Once it is on stable storage.
    #[default]
    Fsync,
    /// Once the operating system has it: a power cut can lose the last moments.
    Os,
}

/// How passwords are guarded against guessing.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Passwords {
    /// How often the password of one account may be wrong at once.
    pub wrong_allowed: u32,
    /// After so many seconds one more wrong one is allowed.
    pub pause_seconds: u64,
}

impl Default for Passwords {
    fn default() -> Passwords {
        Passwords { wrong_allowed: 10, pause_seconds: 10 }
    }
}

/// Which proxies are believed about whom they ask for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProxiesConfig {
    /// The addresses that they connect from.
    pub trusted: Vec<String>,
    /// Where they write the client's address.
    pub header: ProxyHeaderSetting,
}

impl Default for ProxiesConfig {
    fn default() -> ProxiesConfig {
        let trusted = ["127.0.0.0/8", "::1/128"].map(str::to_owned).to_vec();
        ProxiesConfig { trusted, header: ProxyHeaderSetting::XForwardedFor }
    }
}

/// Where proxies write the client's address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProxyHeaderSetting {
    /// The usual header.
    #[default]
    #[serde(rename = "X-Forwarded-For")]
    XForwardedFor,
    /// That of RFC 7239.
    Forwarded,
}

/// How much is taken at once, and how often.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Whether there are limits on how often something is asked; on bodies there always are.
    pub enabled: bool,
    /// Bytes of requests' bodies that are in memory at once.
    pub bodies: ByteSize,
    /// Connections at once from one address.
    pub connections_by_address: u32,
    /// Log-ins, by address.
    #[serde(deserialize_with = "rates::login")]
    pub login: RateSetting,
    /// Registrations, by address.
    #[serde(deserialize_with = "rates::registration")]
    pub registration: RateSetting,
    /// Requests that need no proof of who asks, by address.
    #[serde(deserialize_with = "rates::open")]
    pub open: RateSetting,
    /// Messages, state and redactions, by user.
    #[serde(deserialize_with = "rates::send")]
    pub send: RateSetting,
    /// Sending, restarting and cancelling delayed events, by address.
    #[serde(deserialize_with = "rates::delays")]
    pub delays: RateSetting,
    /// Messages to devices, by user.
    #[serde(deserialize_with = "rates::to_device")]
    pub to_device: RateSetting,
    /// Making, joining and leaving rooms, inviting and putting out, by user.
    #[serde(deserialize_with = "rates::membership")]
    pub membership: RateSetting,
    /// Searching people and rooms, by user.
    #[serde(deserialize_with = "rates::search")]
    pub search: RateSetting,
    /// Changes of aliases and directories, by user.
    #[serde(deserialize_with = "rates::directory")]
    pub directory: RateSetting,
    /// `/sync`, by device.
    #[serde(deserialize_with = "rates::sync")]
    pub sync: RateSetting,
    /// Everything else that changes something, by user.
    #[serde(deserialize_with = "rates::write")]
    pub write: RateSetting,
    /// Everything else that is read, by user.
    #[serde(deserialize_with = "rates::read")]
    pub read: RateSetting,
    /// Requests whose signature is still to be checked, by address.
    #[serde(deserialize_with = "rates::peer_unproven")]
    pub peer_unproven: RateSetting,
    /// Questions for other servers' keys, by address.
    #[serde(deserialize_with = "rates::peer_keys")]
    pub peer_keys: RateSetting,
    /// Transactions, by server.
    #[serde(deserialize_with = "rates::peer_transactions")]
    pub peer_transactions: RateSetting,
    /// Joins, knocks, invites and leaves, by server.
    #[serde(deserialize_with = "rates::peer_membership")]
    pub peer_membership: RateSetting,
    /// Whole states of rooms, by server.
    #[serde(deserialize_with = "rates::peer_state")]
    pub peer_state: RateSetting,
    /// Everything else that a server asks, by server.
    #[serde(deserialize_with = "rates::peer_queries")]
    pub peer_queries: RateSetting,
}

impl Default for LimitsConfig {
    fn default() -> LimitsConfig {
        let rate = RateSetting::default_of;
        LimitsConfig {
            enabled: true,
            bodies: ByteSize::mib(192),
            connections_by_address: 4_096,
            login: rate(Class::Login),
            registration: rate(Class::Registration),
            open: rate(Class::Open),
            send: rate(Class::Send),
            delays: rate(Class::Delays),
            to_device: rate(Class::ToDevice),
            membership: rate(Class::Membership),
            search: rate(Class::Search),
            directory: rate(Class::Directory),
            sync: rate(Class::Sync),
            write: rate(Class::Write),
            read: rate(Class::Read),
            peer_unproven: rate(Class::PeerUnproven),
            peer_keys: rate(Class::PeerKeys),
            peer_transactions: rate(Class::PeerTransactions),
            peer_membership: rate(Class::PeerMembership),
            peer_state: rate(Class::PeerState),
            peer_queries: rate(Class::PeerQueries),
        }
    }
}

impl LimitsConfig {
    /// No limits on how often something is asked.
    pub fn off() -> LimitsConfig {
        LimitsConfig { enabled: false, ..LimitsConfig::default() }
    }

    /// The setting of a class.
    pub fn rate(&self, class: Class) -> RateSetting {
        match class {
            Class::Login => self.login,
            Class::Registration => self.registration,
            Class::Open => self.open,
            Class::Send => self.send,
            Class::Delays => self.delays,
            Class::ToDevice => self.to_device,
            Class::Membership => self.membership,
            Class::Search => self.search,
            Class::Directory => self.directory,
            Class::Sync => self.sync,
            Class::Write => self.write,
            Class::Read => self.read,
            Class::PeerUnproven => self.peer_unproven,
            Class::PeerKeys => self.peer_keys,
            Class::PeerTransactions => self.peer_transactions,
            Class::PeerMembership => self.peer_membership,
            Class::PeerState => self.peer_state,
            Class::PeerQueries => self.peer_queries,
        }
    }
}

/// How often something may be asked. Read by [`rates`], for what is left out depends on the class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RateSetting {
    /// So often in the long run; 0 is without a limit.
    pub per_second: f64,
    /// So often at once.
    pub burst: u32,
}

impl RateSetting {
    /// What holds for a class when nothing is set.
    pub(super) fn default_of(class: Class) -> RateSetting {
        let web::Rate { per_second, burst } = class.default_rate();
        RateSetting { per_second, burst }
    }
}

/// Settings of rooms.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rooms {
    /// The version of new rooms.
    pub default_version: String,
}

impl Default for Rooms {
    fn default() -> Rooms {
        Rooms { default_version: "12".to_owned() }
    }
}

/// Files that users upload, and those of other servers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MediaSettings {
    /// The directory of files; else one within the directory of the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Largest file that is taken.
    pub largest_upload: ByteSize,
    /// Largest file of another server that is fetched.
    pub largest_remote: ByteSize,
    /// For so many days a copy of another server's file is kept that nobody asks for; 0 is for ever.
    pub remote_days: u32,
    /// What one user may keep in all; 0 is without a limit.
    pub kept_by_user: ByteSize,
    /// What the users of one authority may keep in all; 0 is without a limit.
    pub kept_by_authority: ByteSize,
    /// What stays free on the disk of the directory.
    pub reserve: ByteSize,
    /// Whether files are given to whoever knows their ids, without an access token.
    pub unauthenticated: bool,
    /// The bucket that files are kept in, in place of the directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3: Option<BucketConfig>,
    /// Pages that users link to.
    pub previews: Previews,
}

impl Default for MediaSettings {
    fn default() -> MediaSettings {
        MediaSettings {
            path: None,
            largest_upload: ByteSize::mib(100),
            largest_remote: ByteSize::mib(100),
            remote_days: 90,
            kept_by_user: ByteSize::mib(10 << 10),
            kept_by_authority: ByteSize::bytes(0),
            reserve: ByteSize::mib(256),
            unauthenticated: false,
            s3: None,
            previews: Previews::default(),
        }
    }
}

/// Whether the server looks at pages that users link to, and at which addresses.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Previews {
    /// Whether it does.
    pub enabled: bool,
    /// Whether names may lead to addresses that are not of the public internet.
    pub private_addresses: PrivateAddresses,
    /// Address ranges that are allowed besides.
    pub allow_ranges: Vec<String>,
    /// Address ranges that are refused besides.
    pub deny_ranges: Vec<String>,
}

/// At which addresses push gateways are told, which tell the devices of users.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PushSettings {
    /// Whether their names may lead to addresses that are not of the public internet.
    pub private_addresses: PrivateAddresses,
    /// Address ranges that are allowed besides.
    pub allow_ranges: Vec<String>,
    /// Address ranges that are refused besides.
    pub deny_ranges: Vec<String>,
    /// How often users are mailed what they have not read.
    pub mails: PushMails,
    /// The built-in push gateway, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayConfig>,
}

/// How often users are mailed what they have not read, where they wish it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PushMails {
    /// So many seconds nothing is said in a room before a mail tells of it.
    pub quiet_seconds: u64,
    /// So many seconds a room gives no reason for a second mail; then longer each time.
    pub first_pause_seconds: u64,
    /// So many seconds at most.
    pub longest_pause_seconds: u64,
}

impl Default for PushMails {
    fn default() -> Self {
        let push::MailPace { quiet, first_pause, longest_pause } = push::MailPace::default();
        Self {
            quiet_seconds: quiet.as_secs(),
            first_pause_seconds: first_pause.as_secs(),
            longest_pause_seconds: longest_pause.as_secs(),
        }
    }
}

/// How the process talks with other servers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FederationConfig {
    /// With whom.
    pub peers: PeersSetting,
    /// Whether names may lead to addresses that are not of the public internet.
    pub private_addresses: PrivateAddresses,
    /// Address ranges that are allowed besides.
    pub allow_ranges: Vec<String>,
    /// Address ranges that are refused besides.
    pub deny_ranges: Vec<String>,
    /// PEM files with further certificate authorities.
    pub ca_files: Vec<PathBuf>,
    /// Which certificate authorities are trusted without being named.
    pub trust: TrustSetting,
    /// Whether DNS and `.well-known` are asked.
    pub dns: bool,
    /// Servers that are asked for the keys of servers that do not answer.
    pub trusted_notaries: Vec<OwnedServerName>,
    /// Whether other servers are told what users call their devices.
    pub device_names: bool,
    /// Fixed addresses by server name.
    pub fixed: BTreeMap<OwnedServerName, FixedAddress>,
}

impl Default for FederationConfig {
    fn default() -> FederationConfig {
        FederationConfig {
            peers: PeersSetting::Nobody,
            private_addresses: PrivateAddresses::Deny,
            allow_ranges: Vec::new(),
            deny_ranges: Vec::new(),
            ca_files: Vec::new(),
            trust: TrustSetting::System,
            dns: true,
            trusted_notaries: Vec::new(),
            device_names: false,
            fixed: BTreeMap::new(),
        }
    }
}

/// With whom the process federates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PeersSetting {
    /// `"nobody"`
    #[default]
    Nobody,
    /// `"everybody"`
    Everybody,
    /// A list of server names.
    Only(Vec<OwnedServerName>),
}

impl Serialize for PeersSetting {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            PeersSetting::Nobody => serializer.serialize_str("nobody"),
            PeersSetting::Everybody => serializer.serialize_str("everybody"),
            PeersSetting::Only(servers) => servers.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for PeersSetting {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<PeersSetting, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = PeersSetting;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&crate::texts::tr!(
                    "\"nobody\"、\"everybody\"、またはサーバー名のリスト",
                    "\"nobody\", \"everybody\" or a list of server names"
                ))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<PeersSetting, E> {
                match text {
                    "nobody" => Ok(PeersSetting::Nobody),
                    "everybody" => Ok(PeersSetting::Everybody),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<PeersSetting, A::Error> {
                let mut servers = Vec::new();
                while let Some(server) = items.next_element()? {
                    servers.push(server);
                }
                Ok(PeersSetting::Only(servers))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// Whether names may lead to private addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrivateAddresses {
    /// They may not.
    #[default]
    Deny,
    /// They may.
    Allow,
}

/// Which certificate authorities are trusted without being named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrustSetting {
    /// Those of the operating system.
    #[default]
    System,
    /// Mozilla's, as built in.
    Mozilla,
    /// None but those of `ca_files`.
    Files,
}

/// Where a server is, without asking anybody.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FixedAddress {
    /// Host or IP address, with a port.
    pub address: String,
    /// The name that its certificate must be for, if it is not the server name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_name: Option<String>,
}

/// The administrative interface: metrics and the administrator's commands.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Whether it is answered to others than this machine.
    pub remote: bool,
    /// Whom users turn to when the server is full: a URI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
}
