//! What rooms tell that the user got out of, or is invited to.
//!
//! One who was in is told everything up to his getting out, in the same way as a member
//! ([`crate::joined`]), and then the last thing that was done to him. So it does not matter in how
//! many steps he was put out, or whether he joined and left between two syncs.

use std::sync::Arc;

use bytes::Bytes;
use room::{
    Order,
    read::{event::StoredEvent, membership::UserRoom, token::Token},
};
use ruma::OwnedRoomId;

use crate::{
    Error, Syncs,
    groups::GROUP,
    joined::RoomPart,
    rooms::{Extent, Plan, Scene},
};

/// What a room tells that the user is invited to, or knocks at.
#[derive(Debug)]
pub(crate) struct StrippedPart {
    pub(crate) room_id: OwnedRoomId,
    /// A JSON array of stripped events.
    pub(crate) events: Bytes,
}

impl Syncs {
    /// What rooms tell that the user is out of. One that cannot be read is left out.
    pub(crate) async fn left_parts(&self, scene: &Scene<'_>, plan: &Plan) -> Result<Vec<RoomPart>, Error> {
        let mut parts = Vec::with_capacity(plan.left.len() + plan.declined.len());
        for plans in plan.left.chunks(GROUP) {
            parts.extend(self.joined_or_less(scene, plans).await?);
        }
        // Of a forgotten room there is no history any more, but other devices have to hear that it was left.
        parts.extend(plan.declined.iter().map(|row| RoomPart {
            limited: row.forgotten,
            ..RoomPart::of_nothing(row.room_id.clone(), Extent::News, Token(Order::live(row.position)))
        }));
        self.add_last_steps(scene, plan, &mut parts).await?;
        Ok(parts)
    }

    /// Adds the event that says what the user is now, where nothing else tells of it.
    async fn add_last_steps(
        &self,
        scene: &Scene<'_>,
        plan: &Plan,
        parts: &mut [RoomPart],
    ) -> Result<(), Error> {
        let later = plan.left.iter().filter(|plan| plan.until.is_some_and(|until| plan.row.position > until));
        let rows: Vec<&UserRoom> = later.map(|plan| &plan.row).chain(&plan.declined).collect();
        let wanted: Vec<_> = rows.iter().filter_map(|row| Some((row.room, row.event?))).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let events: Vec<Arc<StoredEvent>> =
            self.rooms().load_events(&wanted).await?.into_iter().flatten().collect();
        let memberships: Vec<_> = events.iter().map(|event| event.membership()).collect();
        for look in self.rooms().looks(&scene.viewer(), events, &memberships).await? {
            let room = rows.iter().find(|row| row.room == look.event.room()).map(|row| &row.room_id);
            if let Some(part) = parts.iter_mut().find(|part| Some(&part.room_id) == room) {
                part.timeline.push(look);
            }
        }
        Ok(())
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
