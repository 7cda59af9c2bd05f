//! What one authority of ours has to tell one peer: a queue in memory, or, for a peer that is behind,
//! the rooms in which it lacks events.
//!
//! Plain values and decisions; nothing here waits.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use base::Timestamp;
use ruma::{OwnedRoomId, OwnedUserId, ServerName};
use store::Position;
use to_device::Unit;

use crate::tables::LastSentRow;

use super::{
    outbox::Outbox,
    press::Press,
    transaction::{
        Content, Item, MOST_BYTES, MOST_EDUS, MOST_PDUS, OutgoingReceipt, ReceiptKey, Transaction, fitting,
        take_presence, take_receipts, typing_edu,
    },
};

/// So many receipts wait for one peer; with more of them it is behind. So many typing notifications and users whose
/// presence has changed; more are forgotten.
const MOST_EPHEMERAL: usize = 500;

/// Of a transaction's ephemeral units so many are left to receipts, whatever waits of messages to devices.
const LEFT_TO_RECEIPTS: usize = 10;

/// What a peer lacks of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owed {
    /// It has everything up to here.
    pub(crate) after: Position,
    /// The last event that it has to get is not later than this.
    pub(crate) through: Position,
}

/// What one authority of ours has to tell one peer.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// Events, oldest first. Empty while the peer is behind.
    queue: VecDeque<Item>,
    typing: BTreeMap<(OwnedRoomId, OwnedUserId), (bool, Position)>,
    /// Empty while the peer is behind.
    receipts: BTreeMap<ReceiptKey, OutgoingReceipt>,
    /// The rooms of those in the pending transaction, or more, each with the place of the first.
    receipts_on_way: BTreeMap<OwnedRoomId, Position>,
    /// Who came or went, in canonical JSON. It goes by itself, when there is nothing else.
    presence: BTreeMap<OwnedUserId, (Arc<str>, Position)>,
    /// A transaction that was tried and has to be tried again as it is.
    pending: Option<Arc<Transaction>>,
    /// What the store says of the transaction that was sent last.
    noted: Noted,
    /// Up to here it was given what it has to send; what comes again after a takeover is not sent again.
    pushed: Position,
    /// `Some` while the peer is behind: the rooms in which it lacks something.
    owed: Option<BTreeMap<OwnedRoomId, Owed>>,
    /// The same of what was missed. It comes among `owed` when nothing is on its way and the room is not there: that a part of
    /// what the peer lacks of a room was sent says nothing of what was missed of it.
    missed: BTreeMap<OwnedRoomId, Owed>,
    /// What the store says of `owed`.
    stored: BTreeMap<OwnedRoomId, Position>,
    /// Whether `owed` may say otherwise than the store.
    is_changed: bool,
    /// Events per transaction at most; fewer after one was refused as a whole.
    limit: Option<usize>,
    /// Messages to devices.
    pub(crate) outbox: Outbox,
}

/// Whether messages to devices go with events, in one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Together {
    Yes,
    /// What is noted of events that are under way has nothing of them.
    No,
}

/// What a peer will never get, since it refuses it for good.
pub(crate) enum Refused {
    Event(Item),
    Unit(Unit),
}

/// What the store says of the transaction that was sent last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Noted {
    /// Nothing: there is none after the sender's cursor.
    #[default]
    Nothing,
    /// It is under way. Up to `before` all has been delivered or is owed, whatever becomes of it; up to `through`
    /// when it has been delivered.
    UnderWay { id: String, before: Position, through: Position },
    /// The same, but it has ended.
    Settled { through: Position },
    /// That it has ended.
    Done { through: Position },
}

/// What to write of a transaction that has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// That it has.
    Put(LastSentRow),
    /// The cursor tells as much: the row goes.
    Delete { through: Position },
}

/// Rows to write so that the store says what memory says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) put: Vec<(OwnedRoomId, Position)>,
    pub(crate) delete: Vec<OwnedRoomId>,
}

/// What a lane has to do next.
pub(crate) enum Work {
    /// Send this.
    Send(Arc<Transaction>),
    /// Look up what the peer lacks of this room.
    CatchUp(OwnedRoomId, Owed),
    /// Nothing.
    Rest,
}

impl Lane {
    /// A lane as the store remembers it: what is owed up to the sender's cursor.
    pub(crate) fn restored(rooms: BTreeMap<OwnedRoomId, Position>, cursor: Position) -> Self {
        let owed = rooms.iter().map(|(room, after)| (room.clone(), Owed { after: *after, through: cursor }));
        let owed = (!rooms.is_empty()).then(|| owed.collect());
        Self { owed, stored: rooms, ..Self::default() }
    }

    /// Takes up what was sent last, as the store remembers it: up to `through`, and a transaction that was
    /// under way, with its events.
    pub(crate) fn resume(&mut self, through: Position, under_way: Option<(Arc<Transaction>, Vec<Item>)>) {
        self.pushed = through;
        self.noted = Noted::Settled { through };
        for owed in self.owed.iter_mut().flat_map(BTreeMap::values_mut) {
            owed.through = owed.through.max(through);
        }
        let Some((transaction, items)) = under_way else { return };
        let before = if transaction.room.is_none() { transaction.before() } else { through };
        if transaction.room.is_none() && self.owed.is_none() {
            self.queue = items.into();
        }
        self.noted = Noted::UnderWay { id: transaction.id.clone(), before, through };
        self.pending = Some(transaction);
    }

    /// Adds an event. With more than `limit` waiting, the peer is behind from here on.
    pub(crate) fn push(&mut self, item: Item, limit: usize) {
        // After a crash the log is read again from a little earlier on.
        if item.position <= self.pushed {
            return;
        }
        self.pushed = item.position;
        if let Some(owed) = &mut self.owed {
            owe(owed, &item.room_id, item.position);
            self.is_changed = true;
            return;
        }
        self.queue.push_back(item);
        if self.queue.len() > limit {
            self.fall_behind();
        }
    }

    /// Adds a receipt. To a peer that is behind it is owed with the room: it is told what the store says then.
    pub(crate) fn push_receipt(&mut self, key: ReceiptKey, receipt: OutgoingReceipt) {
        if let Some(owed) = &mut self.owed {
            owe(owed, &key.0, receipt.position);
            self.is_changed = true;
            return;
        }
        self.receipts.insert(key, receipt);
        if self.receipts.len() > MOST_EPHEMERAL {
            self.fall_behind();
        }
    }

    pub(crate) fn push_typing(&mut self, room: OwnedRoomId, user: OwnedUserId, typing: bool, at: Position) {
        if self.owed.is_none() && self.typing.len() < MOST_EPHEMERAL {
            self.typing.insert((room, user), (typing, at));
        }
    }

    pub(crate) fn push_presence(&mut self, user: OwnedUserId, unit: Arc<str>, at: Position) {
        let is_room = self.presence.len() < MOST_EPHEMERAL || self.presence.contains_key(&user);
        if self.owed.is_none() && is_room {
            self.presence.insert(user, (unit, at));
        }
    }

    /// The peer has not taken the pending transaction: what is of the moment alone is not tried again.
    pub(crate) fn failed(&mut self) {
        self.presence.clear();
        self.pending.take_if(|pending| pending.is_presence());
    }

    /// Gives up the queue: from here on only the rooms are remembered.
    pub(crate) fn fall_behind(&mut self) {
        let owed = self.owed.get_or_insert_default();
        for item in self.queue.drain(..) {
            owe(owed, &item.room_id, item.position);
        }
        let on_way = std::mem::take(&mut self.receipts_on_way);
        let waiting = std::mem::take(&mut self.receipts).into_iter();
        for (room, position) in on_way.into_iter().chain(waiting.map(|(key, of)| (key.0, of.position))) {
            let entry = owe(owed, &room, position);
            entry.after = entry.after.min(before(position));
        }
        self.queue.shrink_to_fit();
        self.is_changed = true;
        // One of what is owed of a room stays as it is.
        if let Some(queued) = self.pending.take_if(|pending| pending.room.is_none()) {
            self.settled(&queued.id);
        }
        self.typing.clear();
        self.presence.clear();
        self.outbox.put_back();
    }

    /// The peer lacks something of a room that was never pushed, besides what it lacks as it is: from here on it is behind.
    pub(crate) fn owe_missed(&mut self, room: OwnedRoomId, missed: Owed) {
        if self.owed.is_none() {
            self.fall_behind();
        }
        let covers = |owed: &Owed| owed.after <= missed.after && owed.through >= missed.through;
        if self.owed.iter().any(|owed| owed.get(&room).is_some_and(covers)) {
            return;
        }
        let entry = self.missed.entry(room).or_insert(missed);
        entry.after = entry.after.min(missed.after);
        entry.through = entry.through.max(missed.through);
        self.is_changed = true;
    }

    /// Gives up everything that was to be sent.
    pub(crate) fn forget(&mut self) {
        // What the store says of it goes at once: after a crash it is tried anew, as one of whom nothing is known.
        let noted = match self.noted {
            Noted::Nothing => Noted::Nothing,
            _ => Noted::Settled { through: Position::START },
        };
        let stored = std::mem::take(&mut self.stored);
        let mut outbox = std::mem::take(&mut self.outbox);
        outbox.forget();
        *self = Self { stored, noted, pushed: self.pushed, is_changed: true, outbox, ..Self::default() };
    }

    pub(crate) fn is_behind(&self) -> bool {
        self.owed.is_some()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty()
            && self.typing.is_empty()
            && self.receipts.is_empty()
            && self.presence.is_empty()
            && self.pending.is_none()
            && self.owed.is_none()
            && self.outbox.is_empty()
    }

    /// Whether there is nothing to send and nothing to write.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_idle() && self.stored.is_empty() && self.noted == Noted::Nothing && self.outbox.is_settled()
    }

    /// Whether nothing is lost with it when the log has been read up to here: what it was given is not read again.
    pub(crate) fn is_over(&self, fanned: Position) -> bool {
        self.is_settled() && self.pushed <= fanned
    }

    /// Whether something has to be read before it is known what is to be sent.
    pub(crate) fn wants_to_read(&self) -> bool {
        self.outbox.wanted().is_some()
    }

    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn owed_rooms(&self) -> usize {
        self.owed.as_ref().map_or(0, BTreeMap::len) + self.missed.len()
    }

    /// What to do next. A transaction stays the pending one until it is settled.
    pub(crate) fn next(
        &mut self,
        origin: &ServerName,
        press: &Press,
        together: Together,
        now: Timestamp,
    ) -> Work {
        if let Some(pending) = &self.pending {
            return Work::Send(pending.clone());
        }
        let is_apart = together == Together::No || self.outbox.goes_apart() || self.owed.is_some();
        if is_apart {
            let units = self.outbox.fitting(MOST_EDUS, MOST_BYTES);
            if !units.is_empty() {
                let content = Content { origin, room: None, pdus: &[], edus: &[], units: &units };
                let transaction = press.print(&content, now);
                self.pending = Some(transaction.clone());
                return Work::Send(transaction);
            }
        }
        if let Some(owed) = &mut self.owed {
            for (room, missed) in std::mem::take(&mut self.missed) {
                match owed.contains_key(&room) {
                    true => self.missed.insert(room, missed),
                    false => owed.insert(room, missed),
                };
            }
            // The room that waits longest first.
            if let Some((room, owed)) = owed.iter().min_by_key(|(_, owed)| owed.after) {
                return Work::CatchUp(room.clone(), *owed);
            }
            self.owed = None;
        }
        let count = fitting(&self.queue, self.limit.unwrap_or(MOST_PDUS));
        let pdus: Vec<&Item> = self.queue.iter().take(count).collect();
        // What finds no place in this transaction stays for the next one.
        let mut edus: Vec<(Position, String)> = Vec::new();
        while edus.len() < MOST_EDUS / 2
            && let Some(((room, user), (typing, at))) = self.typing.pop_first()
        {
            edus.push((at, typing_edu(&room, &user, typing)));
        }
        let bytes: usize = pdus.iter().map(|item| item.event.pdu().json().len()).sum();
        let most = MOST_EDUS - edus.len() - LEFT_TO_RECEIPTS;
        let units = match is_apart {
            true => Vec::new(),
            false => self.outbox.fitting(most, MOST_BYTES.saturating_sub(bytes)),
        };
        self.receipts_on_way.clear();
        for ((room, ..), receipt) in &self.receipts {
            match self.receipts_on_way.get_mut(room) {
                Some(first) => *first = receipt.position.min(*first),
                None => drop(self.receipts_on_way.insert(room.clone(), receipt.position)),
            }
        }
        edus.append(&mut take_receipts(&mut self.receipts, MOST_EDUS - edus.len() - units.len()));
        // By itself: peers of whom each hears of others get the same events in the same transaction, and what the
        // store notes of events on their way has nothing of it.
        if pdus.is_empty() && edus.is_empty() && units.is_empty() {
            edus.extend(take_presence(&mut self.presence));
            if edus.is_empty() {
                return Work::Rest;
            }
        }
        let content = Content { origin, room: None, pdus: &pdus, edus: &edus, units: &units };
        let transaction = press.print(&content, now);
        self.pending = Some(transaction.clone());
        Work::Send(transaction)
    }

    /// The peer has taken the pending transaction.
    pub(crate) fn delivered(&mut self, id: &str) {
        self.settled(id);
        let Some(done) = self.pending.take_if(|pending| pending.id == id) else { return };
        match &done.room {
            // With receipts alone it has not got what was said until then.
            Some(room) if done.pdus > 0 => self.caught_up(room, done.last),
            Some(_) => {}
            None => {
                self.queue.drain(..done.pdus.min(self.queue.len()));
                self.receipts_on_way.clear();
                if done.pdus > 0 {
                    self.limit = None;
                }
                self.outbox.delivered(done.units, done.pdus > 0);
            }
        }
    }

    /// What is written before a transaction is sent; nothing when it is written already, or when it would be no
    /// harm if its content came again in another one.
    pub(crate) fn sending(&mut self, transaction: &Transaction) -> Option<LastSentRow> {
        let last = transaction.last_pdu()?;
        if matches!(&self.noted, Noted::UnderWay { id, .. } if *id == transaction.id) {
            return None;
        }
        let (before, through) = match self.owed {
            // Of what is owed the store knows all that was pushed.
            Some(_) => (self.pushed, self.pushed.max(last)),
            None => (transaction.before(), last),
        };
        self.noted = Noted::UnderWay { id: transaction.id.clone(), before, through };
        Some(LastSentRow { through, under_way: Some(transaction.row()) })
    }

    /// That could not be written, with what has changed. Nothing was to be written: what the store says of the
    /// transaction stays so, for it may have arrived.
    pub(crate) fn sending_failed(&mut self, id: &str, changes: Option<Changes>) {
        if let Some(changes) = changes {
            self.changes_failed(changes);
            self.not_sent(id);
        }
    }

    /// It was not written, or the peer does not take the transaction as it is.
    pub(crate) fn not_sent(&mut self, id: &str) {
        if let Noted::UnderWay { id: noted, before, .. } = &self.noted
            && noted == id
        {
            self.noted = Noted::Settled { through: *before };
        }
    }

    /// The transaction has been delivered, or its events are owed by now.
    fn settled(&mut self, id: &str) {
        if let Noted::UnderWay { id: noted, through, .. } = &self.noted
            && noted == id
        {
            self.noted = Noted::Settled { through: *through };
        }
    }

    /// What has to be written of a transaction that has ended, when the cursor is written as well; counts as written
    /// from now on.
    pub(crate) fn ended(&mut self, cursor: Position) -> Option<Ended> {
        match self.noted {
            Noted::Settled { through } | Noted::Done { through } if through <= cursor => {
                self.noted = Noted::Nothing;
                Some(Ended::Delete { through })
            }
            Noted::Settled { through } => {
                self.noted = Noted::Done { through };
                Some(Ended::Put(LastSentRow { through, under_way: None }))
            }
            Noted::Nothing | Noted::UnderWay { .. } | Noted::Done { .. } => None,
        }
    }

    /// That could not be written. What was sent since is written over it anyway.
    pub(crate) fn ended_failed(&mut self, ended: &Ended) {
        let through = match ended {
            Ended::Put(row) => row.through,
            Ended::Delete { through } => *through,
        };
        if matches!(self.noted, Noted::Nothing | Noted::Done { .. }) {
            self.noted = Noted::Settled { through };
        }
    }

    /// A part of what the peer lacks of a room was sent and not taken: it is tried again as it is.
    pub(crate) fn try_again(&mut self, transaction: Arc<Transaction>) {
        if self.owed.is_some() {
            self.pending = Some(transaction);
        }
    }

    /// The peer refuses the pending transaction itself, not us. Fewer events are tried next; a single
    /// one that is refused has to go, or all later ones would wait for ever. Returns that one.
    pub(crate) fn refused(&mut self, id: &str) -> Option<Refused> {
        self.not_sent(id);
        let pending = self.pending.take_if(|pending| pending.id == id)?;
        if pending.units > 0 {
            let beside_others = pending.pdus > 0 || pending.edus > 0;
            return self.outbox.refused(pending.units, beside_others).map(Refused::Unit);
        }
        // Of what it lacks of a room, less is tried next.
        if pending.edus > 0 || pending.room.is_some() {
            return None;
        }
        self.limit = Some((pending.pdus / 2).max(1));
        if pending.pdus == 1 { self.queue.pop_front().map(Refused::Event) } else { None }
    }

    /// The peer has got everything of a room up to `through`.
    pub(crate) fn caught_up(&mut self, room: &OwnedRoomId, through: Position) {
        let Some(owed) = &mut self.owed else { return };
        self.is_changed = true;
        if let Some(entry) = owed.get_mut(room) {
            entry.after = entry.after.max(through);
            if entry.after >= entry.through {
                owed.remove(room);
            }
        }
    }

    /// Everything up to here has been delivered, or is remembered as owed.
    pub(crate) fn low_water(&self) -> Option<Position> {
        let queued = self.queue.front().map(|item| before(item.position));
        let receipts = match self.owed {
            None => self.receipts.values().map(|receipt| before(receipt.position)).min(),
            Some(_) => None,
        };
        let pending =
            self.pending.as_ref().filter(|_| self.owed.is_none()).map(|pending| before(pending.first));
        [queued, receipts, pending].into_iter().flatten().min()
    }

    /// What has to be written so that the store remembers what is owed; counts as written from now on.
    pub(crate) fn changes(&mut self) -> Changes {
        if !std::mem::take(&mut self.is_changed) {
            return Changes::default();
        }
        let mut owed: BTreeMap<&OwnedRoomId, Position> = BTreeMap::new();
        for (room, lacks) in self.owed.iter().flatten().chain(&self.missed) {
            let after = owed.entry(room).or_insert(lacks.after);
            *after = lacks.after.min(*after);
        }
        let mut changes = Changes::default();
        for (room, after) in &owed {
            if self.stored.get(*room) != Some(after) {
                changes.put.push(((*room).clone(), *after));
            }
        }
        changes.delete.extend(self.stored.keys().filter(|room| !owed.contains_key(room)).cloned());
        for (room, after) in &changes.put {
            self.stored.insert(room.clone(), *after);
        }
        for room in &changes.delete {
            self.stored.remove(room);
        }
        changes
    }

    /// The last changes could not be written.
    pub(crate) fn changes_failed(&mut self, changes: Changes) {
        self.is_changed = true;
        for (room, _) in changes.put {
            self.stored.remove(&room);
        }
        for room in changes.delete {
            // Any value but the true one: it is deleted, or put again, next time.
            self.stored.insert(room, Position::START);
        }
    }
}

/// Notes that a peer lacks something of a room at a position. All that it lacks comes in its order, so it lacks nothing
/// from before what is noted.
fn owe<'a>(
    owed: &'a mut BTreeMap<OwnedRoomId, Owed>,
    room: &OwnedRoomId,
    position: Position,
) -> &'a mut Owed {
    let first = Owed { after: before(position), through: position };
    let entry = owed.entry(room.clone()).or_insert(first);
    entry.through = entry.through.max(position);
    entry
}

/// The place just before one.
fn before(position: Position) -> Position {
    Position(position.0.saturating_sub(1))
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
