//! Which rooms have something to tell.

use std::sync::Arc;

use room::{
    RoomSerial,
    read::{
        membership::{UserRoom, UserRooms},
        token::Token,
        view::Viewer,
    },
    tables::Membership,
};
use ruma::{OwnedUserId, UserId};
use std::collections::{BTreeMap, HashSet};
use store::{Moved, Position, Topic};

use crate::{Error, SyncRequest, Syncs, data::Items};

/// What all parts of one answer share.
pub(crate) struct Scene<'a> {
    pub(crate) request: &'a SyncRequest,
    /// What the client has; `None` is nothing.
    pub(crate) since: Option<Position>,
    /// Up to where the answer tells.
    pub(crate) head: Position,
    pub(crate) ignored: Arc<HashSet<OwnedUserId>>,
}

impl Scene<'_> {
    pub(crate) fn viewer(&self) -> Viewer<'_> {
        Viewer { user: &self.request.user, device: Some(&self.request.device) }
    }

    pub(crate) fn user(&self) -> &UserId {
        &self.request.user
    }
}

/// How much of a joined room a client has to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Everything: it does not know the room.
    Whole,
    /// What is new, and all state.
    FullState,
    /// What is new.
    News,
    /// Only account data: nothing happened in the room itself.
    DataOnly,
}

/// A joined room with something to tell.
#[derive(Clone, Debug)]
pub(crate) struct JoinedPlan {
    pub(crate) row: UserRoom,
    pub(crate) extent: Extent,
    pub(crate) data: Items,
}

/// The rooms of an answer.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) joined: Vec<JoinedPlan>,
    pub(crate) invited: Vec<UserRoom>,
    pub(crate) knocked: Vec<UserRoom>,
    pub(crate) left: Vec<UserRoom>,
}

/// The topics that a waiting client watches.
pub(crate) fn topics(user: &UserId, rooms: &UserRooms) -> Vec<Topic> {
    let joined = rooms.with(Membership::Join).map(|room| Topic::room(room.room_id.as_str()));
    joined.chain([Topic::user(user.as_str())]).collect()
}

/// Whether the same rooms are joined in both.
pub(crate) fn same_joined(left: &Arc<UserRooms>, right: &Arc<UserRooms>) -> bool {
    Arc::ptr_eq(left, right)
        || left
            .with(Membership::Join)
            .map(|row| row.room)
            .eq(right.with(Membership::Join).map(|row| row.room))
}

impl Syncs {
    /// The head, and the user's rooms as they are there.
    pub(crate) async fn rooms_at_head(&self, user: &UserId) -> Result<(Position, Arc<UserRooms>), Error> {
        let mut head = self.store().head();
        let mut rooms = self.rooms().memberships(user).await?;
        // A row from after the head hides what was there at the head.
        while rooms.newest > head {
            head = self.store().reach(rooms.newest).await?;
            rooms = self.rooms().memberships(user).await?;
        }
        Ok((head, rooms))
    }

    /// Chooses the rooms of an answer.
    pub(crate) async fn plan(
        &self,
        scene: &Scene<'_>,
        rooms: &UserRooms,
        mut data: BTreeMap<ruma::OwnedRoomId, Items>,
    ) -> Result<Plan, Error> {
        let filter = &scene.request.filter;
        let mut plan = Plan::default();
        for row in rooms.rooms.iter().filter(|row| filter.passes_room(&row.room_id)) {
            let is_new = scene.since.is_none_or(|since| row.position > since);
            // A room left and forgotten is still left for those who have not heard of that.
            if row.forgotten && scene.since.is_none() {
                continue;
            }
            match row.membership {
                Membership::Join => {
                    let data = data.remove(&row.room_id).unwrap_or_default();
                    let extent = self.extent(scene, row);
                    if extent != Extent::DataOnly || !data.is_empty() {
                        plan.joined.push(JoinedPlan { row: row.clone(), extent, data });
                    }
                }
                Membership::Invite if is_new && !scene.ignored.contains(&row.sender) => {
                    plan.invited.push(row.clone());
                }
                Membership::Knock if is_new => plan.knocked.push(row.clone()),
                Membership::Leave | Membership::Ban if is_new => {
                    // What the user left need not be told of again; that he was put out, or refused, he
                    // may never have heard.
                    let by_another = row.sender != *scene.user();
                    if scene.since.is_some() || filter.include_leave || by_another {
                        plan.left.push(row.clone());
                    }
                }
                Membership::Invite | Membership::Knock | Membership::Leave | Membership::Ban => {}
            }
        }
        self.find_newly_joined(scene, &mut plan.joined).await?;
        Ok(plan)
    }

    fn extent(&self, scene: &Scene<'_>, row: &UserRoom) -> Extent {
        let Some(since) = scene.since else { return Extent::Whole };
        if scene.request.full_state {
            return Extent::FullState;
        }
        match self.store().moved(Topic::room(row.room_id.as_str()), since) {
            Moved::No => Extent::DataOnly,
            Moved::Maybe => Extent::News,
        }
    }

    /// Of rooms whose membership changed, finds those that the client did not have before.
    async fn find_newly_joined(&self, scene: &Scene<'_>, joined: &mut [JoinedPlan]) -> Result<(), Error> {
        let Some(since) = scene.since else { return Ok(()) };
        let changed: Vec<usize> =
            (0..joined.len()).filter(|index| joined[*index].row.position > since).collect();
        if changed.is_empty() {
            return Ok(());
        }
        let serials: Vec<RoomSerial> = changed.iter().map(|index| joined[*index].row.room).collect();
        let roots = self.rooms().states_at(&serials, Token::after(since)).await?;
        let places: Vec<_> = serials
            .iter()
            .zip(&roots)
            .map(|(room, root)| (*room, root.unwrap_or_default(), scene.user()))
            .collect();
        let members = self.rooms().members_at(&places).await?;
        let mut whole = Vec::new();
        for (index, member) in changed.into_iter().zip(members) {
            if member.and_then(|event| event.membership()) != Some(Membership::Join) {
                joined[index].extent = Extent::Whole;
                whole.push(index);
            }
        }
        if !whole.is_empty() {
            // Account data from before the join is new to the client, too.
            let mut all = self.new_data(scene.user(), None).await?;
            for index in whole {
                joined[index].data = all.rooms.remove(&joined[index].row.room_id).unwrap_or_default();
            }
        }
        Ok(())
    }
}
