//! Delayed state goes when somebody else sets the same piece of state.

use std::collections::HashSet;

use room::{Error, ids::RoomSerial};
use store::{Batch, Order, Range, Remembered, Store};

use super::tables::{DELAYED_STATE, DELAYS, Ending, delayed_state_added};
use crate::change::StateChange;

/// Delayed state of all rooms that is read to know which rooms have any; of more, every room may have some.
const MOST_READ: usize = 50_000;

/// Delayed events of one piece of state that are looked at.
const MOST_OF_ONE: usize = 1_000;

/// Which rooms may have delayed state.
#[derive(Debug, Default)]
pub(crate) struct DelayedRooms(Remembered<Which>);

#[derive(Debug)]
enum Which {
    These(HashSet<RoomSerial>),
    Any,
}

impl DelayedRooms {
    async fn may_be_in(&self, store: &Store, room: RoomSerial) -> Result<bool, Error> {
        let read = async {
            let rows = store.scan(&DELAYED_STATE, Range::all(), Order::Ascending, MOST_READ).await?;
            if rows.len() == MOST_READ {
                return Ok::<_, Error>(Which::Any);
            }
            Ok(Which::These(rows.into_iter().map(|((room, ..), ())| room).collect()))
        };
        // What goes is not told: then it is looked for in vain.
        match &*self.0.get_or_read(store, [delayed_state_added()], read).await? {
            Which::These(rooms) => Ok(rooms.contains(&room)),
            Which::Any => Ok(true),
        }
    }

    /// Takes away, in the batch of some changes of a room's state, the delayed events of others that would change the same.
    pub(crate) async fn end_overtaken(
        &self,
        store: &Store,
        room: RoomSerial,
        changes: &[StateChange],
        batch: &mut Batch,
    ) -> Result<(), Error> {
        if changes.is_empty() || !self.may_be_in(store, room).await? {
            return Ok(());
        }
        for change in changes {
            let Some(new) = &change.new else { continue };
            let prefix = (room, change.name.kind.clone(), change.name.key.clone());
            let range = Range::prefix(&prefix);
            let rows = store.scan(&DELAYED_STATE, range, Order::Ascending, MOST_OF_ONE).await?;
            let overtaken =
                rows.into_iter().map(|(key, ())| key).filter(|key| key.3 != new.sender().as_str());
            let ids: Vec<String> = overtaken.map(|(.., id)| id).collect();
            if ids.is_empty() {
                continue;
            }
            for (id, row) in ids.iter().zip(store.get_many(&DELAYS, &ids).await?) {
                if let Some(row) = row {
                    row.end(batch, id, Ending::Cancelled);
                }
            }
        }
        Ok(())
    }
}
