//! The newest public receipts of rooms, in memory for all who read them: two thousand readers whom one receipt wakes
//! cost one read.

use std::{collections::HashSet, sync::Arc};

use base::{Cache, Caches};
use parking_lot::Mutex;
use store::{Moved, Order, Position, Range, Topic};

use super::{RECEIPT_LOG, Receipt, ReceiptQuery, since::MOST_TOLD};
use crate::{Error, RoomSerial, Rooms};

/// The public receipts in a room that came after one position and up to another.
#[derive(Debug)]
struct Tail {
    after: Position,
    through: Position,
    /// Oldest first.
    rows: Vec<Arc<Receipt>>,
    /// What the receipts take, without their places in the list.
    bytes: usize,
}

impl Tail {
    fn new(at: Position) -> Self {
        Self { after: at, through: at, rows: Vec::new(), bytes: 0 }
    }

    /// Answers from memory; `None` when that does not reach so far.
    fn answer(&self, query: &ReceiptQuery<'_>) -> Option<Vec<Arc<Receipt>>> {
        if query.after < self.after || query.through > self.through {
            return None;
        }
        let first = self.rows.partition_point(|row| row.position <= query.after);
        let end = self.rows.partition_point(|row| row.position <= query.through);
        Some(self.rows.get(first..end)?.to_vec())
    }

    /// Puts what follows (oldest first) at the end, and takes away what it moves on.
    fn extend(&mut self, rows: Vec<Receipt>, through: Position) {
        let mut gone = 0;
        let mut keep = |row: &Receipt, moved_on: bool| {
            gone += if moved_on { bytes(row) } else { 0 };
            !moved_on
        };
        if rows.len() <= FEW {
            let is_same =
                |row: &Receipt, new: &Receipt| row.user_id == new.user_id && row.thread == new.thread;
            self.rows.retain(|row| keep(row, rows.iter().any(|new| is_same(row, new))));
        } else {
            let new: HashSet<_> = rows.iter().map(|row| (&*row.user_id, row.thread.as_deref())).collect();
            self.rows.retain(|row| keep(row, new.contains(&(&*row.user_id, row.thread.as_deref()))));
        }
        self.bytes += rows.iter().map(bytes).sum::<usize>();
        self.rows.extend(rows.into_iter().map(Arc::new));
        let too_many = self.rows.len().saturating_sub(MOST_TOLD);
        for row in self.rows.drain(..too_many) {
            self.after = row.position;
            gone += bytes(&row);
        }
        self.bytes -= gone;
        self.through = self.through.max(through);
    }

    /// What it takes, in bytes.
    fn memory_bytes(&self) -> usize {
        self.rows.capacity() * size_of::<Arc<Receipt>>() + self.bytes
    }
}

/// What a receipt takes.
fn bytes(row: &Receipt) -> usize {
    let thread = row.thread.as_deref().map_or(0, str::len);
    let ids = row.user_id.as_str().len() + row.event_id.as_str().len();
    size_of::<Receipt>() + 16 + ids + thread + row.json().len()
}

/// Of so many new receipts each is sooner looked for among those that are there than put into a table: a tail is read
/// on by whoever of a crowd comes first, again and again by a few.
const FEW: usize = 4;

/// So many rooms are read on together: others wait for each of them meanwhile.
const AT_ONCE: usize = 32;

/// A cell without its tail's receipts: two locks and their counts.
const CELL_BYTES: usize = size_of::<Cell>() + size_of::<tokio::sync::Mutex<()>>() + 32;

/// A room's tail, and the lock under which it is read on.
#[derive(Debug)]
struct Cell {
    tail: Mutex<Tail>,
    reading: Arc<tokio::sync::Mutex<()>>,
}

/// What is asked of a room, and its tail.
type Asked<'a> = (&'a ReceiptQuery<'a>, Arc<Cell>);

/// A tail's cell, and what the tail took when it was last read on.
#[derive(Clone, Debug)]
struct Kept {
    cell: Arc<Cell>,
    bytes: usize,
}

/// Tails of recently read rooms.
#[derive(Debug)]
pub(crate) struct TailCache(Cache<RoomSerial, Kept>);

impl TailCache {
    /// A cache of about this many bytes.
    pub(crate) fn new(caches: &Caches, bytes: u64) -> Self {
        Self(Cache::of_large(caches, "room_receipts", bytes, |_, kept: &Kept| CELL_BYTES + kept.bytes))
    }

    /// Charges a tail as it is now.
    fn charge(&self, room: RoomSerial, cell: &Arc<Cell>) {
        let bytes = cell.tail.lock().memory_bytes();
        self.0.insert(room, Kept { cell: cell.clone(), bytes });
    }

    fn cell(&self, query: &ReceiptQuery<'_>) -> Arc<Cell> {
        match self.0.get(&query.room) {
            Some(kept) => kept.cell,
            None => {
                // Nothing is known, and that is all there is of nothing. Two cells at once only cost a read.
                let tail = Mutex::new(Tail::new(query.after));
                let cell = Arc::new(Cell { tail, reading: Arc::default() });
                self.0.insert(query.room, Kept { cell: cell.clone(), bytes: 0 });
                cell
            }
        }
    }
}

impl Rooms {
    /// The public receipts of rooms; `None` for those that memory does not reach: they are asked for from the
    /// beginning, or from long ago.
    pub(super) async fn receipts_from_tails(
        &self,
        queries: &[ReceiptQuery<'_>],
    ) -> Result<Vec<Option<Vec<Arc<Receipt>>>>, Error> {
        let cache = &self.reader().receipts;
        let asked: Vec<usize> =
            (0..queries.len()).filter(|index| queries[*index].after != Position::START).collect();
        let cells: Vec<Asked<'_>> =
            asked.iter().map(|index| (&queries[*index], cache.cell(&queries[*index]))).collect();
        self.read_receipts_on(&cells).await?;
        let mut told = vec![None; queries.len()];
        for (index, (query, cell)) in asked.into_iter().zip(&cells) {
            told[index] = cell.tail.lock().answer(query);
        }
        Ok(told)
    }

    /// Brings tails up to where they are asked for.
    async fn read_receipts_on(&self, cells: &[Asked<'_>]) -> Result<(), Error> {
        let mut stale: Vec<_> = cells.iter().filter(|(query, cell)| self.is_behind(query, cell)).collect();
        if stale.is_empty() {
            return Ok(());
        }
        // In the order of serials, so that two readers never wait for each other.
        stale.sort_unstable_by_key(|(query, _)| query.room);
        stale.dedup_by_key(|(query, _)| query.room);
        for some in stale.chunks(AT_ONCE) {
            self.read_some_receipts_on(some.to_vec()).await?;
        }
        Ok(())
    }

    async fn read_some_receipts_on(&self, mut stale: Vec<&Asked<'_>>) -> Result<(), Error> {
        let mut guards = Vec::with_capacity(stale.len());
        for (_, cell) in &stale {
            guards.push(cell.reading.clone().lock_owned().await);
        }
        // Somebody else may have read on while we waited.
        stale.retain(|(query, cell)| self.is_behind(query, cell));
        let head = self.store().head();
        let range = |(query, cell): &&Asked<'_>| {
            let (room, through) = (query.room, cell.tail.lock().through);
            Range::prefix(&room).after(&(room, through)).through(&(room, head))
        };
        let ranges: Vec<_> = stale.iter().map(range).collect();
        if ranges.is_empty() {
            return Ok(());
        }
        let found = self.store().scan_many(&RECEIPT_LOG, ranges, Order::Ascending, MOST_TOLD).await?;
        for ((query, cell), rows) in stale.into_iter().zip(found) {
            let mut tail = cell.tail.lock();
            if rows.len() < MOST_TOLD {
                let public = rows.into_iter().filter(|(_, row)| !row.private);
                tail.extend(public.map(|((_, position), row)| row.into_receipt(position)).collect(), head);
            } else {
                // Far behind: what is in between is of no use.
                *tail = Tail::new(head);
            }
            drop(tail);
            self.reader().receipts.charge(query.room, cell);
        }
        Ok(())
    }

    /// Whether there is more than a tail knows of what it is asked for. If nothing has come, it knows it by that.
    fn is_behind(&self, query: &ReceiptQuery<'_>, cell: &Cell) -> bool {
        let mut tail = cell.tail.lock();
        if tail.through >= query.through {
            return false;
        }
        if self.store().moved(Topic::ephemeral(query.room_id.as_str()), tail.through) == Moved::No {
            tail.through = query.through;
            return false;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::collections::{BTreeMap, HashMap};

    use super::*;
    use crate::read::receipts::{ReceiptKind, ReceiptRow};

    fn receipt(n: u64) -> Receipt {
        receipt_of(n, "main", n)
    }

    fn receipt_of(user: u64, thread: &str, n: u64) -> Receipt {
        let user_id = format!("@shokuin{user}:kanazawa.example.jp").try_into().unwrap();
        let row = ReceiptRow { event_id: format!("${n:043}").try_into().unwrap(), order: None, ts: n };
        Receipt::new(user_id, ReceiptKind::Public, thread.to_owned(), row, Position(n))
    }

    /// As the store has them: of each user and thread the last one, at most so many as are told.
    #[test]
    fn a_tail_has_the_last_receipts_of_all_and_knows_what_they_take_however_they_come() {
        let mut random = 0x9E37_79B9_7F4A_7C15_u64;
        let mut below = |most: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % most
        };
        for users in [3, 40, 3_000] {
            let mut tail = Tail::new(Position(0));
            let mut last = HashMap::new();
            let mut at = 0;
            while at < 8_000 {
                let few = below(2) == 0;
                let count = if few { below(FEW as u64 + 2) } else { below(300) };
                // What comes together has one receipt of each user and thread: it is read from the store.
                let mut new = BTreeMap::new();
                for _ in 0..count {
                    at += 1;
                    let (user, thread) = (below(users), ["", "main", "$災害"][below(3) as usize]);
                    new.insert((user, thread), at);
                }
                last.extend(new.iter().map(|(whose, at)| (*whose, *at)));
                let mut new: Vec<_> =
                    new.into_iter().map(|((user, thread), at)| (at, user, thread)).collect();
                new.sort_unstable();
                let rows = new.into_iter().map(|(at, user, thread)| receipt_of(user, thread, at));
                tail.extend(rows.collect(), Position(at));

                assert_eq!(tail.bytes, tail.rows.iter().map(|row| bytes(row)).sum::<usize>());
                let mut wanted: Vec<u64> =
                    last.values().copied().filter(|at| Position(*at) > tail.after).collect();
                wanted.sort_unstable();
                assert!(tail.rows.iter().map(|row| row.position.0).eq(wanted));
                assert!(tail.rows.len() <= MOST_TOLD && tail.through == Position(at));
            }
            assert_eq!(tail.after > Position(0), users == 3_000);
        }
    }

    #[test]
    fn receipts_are_charged_what_they_take() {
        let room_id = ruma::room_id!("!r:x");
        for receipts in [0, 5, 500] {
            let (cache, in_use) = meter::kept(|| {
                let cache = TailCache::new(&Caches::new(), 1 << 26);
                for room in (0..200).map(RoomSerial) {
                    let query =
                        ReceiptQuery { room, room_id, after: Position(1), through: Position(9), own: false };
                    let cell = cache.cell(&query);
                    cell.tail.lock().extend((0..receipts).map(receipt).collect(), Position(900));
                    cache.charge(room, &cell);
                }
                cache
            });
            meter::assert_charged(&format!("{receipts} receipts"), cache.0.bytes(), in_use);
        }
    }
}
