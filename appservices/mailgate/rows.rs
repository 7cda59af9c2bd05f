//! What the bot keeps, and how mails are numbered.

use bot_kit::{
    Batch, Rows, StoreError, Table,
    ruma::{EventId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId},
};
use serde::{Deserialize, Serialize};

use crate::standing::Closed;

/// Addresses; key: local part, value: its room and who may write.
pub(crate) const ADDRESSES: Table<Entrance> = Table::new("addresses");

/// The addresses of a room; key: room and label, value: local part.
pub(crate) const OF_ROOM: Table<String> = Table::new("addresses of rooms");

/// Rooms that take no mail, and why, where that is known; key: room.
pub(crate) const GONE: Table<Option<Closed>> = Table::new("rooms that were left");

/// Such rooms of which somebody was told that mail waits; key: room.
pub(crate) const TOLD: Table<()> = Table::new("rooms that were told of");

/// Rooms of the bot and one user each; key: user.
pub(crate) const PRIVATE_ROOMS: Table<OwnedRoomId> = Table::new("private rooms");

/// Mails that are not in their room yet; key: number in twenty digits.
pub(crate) const MAILS: Table<Waiting> = Table::new("mails");

/// What of such a mail is in its room already; key: as there.
pub(crate) const PROGRESS: Table<Progress> = Table::new("progress");

/// Mails that came; key: local part and digest, value: number.
pub(crate) const KNOWN: Table<u64> = Table::new("known mails");

/// Threads of mails; key: room and `Message-ID`, value: the event that the thread begins with.
pub(crate) const THREADS: Table<OwnedEventId> = Table::new("threads");

/// Rooms that took the addresses of the room that they came of; key: room, value: that one.
pub(crate) const CAME_FROM: Table<OwnedRoomId> = Table::new("rooms before");

/// Rooms that were upgraded to one of which nothing can be seen; key: the room, value: that one.
pub(crate) const AWAITED: Table<OwnedRoomId> = Table::new("awaited successors");

/// Threads that began in a room before; key: room and the event that the thread began with there, value: the event with which it goes
/// on in this room.
pub(crate) const CONTINUED: Table<OwnedEventId> = Table::new("continued threads");

/// Mails that can be answered; key: room and event.
pub(crate) const LETTERS: Table<Correspondence> = Table::new("letters");

/// Mails that went out; key: `Message-ID`.
pub(crate) const SENT: Table<Sent> = Table::new("sent mails");

/// What is forgotten when so many mails later; key: number in twenty digits.
const REMEMBERED: Table<Remembered> = Table::new("remembered");

/// What is next, and how much waits; key: empty.
pub(crate) const LEDGER: Table<Ledger> = Table::new("ledger");

/// Mails of which something is remembered: that they came, their thread, that they were ours.
const MOST_REMEMBERED: u64 = 100_000;

/// An address.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entrance {
    pub(crate) room: OwnedRoomId,
    /// Everybody may write.
    pub(crate) is_open: bool,
    /// Domains and addresses of those who may.
    pub(crate) writers: Vec<String>,
    /// Who opened it, and when.
    #[serde(default)]
    pub(crate) opened_by: Option<OwnedUserId>,
    #[serde(default)]
    pub(crate) opened_ms: u64,
}

/// A mail that was taken.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Waiting {
    pub(crate) room: OwnedRoomId,
    /// The address that it was for.
    pub(crate) local: String,
    pub(crate) came_ms: u64,
    /// As it came, in base64: a row is JSON.
    pub(crate) raw: String,
}

/// How far a mail is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// The room; in one that it was upgraded to, the mail begins anew.
    #[serde(default)]
    pub(crate) room: Option<OwnedRoomId>,
    /// The message.
    pub(crate) event: OwnedEventId,
    /// Files that followed it.
    pub(crate) files: usize,
}

/// What an answer to a mail needs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Correspondence {
    /// The room's own address.
    pub(crate) local: String,
    /// With whom.
    pub(crate) with: String,
    pub(crate) subject: String,
    pub(crate) id: Option<String>,
    /// The mails before it, nearest first.
    pub(crate) before: Vec<String>,
    /// The event that its thread begins with.
    pub(crate) root: OwnedEventId,
    /// Of such an event: the newest mail of the thread.
    pub(crate) newest: Option<OwnedEventId>,
}

/// A mail that went out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sent {
    pub(crate) room: OwnedRoomId,
    pub(crate) local: String,
    pub(crate) root: OwnedEventId,
    pub(crate) to: String,
}

/// The rows of one mail.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Remembered {
    pub(crate) known: Option<String>,
    pub(crate) thread: Option<String>,
    pub(crate) letter: Option<String>,
    pub(crate) sent: Option<String>,
    #[serde(default)]
    pub(crate) continued: Option<String>,
}

/// Numbers and sums.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Ledger {
    pub(crate) next: u64,
    /// Of the mails that wait.
    pub(crate) bytes: usize,
}

/// A number as a key.
pub(crate) fn place(number: u64) -> String {
    format!("{number:020}")
}

/// The key of something of a room. A room's id has no blank in it.
pub(crate) fn of_room(room: &RoomId, what: &str) -> String {
    format!("{room} {what}")
}

pub(crate) fn of_event(room: &RoomId, event: &EventId) -> String {
    of_room(room, event.as_str())
}

/// Remembers a mail under the number that is next, and forgets one for it; its number.
pub(crate) fn remember(
    rows: &Rows<'_>,
    batch: &mut Batch,
    ledger: &mut Ledger,
    remembered: &Remembered,
) -> Result<u64, StoreError> {
    let number = ledger.next;
    ledger.next += 1;
    if let Some(old) = number.checked_sub(MOST_REMEMBERED)
        && let Some(Remembered { known, thread, letter, sent, continued }) =
            rows.get(&REMEMBERED, &place(old))?
    {
        // One that came again later is remembered by that.
        if let Some(known) = known.filter(|known| rows.get(&KNOWN, known).is_ok_and(|at| at == Some(old))) {
            batch.delete(&KNOWN, &known);
        }
        if let Some(thread) = thread {
            batch.delete(&THREADS, &thread);
        }
        if let Some(letter) = letter {
            batch.delete(&LETTERS, &letter);
        }
        if let Some(sent) = sent {
            batch.delete(&SENT, &sent);
        }
        if let Some(continued) = continued {
            batch.delete(&CONTINUED, &continued);
        }
        batch.delete(&REMEMBERED, &place(old));
    }
    batch.put(&REMEMBERED, &place(number), remembered);
    Ok(number)
}

/// Adds to what is remembered of a mail, if it is not forgotten yet.
pub(crate) fn add(
    rows: &Rows<'_>,
    batch: &mut Batch,
    number: &str,
    more: Remembered,
) -> Result<(), StoreError> {
    if let Some(old) = rows.get(&REMEMBERED, number)? {
        let Remembered { known, thread, letter, sent, continued } = more;
        let all = Remembered {
            known: known.or(old.known),
            thread: thread.or(old.thread),
            letter: letter.or(old.letter),
            sent: sent.or(old.sent),
            continued: continued.or(old.continued),
        };
        batch.put(&REMEMBERED, number, &all);
    }
    Ok(())
}
