//! The tables that only the engine uses, and their rows; those that readers see are [`room::tables`], and the numbers are
//! shared with them.

use bytes::Bytes;
use room::ids::{EventSerial, InboxSerial, RoomSerial};
use ruma::OwnedEventId;
use serde::{Deserialize, Serialize};
use store::{Table, Tuning};

/// Redactions of events that have not come yet; key: room, the awaited event's id.
pub static AWAITED: Table<(RoomSerial, String), Awaited> = Table::new(36, "room.awaited", Tuning::Small);

/// Row of [`AWAITED`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Awaited {
    /// Those of which it shows only by the event whether they may redact it.
    pub redactions: Vec<EventSerial>,
}
store::row!(Awaited, schema = 2, older = { 1 => EventSerial });

impl From<EventSerial> for Awaited {
    fn from(redaction: EventSerial) -> Self {
        Self { redactions: vec![redaction] }
    }
}

/// Servers that let us in, or told us of, a room that we are not in: whom to ask about it; key: room, server name.
pub static HELPERS: Table<(RoomSerial, String), HelperRow> = Table::new(46, "room.helpers", Tuning::Small);

/// Leaves of rooms that we are not in, of which no server of the room could be told yet; key: room, user id.
pub static FAREWELLS: Table<(RoomSerial, String), FarewellRow> =
    Table::new(47, "room.farewells", Tuning::Small);

/// Invites taken back by others than who invited, and knocks ended by others, not yet confirmed by a server that
/// must know; key: room, user id.
pub static WITHDRAWALS: Table<(RoomSerial, String), WithdrawalRow> =
    Table::new(48, "room.withdrawals", Tuning::Small);

/// Row of [`HELPERS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelperRow {
    /// When it helped last, in ms since 1970.
    pub at: u64,
}
store::row!(HelperRow, schema = 1);

/// Row of [`FAREWELLS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FarewellRow {
    /// The user's words.
    pub reason: Option<String>,
    /// When the user left, in ms since 1970.
    pub since: u64,
    /// How often it was tried to tell.
    pub tries: u32,
    /// When it is tried again, in ms since 1970.
    pub next_at: u64,
}
store::row!(FarewellRow, schema = 1);

/// Row of [`WITHDRAWALS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawalRow {
    /// The server that sent it.
    pub origin: String,
    /// The member event that takes the invite back.
    pub event: Bytes,
    /// When it came, in ms since 1970.
    pub since: u64,
    /// How often the inviter's server was asked.
    pub tries: u32,
    /// When it is asked next, in ms since 1970.
    pub next_at: u64,
}
store::row!(WithdrawalRow, schema = 1);

/// Joins and knocks that were sent to other servers and have no end here yet (`crate::half_way`); key: room, user id.
pub static HALF_WAY: Table<(RoomSerial, String), HalfWayRow> = Table::new(99, "room.half_way", Tuning::Small);

/// Row of [`HALF_WAY`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HalfWayRow {
    /// To whom which event was sent, as they may have taken it.
    pub sent: Vec<Sent>,
    /// It is a knock.
    pub is_knock: bool,
    /// When it was sent last, in ms since 1970.
    pub since: u64,
    /// How often these were told that the user leaves.
    pub tries: u32,
    /// When they are told, in ms since 1970.
    pub next_at: u64,
    /// Until when they are being told, in ms since 1970.
    pub telling_until: u64,
}
store::row!(HalfWayRow, schema = 1);

/// What was written before something was sent, for whoever sent it; nothing when nobody can have taken it.
pub(crate) type HalfWay = Option<(RoomSerial, HalfWayRow)>;

/// A join or knock that was sent to a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// The server.
    pub server: String,
    /// The event.
    pub event_id: OwnedEventId,
}

/// Requests already served; key: room, user, device, endpoint (the event's type), transaction id.
pub static TXNS: Table<(RoomSerial, String, String, String, String), TxnRow> =
    Table::new(38, "room.txns", Tuning::Point);

/// PDUs received and answered for, not yet worked on; key: room, order of arrival.
pub static INBOX: Table<(RoomSerial, InboxSerial), InboxRow> = Table::new(39, "room.inbox", Tuning::Queue);

/// PDUs received and answered for that lack something, or came to no end; key: room, order of arrival.
pub static WAITING: Table<(RoomSerial, InboxSerial), WaitingRow> =
    Table::new(40, "room.waiting", Tuning::Queue);

/// How far it is that a room's state is reclaimed (`crate::reclaim`); key: room.
pub static SWEEPS: Table<RoomSerial, SweepRow> = Table::new(98, "room.sweeps", Tuning::Small);

/// Row of [`SWEEPS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepRow {
    /// Grows by one whenever the row is written, so that it is never the same again.
    pub number: u64,
    /// The generation of the room's head when it was looked through the last time.
    pub generation: u64,
    /// When that was done, in ms since 1970.
    pub since: u64,
    /// Something was condemned then, and has to be looked at once more.
    pub has_condemned: bool,
}
store::row!(SweepRow, schema = 1);

/// Row of [`TXNS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxnRow {
    /// The event that came of it.
    pub event_id: OwnedEventId,
    /// When, in ms since 1970; old rows are removed.
    pub at: u64,
}
store::row!(TxnRow, schema = 1);

/// Row of [`INBOX`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxRow {
    /// The server that sent it.
    pub origin: String,
    /// The PDU as received.
    pub pdu: Bytes,
}
store::row!(InboxRow, schema = 1);

/// Row of [`WAITING`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingRow {
    /// The server that sent it.
    pub origin: String,
    /// The PDU as received.
    pub pdu: Bytes,
    /// How many attempts were made to bring what it lacks.
    pub tries: u8,
    /// Why it has no end yet.
    pub why: Why,
    /// When it was set aside, in ms since 1970.
    pub since: u64,
}
store::row!(WaitingRow, schema = 1);

/// Why a received event has no end yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Its server is not in the room, and it lacks something.
    Stranger,
    /// The keys that it is signed with cannot be had.
    NoKeys,
    /// An auth event of it cannot be had.
    NoAuth,
    /// A previous event of it cannot be had, nor the state there.
    NoPrevious,
    /// The state before it, as other servers tell it, neither allows nor forbids it.
    NoState,
    /// No server answered in time.
    Unanswered,
    /// We cannot do with it what we should: a fault of ours, or data that contradicts itself.
    Fault,
}
