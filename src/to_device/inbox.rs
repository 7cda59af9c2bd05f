//! What waits for a device, until it has it.

use std::{collections::BTreeSet, sync::Arc};

use account::Standing;
use base::Attempts;
use bytes::Bytes;
use ruma::{DeviceId, UserId};
use store::{Batch, CommitError, Order, Position, Range, Slot, UpTo};
use tracing::warn;

use crate::{
    Error, ToDevice,
    shares::{self, Fit, Room},
    tables::{BYTES, COUNT, INBOX, INBOX_USE, MessageRow, counted},
    to_device::inbox_topic,
};

/// So many messages, and about so many bytes of them, are told in one answer.
pub const PAGE: usize = 100;
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
    /// Its place: what was told up to there is told no more.
    pub position: Position,
}

/// What a device is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Oldest first.
    pub messages: Vec<Message>,
    /// The place of the last one, where more follow: from there on the next answer goes on.
    pub rest: Option<Position>,
}

/// What waits for a device, as far as it goes into one answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Oldest first.
    pub messages: Vec<Message>,
    /// From there on the next answer goes on.
    pub next: String,
    /// Whether there is more.
    pub has_more: bool,
}

/// What was taken away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Away {
    /// Whether it was all that there was.
    pub(crate) is_all: bool,
    /// How many messages it were.
    pub(crate) count: u64,
}

impl ToDevice {
    /// What a device has to be told of what was sent after a position and up to the head, at most so many messages. What it was sent up to
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
        limit: usize,
    ) -> Result<Page, store::Error> {
        let key = (user.to_owned(), device.to_owned());
        let store = &self.inner.store;
        if self.inner.quiet.get(&key).is_some_and(|known| known.holds(store, [inbox_topic(user, device)])) {
            return Ok(Page::default());
        }
        let all_gone = self.take_away(user, device, after).await?.is_all;
        let names = (user.as_str(), device.as_str());
        let range =
            Range::prefix(&names).after(&(names.0, names.1, after)).through(&(names.0, names.1, head));
        let limit = limit.clamp(1, PAGE);
        let rows = store.scan(&INBOX, range, Order::Ascending, limit + 1).await?;
        if rows.is_empty() && all_gone {
            // The head was taken before the reads.
            self.inner.quiet.insert(key, Arc::new(UpTo::new(head)));
        }
        Ok(page(rows, limit))
    }

    /// What waits for a device, from where an answer before says to go on; it stays where it is. `limit` is a wish.
    ///
    /// # Errors
    /// [`Error::InvalidParam`] for what no answer said, [`Error::Store`].
    pub async fn waiting(
        &self,
        user: &UserId,
        device: &DeviceId,
        from: Option<&str>,
        limit: usize,
    ) -> Result<Waiting, Error> {
        let position = |from: &str| from.strip_prefix('d').and_then(|position| position.parse().ok());
        let after = match from.map(position) {
            None => Position::START,
            Some(Some(position)) => Position(position),
            Some(None) => return Err(Error::InvalidParam("this is not a token of this server")),
        };
        // Before the read: what comes after it is told next time.
        let head = self.inner.store.head();
        let limit = limit.clamp(1, PAGE);
        let names = (user.as_str(), device.as_str());
        let range =
            Range::prefix(&names).after(&(names.0, names.1, after)).through(&(names.0, names.1, head));
        let rows = self.inner.store.scan(&INBOX, range, Order::Ascending, limit + 1).await?;
        let Page { messages, rest } = page(rows, limit);
        let next = format!("d{}", rest.unwrap_or(head.max(after)).0);
        Ok(Waiting { messages, next, has_more: rest.is_some() })
    }

    /// Takes away what a device has, or what waited too long for it.
    pub(crate) async fn take_away(
        &self,
        user: &UserId,
        device: &DeviceId,
        through: Position,
    ) -> Result<Away, store::Error> {
        let mut away = Away { is_all: true, count: 0 };
        if through == Position::START {
            return Ok(away);
        }
        let names = (user.as_str(), device.as_str());
        let store = &self.inner.store;
        let mut attempts = Attempts::default();
        loop {
            let range = Range::prefix(&names).through(&(names.0, names.1, through));
            let rows = store.scan(&INBOX, range, Order::Ascending, AWAY_AT_ONCE).await?;
            let Some((first, row)) = rows.first() else { return Ok(away) };
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
            shares::put(&mut batch, user, device, rows.iter().map(|(_, row)| row), -1);
            match store.commit(batch).await {
                Ok(_) => {
                    away.count += rows.len() as u64;
                    if rows.len() < AWAY_AT_ONCE {
                        return Ok(away);
                    }
                }
                Err(CommitError::Conflict { .. }) if attempts.again(&self.inner.random).await => {}
                Err(error) => {
                    if !error.stops_writes() {
                        warn!(user_id = %user, device_id = %device, %error, "what a device has could not be taken away");
                    }
                    away.is_all = false;
                    return Ok(away);
                }
            }
        }
    }

    /// Adds a message for a device to a batch, at the position of a slot of which no other message for that device
    /// is, if there is room for it.
    pub(crate) fn put_message(
        &self,
        batch: &mut Batch,
        slot: Slot,
        room: &mut Room,
        device: &Standing,
        row: &MessageRow,
    ) -> Fit {
        let bytes = counted(row.size());
        let fit = room.take(device, bytes);
        if fit == Fit::Fits {
            let (user, name) = (device.user(), device.device());
            batch.append(&INBOX, &(user.as_str(), name.as_str()), slot, row);
            batch.add(&INBOX_USE, &(user.as_str(), name.as_str(), COUNT), 1);
            batch.add(&INBOX_USE, &(user.as_str(), name.as_str(), BYTES), bytes);
            shares::put(batch, user, name, [row], 1);
            batch.touch_with(slot, inbox_topic(user, name));
        }
        fit
    }
}

/// Has a slot wake all clients of these users.
pub(crate) fn wake(batch: &mut Batch, slot: Slot, users: &BTreeSet<&UserId>) {
    for user in users {
        batch.touch_with(slot, ToDevice::topic(user));
    }
}

/// The first messages as they are told, as many as go into one answer.
fn page(rows: Vec<((String, String, Position), MessageRow)>, limit: usize) -> Page {
    let count = rows.len();
    let (mut page, mut bytes) = (Page::default(), 0);
    let mut last = Position::START;
    for ((.., position), row) in rows {
        let MessageRow { sender, kind, content } = row;
        bytes += content.len();
        if page.messages.len() == limit || (bytes > PAGE_BYTES && !page.messages.is_empty()) {
            break;
        }
        page.messages.push(Message { sender, kind, content, position });
        last = position;
    }
    page.rest = (page.messages.len() < count).then_some(last);
    page
}
