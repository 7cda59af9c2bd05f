//! What concerns all links of a room: which there are, that they end with it, or go with it to another.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bot_kit::{
    Batch, Rows, StoreError, Table,
    ruma::{EventId, OwnedRoomId, OwnedUserId, RoomId, UserId},
};

use super::{Drops, Error, deed, handover};
use crate::{
    end::{Ended, Why},
    rows::{
        AWAITED, Deed, HANDS, Hand, LINKS, Link, LinkState, OUTBOX, REFUSING, ROOM_HANDS, ROOM_LINKS, What,
        room_key,
    },
};

/// A link that ended before its time is told of in lists for so long.
pub(crate) const LATELY: Duration = Duration::from_secs(7 * 86_400);

/// Links that ended since the bot was put out of their room.
#[derive(Clone, Debug, Default)]
pub(crate) struct Closed {
    pub(crate) links: Vec<Link>,
    pub(crate) hands: Vec<Hand>,
}

impl Closed {
    /// To whom each of them is told.
    pub(crate) fn by_maker(&self) -> BTreeMap<&OwnedUserId, Self> {
        let mut told: BTreeMap<&OwnedUserId, Self> = BTreeMap::new();
        for link in &self.links {
            told.entry(&link.maker).or_default().links.push(link.clone());
        }
        for hand in &self.hands {
            told.entry(&hand.asker).or_default().hands.push(hand.clone());
        }
        told
    }
}

/// Numbers that are given in a room to what comes from another.
struct Numbers {
    room: OwnedRoomId,
    given: Vec<u32>,
    last: u32,
}

impl Numbers {
    fn of(rows: &Rows<'_>, table: &Table<String>, room: &RoomId) -> Result<Self, StoreError> {
        let last = rows.last_key(table, &format!("{room} "))?;
        let last = last.and_then(|key| key.rsplit(' ').next()?.parse().ok()).unwrap_or(0);
        Ok(Self { room: room.to_owned(), given: Vec::new(), last })
    }

    /// The same number, or the one after all others.
    fn next(&mut self, rows: &Rows<'_>, table: &Table<String>, wanted: u32) -> Result<u32, StoreError> {
        let is_given =
            self.given.contains(&wanted) || rows.get(table, &room_key(self.room.as_str(), wanted))?.is_some();
        let number = if is_given { self.last.saturating_add(1) } else { wanted };
        self.last = self.last.max(number);
        self.given.push(number);
        Ok(number)
    }
}

impl Drops {
    /// The links of a room that are good, oldest first.
    pub(crate) async fn of_room(&self, room: &RoomId) -> Result<Vec<Link>, Error> {
        let now = self.now();
        let mut links = self.all_of_room(room).await?;
        links.retain(|link| link.is_good(now));
        Ok(links)
    }

    /// All links of a room that are kept, oldest first.
    async fn all_of_room(&self, room: &RoomId) -> Result<Vec<Link>, Error> {
        let (prefix, mut after, mut found) = (format!("{room} "), None::<String>, Vec::new());
        loop {
            let some = self.0.store.scan(&ROOM_LINKS, &prefix, after.as_deref(), usize::MAX).await?;
            let Some((last, _)) = some.last() else { return Ok(found) };
            after = Some(last.clone());
            for (_, hash) in some {
                found.extend(self.0.store.get(&LINKS, &hash).await?);
            }
        }
    }

    /// Whether a room has links of either kind, or had some.
    pub(crate) async fn has_links(&self, room: &RoomId) -> Result<bool, Error> {
        let (prefix, store) = (format!("{room} "), &self.0.store);
        Ok(store.count(&ROOM_LINKS, &prefix).await? > 0 || store.count(&ROOM_HANDS, &prefix).await? > 0)
    }

    /// Rooms to which something may come yet: those of links that are not ended, and of files that are on their way.
    pub(crate) async fn rooms(&self) -> Result<BTreeSet<OwnedRoomId>, Error> {
        let (store, now, mut rooms) = (&self.0.store, self.now(), BTreeSet::new());
        let mut after = None::<String>;
        loop {
            let some = store.scan(&LINKS, "", after.as_deref(), usize::MAX).await?;
            let Some((last, _)) = some.last() else { break };
            after = Some(last.clone());
            let open = some.into_iter().filter(|(_, link)| link.state != LinkState::Ended);
            rooms.extend(open.map(|(_, link)| link.room));
        }
        for (_, hand) in store.scan(&HANDS, "", None, usize::MAX).await? {
            if hand.is_good(now) || hand.waits(now) {
                rooms.insert(hand.room);
            }
        }
        for (_, upload) in store.scan(&OUTBOX, "", None, usize::MAX).await? {
            let hash = upload.split(' ').next().unwrap_or_default();
            rooms.extend(store.get(&LINKS, hash).await?.map(|link| link.room));
        }
        Ok(rooms)
    }

    /// Notes that a room was upgraded to one of which nothing can be seen.
    pub(crate) async fn await_successor(&self, new: &RoomId, old: &RoomId) -> Result<(), Error> {
        let mut batch = Batch::new();
        batch.put(&AWAITED, old.as_str(), &new.to_owned());
        Ok(self.0.store.commit(batch).await?)
    }

    /// The rooms that were upgraded to one of which nothing could be seen.
    pub(crate) async fn awaiting(&self, new: &RoomId) -> Result<Vec<OwnedRoomId>, Error> {
        let rows = self.0.store.scan(&AWAITED, "", None, usize::MAX).await?;
        let of_it = rows.into_iter().filter(|(_, successor)| successor == new);
        Ok(of_it.filter_map(|(old, _)| old.try_into().ok()).collect())
    }

    /// Notes that nothing can be put into a room now. Whether this is what it was found by first.
    pub(crate) async fn room_refuses(&self, room: &RoomId, cause: &str) -> Result<bool, Error> {
        let (room, cause) = (room.to_owned(), cause.to_owned());
        let change = self.0.store.change(move |rows| {
            let mut batch = Batch::new();
            let first = rows.get(&REFUSING, room.as_str())?;
            if first.is_none() {
                batch.put(&REFUSING, room.as_str(), &cause);
            }
            Ok::<_, Error>((batch, first.is_none_or(|first| first == cause)))
        });
        change.await
    }

    /// Whether it is noted that nothing can be put into a room.
    pub(crate) async fn is_refusing(&self, room: &RoomId) -> Result<bool, Error> {
        Ok(self.0.store.get(&REFUSING, room.as_str()).await?.is_some())
    }

    /// Notes that a room takes what comes: what is held goes there now.
    pub(crate) async fn room_takes(&self, room: &RoomId) -> Result<(), Error> {
        let room = room.to_owned();
        let change = self.0.store.change(move |rows| {
            let mut batch = Batch::new();
            let refused = rows.get(&REFUSING, room.as_str())?.is_some();
            if refused {
                batch.delete(&REFUSING, room.as_str());
            }
            Ok::<_, Error>((batch, refused))
        });
        if change.await? {
            self.try_again();
        }
        Ok(())
    }

    /// Takes all links of a room, and what is on its way over them, to another room. A number that is given there already becomes the
    /// next one.
    pub(crate) async fn move_room(&self, old: &RoomId, new: &RoomId) -> Result<(), Error> {
        let (links, hands) = (self.all_of_room(old).await?, self.all_hands_of_room(old).await?);
        let (links, hands): (Vec<u32>, Vec<u32>) =
            (links.iter().map(|link| link.number).collect(), hands.iter().map(|hand| hand.number).collect());
        let (old, new, now) = (old.to_owned(), new.to_owned(), self.now());
        self.change(move |rows, writing, settings| {
            let mut numbers = Numbers::of(rows, &ROOM_LINKS, &new)?;
            for number in links {
                let from = room_key(old.as_str(), number);
                let Some(hash) = rows.get(&ROOM_LINKS, &from)? else { continue };
                let Some(mut link) = rows.get(&LINKS, &hash)? else { continue };
                let details = format!("from {old} {number}");
                link.room.clone_from(&new);
                link.number = numbers.next(rows, &ROOM_LINKS, number)?;
                writing.put(&hash, &mut link, settings);
                let to = room_key(new.as_str(), link.number);
                writing.batch.delete(&ROOM_LINKS, &from).put(&ROOM_LINKS, &to, &hash);
                writing.note(&Deed { details, ..deed(&link, now, "", What::LinkMoved) });
            }
            let mut numbers = Numbers::of(rows, &ROOM_HANDS, &new)?;
            for number in hands {
                let from = room_key(old.as_str(), number);
                let Some(hash) = rows.get(&ROOM_HANDS, &from)? else { continue };
                let Some(mut hand) = rows.get(&HANDS, &hash)? else { continue };
                let details = format!("from {old} {number}");
                hand.lies_in = Some(hand.room_of_file().clone());
                hand.room.clone_from(&new);
                hand.number = numbers.next(rows, &ROOM_HANDS, number)?;
                let to = room_key(new.as_str(), hand.number);
                writing.batch.put(&HANDS, &hash, &hand).delete(&ROOM_HANDS, &from).put(
                    &ROOM_HANDS,
                    &to,
                    &hash,
                );
                writing.note(&Deed { details, ..handover::deed(&hand, now, "", What::HandoverMoved) });
            }
            writing.batch.delete(&REFUSING, old.as_str()).delete(&REFUSING, new.as_str());
            writing.batch.delete(&AWAITED, old.as_str());
            Ok(())
        })
        .await?;
        self.try_again();
        Ok(())
    }

    /// The links of a room that ended before their time lately, the latest first.
    pub(crate) async fn ended_links(&self, room: &RoomId) -> Result<Vec<Ended>, Error> {
        let of = |link: Link| Some(Ended { number: link.number, end: link.end?, name: link.title });
        Ok(self.lately(self.all_of_room(room).await?.into_iter().filter_map(of).collect()))
    }

    /// The same of links to download by.
    pub(crate) async fn ended_hands(&self, room: &RoomId) -> Result<Vec<Ended>, Error> {
        let of = |hand: Hand| Some(Ended { number: hand.number, end: hand.end?, name: hand.name });
        Ok(self.lately(self.all_hands_of_room(room).await?.into_iter().filter_map(of).collect()))
    }

    fn lately(&self, mut ended: Vec<Ended>) -> Vec<Ended> {
        let since = self.now().before(LATELY);
        ended.retain(|ended| ended.end.at >= since);
        ended.sort_by_key(|ended| Reverse(ended.end.at));
        ended
    }

    /// Ends all links of a room in which the bot is no more, or that is encrypted now.
    pub(crate) async fn close_room(
        &self,
        room: &RoomId,
        by: &UserId,
        cause: &EventId,
        why: Why,
    ) -> Result<(), Error> {
        for link in self.all_of_room(room).await?.iter().filter(|link| link.state != LinkState::Ended) {
            self.end_link(room, link.number, by.to_owned(), why, Some(cause.to_owned())).await?;
        }
        for hand in self.hands_of_room(room).await? {
            self.close_hand(room, hand.number, by.to_owned(), why, Some(cause.to_owned())).await?;
        }
        Ok(())
    }

    /// What [`Drops::close_room`] ended because of this event.
    pub(crate) async fn closed_by(&self, room: &RoomId, cause: &EventId) -> Result<Closed, Error> {
        let (mut links, mut hands) = (self.all_of_room(room).await?, self.all_hands_of_room(room).await?);
        links.retain(|link| link.closed_by.as_deref() == Some(cause));
        hands.retain(|hand| hand.closed_by.as_deref() == Some(cause));
        Ok(Closed { links, hands })
    }
}
