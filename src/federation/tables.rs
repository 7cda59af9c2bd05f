//! The tables of federation, ids 150–169, and their rows.

use bytes::Bytes;
use room::{EventSerial, RoomSerial};
use serde::{Deserialize, Serialize};
use store::{Position, Table, TableCheck, Tuning};

/// Keys of other servers, kept forever: old events must stay verifiable. Key: server name, key id.
pub static KEYS: Table<(String, String), KeyRow> = Table::new(150, "federation.keys", Tuning::Point);

/// The last key document of each server, as it was signed. Key: server name.
pub static KEY_DOCUMENTS: Table<String, KeyDocumentRow> =
    Table::new(151, "federation.key_documents", Tuning::Point);

/// Rooms in which a peer that is behind lacks events or receipts of ours; key: authority of ours, peer, room id.
/// The value is a position before the first that it lacks. A peer that keeps up has no rows.
pub static OWED: Table<(String, String, String), Position> =
    Table::new(152, "federation.owed", Tuning::Queue);

/// Servers that we have exchanged requests with; key: server name. The value is the time of a contact, at
/// most a day older than the last one, in ms since 1970.
pub static PEERS: Table<String, u64> = Table::new(153, "federation.peers", Tuning::Small);

/// What was sent to a peer last, while that is after the sender's cursor; key: authority of ours, peer. Written before
/// it is sent, where the data are shared, so that whoever goes on after a crash sends the same transaction again.
pub static LAST_SENT: Table<(String, String), LastSentRow> =
    Table::new(154, "federation.last_sent", Tuning::Queue);

/// Up to where other servers were told whose devices changed, but for those of [`LISTS_OWED`].
pub static LISTS_TOLD: Table<(), Position> = Table::new(160, "federation.lists_told", Tuning::Small);

/// Peers that have not taken changes of devices; key: peer. They were told all up to this.
pub static LISTS_OWED: Table<String, Position> = Table::new(161, "federation.lists_owed", Tuning::Queue);

/// Row of [`LAST_SENT`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastSentRow {
    /// All events up to here that the peer is to get it has, or it is sent them now, or they are in [`OWED`].
    pub through: Position,
    /// The transaction, until the peer has answered.
    pub under_way: Option<SentRow>,
}
store::row!(LastSentRow, schema = 1);

/// Of what a transaction is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentRow {
    /// Its `origin_server_ts`.
    pub ts: u64,
    /// If it is part of what the peer lacked of one room: that room's id.
    pub room: Option<String>,
    /// Its events, each with its position in the log.
    pub pdus: Vec<(RoomSerial, EventSerial, Position)>,
    /// Its ephemeral units in canonical JSON, each with its position in the log.
    pub edus: Vec<(Position, String)>,
}

/// Row of [`KEYS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// The Ed25519 public key.
    pub public_key: [u8; 32],
    /// Until when it may be believed, in ms since 1970: what its server said, but no more than seven
    /// days after it was fetched last, and no longer than its server has named it.
    pub valid_until: u64,
    /// When its server gave it up, if it did, in ms since 1970.
    pub expired: Option<u64>,
}
store::row!(KeyRow, schema = 1);

/// Row of [`KEY_DOCUMENTS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyDocumentRow {
    /// The document in canonical JSON, with its signatures.
    pub document: Bytes,
    /// When it was fetched, in ms since 1970.
    pub fetched: u64,
    /// Its `valid_until_ts`, in ms since 1970.
    pub valid_until: u64,
}
store::row!(KeyDocumentRow, schema = 1);

/// The checks of all tables of this crate, for `verify`.
pub fn checks() -> Vec<TableCheck> {
    vec![
        KEYS.check(),
        KEY_DOCUMENTS.check(),
        OWED.check(),
        PEERS.check(),
        LAST_SENT.check(),
        LISTS_TOLD.check(),
        LISTS_OWED.check(),
    ]
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use store::Value;

    use super::*;

    #[test]
    fn stored_rows_keep_their_bytes() {
        let key = KeyRow { public_key: [7; 32], valid_until: 300, expired: Some(5) };
        let mut bytes = vec![1];
        bytes.extend([7; 32]);
        bytes.extend([0xac, 0x02, 1, 5]);
        assert_eq!(key.encode(), bytes);
        assert_eq!(KeyRow::decode(&bytes.into()).unwrap(), key);

        let sent = LastSentRow {
            through: Position(7),
            under_way: Some(SentRow {
                ts: 5,
                room: Some("!r".to_owned()),
                pdus: vec![(RoomSerial(1), EventSerial(2), Position(6))],
                edus: vec![(Position(4), "{}".to_owned())],
            }),
        };
        let bytes = vec![1, 7, 1, 5, 1, 2, b'!', b'r', 1, 1, 2, 6, 1, 4, 2, b'{', b'}'];
        assert_eq!(sent.encode(), bytes);
        assert_eq!(LastSentRow::decode(&bytes.into()).unwrap(), sent);

        let document = KeyDocumentRow { document: Bytes::from_static(b"{}"), fetched: 1, valid_until: 2 };
        assert_eq!(document.encode(), vec![1, 2, b'{', b'}', 1, 2]);
    }
}
