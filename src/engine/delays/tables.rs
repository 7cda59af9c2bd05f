//! The tables of delayed events, and their rows.

use std::time::Duration;

use room::ids::RoomSerial;
use ruma::OwnedEventId;
use serde::{Deserialize, Serialize};
use store::{Batch, Table, Topic, Tuning};

/// Delayed events, as short as they are; key: delay id. Whoever sends or restarts one replaces this row as he knew it.
pub static DELAYS: Table<String, DelayRow> = Table::new(120, "room.delays", Tuning::Point);

/// What they will say; key: room, delay id.
pub static DELAYED: Table<(RoomSerial, String), DelayedRow> = Table::new(121, "room.delayed", Tuning::Small);

/// Delayed state, by what it is of; key: room, type, state key, sender, delay id.
pub static DELAYED_STATE: Table<(RoomSerial, String, String, String, String), ()> =
    Table::new(122, "room.delayed_state", Tuning::Small);

/// When they are due; key: that in ms since 1970, delay id. A row may be left over, which is found out when it is due.
pub static DELAYS_DUE: Table<(u64, String), ()> = Table::new(123, "room.delays_due", Tuning::Queue);

/// A user's delayed events; key: user, delay id.
pub static USER_DELAYS: Table<(String, String), ()> = Table::new(124, "room.user_delays", Tuning::Small);

/// Requests that were served by delaying an event; keys as of [`crate::tables::TXNS`].
pub static DELAY_TXNS: Table<(RoomSerial, String, String, String, String), DelayTxnRow> =
    Table::new(125, "room.delay_txns", Tuning::Point);

/// What became of delayed events that are none any more, for whoever asks again to send or cancel one; key: delay id.
pub static DELAYS_ENDED: Table<String, DelayEndedRow> = Table::new(280, "room.delays_ended", Tuning::Point);

/// Row of [`DELAYS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelayRow {
    /// The room.
    pub room: RoomSerial,
    /// Type of the event.
    pub kind: String,
    /// State key, for state.
    pub state_key: Option<String>,
    /// Who says it.
    pub user: String,
    /// For how long it is delayed, in ms.
    pub delay_ms: u64,
    /// When it was scheduled or restarted last, in ms since 1970.
    pub since: u64,
    /// Grows by one with each restart, so that the row is never the same again.
    pub number: u32,
}
store::row!(DelayRow, schema = 1);

/// Row of [`DELAYED`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelayedRow {
    /// The content, as it was sent.
    pub content: String,
    /// What a redaction redacts.
    pub redacts: Option<OwnedEventId>,
    /// For state: the event that was there when it was scheduled.
    pub was: Option<OwnedEventId>,
}
store::row!(DelayedRow, schema = 1);

/// Row of [`DELAY_TXNS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelayTxnRow {
    /// The delayed event that came of it.
    pub delay_id: String,
    /// When, in ms since 1970; old rows are removed.
    pub at: u64,
}
store::row!(DelayTxnRow, schema = 1);

/// Row of [`DELAYS_ENDED`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelayEndedRow {
    /// Whether it was sent; otherwise it was cancelled, by somebody, by what was said meanwhile, or as it could not be sent.
    pub was_sent: bool,
    /// When it was due or would have been, in ms since 1970; old rows are removed.
    pub due: u64,
}
store::row!(DelayEndedRow, schema = 1);

/// How a delayed event ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It is in the room, or the room's state said so already.
    Sent,
    /// It never will be.
    Cancelled,
}

impl DelayRow {
    /// When it is due, in ms since 1970.
    pub fn due(&self) -> u64 {
        self.since.saturating_add(self.delay_ms)
    }

    pub(crate) fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }

    /// The key of its row in [`DELAYED_STATE`].
    pub(crate) fn state_row(&self, id: &str) -> Option<(RoomSerial, String, String, String, String)> {
        let key = self.state_key.clone()?;
        Some((self.room, self.kind.clone(), key, self.user.clone(), id.to_owned()))
    }

    /// Notes in a batch that there is no such delayed event any more, and what became of it.
    pub(crate) fn end(&self, batch: &mut Batch, id: &str, ending: Ending) {
        let ended = DelayEndedRow { was_sent: ending == Ending::Sent, due: self.due() };
        batch.put(&DELAYS_ENDED, id, &ended);
        batch.delete(&DELAYS, id);
        batch.delete(&DELAYED, &(self.room, id));
        batch.delete(&DELAYS_DUE, &(self.due(), id.to_owned()));
        batch.delete(&USER_DELAYS, &(self.user.as_str(), id));
        if let Some(key) = self.state_row(id) {
            batch.delete(&DELAYED_STATE, &key);
        }
    }
}

/// Touched when there is a delayed event that may be due before all others.
pub(crate) fn delays_added() -> Topic {
    Topic::new(27, "room.delays")
}

/// Touched when there is delayed state of a room.
pub(crate) fn delayed_state_added() -> Topic {
    Topic::new(28, "room.delayed_state")
}
