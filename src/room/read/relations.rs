//! Events that relate to an event: edits, reactions, threads, references.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#relationships-api>

use std::collections::{BTreeMap, btree_map::Entry};

use ruma::{EventId, OwnedEventId, RoomId};
use store::Range;

use crate::{
    Error, Order, Rooms,
    read::{
        aggregations::place_of,
        event::StoredEvent,
        messages::{MAX_PAGE, Page},
        timeline::Direction,
        token::Token,
        view::Viewer,
    },
    tables::{Membership, RELATIONS, RelationRow},
};

/// How many rows are looked at for one page when a filter or visibility lets little through.
const MAX_ROWS: usize = 5_000;

/// Over how many events indirect relations are followed.
pub const RECURSION_DEPTH: usize = 3;

/// Which related events are wanted.
#[derive(Clone, Debug)]
pub struct RelationQuery<'a> {
    /// Only of this `rel_type`.
    pub rel_type: Option<&'a str>,
    /// Only of this event type.
    pub kind: Option<&'a str>,
    /// Where to begin.
    pub from: Option<Token>,
    /// Where to stop.
    pub to: Option<Token>,
    /// Which way.
    pub direction: Direction,
    /// At most this many, and at most [`MAX_PAGE`].
    pub limit: usize,
    /// Also what relates to what relates to it, [`RECURSION_DEPTH`] deep.
    pub recurse: bool,
}

/// Where the rows of a page come from.
enum Source<'a> {
    /// From the store, a part at a time.
    Direct(&'a StoredEvent),
    /// They were gathered before.
    Gathered(BTreeMap<Order, RelationRow>),
}

impl RelationQuery<'_> {
    fn wants(&self, row: &RelationRow) -> bool {
        self.rel_type.is_none_or(|wanted| row.rel_type == wanted)
            && self.kind.is_none_or(|wanted| row.kind == wanted)
    }
}

impl Rooms {
    /// A page of the events that relate to an event, as the viewer may see them, with their
    /// aggregations.
    ///
    /// # Errors
    /// [`Error::NoEvent`] when he may not see the event itself.
    pub async fn relations(
        &self,
        viewer: &Viewer<'_>,
        room_id: &RoomId,
        event_id: &EventId,
        query: &RelationQuery<'_>,
    ) -> Result<Page, Error> {
        self.reach_places([query.from, query.to]).await?;
        let parent = self.event_for(viewer, room_id, event_id).await?.event;
        let source = match query.recurse {
            false => Source::Direct(&parent),
            true => Source::Gathered(self.all_related(&parent).await?),
        };
        let limit = query.limit.min(MAX_PAGE);
        let (after, through) = match query.direction {
            Direction::Forward => (query.from, query.to),
            Direction::Backward => (query.to, query.from),
        };
        let mut after = after.unwrap_or(Token::START);
        let mut through = through.unwrap_or(Token::END);
        let start = query.from.unwrap_or(match query.direction {
            Direction::Forward => Token::START,
            Direction::Backward => Token::after(self.store().head()),
        });

        let mut page = Page { start, end: None, chunk: Vec::new(), state: Vec::new(), ran_out: false };
        let mut looked_at = 0;
        while page.chunk.len() < limit && looked_at < MAX_ROWS {
            let part = limit.max(20);
            let rows = self.related_rows(&source, after, through, query.direction, part).await?;
            let is_last = rows.len() < part;
            looked_at += rows.len();
            let Some((last, _)) = rows.last() else { break };
            match query.direction {
                Direction::Forward => after = Token(*last),
                Direction::Backward => through = Token::before(*last),
            }
            page.end = (!is_last).then(|| past(*last, query.direction));
            let wanted: Vec<_> = rows
                .iter()
                .filter(|(_, row)| query.wants(row))
                .map(|(order, row)| (parent.room(), place_of(*order, row)))
                .collect();
            let events = self.events_of(&wanted).await?;
            let sights = self.sights(viewer.user, &events).await?;
            let (mut seen, mut memberships) = (Vec::new(), Vec::new());
            for ((event, sight), (_, entry)) in events.into_iter().zip(sights).zip(&wanted) {
                if !sight.visible || viewer.is_spared(&event) {
                    continue;
                }
                seen.push(event);
                memberships.push(Some(sight.membership.unwrap_or(Membership::Leave)));
                if page.chunk.len() + seen.len() == limit {
                    let is_end = is_last && entry.order == *last;
                    page.end = (!is_end).then(|| past(entry.order, query.direction));
                    break;
                }
            }
            page.chunk.extend(self.looks(viewer, seen, &memberships).await?);
            if is_last {
                break;
            }
        }
        self.aggregate(viewer, &mut page.chunk).await?;
        Ok(page)
    }

    /// The next rows of a page, in its direction.
    async fn related_rows(
        &self,
        source: &Source<'_>,
        after: Token,
        through: Token,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<(Order, RelationRow)>, Error> {
        let parent = match source {
            Source::Direct(parent) => parent,
            Source::Gathered(rows) => {
                let inside = rows.iter().filter(|(order, _)| **order > after.0 && **order <= through.0);
                let inside = inside.map(|(order, row)| (*order, row.clone()));
                return Ok(match direction {
                    Direction::Forward => inside.take(limit).collect(),
                    Direction::Backward => inside.rev().take(limit).collect(),
                });
            }
        };
        let order = match direction {
            Direction::Forward => store::Order::Ascending,
            Direction::Backward => store::Order::Descending,
        };
        let key = |place: Order| (parent.room(), parent.event_id().to_string(), place);
        let range = Range::prefix(&(parent.room(), parent.event_id().as_str()))
            .after(&key(after.0))
            .through(&key(through.0));
        let rows = self.store().scan(&RELATIONS, range, order, limit).await?;
        Ok(rows.into_iter().map(|((_, _, order), row)| (order, row)).collect())
    }

    /// What relates to an event, directly or over others; at most [`MAX_ROWS`].
    async fn all_related(&self, event: &StoredEvent) -> Result<BTreeMap<Order, RelationRow>, Error> {
        let mut all = BTreeMap::new();
        let mut parents: Vec<OwnedEventId> = vec![event.event_id().to_owned()];
        for _ in 0..=RECURSION_DEPTH {
            let ranges =
                parents.iter().map(|parent| Range::prefix(&(event.room(), parent.as_str()))).collect();
            let left = MAX_ROWS.saturating_sub(all.len());
            let rows = self.store().scan_many(&RELATIONS, ranges, store::Order::Descending, left).await?;
            let mut children = Vec::new();
            for ((_, _, order), row) in rows.into_iter().flatten().take(left) {
                // What was met before is not followed again, so a ring has an end.
                if let Entry::Vacant(vacant) = all.entry(order) {
                    children.push((event.room(), place_of(order, &row)));
                    vacant.insert(row);
                }
            }
            if children.is_empty() {
                break;
            }
            let events = self.events_of(&children).await?;
            parents = events.iter().map(|event| event.event_id().to_owned()).collect();
        }
        Ok(all)
    }
}

/// The place behind a row, in the direction of reading.
fn past(order: Order, direction: Direction) -> Token {
    match direction {
        Direction::Forward => Token(order),
        Direction::Backward => Token::before(order),
    }
}
