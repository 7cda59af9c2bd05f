//! What waits for a device, until it has it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use account::Standing;
use base::Attempts;
use bytes::Bytes;
use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};
use store::{Batch, CommitError, Order, Position, Range, Reads, Slot, UpTo};
use tracing::warn;

use crate::{
    Error, ToDevice,
    tables::{BYTES, COUNT, INBOX, INBOX_USE, MessageRow},
    to_device::inbox_topic,
};

/// So much waits for one device; what comes then is not kept.
pub(crate) const MOST_WAITING: i64 = 100_000;
pub(crate) const MOST_WAITING_BYTES: i64 = 128 << 20;

/// Of that, messages from other servers take one part in so many: whoever has a key of a server could fill it all, and what
/// colleagues send would not be kept.
const PART_OF_OTHERS: i64 = 4;

/// So many messages, and about so many bytes of them, are told in one answer.
pub(crate) const PAGE: usize = 100;
const PAGE_BYTES: usize = 1 << 20;

/// So many are taken away in one batch.
const AWAY_AT_ONCE: usize = 200;

/// A message as its device is told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who sent it.
    pub sender: String,
    /// Its type.
    pub kind: String,
    /// Its content's JSON.
    pub content: Bytes,
}

/// What a device is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Oldest first.
    pub messages: Vec<Message>,
    /// The place of the last one, where more follow: from there on the next answer goes on.
    pub rest: Option<Position>,
}

/// How much waits for devices of ours while a batch is made.
pub(crate) struct Room(BTreeMap<(OwnedUserId, OwnedDeviceId), (i64, i64)>);

impl Room {
    /// Whether there is room for a message, which it has then.
    fn take(&mut self, device: &Standing, sender: &str, bytes: i64) -> bool {
        let waiting = self.0.entry((device.user().to_owned(), device.device().to_owned())).or_default();
        let is_of_ours =
            UserId::parse(sender).is_ok_and(|sender| sender.server_name() == device.user().server_name());
        let part = if is_of_ours { 1 } else { PART_OF_OTHERS };
        let has_room =
            waiting.0 < MOST_WAITING / part && waiting.1.saturating_add(bytes) <= MOST_WAITING_BYTES / part;
        if has_room {
            *waiting = (waiting.0 + 1, waiting.1 + bytes);
        }
        has_room
    }
}

impl ToDevice {
    /// What a device has to be told of what was sent after a position and up to the head. What it was sent up to
    /// `after` it has, as its client says, and that is taken away.
    ///
    /// Reads nothing for a device for which nothing came since it was last found to have nothing. Where nothing can be
    /// written, what it has stays until it says so again.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn news(
        &self,
        user: &UserId,
        device: &DeviceId,
        after: Position,
        head: Position,
    ) -> Result<Page, store::Error> {
        let key = (user.to_owned(), device.to_owned());
        let store = &self.inner.store;
        if self.inner.quiet.get(&key).is_some_and(|known| known.holds(store, [inbox_topic(user, device)])) {
            return Ok(Page::default());
        }
        let all_gone = self.take_away(user, device, after).await?;
        let names = (user.as_str(), device.as_str());
        let range =
            Range::prefix(&names).after(&(names.0, names.1, after)).through(&(names.0, names.1, head));
        let rows = store.scan(&INBOX, range, Order::Ascending, PAGE + 1).await?;
        if rows.is_empty() && all_gone {
            // The head was taken before the reads.
            self.inner.quiet.insert(key, Arc::new(UpTo::new(head)));
        }
        Ok(page(rows))
    }

    /// Takes away what a device has; whether that is all that it was sent up to there.
    async fn take_away(
        &self,
        user: &UserId,
        device: &DeviceId,
        through: Position,
    ) -> Result<bool, store::Error> {
        if through == Position::START {
            return Ok(true);
        }
        let names = (user.as_str(), device.as_str());
        let store = &self.inner.store;
        let mut attempts = Attempts::default();
        loop {
            let range = Range::prefix(&names).through(&(names.0, names.1, through));
            let rows = store.scan(&INBOX, range, Order::Ascending, AWAY_AT_ONCE).await?;
            let Some((first, row)) = rows.first() else { return Ok(true) };
            let mut batch = Batch::new();
            // Of two requests that take the same away, one does: it is counted once.
            batch.require(&INBOX, first, Some(row));
            let mut bytes = 0;
            for (key, row) in &rows {
                batch.delete(&INBOX, key);
                bytes += counted(row.size());
            }
            batch.add(&INBOX_USE, &(names.0, names.1, COUNT), -counted(rows.len() as u64));
            batch.add(&INBOX_USE, &(names.0, names.1, BYTES), -bytes);
            match store.commit(batch).await {
                Ok(_) if rows.len() < AWAY_AT_ONCE => return Ok(true),
                Ok(_) => {}
                Err(CommitError::Conflict { .. }) if attempts.again(&self.inner.random).await => {}
                Err(error) => {
                    if !error.stops_writes() {
                        warn!(user_id = %user, device_id = %device, %error, "what a device has could not be taken away");
                    }
                    return Ok(false);
                }
            }
        }
    }

    /// How much waits for these devices.
    pub(crate) async fn room_of(&self, devices: impl Iterator<Item = &Standing>) -> Result<Room, Error> {
        let devices: BTreeSet<(&UserId, &DeviceId)> =
            devices.map(|standing| (standing.user(), standing.device())).collect();
        let mut reads = Reads::new();
        let of = |what: u8| -> Vec<(&str, &str, u8)> {
            devices.iter().map(|(user, device)| (user.as_str(), device.as_str(), what)).collect()
        };
        let counts = reads.get_many(&INBOX_USE, &of(COUNT));
        let bytes = reads.get_many(&INBOX_USE, &of(BYTES));
        let mut found = self.inner.store.read(reads).await?;
        let used = found.take_many(counts)?.into_iter().zip(found.take_many(bytes)?);
        let used = used.map(|(count, bytes)| (count.unwrap_or_default().0, bytes.unwrap_or_default().0));
        let names = devices.iter().map(|(user, device)| ((*user).to_owned(), (*device).to_owned()));
        Ok(Room(names.zip(used).collect()))
    }

    /// Adds a message for a device to a batch, at the position of a slot of which no other message for that device
    /// is. Whether there was room for it.
    pub(crate) fn put_message(
        &self,
        batch: &mut Batch,
        slot: Slot,
        room: &mut Room,
        device: &Standing,
        row: &MessageRow,
    ) -> bool {
        let bytes = counted(row.size());
        if !room.take(device, &row.sender, bytes) {
            return false;
        }
        let (user, name) = (device.user(), device.device());
        batch.append(&INBOX, &(user.as_str(), name.as_str()), slot, row);
        batch.add(&INBOX_USE, &(user.as_str(), name.as_str(), COUNT), 1);
        batch.add(&INBOX_USE, &(user.as_str(), name.as_str(), BYTES), bytes);
        batch.touch_with(slot, inbox_topic(user, name));
        true
    }
}

/// Has a slot wake all clients of these users.
pub(crate) fn wake(batch: &mut Batch, slot: Slot, users: &BTreeSet<&UserId>) {
    for user in users {
        batch.touch_with(slot, ToDevice::topic(user));
    }
}

/// Messages as they are told, as many as go into one answer.
fn page(rows: Vec<((String, String, Position), MessageRow)>) -> Page {
    let count = rows.len();
    let (mut page, mut bytes) = (Page::default(), 0);
    let mut last = Position::START;
    for ((.., position), row) in rows {
        let MessageRow { sender, kind, content } = row;
        bytes += content.len();
        if page.messages.len() == PAGE || (bytes > PAGE_BYTES && !page.messages.is_empty()) {
            break;
        }
        page.messages.push(Message { sender, kind, content });
        last = position;
    }
    page.rest = (page.messages.len() < count).then_some(last);
    page
}

/// A number as counters have it.
pub(crate) fn counted(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
