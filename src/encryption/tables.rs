//! Tables of this crate and the rows in them.
//!
//! Keys and signatures are kept as the JSON that was uploaded: what was signed must stay as it is, whatever else is in it.
//! All of a user's rows lie together, under his full id.

use bytes::Bytes;
use room::{EventSerial, RoomSerial};
use ruma::{OwnedDeviceId, OwnedUserId};
use serde::{Deserialize, Serialize};
use store::{Counter, Position, Stamped, Table, TableCheck, Tuning, row};

/// Identity keys of devices; key: user id, device id; value: the uploaded object in canonical JSON.
pub(crate) static DEVICE_KEYS: Table<(String, String), Bytes> =
    Table::new(250, "encryption.device_keys", Tuning::Point);

/// One-time keys that nobody has claimed; key: user id, device id, `algorithm:id`.
pub(crate) static ONE_TIME_KEYS: Table<(String, String, String), OneTimeRow> =
    Table::new(251, "encryption.one_time_keys", Tuning::Point);

/// The same in the order in which they are given out; key: user id, device id, algorithm, number; value:
/// `algorithm:id`.
pub(crate) static ONE_TIME_ORDER: Table<(String, String, String, u64), String> =
    Table::new(252, "encryption.one_time_order", Tuning::Queue);

/// How many one-time keys a device has; key: user id, device id, algorithm.
pub(crate) static ONE_TIME_COUNTS: Table<(String, String, String), Counter> =
    Table::new(253, "encryption.one_time_counts", Tuning::Small);

/// The number of the next one-time key that a device uploads; key: user id, device id. Each upload replaces it.
pub(crate) static UPLOADS: Table<(String, String), u64> =
    Table::new(254, "encryption.uploads", Tuning::Small);

/// One-time keys that were given out last: a device that has missed the answer to an upload repeats it, and they must not
/// be taken for new ones; key: as in [`ONE_TIME_ORDER`]; value: what the key is known by.
pub(crate) static CLAIMED: Table<(String, String, String, u64), u64> =
    Table::new(264, "encryption.claimed", Tuning::Queue);

/// Fallback keys; key: user id, device id, algorithm.
pub(crate) static FALLBACK_KEYS: Table<(String, String, String), FallbackRow> =
    Table::new(255, "encryption.fallback_keys", Tuning::Small);

/// Cross-signing keys; key: user id, usage; value: the uploaded object in canonical JSON.
pub(crate) static CROSS_SIGNING: Table<(String, String), Bytes> =
    Table::new(256, "encryption.cross_signing", Tuning::Point);

/// Signatures that were uploaded apart from what they sign; key: who signed, whose key was signed, that key (a device id, or
/// the public part of a cross-signing key), the signing key; value: the signature.
pub(crate) static SIGNATURES: Table<(String, String, String, String), String> =
    Table::new(257, "encryption.signatures", Tuning::Small);

/// The last change of each user's devices or cross-signing keys; key: its position.
pub(crate) static CHANGES: Table<Position, ChangeRow> = Table::new(258, "encryption.changes", Tuning::Append);

/// Where that change is; key: user id; stamped with its position.
pub(crate) static LAST_CHANGE: Table<String, Stamped<LastRow>> =
    Table::new(259, "encryption.last_change", Tuning::Point);

/// When a user of ours last signed the master key of another; key: who signed, whose key. Only his own devices are told.
pub(crate) static SIGNED: Table<(String, String), Stamped<()>> =
    Table::new(262, "encryption.signed", Tuning::Small);

/// Keys of users of other servers, as these told them, until they say that something changed; key: user id.
pub(crate) static OTHERS: Table<String, OtherRow> = Table::new(263, "encryption.others", Tuning::Large);

/// Users of ours who came into rooms, until it is found out which servers have to hear of their devices; key: the position
/// of the event by which they did.
pub(crate) static CAME: Table<Position, CameRow> = Table::new(265, "encryption.came", Tuning::Queue);

/// Fallback keys of devices of users of other servers, for when these do not answer; key: user id.
pub(crate) static FALLBACKS: Table<String, FallbacksRow> =
    Table::new(267, "encryption.fallbacks", Tuning::Small);

/// What a dehydrated device has to remember, in JSON that only its owner can read; key: user id, device id.
pub(crate) static DEHYDRATED: Table<(String, String), Bytes> =
    Table::new(266, "encryption.dehydrated", Tuning::Small);

/// Versions of key backups; key: user id, number of the version.
pub(crate) static BACKUPS: Table<(String, u64), BackupRow> =
    Table::new(260, "encryption.backups", Tuning::Small);

/// Keys of sessions in backups; key: user id, number of the version, room id, session id.
pub(crate) static BACKUP_KEYS: Table<(String, u64, String, String), BackupKeyRow> =
    Table::new(261, "encryption.backup_keys", Tuning::Point);

/// A one-time key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OneTimeRow {
    /// Its place in [`ONE_TIME_ORDER`].
    pub(crate) number: u64,
    /// The key as it was uploaded: a string or an object, in JSON.
    pub(crate) json: String,
}
row!(OneTimeRow, schema = 1);

/// A fallback key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FallbackRow {
    /// `algorithm:id`.
    pub(crate) key_id: String,
    /// The key as it was uploaded, in JSON.
    pub(crate) json: String,
    /// Whether it has been given to somebody.
    pub(crate) used: bool,
}
row!(FallbackRow, schema = 1);

/// A change of somebody's devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChangeRow {
    /// Whose.
    pub(crate) user: OwnedUserId,
    /// The rooms, by their numbers, ascending, in which that is told.
    pub(crate) rooms: Vec<u64>,
    /// The devices that were added, changed or removed.
    pub(crate) devices: Vec<OwnedDeviceId>,
    /// Whether the cross-signing keys changed.
    pub(crate) cross_signing: bool,
    /// The number of the list of devices before.
    pub(crate) previous: Option<Position>,
}
row!(ChangeRow, schema = 1);

/// The last change of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastRow {
    /// The number of the user's list of devices as other servers know it: the position of the change, if it was one of
    /// devices; else what it was before.
    pub(crate) list: Option<Position>,
    /// Whether it was one of devices.
    pub(crate) is_of_devices: bool,
}
row!(LastRow, schema = 1);

/// Keys of a user of another server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OtherRow {
    /// In each of these rooms he was with one of ours. As long as that is so in one of them, his server tells us of changes.
    pub(crate) anchors: Vec<AnchorRow>,
    /// When they were told, in milliseconds since 1970.
    pub(crate) told_ms: u64,
    /// His devices by id, as JSON.
    pub(crate) devices: String,
    /// His master key, as JSON.
    pub(crate) master: Option<String>,
    /// His self-signing key, as JSON.
    pub(crate) self_signing: Option<String>,
}
row!(OtherRow, schema = 1);

/// Fallback keys of a user of another server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FallbacksRow {
    /// When the oldest of them was told, in milliseconds since 1970.
    pub(crate) told_ms: u64,
    /// By device and `algorithm:id`, as JSON.
    pub(crate) keys: String,
}
row!(FallbacksRow, schema = 1);

/// Who came into which room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CameRow {
    /// The user.
    pub(crate) user: OwnedUserId,
    /// The room.
    pub(crate) room: RoomSerial,
}
row!(CameRow, schema = 1);

/// That two users are in a room together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AnchorRow {
    /// The room.
    pub(crate) room: RoomSerial,
    /// The event by which the user of the other server is in it.
    pub(crate) event: EventSerial,
    /// Who of ours is in it too.
    pub(crate) own: OwnedUserId,
    /// By which event.
    pub(crate) own_event: EventSerial,
}

/// A version of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BackupRow {
    /// How its keys are encrypted.
    pub(crate) algorithm: String,
    /// What the algorithm needs, in JSON.
    pub(crate) auth_data: String,
    /// How many keys are in it.
    pub(crate) count: u64,
    /// Grows with each change of the keys.
    pub(crate) etag: u64,
    /// Whether it is no more: its number is not given again.
    pub(crate) deleted: bool,
}
row!(BackupRow, schema = 1);

/// The key of a session in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BackupKeyRow {
    /// The index of the first message that it opens.
    pub(crate) first_message_index: u64,
    /// How often it was forwarded.
    pub(crate) forwarded_count: u64,
    /// Whether it came from a verified device.
    pub(crate) is_verified: bool,
    /// The encrypted key, in JSON.
    pub(crate) session_data: String,
}
row!(BackupKeyRow, schema = 1);

/// The checks of all tables of this crate, for `verify`.
pub fn checks() -> Vec<TableCheck> {
    vec![
        DEVICE_KEYS.check(),
        ONE_TIME_KEYS.check(),
        ONE_TIME_ORDER.check(),
        ONE_TIME_COUNTS.check(),
        UPLOADS.check(),
        CLAIMED.check(),
        FALLBACK_KEYS.check(),
        CROSS_SIGNING.check(),
        SIGNATURES.check(),
        CHANGES.check(),
        LAST_CHANGE.check(),
        SIGNED.check(),
        OTHERS.check(),
        CAME.check(),
        DEHYDRATED.check(),
        FALLBACKS.check(),
        BACKUPS.check(),
        BACKUP_KEYS.check(),
    ]
}

#[cfg(test)]
mod tests {
    use ruma::user_id;
    use store::Value;

    use super::*;

    /// What is on disk must stay readable: a change here needs a new schema number.
    #[test]
    fn rows_have_the_bytes_that_are_on_disk() {
        let key = OneTimeRow { number: 3, json: "{}".to_owned() };
        assert_eq!(&key.encode()[..], b"\x01\x03\x02{}");
        let fallback = FallbackRow { key_id: "a:b".to_owned(), json: "1".to_owned(), used: true };
        assert_eq!(&fallback.encode()[..], b"\x01\x03a:b\x011\x01");
        let user = user_id!("@a:b").to_owned();
        let change = ChangeRow {
            user,
            rooms: vec![1, 300],
            devices: vec!["D".into()],
            cross_signing: true,
            previous: Some(Position(7)),
        };
        assert_eq!(&change.encode()[..], b"\x01\x04@a:b\x02\x01\xac\x02\x01\x01D\x01\x01\x07");
        let anchor = AnchorRow {
            room: RoomSerial(1),
            event: EventSerial(2),
            own: user_id!("@c:d").to_owned(),
            own_event: EventSerial(3),
        };
        let other = OtherRow {
            anchors: vec![anchor],
            told_ms: 5,
            devices: "{}".to_owned(),
            master: Some("1".to_owned()),
            self_signing: None,
        };
        assert_eq!(&other.encode()[..], b"\x01\x01\x01\x02\x04@c:d\x03\x05\x02{}\x01\x011\x00");
        let fallbacks = FallbacksRow { told_ms: 300, keys: "{}".to_owned() };
        assert_eq!(&fallbacks.encode()[..], b"\x01\xac\x02\x02{}");
        let came = CameRow { user: user_id!("@a:b").to_owned(), room: RoomSerial(300) };
        assert_eq!(&came.encode()[..], b"\x01\x04@a:b\xac\x02");
        let last = LastRow { list: Some(Position(7)), is_of_devices: false };
        assert_eq!(&last.encode()[..], b"\x01\x01\x07\x00");
        let backup = BackupRow {
            algorithm: "x".to_owned(),
            auth_data: "{}".to_owned(),
            count: 1,
            etag: 2,
            deleted: false,
        };
        assert_eq!(&backup.encode()[..], b"\x01\x01x\x02{}\x01\x02\x00");
        let key = BackupKeyRow {
            first_message_index: 1,
            forwarded_count: 2,
            is_verified: true,
            session_data: "{}".to_owned(),
        };
        assert_eq!(&key.encode()[..], b"\x01\x01\x02\x01\x02{}");
    }
}
