//! What waits for a peer in its outbox: messages to devices of its users, which wait in the store until it has them.
//!
//! Here is only what is about to be sent, the first of them in their order, and which of them the peer has by now. Every
//! second that is written: in a crash between it and the answer the same units come again, under the names by which
//! the peer knows them. A lane in which nothing is on its way is told by the log that there is something, and a
//! new term by the store.
//!
//! Plain values and decisions; what waits is read and written by `outboxes`.

use std::collections::VecDeque;

use store::Position;
use to_device::Unit;

use super::transaction::MOST_EDUS;

/// About so many bytes of units go into one transaction, and are held for one peer.
const MOST_BYTES: usize = 1 << 20;

/// While the store says of so many not that the peer has them, no more are read.
const MOST_UNWRITTEN: usize = 5_000;

/// What waits for a peer, as far as it is known here.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// The first that it has not.
    units: VecDeque<Unit>,
    /// Whether there may be more in the store, after this place.
    more: bool,
    read: Position,
    /// Whether it is being read.
    is_read: bool,
    /// It has these, or will never have them, and the store does not say so.
    done: Vec<Unit>,
    /// Nothing of it is to be sent any more, and the store does not say so.
    is_forgotten: bool,
    /// Units per transaction at most; fewer after one was refused as a whole.
    limit: Option<usize>,
    /// Units go by themselves, since a transaction was refused that had something else as well.
    goes_apart: bool,
}

/// What the store is to be told of an outbox.
#[derive(Debug)]
pub(super) enum Told {
    Done(Vec<Unit>),
    Forgotten,
}

impl Outbox {
    /// There is something in the store.
    pub(crate) fn put_in(&mut self) {
        self.more = true;
        self.is_forgotten = false;
    }

    /// Gives back what is held here; it is read again when its turn comes.
    pub(crate) fn put_back(&mut self) {
        if !self.units.is_empty() {
            self.more = true;
            self.units = VecDeque::new();
        }
        // What is done is noted apart, and not read again before that is written.
        self.read = Position::START;
    }

    /// Gives up all of it.
    pub(crate) fn forget(&mut self) {
        *self = Self { is_forgotten: true, ..Self::default() };
    }

    /// Whether nothing waits, as far as it is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.units.is_empty() && !self.more && !self.is_read
    }

    /// Whether nothing waits and the store says so.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_empty() && self.done.is_empty() && !self.is_forgotten
    }

    pub(crate) fn goes_apart(&self) -> bool {
        self.goes_apart
    }

    /// From where on it has to be read, if so.
    pub(super) fn wanted(&self) -> Option<Position> {
        let is_read_again = self.read == Position::START && !self.done.is_empty();
        let wants = self.units.is_empty() && self.more && !self.is_read && !is_read_again;
        (wants && self.done.len() < MOST_UNWRITTEN).then_some(self.read)
    }

    /// Takes what was read after a place: the first units there, at most as many as a transaction has. Whatever is put in
    /// while they are read is found by another read.
    pub(super) fn take(&mut self, after: Position, mut units: Vec<Unit>) {
        if !std::mem::take(&mut self.is_read) {
            // It was given up meanwhile.
            return;
        }
        if self.read != after {
            // It was put back, and has to be read from there.
            self.more = true;
            return;
        }
        // Less than was asked for, and nothing was put in meanwhile: that is all.
        self.more |= units.len() >= MOST_EDUS;
        let mut bytes = 0;
        let fitting = units.iter().take_while(|unit| {
            bytes += unit.json.len();
            bytes <= MOST_BYTES
        });
        let fitting = fitting.count().max(1);
        if units.len() > fitting {
            units.truncate(fitting);
            self.more = true;
        }
        self.read = units.last().map_or(self.read, |unit| unit.position);
        self.units = units.into();
    }

    /// It is about to be read: what is put in from now on has to be noted again.
    pub(super) fn begin(&mut self) {
        self.more = false;
        self.is_read = true;
    }

    /// It could not be read.
    pub(super) fn not_read(&mut self) {
        self.more |= std::mem::take(&mut self.is_read);
    }

    /// The units of the next transaction: at most so many, and of so many bytes unless it is one.
    pub(crate) fn fitting(&self, most: usize, most_bytes: usize) -> Vec<Unit> {
        let most = self.limit.unwrap_or(most).min(most);
        let (mut bytes, mut fitting) = (0, Vec::new());
        for unit in self.units.iter().take(most) {
            bytes += unit.json.len();
            if bytes > most_bytes && !fitting.is_empty() {
                break;
            }
            fitting.push(unit.clone());
        }
        fitting
    }

    /// The peer has the first so many; beside events, or not.
    pub(crate) fn delivered(&mut self, count: usize, beside_events: bool) {
        if count > 0 {
            self.limit = None;
        }
        if beside_events {
            self.goes_apart = false;
        }
        let count = count.min(self.units.len());
        self.done.extend(self.units.drain(..count));
    }

    /// The peer refuses a transaction with the first so many, which held something else as well, or not. Less is tried
    /// next; a single one that is refused has to go, or all later ones would wait for ever. Gives that one.
    pub(crate) fn refused(&mut self, count: usize, beside_others: bool) -> Option<Unit> {
        if beside_others {
            self.goes_apart = true;
            return None;
        }
        self.limit = Some((count / 2).max(1));
        if count > 1 {
            return None;
        }
        let unit = self.units.pop_front()?;
        self.done.push(unit.clone());
        Some(unit)
    }

    /// What the store is to be told; counts as told from now on.
    pub(super) fn take_untold(&mut self) -> Option<Told> {
        if std::mem::take(&mut self.is_forgotten) {
            return Some(Told::Forgotten);
        }
        let done = std::mem::take(&mut self.done);
        (!done.is_empty()).then_some(Told::Done(done))
    }

    /// That could not be written.
    pub(super) fn not_told(&mut self, told: Told) {
        match told {
            Told::Forgotten => self.is_forgotten = !self.more && self.units.is_empty(),
            Told::Done(mut before) => {
                before.append(&mut self.done);
                self.done = before;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn units(positions: std::ops::Range<u64>, bytes: usize) -> Vec<Unit> {
        let unit = |position| Unit { position: Position(position), json: Bytes::from(vec![b'x'; bytes]) };
        positions.map(unit).collect()
    }

    fn read(outbox: &mut Outbox, found: Vec<Unit>) {
        let after = outbox.wanted();
        assert!(after.is_some());
        outbox.begin();
        outbox.take(after.unwrap_or_default(), found);
    }

    #[test]
    fn a_unit_that_is_refused_by_itself_goes_and_no_other() {
        let mut outbox = Outbox::default();
        outbox.put_in();
        read(&mut outbox, units(1..11, 10));
        assert!(outbox.refused(10, true).is_none(), "beside events it is not known which it was");
        let (mut gone, mut sent) = (Vec::new(), Vec::new());
        while !outbox.is_empty() {
            let next = outbox.fitting(MOST_EDUS, MOST_BYTES);
            // The peer does not like the seventh.
            if next.iter().any(|unit| unit.position.0 == 7) {
                gone.extend(outbox.refused(next.len(), false));
            } else {
                outbox.delivered(next.len(), false);
                sent.extend(next);
            }
        }
        assert_eq!(gone.iter().map(|unit| unit.position.0).collect::<Vec<_>>(), [7]);
        assert_eq!(sent.len(), 9);
        assert_eq!(outbox.done.len(), 10, "all of them are to be taken from the store");
        assert!(outbox.goes_apart());
        outbox.delivered(0, true);
        assert!(!outbox.goes_apart());
    }

    #[test]
    fn what_is_held_is_bounded_by_bytes_and_what_is_put_in_while_it_is_read_is_read() {
        let mut outbox = Outbox::default();
        outbox.put_in();
        read(&mut outbox, units(1..101, 60_000));
        assert_eq!((outbox.units.len(), outbox.more), (17, true));
        assert_eq!(outbox.fitting(50, 150_000).len(), 2);
        assert_eq!(outbox.fitting(50, 10).len(), 1, "one goes, however large");
        outbox.delivered(17, false);
        let after = outbox.wanted();
        assert_eq!(after, Some(Position(17)));
        outbox.begin();
        outbox.put_in();
        outbox.take(Position(17), units(18..20, 10));
        assert!(outbox.more);
        outbox.delivered(2, false);
        assert_eq!(outbox.wanted(), Some(Position(19)));
    }

    #[test]
    fn what_is_given_back_is_not_read_again_before_the_store_knows_what_the_peer_has() {
        let mut outbox = Outbox::default();
        outbox.put_in();
        read(&mut outbox, units(1..5, 10));
        outbox.delivered(2, false);
        outbox.put_back();
        assert_eq!(outbox.wanted(), None);
        let told = outbox.take_untold();
        assert!(matches!(&told, Some(Told::Done(units)) if units.len() == 2));
        assert_eq!(outbox.wanted(), Some(Position::START));
        told.into_iter().for_each(|told| outbox.not_told(told));
        assert_eq!((outbox.wanted(), outbox.is_settled()), (None, false));
        // While it is being read it is given up, or put back: what was read is not what it was read for.
        outbox.begin();
        assert!(!outbox.is_empty(), "somebody waits for it");
        outbox.forget();
        outbox.take(Position::START, units(3..5, 10));
        assert!(outbox.is_empty() && !outbox.is_settled());
        assert!(matches!(outbox.take_untold(), Some(Told::Forgotten)));
        assert!(outbox.is_settled());
        outbox.put_in();
        read(&mut outbox, units(1..3, 10));
        outbox.delivered(2, false);
        outbox.put_in();
        outbox.begin();
        outbox.put_back();
        outbox.take(Position(2), units(3..5, 10));
        assert!(outbox.take_untold().is_some());
        assert_eq!(outbox.wanted(), Some(Position::START));
    }
}
