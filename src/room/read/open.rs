//! The rooms that are open to everybody: all may join them, or all may read them.
//!
//! Whoever is in one of them can be found by everybody, whether a directory lists the room or not.

use std::{collections::HashSet, sync::Arc};

use ruma::OwnedMxcUri;
use serde::Deserialize;
use store::{Batch, Order, Range, Remembered, Table, Topic, Tuning};

use crate::{
    Error, RoomSerial, Rooms,
    purge::known::purges_moved,
    read::room::RoomInfo,
    tables::{SUMMARIES, Summary},
};

/// The open rooms; key: room. The row of room 0, which is none, says that rooms made before this table are in it.
pub static OPEN_ROOMS: Table<RoomSerial, ()> = Table::new(65, "room.open_rooms", Tuning::Small);

const ALL_ARE_IN: RoomSerial = RoomSerial(0);
/// Rows of one batch while the table is filled.
const AT_ONCE: usize = 10_000;
/// Open rooms that are known at a time, of more the youngest: two megabytes.
const MOST_KNOWN: usize = 100_000;

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

/// Moves when a room opens, or closes.
fn open_rooms_moved() -> Topic {
    Topic::new(25, "room.open_rooms")
}

/// The serials of the rooms that are open.
pub(crate) type OpenRooms = Remembered<HashSet<RoomSerial>>;

/// Notes in a batch whether a room is open; `was` is its summary before, if it had one.
pub fn note(batch: &mut Batch, room: &RoomInfo, was: Option<&Summary>, summary: &Summary) {
    if was.is_some_and(is_open) != is_open(summary) {
        batch.touch([open_rooms_moved()]);
    }
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

    /// The open rooms, also such as none of ours is in any more. Read anew when a room opened or closed, which few do.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(crate) async fn open_to_all(&self) -> Result<Arc<HashSet<RoomSerial>>, Error> {
        let read = async {
            let rows = self.store().scan(&OPEN_ROOMS, Range::all(), Order::Descending, MOST_KNOWN).await?;
            let open = rows.into_iter().map(|(room, ())| room).filter(|room| *room != ALL_ARE_IN);
            Ok(open.collect())
        };
        self.reader().open.get_or_read(self.store(), [open_rooms_moved(), purges_moved()], read).await
    }
}

/// How the content of a member event lets somebody appear: what is not a text is no name.
pub fn appearance(content: &str) -> Appearance {
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
