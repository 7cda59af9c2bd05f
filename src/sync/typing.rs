//! Who types: what an answer tells of it.

use room::{
    RoomSerial,
    read::{membership::UserRooms, token::Token},
    tables::Membership,
};
use ruma::OwnedUserId;
use store::Position;

use crate::{
    SyncRequest, Syncs,
    joined::RoomPart,
    rooms::{Extent, RoomPlan, Scene},
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

    /// Adds to an answer who types in rooms in which somebody did, as the client was told, and as this process may never
    /// have heard: nobody will say when he ceases.
    pub(crate) fn add_missed_typing(&self, scene: &Scene<'_>, rooms: &UserRooms, joined: &mut Vec<RoomPart>) {
        let Some(since) = scene.since.filter(|since| self.rooms().may_have_missed_typing(*since)) else {
            return;
        };
        let filter = &scene.request.filter;
        if filter.ephemeral.passes_none() || !filter.ephemeral.passes_type("m.typing") {
            return;
        }
        for room in &scene.request.rest.typing {
            let Some(row) = rooms.find(*room).filter(|row| row.membership == Membership::Join) else {
                continue;
            };
            if !filter.passes_room(&row.room_id) || !filter.ephemeral.passes_room(&row.room_id) {
                continue;
            }
            let mut users = self.rooms().typing_in(*room);
            users.retain(|user| !scene.ignored.contains(user));
            match joined.iter_mut().find(|part| part.room_id == row.room_id) {
                Some(part) => part.typing = part.typing.take().or(Some(users)),
                None => joined.push(RoomPart {
                    typing: Some(users),
                    ..RoomPart::of_nothing(row.room_id.clone(), Extent::News, Token::after(since))
                }),
            }
        }
    }

    /// The rooms in which somebody types as the client knows then: of those in which somebody did, and those of which the
    /// answer says so.
    pub(crate) fn still_typing(
        &self,
        scene: &Scene<'_>,
        rooms: &UserRooms,
        joined: &[RoomPart],
    ) -> Vec<RoomSerial> {
        let told = joined.iter().filter(|part| part.typing.as_ref().is_some_and(|users| !users.is_empty()));
        let told = told.filter_map(|part| {
            let place = usize::try_from(rooms.place_of_joined(&part.room_id)?).ok()?;
            rooms.rooms.get(place).map(|row| row.room)
        });
        let mut typing: Vec<RoomSerial> = told.collect();
        typing.extend(self.typed_still(scene.request, rooms));
        typing.sort_unstable();
        typing.dedup();
        typing
    }

    /// Of the rooms in which somebody typed, as the client was told, those in which somebody does. A token may be made
    /// up, so those alone that the user is in: of others he learns nothing.
    pub(crate) fn typed_still(
        &self,
        request: &SyncRequest,
        rooms: &UserRooms,
    ) -> impl Iterator<Item = RoomSerial> {
        let is_in = |room: RoomSerial| rooms.find(room).is_some_and(|row| row.membership == Membership::Join);
        let named = request.rest.typing.iter().copied();
        named.filter(move |room| is_in(*room) && !self.rooms().typing_in(*room).is_empty())
    }
}
