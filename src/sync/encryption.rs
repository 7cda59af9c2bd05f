//! What an answer tells of end-to-end encryption: whose devices changed, and how many keys the device has left.
//!
//! Whose devices changed is looked up only where a topic says that something of it moved in the reader's rooms; who came and
//! went, only in rooms in which members did, by the difference of states that the room's own part has found.

use std::sync::Arc;

use encryption::{Between, KeyCounts, ListChanges, ListQuery};
use room::{RoomSerial, read::membership::UserRooms, tables::Membership};
use store::{Moved, Topic};

use crate::{
    Error, SyncRequest, Syncs,
    joined::RoomPart,
    rooms::{Extent, Plan, Scene},
};

impl Syncs {
    /// How many keys the device has left.
    pub(crate) async fn key_counts(&self, request: &SyncRequest) -> Result<Arc<KeyCounts>, Error> {
        Ok(self.encryption().key_counts(&request.user, &request.device).await?)
    }

    /// Whose devices the client has to look up, and whose it may forget.
    pub(crate) async fn list_changes(
        &self,
        scene: &Scene<'_>,
        rooms: &UserRooms,
        lists_moved: bool,
        got_out_of: &[RoomSerial],
        moved: &MovedIn,
    ) -> Result<ListChanges, Error> {
        // A client that knows nothing looks up whom it meets.
        let Some(since) = scene.since else { return Ok(ListChanges::default()) };
        let own = Topic::devices(scene.user().as_str());
        let has_moved = lists_moved || self.store().moved(own, since) != Moved::No;
        let MovedIn { between, entered } = moved;
        if !has_moved && entered.is_empty() && between.is_empty() && got_out_of.is_empty() {
            return Ok(ListChanges::default());
        }
        let query = ListQuery {
            reader: scene.user(),
            rooms,
            after: since,
            through: scene.head,
            has_moved,
            between,
            entered,
            left: got_out_of,
        };
        // Apart from the answer, which is large enough to be moved about.
        Ok(Box::pin(self.encryption().list_changes(&query)).await?)
    }

    /// In which rooms members came and went, by these parts, also by those that tell nothing else.
    pub(crate) fn moved_in(rooms: &UserRooms, parts: &[RoomPart]) -> MovedIn {
        let mut moved = MovedIn::default();
        for part in parts {
            moved.between.extend(part.between);
            if part.extent == Extent::Whole
                && let Some(place) = rooms.place_of_joined(&part.room_id)
                && let Some(row) = usize::try_from(place).ok().and_then(|place| rooms.rooms.get(place))
            {
                moved.entered.push(row.room);
            }
        }
        moved
    }
}

/// In which rooms members came and went, and which are new to the client.
#[derive(Debug, Default)]
pub(crate) struct MovedIn {
    between: Vec<Between>,
    entered: Vec<RoomSerial>,
}

impl Plan {
    /// The rooms that the user has got out of.
    pub(crate) fn got_out_of(&self) -> Vec<RoomSerial> {
        let is_out =
            |membership| matches!(membership, Membership::Leave | Membership::Ban | Membership::Knock);
        self.left.iter().filter(|plan| is_out(plan.row.membership)).map(|plan| plan.row.room).collect()
    }
}
