//! Tables of this crate and the rows in them. What opens something is kept as a hash.

use account::ProviderLogin;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use store::{Counter, Table, TableCheck, Tuning, row};

use crate::metadata::Client;

/// SHA-256 of a secret.
pub(crate) type Hash = [u8; 32];

/// Clients; key: authority, client id.
pub(crate) static CLIENTS: Table<(String, String), ClientRow> =
    Table::new(270, "oauth.clients", Tuning::Small);
/// Clients by when they last registered, so that the oldest go; key: authority, ms since 1970, client id.
pub(crate) static CLIENTS_BY_AGE: Table<(String, u64, String), ()> =
    Table::new(271, "oauth.clients_by_age", Tuning::Small);
/// How many of a kind there are; key: the authority, the kind.
pub(crate) static COUNTS: Table<(String, u8), Counter> = Table::new(272, "oauth.counts", Tuning::Small);
/// Codes that clients trade for tokens; key: hash of the code.
pub(crate) static CODES: Table<Hash, CodeRow> = Table::new(273, "oauth.codes", Tuning::Point);
/// Requests of devices for somebody's consent; key: hash of the device code.
pub(crate) static DEVICE_CODES: Table<Hash, DeviceCodeRow> =
    Table::new(274, "oauth.device_codes", Tuning::Point);
/// The same by what users type; key: authority, user code.
pub(crate) static USER_CODES: Table<(String, String), Bytes> =
    Table::new(275, "oauth.user_codes", Tuning::Small);
/// Letterboxes; key: hash of the id.
pub(crate) static RENDEZVOUS: Table<Hash, RendezvousRow> = Table::new(276, "oauth.rendezvous", Tuning::Point);
/// What was there for minutes before each authority had its own; key: its kind, ms since 1970, its key.
pub(crate) static PASSING_OF_ALL: Table<(u8, u64, Hash), ()> =
    Table::new(277, "oauth.passing", Tuning::Small);
/// What is there for minutes, by when it was made; key: authority, its kind, ms since 1970, its key.
pub(crate) static PASSING: Table<(String, u8, u64, Hash), ()> =
    Table::new(278, "oauth.passing_of", Tuning::Small);

/// A client that has registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClientRow {
    /// What it says of itself.
    pub(crate) client: Client,
    /// When it last registered, in milliseconds since 1970; exact to a day.
    pub(crate) seen_ms: u64,
}
row!(ClientRow, schema = 1);

/// What a user has agreed to, until the client fetches it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CodeRow {
    pub(crate) authority: String,
    pub(crate) client: String,
    pub(crate) redirect_uri: String,
    pub(crate) scope: String,
    /// What the client's secret hashes to.
    pub(crate) challenge: String,
    pub(crate) user: String,
    /// The account as it was when its user agreed.
    pub(crate) stamp: [u8; 32],
    pub(crate) made_ms: u64,
    /// The grant that it was traded for.
    pub(crate) spent: Option<Hash>,
    /// The login at a provider in which its user agreed, if it was in one.
    pub(crate) login: Option<ProviderLogin>,
}
row!(CodeRow, schema = 2, older = { 1 => CodeRowV1 });

/// A code from before logins at providers were known by name.
#[derive(Deserialize)]
pub(crate) struct CodeRowV1 {
    authority: String,
    client: String,
    redirect_uri: String,
    scope: String,
    challenge: String,
    user: String,
    stamp: [u8; 32],
    made_ms: u64,
    spent: Option<Hash>,
}

impl From<CodeRowV1> for CodeRow {
    fn from(old: CodeRowV1) -> Self {
        let CodeRowV1 { authority, client, redirect_uri, scope, challenge, user, stamp, made_ms, spent } =
            old;
        Self { authority, client, redirect_uri, scope, challenge, user, stamp, made_ms, spent, login: None }
    }
}

/// What a user decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Decision {
    /// Nothing yet.
    Pending,
    /// This user agreed, whose account was so.
    Approved(String, [u8; 32]),
    /// Somebody refused.
    Denied,
    /// It was traded for this grant.
    Spent(Hash),
}

/// A request of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeviceCodeRow {
    pub(crate) authority: String,
    pub(crate) client: String,
    pub(crate) user_code: String,
    pub(crate) scope: String,
    /// Where the device asked from, for people.
    pub(crate) from: Option<String>,
    pub(crate) made_ms: u64,
    pub(crate) decision: Decision,
    /// The login at a provider in which its user agreed, if it was in one.
    pub(crate) login: Option<ProviderLogin>,
}
row!(DeviceCodeRow, schema = 2, older = { 1 => DeviceCodeRowV1 });

/// A request of a device from before logins at providers were known by name.
#[derive(Deserialize)]
pub(crate) struct DeviceCodeRowV1 {
    authority: String,
    client: String,
    user_code: String,
    scope: String,
    from: Option<String>,
    made_ms: u64,
    decision: Decision,
}

impl From<DeviceCodeRowV1> for DeviceCodeRow {
    fn from(old: DeviceCodeRowV1) -> Self {
        let DeviceCodeRowV1 { authority, client, user_code, scope, from, made_ms, decision } = old;
        Self { authority, client, user_code, scope, from, made_ms, decision, login: None }
    }
}

/// A letterbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RendezvousRow {
    pub(crate) authority: String,
    pub(crate) letter: Bytes,
    pub(crate) content_type: String,
    /// Another one for each letter.
    pub(crate) tag: String,
    pub(crate) made_ms: u64,
    pub(crate) written_ms: u64,
}
row!(RendezvousRow, schema = 1);

/// The checks of all tables of this crate, for `verify`.
pub fn checks() -> Vec<TableCheck> {
    vec![
        CLIENTS.check(),
        CLIENTS_BY_AGE.check(),
        COUNTS.check(),
        CODES.check(),
        DEVICE_CODES.check(),
        USER_CODES.check(),
        RENDEZVOUS.check(),
        PASSING_OF_ALL.check(),
        PASSING.check(),
    ]
}

#[cfg(test)]
mod tests {
    use store::{Position, Value};

    use super::*;

    /// What is on disk must stay readable: a change here needs a new schema number.
    #[test]
    fn rows_that_came_of_a_login_have_the_bytes_that_are_on_disk() {
        let code = CodeRow {
            authority: "a".into(),
            client: "c".into(),
            redirect_uri: "r".into(),
            scope: "s".into(),
            challenge: "h".into(),
            user: "u".into(),
            stamp: [7; 32],
            made_ms: 5,
            spent: None,
            login: None,
        };
        let bytes = code.encode();
        assert_eq!((&bytes[..5], &bytes[45..], bytes.len()), (&b"\x02\x01a\x01c"[..], &b"\x05\0\0"[..], 48));
        let before = [&b"\x01"[..], &bytes[1..47]].concat();
        assert_eq!(CodeRow::decode(&before.into()).ok(), Some(code.clone()));
        let login = Some(ProviderLogin::new("i", "s", Some("d"), Position(3)));
        let of_login = CodeRow { login, ..code };
        assert_eq!(&of_login.encode()[47..], b"\x01\x01i\x01s\x01\x01d\x03");
        assert_eq!(CodeRow::decode(&of_login.encode()).ok(), Some(of_login));

        let device = DeviceCodeRow {
            authority: "a".into(),
            client: "c".into(),
            user_code: "w".into(),
            scope: "s".into(),
            from: None,
            made_ms: 5,
            decision: Decision::Pending,
            login: None,
        };
        let bytes = device.encode();
        assert_eq!(&bytes[..], b"\x02\x01a\x01c\x01w\x01s\0\x05\0\0");
        let before = [&b"\x01"[..], &bytes[1..bytes.len() - 1]].concat();
        assert_eq!(DeviceCodeRow::decode(&before.into()).ok(), Some(device));
    }
}
