//! What rooms tell that the user left, or is invited to.

use std::sync::Arc;

use bytes::Bytes;
use room::{
    Order, Root,
    read::{
        event::StoredEvent,
        membership::UserRoom,
        timeline::{Direction, Stretch},
        token::Token,
        view::Look,
    },
    tables::Membership,
};
use ruma::OwnedRoomId;
use store::Position;

use crate::{Error, Syncs, rooms::Scene};

/// What a room tells that the user left.
#[derive(Debug)]
pub(crate) struct LeftPart {
    pub(crate) room_id: OwnedRoomId,
    pub(crate) timeline: Vec<Look>,
    pub(crate) limited: bool,
    pub(crate) prev_batch: Token,
    pub(crate) state: Vec<Arc<StoredEvent>>,
}

/// What a room tells that the user is invited to, or knocks at.
#[derive(Debug)]
pub(crate) struct StrippedPart {
    pub(crate) room_id: OwnedRoomId,
    /// A JSON array of stripped events.
    pub(crate) events: Bytes,
}

impl Syncs {
    /// What rooms tell that were left, in the order of `rows`. One that cannot be read is left out.
    pub(crate) async fn left_parts(&self, scene: &Scene<'_>, rows: &[UserRoom]) -> Vec<LeftPart> {
        let mut parts = Vec::with_capacity(rows.len());
        // Few at a time are left, so each is read by itself.
        for row in rows {
            let part = match row.previous {
                // Of a forgotten room there is no history any more, but other devices have to hear that
                // it was left.
                Some(Membership::Join) if !row.forgotten => self.left_part(scene, row).await,
                _ => self.declined_part(scene, row).await,
            };
            match part {
                Ok(part) => parts.push(part),
                Err(error) => tracing::warn!(room_id = %row.room_id, %error, "a left room cannot be shown"),
            }
        }
        parts
    }

    /// A room that the user was in: everything up to his leaving.
    async fn left_part(&self, scene: &Scene<'_>, row: &UserRoom) -> Result<LeftPart, Error> {
        let filter = &scene.request.filter;
        let limit = filter.timeline_limit();
        let until = Token(Order::live(row.position));
        let after = Token::after(scene.since.unwrap_or(Position::START));
        let stretch = Stretch { room: row.room, after, through: until };
        let mut rows = self.rooms().timeline(stretch, Direction::Backward, limit.saturating_add(1)).await?;
        let mut limited = rows.len() > limit;
        rows.truncate(limit);
        // What is before a gap does not lead up to what is after it.
        if let Some(gap) = rows.iter().position(|entry| entry.gap) {
            limited = true;
            rows.truncate(gap + 1);
        }
        rows.reverse();
        let places: Vec<_> = rows.iter().map(|entry| (row.room, *entry)).collect();
        let events = self.rooms().events_of(&places).await?;
        let start = match (rows.first(), events.first()) {
            (Some(entry), Some(event)) => {
                let before = self.rooms().state_at(row.room, Token::before(entry.order)).await?;
                before.unwrap_or(event.meta().before)
            }
            _ => row.current,
        };
        let base = match scene.since {
            Some(since) if !scene.request.full_state => {
                self.rooms().state_at(row.room, Token::after(since)).await?.unwrap_or_default()
            }
            _ => Root::EMPTY,
        };
        let target = if scene.request.state_after.is_wanted() { row.current } else { start };
        let mut state =
            self.rooms().state_changes(&[(row.room, base, target)]).await?.pop().unwrap_or_default();
        state.retain(|event| filter.state.passes(event));

        let prev_batch = rows.first().map_or(until, |entry| Token::before(entry.order));
        let sights = self.rooms().sights(scene.user(), &events).await?;
        let (mut kept, mut memberships) = (Vec::new(), Vec::new());
        for (event, sight) in events.into_iter().zip(sights) {
            if sight.visible && filter.timeline.passes(&event) {
                kept.push(event);
                memberships.push(sight.membership);
            }
        }
        limited |= scene.since.is_none();
        let timeline = self.rooms().looks(&scene.viewer(), kept, &memberships).await?;
        Ok(LeftPart { room_id: row.room_id.clone(), timeline, limited, prev_batch, state })
    }

    /// A room that the user never was in, or forgot: only the event that says so, if there is one.
    async fn declined_part(&self, scene: &Scene<'_>, row: &UserRoom) -> Result<LeftPart, Error> {
        let event = match row.event {
            Some(event) => self.rooms().load_event(row.room, event).await?,
            None => None,
        };
        let timeline =
            self.rooms().looks(&scene.viewer(), event.into_iter().collect(), &[Some(row.membership)]).await?;
        Ok(LeftPart {
            room_id: row.room_id.clone(),
            timeline,
            limited: row.forgotten,
            prev_batch: Token(Order::live(row.position)),
            state: Vec::new(),
        })
    }

    /// What rooms tell that the user is invited to or knocks at, in the order of `rows`.
    pub(crate) async fn stripped_parts(
        &self,
        scene: &Scene<'_>,
        rows: &[UserRoom],
    ) -> Result<Vec<StrippedPart>, Error> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let borrowed: Vec<&UserRoom> = rows.iter().collect();
        let states = self.rooms().stripped_states(scene.user(), &borrowed).await?;
        Ok(rows
            .iter()
            .zip(states)
            .map(|(row, events)| StrippedPart { room_id: row.room_id.clone(), events })
            .collect())
    }
}
