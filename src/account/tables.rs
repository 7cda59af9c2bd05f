//! Tables of this crate and the rows in them.
//!
//! Users are keyed by their full id, so that all of a user's rows lie together and authorities never
//! mix. Tokens are keyed by their SHA-256: a stolen store opens no session.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use store::{Counter, Position, Stamped, Table, TableCheck, Tuning, row};

use crate::{
    browser_rows::BrowserRow,
    closed_rows::ClosedRow,
    provider_tables::{self, ProviderLogin},
};

/// SHA-256 of a token.
pub(crate) type TokenHash = [u8; 32];

/// A number of chance, kept of a trade.
pub(crate) type Seed = [u8; 32];

/// Users; key: user id.
pub(crate) static USERS: Table<String, UserRow> = Table::new(100, "account.users", Tuning::Point);
/// Devices; key: user id, device id.
pub(crate) static DEVICES: Table<(String, String), DeviceRow> =
    Table::new(101, "account.devices", Tuning::Small);
/// When and from where a device was last seen, written late; key: user id, device id.
pub(crate) static SEEN: Table<(String, String), SeenRow> = Table::new(102, "account.seen", Tuning::Small);
/// When a user last did something of which no device tells any more, in milliseconds since 1970; key: user id.
pub(crate) static LAST_USED: Table<String, u64> = Table::new(168, "account.last_used", Tuning::Small);
/// Devices signed in before their owner had a second factor ([`crate::unproved`]); key: user id, device id.
pub(crate) static UNPROVED: Table<(String, String), ()> = Table::new(169, "account.unproved", Tuning::Small);
/// Since when the provider of an authority is asked to demand a factor; key: authority; value: a position.
pub(crate) static DEMANDS: Table<String, u64> = Table::new(167, "account.demands", Tuning::Small);
/// Access tokens; key: hash of the token.
pub(crate) static ACCESS: Table<TokenHash, AccessRow> = Table::new(103, "account.access", Tuning::Point);
/// Refresh tokens; key: hash of the token.
pub(crate) static REFRESH: Table<TokenHash, RefreshRow> = Table::new(104, "account.refresh", Tuning::Point);
/// The tokens of a device; key: user id, device id, hash of the token.
pub(crate) static TOKENS_OF: Table<(String, String, TokenHash), TokenKindRow> =
    Table::new(105, "account.tokens_of", Tuning::Small);
/// Profile fields; key: user id, field; value: the field's JSON.
pub(crate) static PROFILES: Table<(String, String), Bytes> =
    Table::new(106, "account.profiles", Tuning::Small);
/// Global account data; key: user id, type; value: the content's JSON and when it was set.
pub(crate) static DATA: Table<(String, String), Stamped<Bytes>> =
    Table::new(107, "account.data", Tuning::Small);
/// Account data of a room; key: user id, room id, type; value: the content's JSON and when it was set.
pub(crate) static ROOM_DATA: Table<(String, String, String), Stamped<Bytes>> =
    Table::new(108, "account.room_data", Tuning::Small);
/// All account data of a user, global and of rooms, by when it was set: what `/sync` reads; key: user id, position.
pub(crate) static DATA_LOG: Table<(String, Position), DataLogRow> =
    Table::new(116, "account.data_log", Tuning::Append);
/// Threads to which a user subscribed, and those that he has left since; key: user id, room id, what the thread begins
/// with; value: what it is to him, and since when.
pub(crate) static THREAD_SUBSCRIPTIONS: Table<(String, String, String), Stamped<ThreadRow>> =
    Table::new(145, "account.thread_subscriptions", Tuning::Small);
/// The same by when it changed last: what clients are told; key: user id, position.
pub(crate) static THREAD_LOG: Table<(String, Position), ThreadLogRow> =
    Table::new(146, "account.thread_log", Tuning::Append);
/// Filters; key: user id, filter id (a hash of the filter, so equal filters are one); value: its JSON.
pub(crate) static FILTERS: Table<(String, String), Bytes> = Table::new(109, "account.filters", Tuning::Small);
/// Registration tokens; key: authority, token.
pub(crate) static REGISTRATION_TOKENS: Table<(String, String), RegistrationTokenRow> =
    Table::new(110, "account.registration_tokens", Tuning::Small);
/// OpenID tokens; key: hash of the token.
pub(crate) static OPENID: Table<TokenHash, OpenIdRow> = Table::new(111, "account.openid", Tuning::Small);

/// What remains to be done in a user's rooms; key: user id, number of the chore; value: a number that
/// is new each time.
pub(crate) static CHORES: Table<(String, u8), u64> = Table::new(112, "account.chores", Tuning::Queue);

/// How much account data a user keeps; key: user id, what is counted.
pub(crate) static DATA_USE: Table<(String, u8), Counter> = Table::new(113, "account.data_use", Tuning::Small);

/// Sessions of user-interactive authentication; key: the user, or the authority that somebody registers
/// at, and the hash of the session's id.
pub(crate) static INTERACTIVE: Table<(String, TokenHash), InteractiveRow> =
    Table::new(114, "account.interactive", Tuning::Small);

/// How often somebody has logged in to an account, or something else has come of which it has several (addresses, identities),
/// so that who reads all of it notices what came meanwhile; key: user id.
pub(crate) static LOG_INS: Table<String, Counter> = Table::new(115, "account.log_ins", Tuning::Small);
/// The device of a user with which nobody is signed in, which keeps keys for his next one; key: user id; value: its id.
pub(crate) static DEHYDRATED: Table<String, String> = Table::new(138, "account.dehydrated", Tuning::Small);

/// What accounts are kept from, where that is anything; key: user id.
pub(crate) static MODERATION: Table<String, Moderation> =
    Table::new(117, "account.moderation", Tuning::Small);

/// Who writes server notices, and in which room each user is told them; key: user id.
pub(crate) static NOTICES: Table<String, NoticesRow> = Table::new(140, "account.notices", Tuning::Point);
/// Sessions of browsers at our own pages; key: hash of the cookie's secret.
pub(crate) static BROWSERS: Table<TokenHash, BrowserRow> = Table::new(118, "account.browsers", Tuning::Point);
/// The browser sessions of a user; key: user id, hash of the secret; value: when it ends, in milliseconds since 1970.
pub(crate) static BROWSERS_OF: Table<(String, TokenHash), u64> =
    Table::new(119, "account.browsers_of", Tuning::Small);

/// Sessions that users gave to clients by OAuth 2.0; key: hash of the grant's name.
pub(crate) static GRANTS: Table<TokenHash, GrantRow> = Table::new(136, "account.grants", Tuning::Point);

/// The same by client; key: authority, the client's id, hash of the grant's name.
pub(crate) static GRANTS_OF: Table<(String, String, TokenHash), ()> =
    Table::new(141, "account.grants_of", Tuning::Small);

/// Sessions that came by a log-in and are refreshed, by the names that their tokens have in common; key: hash of the name.
pub(crate) static LOG_IN_NAMES: Table<TokenHash, LogInNameRow> =
    Table::new(144, "account.log_in_names", Tuning::Point);

/// What refresh tokens are marked with, so that those that were given out are told from others; key: nothing.
pub(crate) static TOKEN_KEY: Table<String, Bytes> = Table::new(155, "account.token_key", Tuning::Point);
/// Devices that an application service made, or on which it signed in, and not their user; key: user id, device id; value: the
/// service's id, empty where the device is from before that was noted.
pub(crate) static SERVICE_DEVICES: Table<(String, String), String> =
    Table::new(156, "account.service_devices", Tuning::Small);

/// Users whom an application service registered, and nobody else; key: user id; value: the service's id.
pub(crate) static SERVICE_USERS: Table<String, String> =
    Table::new(149, "account.service_users", Tuning::Point);
/// Authorities whose audit log was looked through for those who were registered before that was noted; key: authority.
pub(crate) static SERVICE_USERS_FOUND: Table<String, ()> =
    Table::new(147, "account.service_users_found", Tuning::Small);

/// Users who have agreed on our pages that their cross-signing keys are replaced; key: user id; value: when, in
/// milliseconds since 1970.
pub(crate) static RESETS: Table<String, u64> = Table::new(137, "account.resets", Tuning::Small);
/// Whose account somebody has who is known at an identity provider; key: authority, issuer, what that calls him.
pub(crate) static IDENTITIES: Table<(String, String, String), IdentityRow> =
    Table::new(142, "account.identities", Tuning::Point);
/// The same by user; key: user id, issuer, what that calls him.
pub(crate) static IDENTITIES_OF: Table<(String, String, String), ()> =
    Table::new(143, "account.identities_of", Tuning::Small);
/// Guests; key: authority, user id.
pub(crate) static GUESTS: Table<(String, String), GuestRow> =
    Table::new(148, "account.guests", Tuning::Small);

/// The key of a guest's row.
pub(crate) fn guest_key(user: &ruma::UserId) -> (&str, &str) {
    (user.server_name().as_str(), user.as_str())
}
/// Tokens that let somebody in once; key: hash of the token.
pub(crate) static LOGIN_TOKENS: Table<TokenHash, LoginTokenRow> =
    Table::new(130, "account.login_tokens", Tuning::Small);

/// E-mail addresses of users; key: user id, address.
pub(crate) static EMAILS: Table<(String, String), EmailRow> =
    Table::new(131, "account.emails", Tuning::Small);
/// Whose an e-mail address is; key: authority, address; value: user id.
pub(crate) static EMAIL_OWNERS: Table<(String, String), String> =
    Table::new(132, "account.email_owners", Tuning::Point);
/// Sessions in which somebody proves that the mails of an address are read; key: authority, the session's id.
pub(crate) static VALIDATIONS: Table<(String, String), ValidationRow> =
    Table::new(133, "account.validations", Tuning::Small);

/// Whose profiles the organisation decides; key: authority, user id.
pub(crate) static GIVEN: Table<(String, String), GivenRow> = Table::new(159, "account.given", Tuning::Small);

/// The key of the row of a user's profile.
pub(crate) fn given_key(user: &ruma::UserId) -> (&str, &str) {
    guest_key(user)
}

/// What closed accounts are opened again with, for a week ([`crate::reopening`]); key: user id.
pub(crate) static CLOSED: Table<String, ClosedRow> = Table::new(166, "account.closed", Tuning::Small);

/// What users have reported; key: authority, position.
pub(crate) static REPORTS: Table<(String, Position), ReportRow> =
    Table::new(158, "account.reports", Tuning::Append);

/// A profile that the organisation decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GivenRow {
    /// How the user is called, without what stands beside it.
    pub(crate) called: String,
}
row!(GivenRow, schema = 1);

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserRow {
    /// Password hash as a PHC string; without one nobody can log in with a password.
    pub(crate) password: Option<String>,
    /// When the account was made, in milliseconds since 1970.
    pub(crate) created_ms: u64,
    /// Whether the user administers the server.
    pub(crate) admin: bool,
    /// Whether the account is closed for good; its name stays taken.
    pub(crate) deactivated: bool,
}
row!(UserRow, schema = 1);

/// What an account is kept from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moderation {
    /// Everything but signing out.
    pub locked: bool,
    /// Saying anything, coming in anywhere, and changing how it appears.
    pub suspended: bool,
    /// The lock is that of an identity system, which may take it away; no administrator has said the same since.
    pub by_source: bool,
}
row!(Moderation, schema = 2, older = { 1 => ModerationOfOld });

/// What an account was kept from before identity systems locked any.
#[derive(Debug, Serialize, Deserialize)]
struct ModerationOfOld {
    locked: bool,
    suspended: bool,
}

impl From<ModerationOfOld> for Moderation {
    fn from(old: ModerationOfOld) -> Self {
        Self { locked: old.locked, suspended: old.suspended, by_source: false }
    }
}

/// Where somebody is told what his authority has to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NoticesRow {
    /// The room; none is the account that writes.
    pub(crate) room: Option<String>,
}
row!(NoticesRow, schema = 1);

/// A device of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeviceRow {
    /// Name for people.
    pub(crate) display_name: Option<String>,
    /// When it first logged in, in milliseconds since 1970.
    pub(crate) created_ms: u64,
}
row!(DeviceRow, schema = 1);

/// The last use of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SeenRow {
    /// When, in milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// Address it came from.
    pub(crate) ip: Option<String>,
}
row!(SeenRow, schema = 1);

/// An access token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccessRow {
    /// Whose it is.
    pub(crate) user: String,
    /// The device it speaks for.
    pub(crate) device: String,
    /// When it runs out, in milliseconds since 1970; `None` is never.
    pub(crate) expires_ms: Option<u64>,
    /// The pair of tokens that ends when this token is first used: access, then refresh.
    pub(crate) replaces: Option<Replaced>,
}
row!(AccessRow, schema = 1);

/// A refresh token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefreshRow {
    /// Whose it is.
    pub(crate) user: String,
    /// The device it renews.
    pub(crate) device: String,
    /// The access token that was given out with it.
    pub(crate) access: TokenHash,
    /// The pair that ends when this token is first used.
    pub(crate) replaces: Option<Replaced>,
    /// The pair that this token was traded for, as long as that one is unused.
    pub(crate) traded_for: Option<TradedRow>,
}
row!(RefreshRow, schema = 2, older = { 1 => RefreshRowV1 });

/// What a refresh token was traded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TradedRow {
    /// The access token.
    pub(crate) access: TokenHash,
    /// The refresh token.
    pub(crate) refresh: TokenHash,
    /// From which both follow, together with the old token; nothing of trades before there was this.
    pub(crate) seed: Option<Seed>,
    /// How often another access token was given out since.
    pub(crate) round: u32,
}

/// A refresh token whose successors were kept as hashes alone.
#[derive(Deserialize)]
pub(crate) struct RefreshRowV1 {
    user: String,
    device: String,
    access: TokenHash,
    replaces: Option<Replaced>,
    traded_for: Option<(TokenHash, TokenHash)>,
}

impl From<RefreshRowV1> for RefreshRow {
    fn from(old: RefreshRowV1) -> Self {
        let RefreshRowV1 { user, device, access, replaces, traded_for } = old;
        let traded_for =
            traded_for.map(|(access, refresh)| TradedRow { access, refresh, seed: None, round: 0 });
        Self { user, device, access, replaces, traded_for }
    }
}

/// The tokens that a new pair replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replaced {
    /// The old access token.
    pub(crate) access: TokenHash,
    /// The old refresh token.
    pub(crate) refresh: TokenHash,
}

/// What kind of token a row of [`TOKENS_OF`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum TokenKindRow {
    /// It is in [`ACCESS`].
    Access,
    /// It is in [`REFRESH`].
    Refresh,
    /// It is none, but the name of a grant, in [`GRANTS`].
    Grant,
    /// Nor is this one: the name of a log-in, in [`LOG_IN_NAMES`].
    LogIn,
}
row!(TokenKindRow, schema = 1);

/// Which session a name is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogInNameRow {
    /// Whose it is.
    pub(crate) user: String,
    /// The device that it is of.
    pub(crate) device: String,
}
row!(LogInNameRow, schema = 1);

/// A session that a user gave to a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GrantRow {
    /// Whose it is.
    pub(crate) user: String,
    /// The device that it is of.
    pub(crate) device: String,
    /// The client's id.
    pub(crate) client: String,
    /// What the client called itself.
    pub(crate) client_name: Option<String>,
    /// The page that tells of the client.
    pub(crate) client_uri: String,
    /// Whether it administers the authority, where its user does.
    pub(crate) administers: bool,
}
row!(GrantRow, schema = 2, older = { 1 => GrantRowV1 });

/// A session that a user gave to a client before there was anything to administer with it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct GrantRowV1 {
    user: String,
    device: String,
    client: String,
    client_name: Option<String>,
    client_uri: String,
}

impl From<GrantRowV1> for GrantRow {
    fn from(GrantRowV1 { user, device, client, client_name, client_uri }: GrantRowV1) -> Self {
        Self { user, device, client, client_name, client_uri, administers: false }
    }
}

/// Whose an identity is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdentityRow {
    /// Whose it is.
    pub(crate) user: String,
    /// Since when, in milliseconds since 1970.
    pub(crate) linked_ms: u64,
}
row!(IdentityRow, schema = 1);

/// What a user tells of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReportRow {
    /// Who tells it.
    pub(crate) user: String,
    /// The event's room.
    pub(crate) room: String,
    /// The event.
    pub(crate) event: String,
    /// Who sent it.
    pub(crate) sender: String,
    /// Why, in the user's words.
    pub(crate) reason: Option<String>,
    /// When, in milliseconds since 1970.
    pub(crate) at_ms: u64,
}
row!(ReportRow, schema = 1);

/// A registration token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RegistrationTokenRow {
    /// How many accounts it may make; `None` is any number.
    pub(crate) uses_allowed: Option<u32>,
    /// How many accounts it has made.
    pub(crate) used: u32,
    /// When it runs out, in milliseconds since 1970; `None` is never.
    pub(crate) expires_ms: Option<u64>,
}
row!(RegistrationTokenRow, schema = 1);

/// Which account data was set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DataLogRow {
    /// The room, or `None` for global data.
    pub(crate) room: Option<String>,
    /// The type.
    pub(crate) kind: String,
}
row!(DataLogRow, schema = 1);

/// What a thread is to a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ThreadRow {
    /// He has left it.
    Left,
    /// He chose to hear of it.
    Manual,
    /// A client of his chose so.
    Automatic,
}
row!(ThreadRow, schema = 1);

/// Which thread's row changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ThreadLogRow {
    /// The room.
    pub(crate) room: String,
    /// What the thread begins with.
    pub(crate) thread: String,
}
row!(ThreadLogRow, schema = 1);

/// A token that proves a user's identity to a third party.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OpenIdRow {
    /// Who asked for it.
    pub(crate) user: String,
    /// When it runs out, in milliseconds since 1970.
    pub(crate) expires_ms: u64,
}
row!(OpenIdRow, schema = 1);

/// A token that lets somebody in once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LoginTokenRow {
    /// Whose it is.
    pub(crate) user: String,
    /// When it runs out, in milliseconds since 1970.
    pub(crate) expires_ms: u64,
    /// SHA-256 of the user's row: the token is worth nothing once that has changed.
    pub(crate) stamp: [u8; 32],
    /// The login at a provider that it came of, if it came of one.
    pub(crate) login: Option<ProviderLogin>,
}
row!(LoginTokenRow, schema = 2, older = { 1 => LoginTokenRowV1 });

/// A login token from before it was known of which login at a provider it came.
#[derive(Deserialize)]
pub(crate) struct LoginTokenRowV1 {
    user: String,
    expires_ms: u64,
    stamp: [u8; 32],
}

impl From<LoginTokenRowV1> for LoginTokenRow {
    fn from(LoginTokenRowV1 { user, expires_ms, stamp }: LoginTokenRowV1) -> Self {
        Self { user, expires_ms, stamp, login: None }
    }
}

/// A session of user-interactive authentication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InteractiveRow {
    /// What is to be done.
    pub(crate) operation: String,
    /// With which parameters, sealed with the session's id; empty when none were said.
    pub(crate) request: Vec<u8>,
    /// When it was begun, in milliseconds since 1970.
    pub(crate) began_ms: u64,
    /// The account that it has made.
    pub(crate) registered: Option<RegisteredRow>,
    /// What was shown in it so far.
    pub(crate) done: Vec<DoneRow>,
}
row!(InteractiveRow, schema = 2, older = { 1 => InteractiveRowV1 });

/// A session of user-interactive authentication, of which no steps were kept.
#[derive(Deserialize)]
pub(crate) struct InteractiveRowV1 {
    operation: String,
    request: Vec<u8>,
    began_ms: u64,
    registered: Option<RegisteredRow>,
}

impl From<InteractiveRowV1> for InteractiveRow {
    fn from(old: InteractiveRowV1) -> Self {
        let InteractiveRowV1 { operation, request, began_ms, registered } = old;
        Self { operation, request, began_ms, registered, done: Vec::new() }
    }
}

/// What was shown in a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum DoneRow {
    /// Nothing, which was what was asked for.
    Dummy,
    /// The password, on a page, for the account of this stamp.
    Password {
        /// SHA-256 of the user's row.
        stamp: [u8; 32],
    },
    /// A registration token.
    RegistrationToken {
        /// The token.
        token: String,
    },
    /// That the terms are accepted.
    Terms,
    /// That an address's mails are read.
    Email {
        /// The session in which that was proved.
        sid: String,
    },
}

impl DoneRow {
    /// The stamp of the account whose password was shown.
    pub(crate) fn stamp(&self) -> Option<[u8; 32]> {
        match self {
            Self::Password { stamp } => Some(*stamp),
            _ => None,
        }
    }
}

/// An e-mail address of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EmailRow {
    /// When it was proved, in milliseconds since 1970.
    pub(crate) validated_ms: u64,
    /// Since when it is the user's.
    pub(crate) added_ms: u64,
}
row!(EmailRow, schema = 1);

impl EmailRow {
    /// Whether who has it has shown himself that he reads its mails: that was before it became his. What others told of was both
    /// at one moment.
    pub(crate) fn is_shown_by_owner(&self) -> bool {
        self.validated_ms < self.added_ms
    }
}

/// A session in which somebody proves that the mails of an address are read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ValidationRow {
    /// What for; see `EmailPurpose`.
    pub(crate) purpose: u8,
    /// The address.
    pub(crate) email: String,
    /// SHA-256 of the client's secret.
    pub(crate) secret: [u8; 32],
    /// SHA-256 of the word that the mail tells; zeros where none does.
    pub(crate) word: [u8; 32],
    /// The client's number of the attempt that sent the mail.
    pub(crate) attempt: u64,
    /// When that was, in milliseconds since 1970.
    pub(crate) began_ms: u64,
    /// When the word was brought.
    pub(crate) validated_ms: Option<u64>,
    /// How many wrong ones were.
    pub(crate) wrong: u8,
    /// Where a browser is to go in the end.
    pub(crate) next_link: Option<String>,
}
row!(ValidationRow, schema = 1);

/// An account that a session has made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RegisteredRow {
    /// The user.
    pub(crate) user: String,
    /// The device, unless log-in was inhibited.
    pub(crate) device: Option<String>,
    /// SHA-256 of the user's row and the device's, and of whether the parameters were said: the session is worth
    /// nothing once that has changed.
    pub(crate) stamp: [u8; 32],
}

/// The checks of all tables of this crate, for `verify`.
pub fn checks() -> Vec<TableCheck> {
    let mut all = vec![
        USERS.check(),
        REPORTS.check(),
        MODERATION.check(),
        NOTICES.check(),
        DEVICES.check(),
        SEEN.check(),
        LAST_USED.check(),
        CLOSED.check(),
        DEMANDS.check(),
        UNPROVED.check(),
        ACCESS.check(),
        REFRESH.check(),
        TOKENS_OF.check(),
        PROFILES.check(),
        DATA.check(),
        ROOM_DATA.check(),
        DATA_LOG.check(),
        THREAD_SUBSCRIPTIONS.check(),
        THREAD_LOG.check(),
        FILTERS.check(),
        REGISTRATION_TOKENS.check(),
        OPENID.check(),
        CHORES.check(),
        DATA_USE.check(),
        INTERACTIVE.check(),
        LOG_INS.check(),
        DEHYDRATED.check(),
        GRANTS.check(),
        GRANTS_OF.check(),
        LOG_IN_NAMES.check(),
        TOKEN_KEY.check(),
        SERVICE_DEVICES.check(),
        SERVICE_USERS.check(),
        SERVICE_USERS_FOUND.check(),
        IDENTITIES.check(),
        IDENTITIES_OF.check(),
        RESETS.check(),
        GUESTS.check(),
        GIVEN.check(),
        BROWSERS.check(),
        BROWSERS_OF.check(),
        LOGIN_TOKENS.check(),
        EMAILS.check(),
        EMAIL_OWNERS.check(),
        VALIDATIONS.check(),
    ];
    all.extend(provider_tables::checks());
    all
}

/// A time span as rows have it, in ms.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Row of [`GUESTS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GuestRow {
    /// From where it was made.
    pub(crate) address: Option<String>,
    /// When it ends, in milliseconds since 1970.
    pub(crate) until_ms: u64,
}
row!(GuestRow, schema = 1);

#[cfg(test)]
mod tests {
    use store::Value;

    use super::*;

    /// What is on disk must stay readable: a change here needs a new schema number.
    #[test]
    fn rows_have_the_bytes_that_are_on_disk() {
        let user = UserRow { password: Some("$x".into()), created_ms: 300, admin: true, deactivated: false };
        assert_eq!(&user.encode()[..], b"\x01\x01\x02$x\xac\x02\x01\x00");
        let notices = NoticesRow { room: Some("!a:b".into()) };
        assert_eq!(&notices.encode()[..], b"\x01\x01\x04!a:b");
        let report = ReportRow {
            user: "@a:b".into(),
            room: "!a:b".into(),
            event: "$a".into(),
            sender: "@c:b".into(),
            reason: None,
            at_ms: 3,
        };
        assert_eq!(&report.encode()[..], b"\x01\x04@a:b\x04!a:b\x02$a\x04@c:b\x00\x03");
        let device = DeviceRow { display_name: None, created_ms: 1 };
        assert_eq!(&device.encode()[..], b"\x01\x00\x01");
        let seen = SeenRow { at_ms: 2, ip: Some("::1".into()) };
        assert_eq!(&seen.encode()[..], b"\x01\x02\x01\x03::1");
        let replaced = Replaced { access: [7; 32], refresh: [8; 32] };
        let access = AccessRow {
            user: "@a:b".into(),
            device: "D".into(),
            expires_ms: Some(3),
            replaces: Some(replaced),
        };
        let bytes = access.encode();
        assert_eq!((&bytes[..12], bytes.len()), (&b"\x01\x04@a:b\x01D\x01\x03\x01\x07"[..], 75));
        let refresh = RefreshRow {
            user: "@a:b".into(),
            device: "D".into(),
            access: [9; 32],
            replaces: None,
            traded_for: None,
        };
        assert_eq!((refresh.encode().len(), refresh.encode()[0]), (42, 2));
        let traded = TradedRow { access: [1; 32], refresh: [2; 32], seed: Some([3; 32]), round: 4 };
        let after = RefreshRow { traded_for: Some(traded), ..refresh.clone() };
        let bytes = after.encode();
        assert_eq!((bytes.len(), bytes[41], bytes[106], bytes[139]), (140, 1, 1, 4));
        // As it was kept before.
        let before = [&b"\x01\x04@a:b\x01D"[..], &[9; 32], b"\x00\x01", &[1; 32], &[2; 32]].concat();
        let traded = TradedRow { seed: None, round: 0, ..traded };
        let known = RefreshRow { traded_for: Some(traded), ..refresh.clone() };
        assert_eq!(RefreshRow::decode(&before.into()).ok(), Some(known));
        assert_eq!(&TokenKindRow::Refresh.encode()[..], b"\x01\x01");
        let token = RegistrationTokenRow { uses_allowed: Some(1), used: 0, expires_ms: None };
        assert_eq!(&token.encode()[..], b"\x01\x01\x01\x00\x00");
        let openid = OpenIdRow { user: "@a:b".into(), expires_ms: 4 };
        assert_eq!(&openid.encode()[..], b"\x01\x04@a:b\x04");
        assert_eq!(&ThreadRow::Left.encode()[..], b"\x01\x00");
        assert_eq!(&ThreadRow::Manual.encode()[..], b"\x01\x01");
        assert_eq!(&ThreadRow::Automatic.encode()[..], b"\x01\x02");
        let listed = ThreadLogRow { room: "!a:b".into(), thread: "$c".into() };
        assert_eq!(&listed.encode()[..], b"\x01\x04!a:b\x02$c");
        let registered = RegisteredRow { user: "@a:b".into(), device: None, stamp: [7; 32] };
        let session = InteractiveRow {
            operation: "r".into(),
            request: vec![9],
            began_ms: 5,
            registered: Some(registered.clone()),
            done: vec![DoneRow::Dummy, DoneRow::Email { sid: "s".into() }],
        };
        let bytes = session.encode();
        assert_eq!((&bytes[..13], bytes.len()), (&b"\x02\x01r\x01\x09\x05\x01\x04@a:b\x00"[..], 50));
        assert_eq!(&bytes[45..], b"\x02\x00\x04\x01s");
        let old = [&b"\x01"[..], &bytes[1..45]].concat();
        let old = InteractiveRow::decode(&Bytes::from(old)).ok();
        assert_eq!(old.map(|old| (old.registered, old.done)), Some((Some(registered), Vec::new())));
        let email = EmailRow { validated_ms: 1, added_ms: 2 };
        assert_eq!(&email.encode()[..], b"\x01\x01\x02");
        let validation = ValidationRow {
            purpose: 1,
            email: "a@b".into(),
            secret: [2; 32],
            word: [3; 32],
            attempt: 4,
            began_ms: 5,
            validated_ms: None,
            wrong: 6,
            next_link: None,
        };
        let bytes = validation.encode();
        assert_eq!((&bytes[..7], &bytes[70..]), (&b"\x01\x01\x03a@b\x02"[..], &b"\x04\x05\x00\x06\x00"[..]));
        let login = LoginTokenRow { user: "@a:b".into(), expires_ms: 3, stamp: [5; 32], login: None };
        let bytes = login.encode();
        assert_eq!((&bytes[..8], bytes.len(), bytes[39]), (&b"\x02\x04@a:b\x03\x05"[..], 40, 0));
        let old = Bytes::from([&b"\x01"[..], &bytes[1..39]].concat());
        assert_eq!(LoginTokenRow::decode(&old).ok(), Some(login));
        assert_eq!(&TokenKindRow::Grant.encode()[..], b"\x01\x02");
        assert_eq!(&TokenKindRow::LogIn.encode()[..], b"\x01\x03");
        let name = LogInNameRow { user: "@a:b".into(), device: "D".into() };
        assert_eq!(&name.encode()[..], b"\x01\x04@a:b\x01D");
        let grant = GrantRow {
            user: "@a:b".into(),
            device: "D".into(),
            client: "c".into(),
            client_name: None,
            client_uri: "u".into(),
            administers: false,
        };
        let old = Bytes::from_static(b"\x01\x04@a:b\x01D\x01c\x00\x01u");
        assert_eq!(GrantRow::decode(&old).ok(), Some(grant.clone()));
        assert_eq!(&grant.encode()[..], b"\x02\x04@a:b\x01D\x01c\x00\x01u\x00");
        let identity = IdentityRow { user: "@a:b".into(), linked_ms: 1 };
        assert_eq!(&identity.encode()[..], b"\x01\x04@a:b\x01");
        let browser =
            BrowserRow { user: "@a:b".into(), began_ms: 1, ends_ms: 2, stamp: [6; 32], strong: true };
        let bytes = browser.encode();
        assert_eq!((&bytes[..9], bytes.len()), (&b"\x02\x04@a:b\x01\x02\x06"[..], 41));
        let old = [&b"\x01"[..], &bytes[1..40]].concat();
        let weak = BrowserRow { strong: false, ..browser };
        assert_eq!(BrowserRow::decode(&old.into()).ok(), Some(weak));
        let guest = GuestRow { address: Some("::1".into()), until_ms: 5 };
        assert_eq!(&guest.encode()[..], b"\x01\x01\x03::1\x05");
        assert_eq!(&GivenRow { called: "a".into() }.encode()[..], b"\x01\x01a");
        assert_eq!(AccessRow::decode(&access.encode()).ok(), Some(access));
        assert_eq!(RefreshRow::decode(&refresh.encode()).ok(), Some(refresh));
    }
}
