//! Receipts: how far users have read.
//!
//! For each user, type and thread only the latest receipt is kept, and of each user only those of the
//! threads that he read last. A receipt lies in two tables, by whom it is of and by when it came; the
//! second is what `/sync` reads ([`since`]), and has one row per receipt; the newest public ones of a room are
//! also in memory for all its readers ([`tail`]).
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#receipts>

mod read_up_to;
mod since;
mod tail;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use pdu::json::write_string;
use ruma::{EventId, OwnedEventId, OwnedUserId, RoomId, ServerName, UserId};
use serde::{Deserialize, Serialize};
use store::{Batch, Position, Range, Stamped, Table, Topic, Tuning};

use crate::{
    Error, Order, RoomSerial, Rooms,
    attempts::Attempts,
    log::{Entry, ReceiptEntry},
    read::{event::StoredEvent, room::RoomInfo},
    tables::{MEMBERS, Membership},
};

/// Room, user, type, thread (empty for an unthreaded receipt).
type ReceiptKey = (RoomSerial, String, String, String);

/// The latest receipts.
pub static RECEIPTS: Table<ReceiptKey, Stamped<ReceiptRow>> = Table::new(60, "room.receipts", Tuning::Point);

/// The same receipts by the position at which they came.
pub static RECEIPT_LOG: Table<(RoomSerial, Position), ReceiptLogRow> =
    Table::new(61, "room.receipt_log", Tuning::Append);

/// Row of [`RECEIPTS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptRow {
    /// Up to which event the user has read.
    pub(crate) event_id: OwnedEventId,
    /// The event's place, if we have it.
    pub(crate) order: Option<Order>,
    /// When he read it, in ms since 1970.
    pub(crate) ts: u64,
}
store::row!(ReceiptRow, schema = 1);

/// Row of [`RECEIPT_LOG`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptLogRow {
    user: OwnedUserId,
    private: bool,
    thread: String,
    event_id: OwnedEventId,
    ts: u64,
}
store::row!(ReceiptLogRow, schema = 1);

impl ReceiptLogRow {
    fn into_receipt(self, position: Position) -> Receipt {
        let kind = if self.private { ReceiptKind::Private } else { ReceiptKind::Public };
        let of = ReceiptRow { event_id: self.event_id, order: None, ts: self.ts };
        Receipt::new(self.user, kind, self.thread, of, position)
    }
}

/// Of so many threads of a room a user's receipts are kept; when there are more, the oldest go.
const THREADS_KEPT: usize = 64;

/// So many receipts are written in one commit.
const AT_ONCE: usize = 500;

/// The longest id of an event, in bytes.
const LONGEST_ID: usize = 255;

/// The timeline outside all threads.
const MAIN: &str = "main";

/// Through so many relations an event belongs to a thread: an edit of an answer in it, a reaction to that.
pub(crate) const RELATIONS_FOLLOWED: usize = 3;

/// Who is told of a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReceiptKind {
    /// `m.read`: everybody in the room.
    Public,
    /// `m.read.private`: the user's own clients.
    Private,
}

impl ReceiptKind {
    /// As the specification spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "m.read",
            Self::Private => "m.read.private",
        }
    }

    /// The kind that the specification spells so.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "m.read" => Some(Self::Public),
            "m.read.private" => Some(Self::Private),
            _ => None,
        }
    }
}

/// A receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Whose.
    pub user_id: OwnedUserId,
    /// Who is told of it.
    pub kind: ReceiptKind,
    /// `main`, or the id of a thread's first event; `None` for an unthreaded receipt.
    pub thread: Option<String>,
    /// Up to which event he has read.
    pub event_id: OwnedEventId,
    /// When, in ms since 1970.
    pub ts: u64,
    /// When it came to us.
    pub position: Position,
    json: Box<str>,
}

impl Receipt {
    fn new(
        user_id: OwnedUserId,
        kind: ReceiptKind,
        thread: String,
        row: ReceiptRow,
        position: Position,
    ) -> Self {
        let thread = Some(thread).filter(|thread| !thread.is_empty());
        let mut json = String::with_capacity(64);
        write_string(user_id.as_str(), &mut json);
        json.push_str(":{\"ts\":");
        json.push_str(&row.ts.to_string());
        if let Some(thread) = &thread {
            json.push_str(",\"thread_id\":");
            write_string(thread, &mut json);
        }
        json.push('}');
        Self { user_id, kind, thread, event_id: row.event_id, ts: row.ts, position, json: json.into() }
    }

    /// Whose it is and when he read, as a member of the JSON object of an event's receipts of this kind: made once for
    /// all who are told.
    pub fn json(&self) -> &str {
        &self.json
    }
}

pub use read_up_to::ReadUpTo;
pub use since::ReceiptQuery;
pub(crate) use tail::TailCache;

/// What moves when a user of ours has read on in a room; by the kind of the receipt, as private ones are looked for
/// where nobody else's are.
#[must_use]
pub fn own_receipts_in(kind: ReceiptKind, user: &UserId, room_id: &str) -> Topic {
    let topic = match kind {
        ReceiptKind::Private => 17,
        ReceiptKind::Public => 22,
    };
    Topic::new(topic, &format!("{user} {room_id}"))
}

/// A receipt to be noted.
#[derive(Clone, Debug)]
pub struct NewReceipt {
    /// Whose.
    pub user_id: OwnedUserId,
    /// Who is told of it.
    pub kind: ReceiptKind,
    /// See [`Receipt::thread`].
    pub thread: Option<String>,
    /// Up to which event he has read.
    pub event_id: OwnedEventId,
    /// When, in ms since 1970.
    pub ts: u64,
}

impl Rooms {
    /// Notes how far a user of ours has read. A receipt for an older event than the last one changes nothing.
    ///
    /// # Errors
    /// [`Error::NoRoom`]; [`Error::NotJoined`]; [`Error::NoEvent`] for an event that he does not see in this
    /// room; [`Error::Invalid`] for a thread without a name.
    pub async fn set_receipt(
        &self,
        user: &UserId,
        room_id: &RoomId,
        kind: ReceiptKind,
        thread: Option<&str>,
        event_id: &EventId,
    ) -> Result<(), Error> {
        if thread.is_some_and(|thread| !is_thread(thread)) {
            return Err(Error::Invalid("`thread_id` is neither `main` nor an event id".to_owned()));
        }
        let room = self.get_room(room_id).await?;
        if self.membership_in(&room, user).await? != Some(Membership::Join) {
            return Err(Error::NotJoined { user: user.to_owned(), room: room_id.to_owned() });
        }
        // A receipt for what nobody knows would have no place among the others.
        let event = self.event(room_id, event_id).await?.filter(|event| event.order().is_some());
        let visible = self.visible_to(user, event.into_iter().collect()).await?;
        let Some(event) = visible.first() else { return Err(Error::NoEvent(event_id.to_owned())) };
        if let Some(thread) = thread
            && !self.is_in_thread(event, thread).await?
        {
            return Err(Error::Invalid("the event is not in this thread".to_owned()));
        }
        let receipt = NewReceipt {
            user_id: user.to_owned(),
            kind,
            thread: thread.map(str::to_owned),
            event_id: event_id.to_owned(),
            ts: self.now(),
        };
        self.note_receipts(&room, &[receipt], true).await
    }

    /// Whether an event is part of a thread (or of `main`), by its own relation or by that of what it refers to. The
    /// event that a thread begins with is in both.
    async fn is_in_thread(&self, event: &Arc<StoredEvent>, thread: &str) -> Result<bool, Error> {
        if event.event_id() == thread {
            return Ok(true);
        }
        let mut of = event.clone();
        for _ in 0..RELATIONS_FOLLOWED {
            let Some(relation) = of.relation() else { break };
            if relation.is_thread() {
                return Ok(relation.event_id == thread);
            }
            let parent = self.events_by_id(&[&*relation.event_id]).await?.pop().flatten();
            let Some(parent) = parent.filter(|parent| parent.room() == event.room()) else { break };
            if parent.event_id() == thread {
                return Ok(true);
            }
            of = parent;
        }
        Ok(thread == MAIN)
    }

    /// Notes receipts that another server told us of; those of users that are not its own, or not in
    /// the room, and those of threads that are none, are left out.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Commit`].
    pub async fn receive_receipts(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        mut receipts: Vec<NewReceipt>,
    ) -> Result<(), Error> {
        let now = self.now();
        receipts.retain(|receipt| {
            receipt.user_id.server_name() == origin
                && receipt.kind == ReceiptKind::Public
                && receipt.event_id.as_str().len() <= LONGEST_ID
                && receipt.thread.as_deref().is_none_or(is_thread)
        });
        let Some(room) = self.room(room_id).await? else { return Ok(()) };
        let keys: Vec<_> = receipts.iter().map(|receipt| (room.serial, receipt.user_id.as_str())).collect();
        let members = self.store().get_many(&MEMBERS, &keys).await?;
        // Whether somebody is a member who is not known may show later; that his server is there must do.
        let is_open =
            self.lacking().await?.lacks(room.serial) && self.is_server_in_room(origin, room.serial).await?;
        let mut joined =
            members.iter().map(|row| row.as_ref().map_or(is_open, |row| row.membership == Membership::Join));
        receipts.retain(|_| joined.next().unwrap_or(false));
        keep_last(&mut receipts);
        for receipt in &mut receipts {
            receipt.ts = receipt.ts.min(now);
        }
        for some in receipts.chunks(AT_ONCE) {
            self.note_receipts(&room, some, false).await?;
        }
        Ok(())
    }

    /// Notes receipts in one commit; of each user those of at most [`THREADS_KEPT`] threads.
    pub async fn note_receipts(
        &self,
        room: &RoomInfo,
        receipts: &[NewReceipt],
        outgoing: bool,
    ) -> Result<(), Error> {
        if receipts.is_empty() {
            return Ok(());
        }
        let ids: Vec<&EventId> = receipts.iter().map(|receipt| &*receipt.event_id).collect();
        let orders = self.orders_of(room, &ids).await?;
        let keys: Vec<_> = receipts
            .iter()
            .map(|receipt| {
                let thread = receipt.thread.clone().unwrap_or_default();
                (room.serial, receipt.user_id.to_string(), receipt.kind.as_str().to_owned(), thread)
            })
            .collect();

        let mut attempts = Attempts::default();
        loop {
            let old = self.store().get_many(&RECEIPTS, &keys).await?;
            let old_orders = self.orders_now(room, &old).await?;
            let mut batch = Batch::new();
            let news = receipts.iter().zip(&orders).zip(&keys).zip(old.iter().zip(&old_orders));
            for (((receipt, order), key), (old, old_order)) in news {
                if old.as_ref().is_none_or(|old| moves_on((&old.value, *old_order), (receipt, *order))) {
                    self.stage_receipt(&mut batch, room, receipt, *order, key, old.as_ref(), outgoing);
                }
            }
            self.drop_oldest_threads(&mut batch, room, &keys, &old).await?;
            if batch.is_empty() {
                return Ok(());
            }
            if attempts.judge(self, self.store().commit(batch).await).await?.is_some() {
                return Ok(());
            }
        }
    }

    /// The places of events in the room's timeline, as far as we have them.
    async fn orders_of(&self, room: &RoomInfo, ids: &[&EventId]) -> Result<Vec<Option<Order>>, Error> {
        let place = |event: Option<Arc<StoredEvent>>| {
            event.filter(|event| event.room() == room.serial).and_then(|event| event.order())
        };
        Ok(self.events_by_id(ids).await?.into_iter().map(place).collect())
    }

    /// The places of the events that receipts name; what was not here when a receipt came may be now.
    async fn orders_now(
        &self,
        room: &RoomInfo,
        receipts: &[Option<Stamped<ReceiptRow>>],
    ) -> Result<Vec<Option<Order>>, Error> {
        let mut orders: Vec<Option<Order>> =
            receipts.iter().map(|row| row.as_ref().and_then(|row| row.value.order)).collect();
        let open: Vec<usize> = (0..receipts.len()).filter(|index| orders[*index].is_none()).collect();
        let named: Vec<(usize, &EventId)> = open
            .into_iter()
            .filter_map(|index| Some((index, &*receipts[index].as_ref()?.value.event_id)))
            .collect();
        if named.is_empty() {
            return Ok(orders);
        }
        let ids: Vec<&EventId> = named.iter().map(|(_, id)| *id).collect();
        for ((index, _), order) in named.iter().zip(self.orders_of(room, &ids).await?) {
            orders[*index] = order;
        }
        Ok(orders)
    }

    /// Makes room for receipts of threads that are new to their users.
    async fn drop_oldest_threads(
        &self,
        batch: &mut Batch,
        room: &RoomInfo,
        keys: &[ReceiptKey],
        old: &[Option<Stamped<ReceiptRow>>],
    ) -> Result<(), Error> {
        let mut users: Vec<&str> = keys
            .iter()
            .zip(old)
            .filter(|((_, _, _, thread), old)| old.is_none() && thread.starts_with('$'))
            .map(|((_, user, _, _), _)| user.as_str())
            .collect();
        users.sort_unstable();
        users.dedup();
        if users.is_empty() {
            return Ok(());
        }
        let ranges = users.iter().map(|user| Range::prefix(&(room.serial, *user))).collect();
        let found = self.store().scan_many(&RECEIPTS, ranges, store::Order::Ascending, usize::MAX).await?;
        for (user, rows) in users.iter().zip(found) {
            let named =
                keys.iter().filter(|(_, of, _, thread)| of == user && thread.starts_with('$')).count();
            let mut kept: Vec<_> =
                rows.into_iter().filter(|(key, _)| key.3.starts_with('$') && !keys.contains(key)).collect();
            kept.sort_unstable_by_key(|(_, row)| row.position);
            let too_many = (kept.len() + named).saturating_sub(THREADS_KEPT);
            for (key, row) in kept.into_iter().take(too_many) {
                batch.require(&RECEIPTS, &key, Some(&row));
                batch.delete(&RECEIPTS, &key);
                batch.delete(&RECEIPT_LOG, &(room.serial, row.position));
            }
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "what is old, what is new, and where it goes")]
    fn stage_receipt(
        &self,
        batch: &mut Batch,
        room: &RoomInfo,
        receipt: &NewReceipt,
        order: Option<Order>,
        key: &ReceiptKey,
        old: Option<&Stamped<ReceiptRow>>,
        outgoing: bool,
    ) {
        let public = receipt.kind == ReceiptKind::Public;
        let of_ours = outgoing;
        let outgoing = of_ours && public;
        let entry = Entry::Receipt(ReceiptEntry {
            room: room.serial,
            room_id: room.room_id.clone(),
            user_id: receipt.user_id.clone(),
            kind: receipt.kind.as_str().to_owned(),
            thread: receipt.thread.clone().unwrap_or_default(),
            outgoing,
        });
        let mut topics = Vec::with_capacity(4);
        if public {
            topics.push(Topic::ephemeral(room.room_id.as_str()));
        }
        if of_ours {
            topics.push(Topic::own_receipts(receipt.user_id.as_str()));
            topics.push(own_receipts_in(receipt.kind, &receipt.user_id, room.room_id.as_str()));
        }
        if outgoing {
            topics.push(Topic::destination("*"));
        }
        let (kind, payload) = entry.encode();
        batch.require(&RECEIPTS, key, old);
        let slot = batch.log(kind, payload, topics);
        let row = ReceiptRow { event_id: receipt.event_id.clone(), order, ts: receipt.ts };
        batch.put_stamped(&RECEIPTS, key, slot, &row);
        if let Some(old) = old {
            batch.delete(&RECEIPT_LOG, &(room.serial, old.position));
        }
        let row = ReceiptLogRow {
            user: receipt.user_id.clone(),
            private: !public,
            thread: receipt.thread.clone().unwrap_or_default(),
            event_id: receipt.event_id.clone(),
            ts: receipt.ts,
        };
        batch.append(&RECEIPT_LOG, &room.serial, slot, &row);
    }

    /// Public receipts by room, user and thread, in their order, for use inside the server.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn public_receipts(
        &self,
        wanted: &[(RoomSerial, OwnedUserId, String)],
    ) -> Result<Vec<Option<Receipt>>, Error> {
        let kind = ReceiptKind::Public;
        let key = |(room, user, thread): &(RoomSerial, OwnedUserId, String)| {
            (*room, user.to_string(), kind.as_str().to_owned(), thread.clone())
        };
        let keys: Vec<ReceiptKey> = wanted.iter().map(key).collect();
        let rows = self.store().get_many(&RECEIPTS, &keys).await?;
        let found = wanted.iter().zip(rows).map(|((_, user, thread), row)| {
            row.map(|row| Receipt::new(user.clone(), kind, thread.clone(), row.value, row.position))
        });
        Ok(found.collect())
    }

    /// A user's receipt, for use inside the server.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn receipt(
        &self,
        room: RoomSerial,
        user: &UserId,
        kind: ReceiptKind,
        thread: Option<&str>,
    ) -> Result<Option<Receipt>, Error> {
        let key = (room, user.to_string(), kind.as_str().to_owned(), thread.unwrap_or_default().to_owned());
        let row = self.store().get(&RECEIPTS, &key).await?;
        let thread = thread.unwrap_or_default().to_owned();
        Ok(row.map(|row| Receipt::new(user.to_owned(), kind, thread, row.value, row.position)))
    }
}

/// Of what one unit says, the last receipt of each user and thread counts, and of the threads of a user the last ones.
fn keep_last(receipts: &mut Vec<NewReceipt>) {
    let (mut seen, mut threads) = (HashSet::new(), HashMap::<OwnedUserId, usize>::new());
    receipts.reverse();
    receipts.retain(|receipt| {
        if !seen.insert((receipt.user_id.clone(), receipt.thread.clone())) {
            return false;
        }
        if receipt.thread.as_deref().is_none_or(|thread| thread == MAIN) {
            return true;
        }
        let threads = threads.entry(receipt.user_id.clone()).or_default();
        *threads += 1;
        *threads <= THREADS_KEPT
    });
    receipts.reverse();
}

/// Whether the name is one of a thread.
fn is_thread(name: &str) -> bool {
    name == MAIN || (name.len() <= LONGEST_ID && name.starts_with('$') && EventId::parse(name).is_ok())
}

/// Whether a receipt goes further than the one we have. Where we lack one of the events, the one counts
/// that was read later.
fn moves_on(old: (&ReceiptRow, Option<Order>), new: (&NewReceipt, Option<Order>)) -> bool {
    if old.0.event_id == new.0.event_id {
        return false;
    }
    match (old.1, new.1) {
        (Some(old), Some(new)) => new > old,
        _ => new.0.ts > old.0.ts,
    }
}
