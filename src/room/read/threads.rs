//! The threads of a room.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#querying-threads-in-a-room>

use std::{collections::HashSet, sync::Arc};

use ruma::{OwnedEventId, RoomId};
use store::Range;

use crate::{
    Error, Order, RoomSerial, Rooms,
    read::{
        event::{StoredEvent, THREAD},
        messages::{MAX_PAGE, Page},
        receipts::RELATIONS_FOLLOWED,
        timeline::{Entry, Stretch},
        token::Token,
        view::{Look, Viewer},
    },
    tables::{Membership, RELATIONS, THREADS, TIMELINE, TimelineRow},
};

/// Rows that are looked at together.
const ROWS: usize = 100;

/// How many rows are looked at for one page at most.
const MAX_ROWS: usize = 5_000;

/// Rows of relations that are looked at to find a newer event of a thread.
const NEWER_ROWS: usize = 100;

/// Which threads are wanted.
#[derive(Clone, Copy, Debug)]
pub struct ThreadQuery {
    /// Where to go on; the newest when none.
    pub from: Option<Token>,
    /// At most this many, and at most [`MAX_PAGE`].
    pub limit: usize,
    /// Only those in which the viewer wrote.
    pub participated: bool,
}

impl Rooms {
    /// The newest rows in stretches of timelines that are in threads, oldest first, at most `limit` of each.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn newest_in_threads(
        &self,
        stretches: &[Stretch],
        limit: usize,
    ) -> Result<Vec<Vec<Entry>>, Error> {
        if stretches.is_empty() {
            return Ok(Vec::new());
        }
        let range = |stretch: &Stretch| {
            let Stretch { room, after, through } = *stretch;
            Range::prefix(&room).after(&(room, after.0)).through(&(room, through.0))
        };
        let ranges = stretches.iter().map(range).collect();
        let found = self.store().scan_many(&THREADS, ranges, store::Order::Descending, limit).await?;
        let keys: Vec<_> = found.iter().flat_map(|rows| rows.iter().rev().map(|(key, _)| *key)).collect();
        let mut places = keys.iter().zip(self.store().get_many(&TIMELINE, &keys).await?);
        let entry = |((_, order), row): (&(RoomSerial, Order), Option<TimelineRow>)| {
            let row = row?;
            Some(Entry { order: *order, event: row.event, current: row.current, gap: row.gap })
        };
        Ok(found.iter().map(|rows| places.by_ref().take(rows.len()).filter_map(entry).collect()).collect())
    }

    /// In which threads events are, by their own relations or by those of what they refer to, as far as these are
    /// followed; nothing for what is in none. What a thread begins with is in none.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn threads_of(&self, events: &[Arc<StoredEvent>]) -> Result<Vec<Option<OwnedEventId>>, Error> {
        let mut threads = vec![None; events.len()];
        let mut open: Vec<(usize, Arc<StoredEvent>)> = events.iter().cloned().enumerate().collect();
        for _ in 0..RELATIONS_FOLLOWED {
            let related: Vec<_> = open
                .into_iter()
                .filter_map(|(index, event)| Some((index, event.room(), event.relation()?)))
                .collect();
            let mut next = Vec::new();
            for (index, room, relation) in related {
                match relation.is_thread() {
                    true => threads[index] = Some(relation.event_id),
                    false => next.push((index, room, relation.event_id)),
                }
            }
            if next.is_empty() {
                break;
            }
            let ids: Vec<_> = next.iter().map(|(_, _, id)| id).collect();
            let parents = self.events_by_id(&ids).await?;
            open = next
                .iter()
                .zip(parents)
                .filter_map(|((index, room, _), parent)| {
                    Some((*index, parent.filter(|parent| parent.room() == *room)?))
                })
                .collect();
        }
        Ok(threads)
    }

    /// The roots of a room's threads, the thread with the newest event first, with their aggregations.
    ///
    /// # Errors
    /// As [`Rooms::standpoint`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidthreads>
    pub async fn threads(
        &self,
        viewer: &Viewer<'_>,
        room_id: &RoomId,
        query: &ThreadQuery,
    ) -> Result<Page, Error> {
        self.reach_places([query.from]).await?;
        let room = self.get_room(room_id).await?;
        let standpoint = self.standpoint(viewer.user, &room).await?;
        let limit = query.limit.min(MAX_PAGE);
        let start = query.from.unwrap_or(Token::END).min(Token(standpoint.until));
        let mut page = Page { start, end: None, chunk: Vec::new(), state: Vec::new(), ran_out: false };
        let mut through = start;
        let floor = match self.horizon(viewer.user) {
            Some(horizon) => self.floor_in(&horizon, room.serial).await?,
            None => Token::START,
        };
        let mut met: HashSet<OwnedEventId> = HashSet::new();
        let mut looked_at = 0;
        while page.chunk.len() < limit && looked_at < MAX_ROWS {
            let range =
                Range::prefix(&room.serial).after(&(room.serial, floor.0)).through(&(room.serial, through.0));
            let rows = self.store().scan(&THREADS, range, store::Order::Descending, ROWS).await?;
            looked_at += rows.len();
            let Some(((_, last), _)) = rows.last() else {
                page.end = None;
                break;
            };
            through = Token::before(*last);
            page.end = (rows.len() == ROWS).then_some(through);
            // The newest event of a thread says where it stands.
            let mut roots: Vec<(Order, OwnedEventId)> = rows
                .into_iter()
                .filter(|(_, row)| met.insert(row.root.clone()))
                .map(|((_, order), row)| (order, row.root))
                .collect();
            if query.from.is_some() {
                self.drop_told(room.serial, start, &mut roots).await?;
            }
            for (order, look) in self.thread_roots(viewer, room.serial, roots).await? {
                let thread = look.aggregations.as_ref().and_then(|told| told.thread.as_ref());
                if thread.is_none_or(|thread| query.participated && !thread.participated) {
                    continue;
                }
                page.chunk.push(look);
                if page.chunk.len() == limit {
                    page.end = Some(Token::before(order));
                    return Ok(page);
                }
            }
            if page.end.is_none() {
                break;
            }
        }
        Ok(page)
    }

    /// Takes away threads with newer events than the page begins with: an earlier page told of them.
    async fn drop_told(
        &self,
        room: RoomSerial,
        start: Token,
        roots: &mut Vec<(Order, OwnedEventId)>,
    ) -> Result<(), Error> {
        let ranges = roots
            .iter()
            .map(|(_, root)| Range::prefix(&(room, root.as_str())).after(&(room, root.to_string(), start.0)));
        let newer =
            self.store().scan_many(&RELATIONS, ranges.collect(), store::Order::Ascending, NEWER_ROWS).await?;
        let mut newer = newer.into_iter();
        roots.retain(|_| !newer.next().unwrap_or_default().iter().any(|(_, row)| row.rel_type == THREAD));
        Ok(())
    }

    /// The roots that are in the room and that the viewer may see, with their aggregations.
    async fn thread_roots(
        &self,
        viewer: &Viewer<'_>,
        room: RoomSerial,
        roots: Vec<(Order, OwnedEventId)>,
    ) -> Result<Vec<(Order, Look)>, Error> {
        let (orders, ids): (Vec<Order>, Vec<OwnedEventId>) = roots.into_iter().unzip();
        let events = self.events_by_id(&ids).await?;
        let (orders, events): (Vec<_>, Vec<_>) = orders
            .into_iter()
            .zip(events)
            .filter_map(|(order, event)| Some((order, event.filter(|event| event.room() == room)?)))
            .unzip();
        let sights = self.sights(viewer.user, &events).await?;
        let (mut places, mut seen, mut memberships) = (Vec::new(), Vec::new(), Vec::new());
        for ((order, event), sight) in orders.into_iter().zip(events).zip(sights) {
            if sight.visible && !viewer.is_spared(&event) {
                places.push(order);
                seen.push(event);
                memberships.push(Some(sight.membership.unwrap_or(Membership::Leave)));
            }
        }
        let mut looks = self.looks(viewer, seen, &memberships).await?;
        self.aggregate(viewer, &mut looks).await?;
        Ok(places.into_iter().zip(looks).collect())
    }
}
