//! Whose messages an inbox is filled with.
//!
//! An inbox has a bound, and who fills it keeps out what all others send. So each user of its owner's server, and each
//! other server with all of its users, has a share of it, and the other servers together have half of it: their names
//! cost nothing, and what colleagues send must find room however many there are.
//!
//! A user whose own share is full is told so, and nothing of that request is kept: it is his own messages that wait. That the
//! *inbox* is full he is not told: whoever fills one of his own with the help of others, and never reads it, would keep
//! everybody from sending to all others who are in a room with him.

use std::collections::{BTreeMap, BTreeSet};

use account::Standing;
use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};
use store::{Batch, CommitError, Order, Range, Reads, Store};

use crate::{
    Error, ToDevice,
    tables::{BYTES, COUNT, INBOX, INBOX_SHARES, INBOX_USE, MessageRow, counted},
};

/// So much waits for one device; what comes then is not kept.
pub(crate) const MOST_WAITING: i64 = 100_000;
pub(crate) const MOST_WAITING_BYTES: i64 = 128 << 20;

/// The part of an inbox that one user, or one other server, may fill.
pub(crate) const PART_OF_ONE: i64 = 8;

/// The part that all other servers together may fill.
pub(crate) const PART_OF_OTHERS: i64 = 2;

/// What counts all other servers together: no user and no server is called so.
pub(crate) const OTHERS: &str = "*";

/// Whether a message finds room in an inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It does.
    Fits,
    /// Too much from where it comes waits there.
    ShareFull,
    /// Too much waits there.
    Full,
}

/// Whose share of a device's inbox a message is in: its sender's, or his server's if that is another than its owner's.
fn origin<'a>(owner: &UserId, sender: &'a str) -> (&'a str, bool) {
    let server = sender.split_once(':').map_or(sender, |(_, server)| server);
    if server == owner.server_name() { (sender, false) } else { (server, true) }
}

/// Adds to a batch that these messages count in the shares of a device's inbox, or (−1) do not any more.
pub(crate) fn put<'a>(
    batch: &mut Batch,
    user: &UserId,
    device: &DeviceId,
    rows: impl IntoIterator<Item = &'a MessageRow>,
    sign: i64,
) {
    let mut shares: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for row in rows {
        let (name, is_other) = origin(user, &row.sender);
        for name in [Some(name), is_other.then_some(OTHERS)].into_iter().flatten() {
            let share = shares.entry(name).or_default();
            *share = (share.0 + sign, share.1 + sign * counted(row.size()));
        }
    }
    for (name, (count, bytes)) in shares {
        batch.add(&INBOX_SHARES, &share_key(user, device, name, COUNT), count);
        batch.add(&INBOX_SHARES, &share_key(user, device, name, BYTES), bytes);
    }
}

/// Key of [`INBOX_SHARES`].
type ShareKey = (String, String, String, u8);

fn share_key(user: &UserId, device: &DeviceId, origin: &str, what: u8) -> ShareKey {
    (user.to_string(), device.to_string(), origin.to_owned(), what)
}

/// How many messages there are, and their bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Used {
    count: i64,
    bytes: i64,
}

impl Used {
    /// Whether one more of so many bytes is within a part of an inbox.
    fn has_room(self, part: i64, bytes: i64) -> bool {
        self.count < MOST_WAITING / part && self.bytes.saturating_add(bytes) <= MOST_WAITING_BYTES / part
    }

    fn take(&mut self, bytes: i64) {
        (self.count, self.bytes) = (self.count + 1, self.bytes + bytes);
    }
}

/// How much waits for one device: in all, from where the messages come, and, if that is another server, from all of these.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    all: Used,
    own: Used,
    others: Option<Used>,
}

/// How much waits for devices of ours while a batch is made of what one sender, or one other server, sends.
pub(crate) struct Room(BTreeMap<(OwnedUserId, OwnedDeviceId), Waiting>);

impl Room {
    /// Whether there is room for a message, which it has then.
    pub(crate) fn take(&mut self, device: &Standing, bytes: i64) -> Fit {
        let waiting = self.0.entry((device.user().to_owned(), device.device().to_owned())).or_default();
        if !waiting.own.has_room(PART_OF_ONE, bytes) {
            return Fit::ShareFull;
        }
        let others = waiting.others.is_none_or(|others| others.has_room(PART_OF_OTHERS, bytes));
        if !others || !waiting.all.has_room(1, bytes) {
            return Fit::Full;
        }
        let Waiting { all, own, others } = waiting;
        [Some(all), Some(own), others.as_mut()].into_iter().flatten().for_each(|used| used.take(bytes));
        Fit::Fits
    }
}

impl ToDevice {
    /// How much waits for these devices, for what a sender, or another server with all of its users, is about to send. In
    /// whose inbox is less than half a share in all, that is taken for his, and nothing else is read.
    pub(crate) async fn room_of(
        &self,
        sender: &UserId,
        devices: impl Iterator<Item = &Standing>,
    ) -> Result<Room, Error> {
        let devices: BTreeSet<(&UserId, &DeviceId)> =
            devices.map(|standing| (standing.user(), standing.device())).collect();
        let store = &self.inner.store;
        let mut reads = Reads::new();
        let of = |what: u8| -> Vec<(&str, &str, u8)> {
            devices.iter().map(|(user, device)| (user.as_str(), device.as_str(), what)).collect()
        };
        let counts = reads.get_many(&INBOX_USE, &of(COUNT));
        let bytes = reads.get_many(&INBOX_USE, &of(BYTES));
        let mut found = store.read(reads).await?;
        let used = found.take_many(counts)?.into_iter().zip(found.take_many(bytes)?);
        let (mut room, mut filled) = (BTreeMap::new(), Vec::new());
        for ((user, device), (count, bytes)) in devices.into_iter().zip(used) {
            let all = Used { count: count.unwrap_or_default().0, bytes: bytes.unwrap_or_default().0 };
            let (name, is_other) = origin(user, sender.as_str());
            let others = is_other.then_some(all);
            room.insert((user.to_owned(), device.to_owned()), Waiting { all, own: all, others });
            if !all.has_room(2 * PART_OF_ONE, 0) {
                filled.push((user, device, name));
            }
        }
        // One round for all of them, and none where nobody has much.
        let of = |others: bool, what: u8| -> Vec<ShareKey> {
            let name = |name| if others { OTHERS } else { name };
            filled.iter().map(|(user, device, own)| share_key(user, device, name(own), what)).collect()
        };
        let mut reads = Reads::new();
        let keys = [of(false, COUNT), of(false, BYTES), of(true, COUNT), of(true, BYTES)];
        let wanted = keys.map(|keys| reads.get_many(&INBOX_SHARES, &keys));
        let mut found = store.read(reads).await?;
        let mut shares = Vec::with_capacity(4);
        for wanted in wanted {
            shares.push(found.take_many(wanted)?.into_iter());
        }
        let mut next = |index: usize| {
            let share = shares.get_mut(index).and_then(Iterator::next).flatten();
            share.unwrap_or_default().0
        };
        for (user, device, _) in filled {
            let own = Used { count: next(0), bytes: next(1) };
            let others = Used { count: next(2), bytes: next(3) };
            if let Some(waiting) = room.get_mut(&(user.to_owned(), device.to_owned())) {
                waiting.own = own;
                waiting.others = waiting.others.map(|_| others);
            }
        }
        Ok(Room(room))
    }
}

/// Counts the shares of inboxes in data in which nobody did: a step of the store's schema.
///
/// # Errors
/// When the store cannot be read or written.
pub async fn count_shares(store: &Store) -> Result<(), store::Error> {
    const ROWS: usize = 1_000;
    // What was counted before a crash is counted anew.
    let mut batch = Batch::new();
    batch.delete_all(&INBOX_SHARES);
    written(store, batch).await?;
    let mut range = Range::all();
    loop {
        let rows = store.scan(&INBOX, range, Order::Ascending, ROWS).await?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        range = Range::all().after(last);
        let mut batch = Batch::new();
        for of_device in rows.chunk_by(|(one, _), (other, _)| (&one.0, &one.1) == (&other.0, &other.1)) {
            let Some(((user, device, _), _)) = of_device.first() else { continue };
            if let Ok(user) = UserId::parse(user.as_str()) {
                put(&mut batch, &user, device.as_str().into(), of_device.iter().map(|(_, row)| row), 1);
            }
        }
        written(store, batch).await?;
    }
}

async fn written(store: &Store, batch: Batch) -> Result<(), store::Error> {
    match store.commit(batch).await {
        Ok(_) => Ok(()),
        Err(CommitError::Store(error)) => Err(error),
        Err(error) => Err(store::Error::Refused(error.to_string())),
    }
}
