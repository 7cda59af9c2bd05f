//! What can be set about accounts.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base::ByteSize;
use ruma::{OwnedServerName, ServerName};

use crate::{AppService, PresenceConfig};

/// Settings of the accounts of all authorities of this process.
#[derive(Clone, Debug)]
pub struct Config {
    /// Memory for sessions that were looked up lately: each takes some 300 bytes.
    pub memory: ByteSize,
    /// What it costs to check one password.
    pub password: PasswordCost,
    /// How often a password may be guessed wrong; `None` is as often as anybody likes.
    pub guesses: Option<GuessLimit>,
    /// Settings of authorities that are not named in `authorities`.
    pub settings: Settings,
    /// Settings by authority.
    pub authorities: BTreeMap<OwnedServerName, Settings>,
    /// Whether it is shown who is there, and to whom; `None` is not.
    pub presence: Option<PresenceConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            memory: ByteSize::mib(8),
            password: PasswordCost::default(),
            guesses: Some(GuessLimit::default()),
            settings: Settings::default(),
            authorities: BTreeMap::new(),
            presence: None,
        }
    }
}

impl Config {
    /// The settings in force for an authority.
    pub fn settings(&self, authority: &ServerName) -> &Settings {
        self.authorities.get(authority).unwrap_or(&self.settings)
    }
}

/// Settings of the accounts of one authority. The default registers nobody.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who may register over the client interface.
    pub registration: Registration,
    /// Registration tokens without a limit of uses, besides those in the store.
    pub registration_tokens: Vec<String>,
    /// The secret of `/_synapse/admin/v1/register`; without one that route does not exist.
    pub shared_secret: Option<String>,
    /// Whether guests are served, who have no password and may look into rooms that take guests.
    pub guests: bool,
    /// Shortest password that is taken for a new account or a change, in characters.
    pub min_password_chars: usize,
    /// The page where users see to their accounts: who has signed in by OAuth 2.0 is sent there to confirm what is grave.
    pub account_page: Option<String>,
    /// How long an access token lives when the client can refresh it.
    pub access_token_lifetime: Duration,
    /// How its users have e-mail addresses; `None` is not. Mails also need somebody who sends them.
    pub mail: Option<MailSettings>,
    /// What whoever registers has to accept.
    pub terms: Vec<Terms>,
    /// Its application services.
    pub services: Vec<Arc<AppService>>,
    /// What becomes of those who sign in at its identity provider; `None` where it has none.
    pub upstream: Option<Upstream>,
    /// Whether anybody signs in with a password.
    pub passwords: bool,
    /// Who has to have a second factor.
    pub factors: FactorsFor,
}

/// Who has to have a second factor. Others may have one, and are asked for it as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FactorsFor {
    /// Nobody.
    #[default]
    Nobody,
    /// Whoever administers the authority or has a duty for it.
    Administrators,
    /// Everybody.
    Everybody,
}

/// What becomes of those who sign in at the identity provider of an authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Whether whoever is not known gets an account; otherwise only those come in who have linked theirs.
    pub makes_accounts: bool,
    /// Whether nobody comes in through it without a way of authentication that the authority has named, so that it need not
    /// ask for a factor itself.
    pub demands_way: bool,
}

/// How the users of an authority have e-mail addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailSettings {
    /// Where the links in mails lead: a URL without a slash at its end.
    pub base_url: String,
    /// Whether an address is asked for at registration.
    pub at_registration: EmailAtRegistration,
    /// The domains whose addresses are taken; with none, all are.
    pub domains: Vec<String>,
    /// Whether it is hidden from who asks for a mail whether an address is known.
    pub hides_who_is_known: bool,
    /// Hosts to which a browser may be sent when an address is confirmed.
    pub next_hosts: Vec<String>,
}

/// Whether an e-mail address is asked for at registration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EmailAtRegistration {
    /// It cannot be given.
    Off,
    /// It can be given.
    #[default]
    Optional,
    /// Nobody registers without one.
    Required,
}

/// A document that whoever registers has to accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Its name for programs, such as `privacy_policy`.
    pub id: String,
    /// Which version of it.
    pub version: String,
    /// It in one or more languages.
    pub texts: Vec<TermsText>,
}

/// A document in one language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TermsText {
    /// The language, such as `ja`.
    pub language: String,
    /// What it is called.
    pub name: String,
    /// Where it is.
    pub url: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            registration: Registration::Closed,
            registration_tokens: Vec::new(),
            shared_secret: None,
            guests: false,
            min_password_chars: 8,
            account_page: None,
            access_token_lifetime: Duration::from_secs(60 * 60),
            mail: None,
            terms: Vec::new(),
            services: Vec::new(),
            upstream: None,
            passwords: true,
            factors: FactorsFor::Nobody,
        }
    }
}

/// Who may register over the client interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Registration {
    /// Nobody; accounts are made by an administrator.
    #[default]
    Closed,
    /// Whoever has a registration token.
    Token,
    /// Everybody.
    Open,
}

/// The cost of one argon2id password hash.
#[derive(Clone, Copy, Debug)]
pub struct PasswordCost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Hashes computed at a time; others wait.
    pub concurrent: usize,
    /// Hashes that may wait; one more is refused.
    pub waiting: usize,
}

impl Default for PasswordCost {
    /// OWASP's first choice for argon2id: 19 MiB, two passes, one lane.
    fn default() -> Self {
        Self { memory_kib: 19 * 1024, passes: 2, concurrent: 2, waiting: 1_000 }
    }
}

impl PasswordCost {
    /// The least argon2 allows: for tests, where the hash guards nothing.
    pub fn cheapest() -> Self {
        Self { memory_kib: 8, passes: 1, ..Self::default() }
    }
}

/// How often the password of one account may be got wrong from one address. The right one makes up for
/// all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuessLimit {
    /// So many wrong ones are let through at once; with 0, nobody logs in with a password.
    pub wrong_allowed: u32,
    /// After this time one more is.
    pub pause: Duration,
}

impl Default for GuessLimit {
    fn default() -> Self {
        Self { wrong_allowed: 10, pause: Duration::from_secs(10) }
    }
}
