//! Who types: what an answer tells of it.

use ruma::OwnedUserId;
use store::Position;

use crate::{
    Syncs,
    rooms::{RoomPlan, Scene},
};

impl Syncs {
    /// Who types in a room, if that has changed since; not those whom the reader ignores.
    pub(crate) fn typing(
        &self,
        scene: &Scene<'_>,
        plan: &RoomPlan,
        since: Option<Position>,
    ) -> Option<Vec<OwnedUserId>> {
        let filter = &scene.request.filter.ephemeral;
        let is_wanted = !filter.passes_none() && filter.passes_type("m.typing") && plan.until.is_none();
        if !is_wanted || !filter.passes_room(&plan.row.room_id) {
            return None;
        }
        let mut users = match since {
            Some(since) => self.rooms().typing_since(plan.row.room, since)?,
            None => self.rooms().typing_in(plan.row.room),
        };
        users.retain(|user| !scene.ignored.contains(user));
        Some(users)
    }
}
