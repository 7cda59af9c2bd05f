//! Which receipts a user is told of.

use std::{collections::BTreeSet, sync::Arc};

use ruma::{RoomId, ServerName, UserId};
use store::{Order, Position, Range, Stamped};

use super::{RECEIPT_LOG, RECEIPTS, Receipt, ReceiptKey, ReceiptKind, ReceiptLogRow, ReceiptRow};
use crate::{Error, RoomSerial, Rooms};

/// So many receipts of other users in one room are told in one answer, the newest.
pub(super) const MOST_TOLD: usize = 2_000;

/// So often as many are read at once to find them among those that their users keep to themselves.
const ROUNDS: usize = 5;

/// What is asked of the receipts in a room.
#[derive(Clone, Copy, Debug)]
pub struct ReceiptQuery<'a> {
    /// The room.
    pub room: RoomSerial,
    /// Its id.
    pub room_id: &'a RoomId,
    /// Only what came after this.
    pub after: Position,
    /// Only what came up to this.
    pub through: Position,
    /// Whether there may be some that only the user himself is told of.
    pub own: bool,
}

impl Rooms {
    /// The receipts that a user is told of, in the order of `queries`.
    ///
    /// Of other users the newest [`MOST_TOLD`] of each room, as far as they are among the newest 10,000 of all; of the
    /// user himself all. One that came within the stretch and has been moved on after it may be left out.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn receipts_since(
        &self,
        user: &UserId,
        queries: &[ReceiptQuery<'_>],
    ) -> Result<Vec<Vec<Arc<Receipt>>>, Error> {
        let mut told = self.receipts_from_tails(queries).await?;
        let own: Vec<usize> =
            (0..queries.len()).filter(|index| told[*index].is_some() && queries[*index].own).collect();
        let kept_back: Vec<&ReceiptQuery<'_>> = own.iter().map(|index| &queries[*index]).collect();
        for (index, own) in own.iter().zip(self.own_receipts(user, &kept_back).await?) {
            let private = own.into_iter().filter(|receipt| receipt.kind == ReceiptKind::Private);
            told[*index].get_or_insert_default().extend(private.map(Arc::new));
        }

        let missing: Vec<usize> = (0..queries.len()).filter(|index| told[*index].is_none()).collect();
        let asked: Vec<&ReceiptQuery<'_>> = missing.iter().map(|index| &queries[*index]).collect();
        for (index, found) in missing.iter().zip(self.receipts_from_log(user, &asked).await?) {
            told[*index] = Some(found.into_iter().map(Arc::new).collect());
        }
        Ok(told.into_iter().map(Option::unwrap_or_default).collect())
    }

    /// How far users of a server have read in a room, as everybody may know, where that has changed in a stretch of the
    /// log: the newest `most`, newest first, as far as they are among the newest 2,000 of all.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn public_receipts_of(
        &self,
        server: &ServerName,
        room: RoomSerial,
        after: Position,
        through: Position,
        most: usize,
    ) -> Result<Vec<Receipt>, Error> {
        let stretch = Range::prefix(&room).after(&(room, after)).through(&(room, through));
        let rows = self.store().scan(&RECEIPT_LOG, stretch, Order::Descending, MOST_TOLD).await?;
        let is_asked = |row: &ReceiptLogRow| !row.private && row.user.server_name() == server;
        let found = rows.into_iter().filter(|(_, row)| is_asked(row)).take(most);
        Ok(found.map(|((_, position), row)| row.into_receipt(position)).collect())
    }

    /// The same from the store.
    async fn receipts_from_log(
        &self,
        user: &UserId,
        queries: &[&ReceiptQuery<'_>],
    ) -> Result<Vec<Vec<Receipt>>, Error> {
        if queries.is_empty() {
            return Ok(Vec::new());
        }
        // Mostly there are few, and a store reads forwards with half the work.
        let ranges = queries.iter().map(|query| stretch(query)).collect();
        let found = self.store().scan_many(&RECEIPT_LOG, ranges, Order::Ascending, MOST_TOLD).await?;
        let many: Vec<usize> = (0..queries.len()).filter(|index| found[*index].len() == MOST_TOLD).collect();
        let seen = |(key, row)| receipt_for(user, key, row);
        let mut told: Vec<Vec<Receipt>> =
            found.into_iter().map(|rows| rows.into_iter().filter_map(seen).collect()).collect();
        if !many.is_empty() {
            let large: Vec<&ReceiptQuery<'_>> = many.iter().map(|index| queries[*index]).collect();
            let newest = self.many_receipts(user, &large).await?;
            for (index, newest) in many.into_iter().zip(newest) {
                told[index] = newest;
            }
        }
        Ok(told)
    }

    /// The same for rooms with more of them than are told: the newest, and all of the user himself.
    async fn many_receipts(
        &self,
        user: &UserId,
        queries: &[&ReceiptQuery<'_>],
    ) -> Result<Vec<Vec<Receipt>>, Error> {
        let (mut told, cut) = self.newest_receipts(user, queries).await?;
        let of_cut: Vec<&ReceiptQuery<'_>> = cut.iter().map(|index| queries[*index]).collect();
        for (index, own) in cut.into_iter().zip(self.own_receipts(user, &of_cut).await?) {
            told[index].retain(|receipt| receipt.user_id != user);
            told[index].extend(own);
        }
        Ok(told)
    }

    /// The user's own receipts of both kinds, which are at most two for each of the threads that are kept; in the order of
    /// `queries`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn own_receipts(
        &self,
        user: &UserId,
        queries: &[&ReceiptQuery<'_>],
    ) -> Result<Vec<Vec<Receipt>>, Error> {
        if queries.is_empty() {
            return Ok(Vec::new());
        }
        let ranges = queries.iter().map(|query| Range::prefix(&(query.room, user.as_str()))).collect();
        let own = self.store().scan_many(&RECEIPTS, ranges, Order::Ascending, usize::MAX).await?;
        let receipts = own.into_iter().zip(queries).map(|(rows, query)| {
            let in_stretch = |position| position > query.after && position <= query.through;
            rows.into_iter()
                .filter(|(_, row)| in_stretch(row.position))
                .filter_map(|row| own_receipt(user, row))
                .collect()
        });
        Ok(receipts.collect())
    }

    /// The newest receipts of rooms that a user may see, oldest first, and in which rooms there may be older ones.
    async fn newest_receipts(
        &self,
        user: &UserId,
        queries: &[&ReceiptQuery<'_>],
    ) -> Result<(Vec<Vec<Receipt>>, Vec<usize>), Error> {
        let receipt = |(key, row): ((RoomSerial, Position), ReceiptLogRow)| receipt_for(user, key, row);
        let mut told = vec![Vec::new(); queries.len()];
        let mut cut = BTreeSet::new();
        let mut open: Vec<(usize, Option<Position>)> =
            (0..queries.len()).map(|index| (index, None)).collect();
        for _ in 0..ROUNDS {
            let range = |(index, before): &(usize, Option<Position>)| {
                let query = queries[*index];
                match before {
                    None => stretch(query),
                    Some(before) => Range::prefix(&query.room)
                        .after(&(query.room, query.after))
                        .before(&(query.room, *before)),
                }
            };
            let ranges = open.iter().map(range).collect();
            let found = self.store().scan_many(&RECEIPT_LOG, ranges, Order::Descending, MOST_TOLD).await?;
            let mut next = Vec::new();
            for ((index, _), rows) in open.into_iter().zip(found) {
                let oldest =
                    rows.last().filter(|_| rows.len() == MOST_TOLD).map(|((_, position), _)| *position);
                told[index].extend(rows.into_iter().filter_map(receipt));
                let Some(oldest) = oldest else { continue };
                cut.insert(index);
                // What others keep to themselves takes no place.
                if told[index].len() < MOST_TOLD {
                    next.push((index, Some(oldest)));
                }
            }
            open = next;
            if open.is_empty() {
                break;
            }
        }
        for told in &mut told {
            told.truncate(MOST_TOLD);
            told.reverse();
        }
        Ok((told, cut.into_iter().collect()))
    }
}

/// What is asked for, in the log.
fn stretch(query: &ReceiptQuery<'_>) -> Range<(RoomSerial, Position)> {
    Range::prefix(&query.room).after(&(query.room, query.after)).through(&(query.room, query.through))
}

fn own_receipt(
    user: &UserId,
    ((_, _, kind, thread), row): (ReceiptKey, Stamped<ReceiptRow>),
) -> Option<Receipt> {
    let kind = ReceiptKind::parse(&kind)?;
    Some(Receipt::new(user.to_owned(), kind, thread, row.value, row.position))
}

/// A row of the log as this user is told of it; nothing: others keep it to themselves.
fn receipt_for(user: &UserId, (_, position): (RoomSerial, Position), row: ReceiptLogRow) -> Option<Receipt> {
    (!row.private || row.user == user).then(|| row.into_receipt(position))
}
