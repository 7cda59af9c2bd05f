//! Aliases of rooms: names that people can say. Who gives and takes them stands above.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#room-aliases>

use pdu::RoomPower;
use ruma::{
    OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomAliasId, RoomId, UserId, events::TimelineEventType,
};
use serde::{Deserialize, Serialize};
use store::{Range, Table, Tuning};

use crate::{Error, RoomSerial, Rooms, read::view::Viewer, tables::Membership};

/// Who owns an alias; key: alias, value: room and creator.
pub static ALIASES: Table<String, AliasRow> = Table::new(62, "room.aliases", Tuning::Small);

/// The aliases of a room; key: room, alias.
pub static ROOM_ALIASES: Table<(RoomSerial, String), ()> = Table::new(63, "room.room_aliases", Tuning::Small);

/// Row of [`ALIASES`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasRow {
    /// The room.
    pub room_id: OwnedRoomId,
    /// Its serial.
    pub room: RoomSerial,
    /// Who made it.
    pub creator: OwnedUserId,
}
store::row!(AliasRow, schema = 1);

impl Rooms {
    /// The room that an alias of ours stands for.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn find_alias(&self, alias: &RoomAliasId) -> Result<Option<OwnedRoomId>, Error> {
        Ok(self.store().get(&ALIASES, alias.as_str()).await?.map(|row| row.room_id))
    }

    /// The aliases of ours that a room has, for somebody who may look at the room.
    ///
    /// # Errors
    /// As [`Rooms::standpoint`].
    pub async fn room_aliases(
        &self,
        viewer: &Viewer<'_>,
        room_id: &RoomId,
    ) -> Result<Vec<OwnedRoomAliasId>, Error> {
        let room = self.get_room(room_id).await?;
        self.standpoint(viewer.user, &room).await?;
        let range = Range::prefix(&room.serial);
        let rows = self.store().scan(&ROOM_ALIASES, range, store::Order::Ascending, 1_000).await?;
        Ok(rows.into_iter().filter_map(|((_, alias), ())| RoomAliasId::parse(alias).ok()).collect())
    }

    /// The aliases of ours that rooms have, in the order of `rooms`, a thousand of each: for use inside the server.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn aliases_of(&self, rooms: &[RoomSerial]) -> Result<Vec<Vec<OwnedRoomAliasId>>, Error> {
        let ranges = rooms.iter().map(Range::prefix).collect();
        let found = self.store().scan_many(&ROOM_ALIASES, ranges, store::Order::Ascending, 1_000).await?;
        let aliases = |rows: Vec<((RoomSerial, String), ())>| {
            rows.into_iter().filter_map(|((_, alias), ())| RoomAliasId::parse(alias).ok()).collect()
        };
        Ok(found.into_iter().map(aliases).collect())
    }

    /// Whether a user is joined and has the power to set state of a type.
    ///
    /// # Errors
    /// [`Error::Store`]; [`Error::NoRoom`].
    pub async fn may_set_state(&self, user: &UserId, room_id: &RoomId, kind: &str) -> Result<bool, Error> {
        let room = self.get_room(room_id).await?;
        if self.membership_in(&room, user).await? != Some(Membership::Join) {
            return Ok(false);
        }
        let head = self.get_head(&room).await?;
        let names = [("m.room.create", ""), ("m.room.power_levels", "")];
        let state = self.state_in(room.serial, head.current, &names).await?;
        let [Some(create), levels] = &state[..] else { return Ok(false) };
        let levels = levels.as_ref().map(|levels| levels.pdu().clone());
        let Ok(power) = RoomPower::new(create.pdu().clone(), levels) else { return Ok(false) };
        Ok(power.may_send(user, &TimelineEventType::from(kind), true))
    }
}
