//! Events that relate to an event: edits, reactions, threads, references.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#relationships-api>

use ruma::{EventId, RoomId};
use store::Range;

use crate::{
    Error, Order, Rooms,
    read::{
        messages::{MAX_PAGE, Page},
        timeline::{Direction, Entry},
        token::Token,
        view::Viewer,
    },
    tables::{Membership, RELATIONS, RelationRow},
};

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
}

impl RelationQuery<'_> {
    fn wants(&self, row: &RelationRow) -> bool {
        self.rel_type.is_none_or(|wanted| row.rel_type == wanted)
            && self.kind.is_none_or(|wanted| row.kind == wanted)
    }
}

impl Rooms {
    /// A page of the events that directly relate to an event, as the viewer may see them.
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
        let parent = self.event_for(viewer, room_id, event_id).await?.event;
        let limit = query.limit.min(MAX_PAGE);
        let (after, through, order) = match query.direction {
            Direction::Forward => (query.from, query.to, store::Order::Ascending),
            Direction::Backward => (query.to, query.from, store::Order::Descending),
        };
        let key = |place: Order| (parent.room(), event_id.to_string(), place);
        let mut after = after.unwrap_or(Token::START).0;
        let mut through = through.unwrap_or(Token::END).0;
        let start = query.from.unwrap_or(match query.direction {
            Direction::Forward => Token::START,
            Direction::Backward => Token::after(self.store().head()),
        });

        let mut page = Page { start, end: None, chunk: Vec::new(), state: Vec::new() };
        while page.chunk.len() < limit {
            let range =
                Range::prefix(&(parent.room(), event_id.as_str())).after(&key(after)).through(&key(through));
            let rows = self.store().scan(&RELATIONS, range, order, limit).await?;
            let is_last = rows.len() < limit;
            let Some(((_, _, last), _)) = rows.last() else { break };
            match query.direction {
                Direction::Forward => after = *last,
                Direction::Backward => through = Token::before(*last).0,
            }
            let wanted: Vec<_> = rows
                .iter()
                .filter(|(_, row)| query.wants(row))
                .map(|((room, _, order), row)| {
                    let current = parent.meta().after;
                    (*room, Entry { order: *order, event: row.child, current, gap: false })
                })
                .collect();
            let events = self.events_of(&wanted).await?;
            let sights = self.sights(viewer.user, &events).await?;
            let (mut seen, mut memberships, mut places) = (Vec::new(), Vec::new(), Vec::new());
            for ((event, sight), (_, entry)) in events.into_iter().zip(sights).zip(&wanted) {
                if sight.visible {
                    seen.push(event);
                    memberships.push(Some(sight.membership.unwrap_or(Membership::Leave)));
                    places.push(entry.order);
                }
            }
            let room_left = limit - page.chunk.len();
            let cut = seen.len() > room_left;
            seen.truncate(room_left);
            let last_taken = places.get(room_left.wrapping_sub(1)).copied().filter(|_| cut).unwrap_or(*last);
            page.chunk.extend(self.looks(viewer, seen, &memberships).await?);
            page.end = (cut || !is_last).then(|| match query.direction {
                Direction::Forward => Token(last_taken),
                Direction::Backward => Token::before(last_taken),
            });
            if is_last {
                break;
            }
        }
        Ok(page)
    }
}
