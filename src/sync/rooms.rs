//! Which rooms have something to tell.

use std::sync::Arc;

use account::InviteVerdict;
use room::{
    RoomSerial,
    read::{
        filter::LazyMembers,
        lacking::LackingRooms,
        membership::{MovedRoom, UserRoom, UserRooms},
        token::Token,
        view::Viewer,
    },
    tables::Membership,
};
use ruma::{OwnedUserId, RoomId, UserId};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use store::Position;

use crate::{Error, SyncRequest, Syncs, data::Items};

/// What all parts of one answer share.
pub(crate) struct Scene<'a> {
    pub(crate) request: &'a SyncRequest,
    /// What the client has; `None` is nothing.
    pub(crate) since: Option<Position>,
    /// Up to where it has what is told of presence, if that is less.
    pub(crate) present: Option<Position>,
    /// Up to where it has receipts, if that is less.
    pub(crate) receipts: Option<Position>,
    /// Whether receipts of others are told another time.
    pub(crate) keeps_receipts: bool,
    /// Up to where the answer tells.
    pub(crate) head: Position,
    pub(crate) ignored: Arc<HashSet<OwnedUserId>>,
    /// Places of rooms of which the counts are told, whatever happened there.
    pub(crate) recounted: BTreeSet<u32>,
}

impl<'a> Scene<'a> {
    /// One for a client that has nothing.
    pub(crate) fn anew(request: &'a SyncRequest, head: Position, ignored: Arc<HashSet<OwnedUserId>>) -> Self {
        Self {
            request,
            since: None,
            present: None,
            receipts: None,
            keeps_receipts: false,
            head,
            ignored,
            recounted: BTreeSet::new(),
        }
    }

    pub(crate) fn viewer(&self) -> Viewer<'_> {
        Viewer { user: &self.request.user, device: Some(&self.request.device), ignored: Some(&self.ignored) }
    }

    pub(crate) fn user(&self) -> &UserId {
        &self.request.user
    }
}

/// How much of a room a client has to be told.
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

/// A room with something to tell that the user is in, or was in until he got out.
#[derive(Clone, Debug)]
pub(crate) struct RoomPlan {
    pub(crate) row: UserRoom,
    pub(crate) extent: Extent,
    /// Whether there may be events to tell.
    pub(crate) events: bool,
    /// Whether there may be receipts or typing to tell.
    pub(crate) ephemeral: bool,
    /// Whether there may be receipts that only the user himself is told of.
    pub(crate) own_receipts: bool,
    /// Whether there may be his own among those of anybody.
    pub(crate) own_public: bool,
    /// Whether what is unread is told, whatever happened.
    pub(crate) is_recounted: bool,
    pub(crate) data: Items,
    /// Where he got out, if he is not in: nothing later is told.
    pub(crate) until: Option<Position>,
}

impl RoomPlan {
    /// Whether there may be receipts of the user himself.
    pub(crate) fn has_own_receipts(&self) -> bool {
        self.own_receipts || self.own_public
    }

    /// The last position of the room that is told.
    pub(crate) fn through(&self, scene: &Scene<'_>) -> Position {
        self.until.unwrap_or(scene.head)
    }
}

/// The rooms of an answer.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) joined: Vec<RoomPlan>,
    pub(crate) invited: Vec<UserRoom>,
    pub(crate) knocked: Vec<UserRoom>,
    /// Rooms of which the client has not heard all that the user saw before he got out.
    pub(crate) left: Vec<RoomPlan>,
    /// Rooms of which there is nothing to tell but that the user is out.
    pub(crate) declined: Vec<UserRoom>,
    /// Whether devices of members of his rooms may have changed.
    pub(crate) device_lists: bool,
}

impl Plan {
    /// A room that the user is not in, and that he has to do with in another way than before.
    fn add_outside(
        &mut self,
        scene: &Scene<'_>,
        row: &UserRoom,
        data: &mut BTreeMap<ruma::OwnedRoomId, Items>,
    ) {
        match row.membership {
            Membership::Invite if scene.ignored.contains(&row.sender) => {}
            Membership::Invite => self.invited.push(row.clone()),
            Membership::Knock => self.knocked.push(row.clone()),
            Membership::Leave | Membership::Ban => {
                // What the user left need not be told of again; that he was put out, or refused, he
                // may never have heard.
                let by_another = row.sender != *scene.user();
                if scene.since.is_none() && !scene.request.filter.include_leave && !by_another {
                    return;
                }
                match row.seen_until().filter(|until| scene.since.is_none_or(|it| until.position > it)) {
                    Some(until) => self.left.push(RoomPlan {
                        row: row.clone(),
                        extent: extent_of_moved(scene),
                        events: true,
                        ephemeral: false,
                        own_receipts: false,
                        own_public: false,
                        is_recounted: false,
                        data: data.remove(&row.room_id).unwrap_or_default(),
                        until: Some(until.position),
                    }),
                    None => self.declined.push(row.clone()),
                }
            }
            Membership::Join => {}
        }
    }

    /// Whether there is anything to tell of rooms that the user is not in.
    pub(crate) fn has_outside(&self) -> bool {
        !(self.invited.is_empty()
            && self.knocked.is_empty()
            && self.left.is_empty()
            && self.declined.is_empty())
    }

    /// The rooms of which there may be receipts or typing to tell; nothing, if one of them is told whole.
    pub(crate) fn of_the_moment(&self) -> Option<impl Iterator<Item = &RoomId>> {
        let rooms = self.joined.iter().filter(|room| room.ephemeral);
        let is_whole = self.joined.iter().any(|room| room.extent == Extent::Whole);
        (!is_whole).then(|| rooms.map(|room| &*room.row.room_id))
    }

    /// Whether all that there is to tell are receipts of others and typing. How far he has read himself a user is told
    /// at once, on all his devices.
    pub(crate) fn has_nothing_else(&self) -> bool {
        let is_so = |room: &RoomPlan| {
            !room.events && !room.has_own_receipts() && !room.is_recounted && room.data.is_empty()
        };
        !self.has_outside() && self.joined.iter().all(is_so)
    }
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

    /// The rooms that an answer may have to do with, in their order: mostly few of all.
    fn places(
        &self,
        scene: &Scene<'_>,
        rooms: &UserRooms,
        data: &BTreeMap<ruma::OwnedRoomId, Items>,
    ) -> Vec<MovedRoom> {
        let Some(since) = scene.since.filter(|_| !scene.request.full_state) else {
            let all = (0..).zip(&rooms.rooms);
            return all
                .map(|(place, _)| MovedRoom {
                    place,
                    events: true,
                    ephemeral: true,
                    own_receipts: true,
                    own_public: true,
                    device_lists: true,
                })
                .collect();
        };
        let mut places = self.rooms().moved(rooms, since);
        if let Some(receipts) = scene.receipts.filter(|receipts| *receipts < since) {
            let kept_back = self.rooms().moved(rooms, receipts).into_iter().filter(|moved| moved.ephemeral);
            places.extend(kept_back.map(|MovedRoom { place, .. }| MovedRoom {
                place,
                ephemeral: true,
                ..MovedRoom::default()
            }));
        }
        let with_data = data.keys().filter_map(|room| rooms.place_of_joined(room));
        let others = rooms.changed_since(since).chain(with_data).chain(scene.recounted.iter().copied());
        places.extend(others.map(|place| MovedRoom { place, ..MovedRoom::default() }));
        places.sort_unstable_by_key(|moved| moved.place);
        places.dedup_by(|other, kept| {
            let is_same = other.place == kept.place;
            if is_same {
                kept.events |= other.events;
                kept.ephemeral |= other.ephemeral;
                kept.own_receipts |= other.own_receipts;
                kept.own_public |= other.own_public;
                kept.device_lists |= other.device_lists;
            }
            is_same
        });
        places
    }

    /// Chooses the rooms of an answer.
    pub(crate) async fn plan(
        &self,
        scene: &Scene<'_>,
        rooms: &UserRooms,
        mut data: BTreeMap<ruma::OwnedRoomId, Items>,
    ) -> Result<Plan, Error> {
        let mut plan = Plan::default();
        let lacking = self.rooms().lacking().await?;
        let is_lazy = scene.request.filter.state.lazy != LazyMembers::Off;
        for moved in self.places(scene, rooms, &data) {
            plan.device_lists |= moved.device_lists;
            let Some(row) = usize::try_from(moved.place).ok().and_then(|place| rooms.rooms.get(place)) else {
                continue;
            };
            // A room left and forgotten is still left for those who have not heard of that.
            let is_forgotten = row.forgotten && scene.since.is_none();
            if is_forgotten || !scene.request.filter.passes_room(&row.room_id) {
                continue;
            }
            if row.membership == Membership::Join {
                if !is_lazy && lacking.lacks(row.room) {
                    // Who wants all members is told of it once they are known.
                    continue;
                }
                let data = data.remove(&row.room_id).unwrap_or_default();
                plan.joined.extend(plan_joined(scene, row, moved, data));
            } else if scene.since.is_none_or(|since| row.position > since) {
                plan.add_outside(scene, row, &mut data);
            }
        }
        if !plan.invited.is_empty() {
            // What is blocked may have come before it was, or without that we were asked.
            let rules = self.accounts().invite_rules(scene.user()).await?;
            plan.invited.retain(|row| rules.verdict(&row.sender) == InviteVerdict::Take);
        }
        let changed: Vec<&mut RoomPlan> = plan
            .joined
            .iter_mut()
            .chain(&mut plan.left)
            .filter(|plan| {
                let is_anew = || {
                    !is_lazy
                        && lacking.whole_since(plan.row.room).is_some_and(|whole| Some(whole) > scene.since)
                };
                scene.since.is_some_and(|since| plan.row.position > since || is_anew())
            })
            .collect();
        if !changed.is_empty() {
            Box::pin(self.find_newly_joined(scene, changed, &lacking)).await?;
        }
        Ok(plan)
    }

    /// Of rooms whose membership changed, finds those that the client did not have before: he was not
    /// in them when it last asked, or it was not told of them because they lacked members.
    async fn find_newly_joined(
        &self,
        scene: &Scene<'_>,
        changed: Vec<&mut RoomPlan>,
        lacking: &LackingRooms,
    ) -> Result<(), Error> {
        let Some(since) = scene.since else { return Ok(()) };
        let serials: Vec<RoomSerial> = changed.iter().map(|plan| plan.row.room).collect();
        let roots = self.rooms().states_at(&serials, Token::after(since)).await?;
        let places: Vec<_> = serials
            .iter()
            .zip(&roots)
            .map(|(room, root)| (*room, root.unwrap_or_default(), scene.user()))
            .collect();
        let members = self.rooms().members_at(&places).await?;
        let mut whole = Vec::new();
        for (plan, member) in changed.into_iter().zip(members) {
            let was_kept_back = scene.request.filter.state.lazy == LazyMembers::Off
                && lacking.whole_since(plan.row.room).is_some_and(|whole| whole > since);
            if was_kept_back || member.and_then(|event| event.membership()) != Some(Membership::Join) {
                plan.extent = Extent::Whole;
                (plan.events, plan.ephemeral, plan.own_receipts) = (true, true, true);
                plan.own_public = true;
                whole.push(plan);
            }
        }
        if !whole.is_empty() {
            // Account data from before the join is new to the client, too.
            let mut all = self.new_data(scene.user(), None).await?;
            for plan in whole {
                plan.data = all.rooms.remove(&plan.row.room_id).unwrap_or_default();
            }
        }
        Ok(())
    }
}

/// What is told of a room that the user is in.
fn plan_joined(scene: &Scene<'_>, row: &UserRoom, moved: MovedRoom, data: Items) -> Option<RoomPlan> {
    let has_ephemeral = moved.ephemeral || moved.own_receipts;
    let is_recounted = scene.recounted.contains(&moved.place);
    let extent = match extent_of_moved(scene) {
        Extent::News if !moved.events && !has_ephemeral && !is_recounted => Extent::DataOnly,
        extent => extent,
    };
    let is_news = extent == Extent::News;
    (extent != Extent::DataOnly || !data.is_empty()).then(|| RoomPlan {
        row: row.clone(),
        extent,
        events: moved.events || !is_news,
        ephemeral: has_ephemeral || !is_news,
        own_receipts: moved.own_receipts || !is_news,
        own_public: moved.own_public || !is_news,
        is_recounted,
        data,
        until: None,
    })
}

/// How much is told of a room in which something happened.
fn extent_of_moved(scene: &Scene<'_>) -> Extent {
    match scene.since {
        None => Extent::Whole,
        Some(_) if scene.request.full_state => Extent::FullState,
        Some(_) => Extent::News,
    }
}
