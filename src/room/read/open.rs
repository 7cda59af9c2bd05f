//! The rooms that are open to everybody: all may join them, or all may read them.
//!
//! Whoever is in one of them can be found by everybody, whether a directory lists the room or not.

use std::sync::Arc;

use ruma::{OwnedMxcUri, OwnedUserId};
use serde::Deserialize;
use store::{Batch, Order, Range, Table, Tuning};

use crate::{
    Error, EventSerial, RoomSerial, Rooms,
    read::room::RoomInfo,
    tables::{Membership, SUMMARIES, Summary},
};

/// The open rooms; key: room. The row of room 0, which is none, says that rooms made before this table are in it.
pub static OPEN_ROOMS: Table<RoomSerial, ()> = Table::new(65, "room.open_rooms", Tuning::Small);

const ALL_ARE_IN: RoomSerial = RoomSerial(0);
/// Rows of one batch while the table is filled.
const AT_ONCE: usize = 10_000;

/// How somebody appears in a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Appearance {
    /// Display name.
    pub displayname: Option<String>,
    /// Address of the picture.
    pub avatar_url: Option<OwnedMxcUri>,
}

fn is_open(summary: &Summary) -> bool {
    summary.join_rule.as_deref() == Some("public")
        || summary.history_visibility.as_deref() == Some("world_readable")
}

/// Notes in a batch whether a room is open.
pub fn note(batch: &mut Batch, room: &RoomInfo, summary: &Summary) {
    match is_open(summary) {
        true => batch.put(&OPEN_ROOMS, &room.serial, &()),
        false => batch.delete(&OPEN_ROOMS, &room.serial),
    }
}

impl Rooms {
    /// Notes the open rooms of a store that was written before they were noted.
    pub(crate) async fn index_open_rooms(&self) -> Result<(), Error> {
        if self.store().get(&OPEN_ROOMS, &ALL_ARE_IN).await?.is_some() {
            return Ok(());
        }
        let rows = self.store().scan(&SUMMARIES, Range::all(), Order::Ascending, usize::MAX).await?;
        let open: Vec<RoomSerial> =
            rows.into_iter().filter(|(_, summary)| is_open(summary)).map(|(room, _)| room).collect();
        for rooms in open.chunks(AT_ONCE) {
            let mut batch = Batch::new();
            for room in rooms {
                batch.put(&OPEN_ROOMS, room, &());
            }
            self.store().commit(batch).await.map_err(Error::Commit)?;
        }
        let mut batch = Batch::new();
        batch.put(&OPEN_ROOMS, &ALL_ARE_IN, &());
        self.store().commit(batch).await.map_err(Error::Commit)?;
        Ok(())
    }

    /// The open rooms that we take part in.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn open_rooms(&self) -> Result<Vec<RoomSerial>, Error> {
        let rows = self.store().scan(&OPEN_ROOMS, Range::all(), Order::Ascending, usize::MAX).await?;
        let rooms: Vec<RoomSerial> =
            rows.into_iter().map(|(room, ())| room).filter(|room| *room != ALL_ARE_IN).collect();
        let resident = self.are_resident(&rooms).await?;
        Ok(rooms.into_iter().zip(resident).filter(|(_, resident)| *resident).map(|(room, _)| room).collect())
    }

    /// Who is joined to rooms, in the order of `rooms`, with their member events.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn people_of(
        &self,
        rooms: &[RoomSerial],
    ) -> Result<Vec<Vec<(OwnedUserId, EventSerial)>>, Error> {
        let rows = self.member_rows_of(rooms).await?;
        let joined = rows.into_iter().map(|rows| {
            let joined = rows.into_iter().filter(|(_, row)| row.membership == Membership::Join);
            joined.map(|(user, row)| (user, row.event)).collect()
        });
        Ok(joined.collect())
    }

    /// How people appear by their member events, in the order of `members`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn appearances(&self, members: &[(RoomSerial, EventSerial)]) -> Result<Vec<Appearance>, Error> {
        let events = self.load_events(members).await?;
        let appear = |event: Option<Arc<super::event::StoredEvent>>| {
            event.map(|event| appearance(event.pdu().content_str())).unwrap_or_default()
        };
        Ok(events.into_iter().map(appear).collect())
    }
}

/// How the content of a member event lets somebody appear: what is not a text is no name.
pub(crate) fn appearance(content: &str) -> Appearance {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Content {
        #[serde(deserialize_with = "pdu::lenient::field")]
        displayname: Option<String>,
        #[serde(deserialize_with = "pdu::lenient::field")]
        avatar_url: Option<String>,
    }
    let Content { displayname, avatar_url } = pdu::lenient::read(content);
    Appearance { displayname, avatar_url: avatar_url.map(OwnedMxcUri::from) }
}
