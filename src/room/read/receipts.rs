//! Receipts: how far users have read.
//!
//! For each user, type and thread only the latest receipt is kept. It lies in two tables, by whom it
//! is of and by when it came; the second is what `/sync` reads, and has one row per receipt.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#receipts>

use ruma::{EventId, OwnedEventId, OwnedUserId, RoomId, ServerName, UserId};
use serde::{Deserialize, Serialize};
use store::{Batch, CommitError, Position, Range, Stamped, Table, Topic, Tuning};

use crate::{
    Error, Order, RoomSerial, Rooms,
    log::{Entry, ReceiptEntry},
    read::room::RoomInfo,
    tables::{MEMBERS, Membership},
};

/// The latest receipts; key: room, user, type, thread (empty for an unthreaded one).
pub(crate) static RECEIPTS: Table<(RoomSerial, String, String, String), Stamped<ReceiptRow>> =
    Table::new(60, "room.receipts", Tuning::Point);

/// The same receipts by the position at which they came.
pub(crate) static RECEIPT_LOG: Table<(RoomSerial, Position), ReceiptLogRow> =
    Table::new(61, "room.receipt_log", Tuning::Append);

/// Row of [`RECEIPTS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReceiptRow {
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
pub(crate) struct ReceiptLogRow {
    user: OwnedUserId,
    private: bool,
    thread: String,
    event_id: OwnedEventId,
    ts: u64,
}
store::row!(ReceiptLogRow, schema = 1);

/// How often a receipt is tried when the same user's clients race.
const ATTEMPTS: usize = 8;

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
    /// [`Error::NoRoom`]; [`Error::NotJoined`]; [`Error::Invalid`] for a thread without a name.
    pub async fn set_receipt(
        &self,
        user: &UserId,
        room_id: &RoomId,
        kind: ReceiptKind,
        thread: Option<&str>,
        event_id: &EventId,
    ) -> Result<(), Error> {
        if thread.is_some_and(|thread| thread != "main" && !thread.starts_with('$')) {
            return Err(Error::Invalid("`thread_id` is neither `main` nor an event id".to_owned()));
        }
        let room = self.get_room(room_id).await?;
        if self.membership_in(&room, user).await? != Some(Membership::Join) {
            return Err(Error::NotJoined { user: user.to_owned(), room: room_id.to_owned() });
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

    /// Notes receipts that another server told us of; those of users that are not its own, or not in
    /// the room, are left out.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Commit`].
    pub async fn receive_receipts(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        mut receipts: Vec<NewReceipt>,
    ) -> Result<(), Error> {
        receipts
            .retain(|receipt| receipt.user_id.server_name() == origin && receipt.kind == ReceiptKind::Public);
        let Some(room) = self.room(room_id).await? else { return Ok(()) };
        let keys: Vec<_> = receipts.iter().map(|receipt| (room.serial, receipt.user_id.as_str())).collect();
        let members = self.store().get_many(&MEMBERS, &keys).await?;
        let mut joined =
            members.iter().map(|row| row.as_ref().is_some_and(|row| row.membership == Membership::Join));
        receipts.retain(|_| joined.next().unwrap_or(false));
        // The last one of each user and thread in a unit is the one that counts.
        let mut seen = std::collections::HashSet::new();
        receipts.reverse();
        receipts.retain(|receipt| seen.insert((receipt.user_id.clone(), receipt.thread.clone())));
        self.note_receipts(&room, &receipts, false).await
    }

    async fn note_receipts(
        &self,
        room: &RoomInfo,
        receipts: &[NewReceipt],
        outgoing: bool,
    ) -> Result<(), Error> {
        if receipts.is_empty() {
            return Ok(());
        }
        let ids: Vec<&EventId> = receipts.iter().map(|receipt| &*receipt.event_id).collect();
        let orders: Vec<Option<Order>> = self
            .events_by_id(&ids)
            .await?
            .into_iter()
            .map(|event| event.filter(|event| event.room() == room.serial).and_then(|event| event.order()))
            .collect();
        let keys: Vec<_> = receipts
            .iter()
            .map(|receipt| {
                let thread = receipt.thread.clone().unwrap_or_default();
                (room.serial, receipt.user_id.to_string(), receipt.kind.as_str().to_owned(), thread)
            })
            .collect();

        for _ in 0..ATTEMPTS {
            let old = self.store().get_many(&RECEIPTS, &keys).await?;
            let mut batch = Batch::new();
            for (((receipt, order), key), old) in receipts.iter().zip(&orders).zip(&keys).zip(&old) {
                if old.as_ref().is_none_or(|old| moves_on(&old.value, receipt, *order)) {
                    self.stage_receipt(&mut batch, room, receipt, *order, key, old.as_ref(), outgoing);
                }
            }
            if batch.is_empty() {
                return Ok(());
            }
            match self.store().commit(batch).await {
                Ok(_) => return Ok(()),
                Err(CommitError::Conflict { .. } | CommitError::Unknown) => {}
                Err(error) => return Err(Error::Commit(error)),
            }
        }
        Err(Error::Contended)
    }

    #[expect(clippy::too_many_arguments, reason = "what is old, what is new, and where it goes")]
    fn stage_receipt(
        &self,
        batch: &mut Batch,
        room: &RoomInfo,
        receipt: &NewReceipt,
        order: Option<Order>,
        key: &(RoomSerial, String, String, String),
        old: Option<&Stamped<ReceiptRow>>,
        outgoing: bool,
    ) {
        let public = receipt.kind == ReceiptKind::Public;
        let outgoing = outgoing && public;
        let entry = Entry::Receipt(ReceiptEntry {
            room: room.serial,
            room_id: room.room_id.clone(),
            user_id: receipt.user_id.clone(),
            kind: receipt.kind.as_str().to_owned(),
            thread: receipt.thread.clone().unwrap_or_default(),
            outgoing,
        });
        let mut topics = vec![match public {
            true => Topic::room(room.room_id.as_str()),
            false => Topic::user(receipt.user_id.as_str()),
        }];
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

    /// The receipts of rooms that came after a position and that a user may see, in the order of `rooms`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn receipts_since(
        &self,
        user: &UserId,
        rooms: &[RoomSerial],
        after: Position,
    ) -> Result<Vec<Vec<Receipt>>, Error> {
        let ranges = rooms.iter().map(|room| Range::prefix(room).after(&(*room, after))).collect();
        let found = self.store().scan_many(&RECEIPT_LOG, ranges, store::Order::Ascending, usize::MAX).await?;
        let receipt = |((_, position), row): ((RoomSerial, Position), ReceiptLogRow)| {
            (!row.private || row.user == user).then(|| Receipt {
                user_id: row.user,
                kind: if row.private { ReceiptKind::Private } else { ReceiptKind::Public },
                thread: Some(row.thread).filter(|thread| !thread.is_empty()),
                event_id: row.event_id,
                ts: row.ts,
                position,
            })
        };
        Ok(found.into_iter().map(|rows| rows.into_iter().filter_map(receipt).collect()).collect())
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
        Ok(row.map(|row| Receipt {
            user_id: user.to_owned(),
            kind,
            thread: thread.map(str::to_owned),
            event_id: row.value.event_id,
            ts: row.value.ts,
            position: row.position,
        }))
    }
}

/// Whether a receipt goes further than the one we have. Of events that we lack we believe it.
fn moves_on(old: &ReceiptRow, new: &NewReceipt, order: Option<Order>) -> bool {
    if old.event_id == new.event_id {
        return false;
    }
    match (old.order, order) {
        (Some(old), Some(new)) => new > old,
        _ => true,
    }
}
