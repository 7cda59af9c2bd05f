//! Going on with what another process over the same data has taken and does not work on any more.
//!
//! Each process works on what it took itself, and at its start on all that is there. One that dies while others run
//! leaves rows in the inbox of which none of those has heard. So each looks from time to time whether a room's first
//! row is still the one that it was the last time, and works on that room then. Should the other one be there after
//! all, only slow, both come to the same: each event has its place once.

use std::{collections::HashMap, time::Duration};

use store::{Order, Range};
use tracing::{info, warn};

use crate::{
    Error, Rooms,
    ids::{InboxSerial, RoomSerial},
    tables::INBOX,
};

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(10);

/// Rooms that are looked at in one go; those behind them have their turn when these are empty.
const MOST_ROOMS: usize = 200;

/// The first row of the inbox of each room that has one.
type First = HashMap<RoomSerial, InboxSerial>;

impl Rooms {
    /// Looks for what is left by others, if there may be others.
    pub(crate) fn start_adopting(&self) {
        if !self.store().is_shared() {
            return;
        }
        let rooms = self.clone();
        self.0.tasks.spawn_restarting("room inboxes of others", move || rooms.clone().adopt());
    }

    async fn adopt(self) {
        let stop = self.0.tasks.shutdown_token();
        let mut before = First::new();
        while stop.run_until_cancelled(self.0.clock.sleep(LOOK)).await.is_some() {
            match self.adopt_what_rests(&before).await {
                Ok(now) => before = now,
                Err(error) => warn!(%error, "it could not be looked for what other processes have left"),
            }
        }
    }

    /// Works on the rooms of which nothing has gone since the last look; gives what there is now.
    async fn adopt_what_rests(&self, before: &First) -> Result<First, Error> {
        let mut now = First::new();
        let mut range = Range::all();
        while now.len() < MOST_ROOMS {
            let rows = self.store().scan(&INBOX, range, Order::Ascending, 1).await?;
            let Some(((room, first), _)) = rows.into_iter().next() else { break };
            range = Range::all().after(&(room, InboxSerial(u64::MAX)));
            now.insert(room, first);
        }
        let rest = now.iter().filter(|(room, first)| before.get(room) == Some(first));
        let rest: Vec<RoomSerial> = rest.map(|(room, _)| *room).collect();
        for room in self.room_infos(&rest).await?.into_iter().flatten() {
            if !self.0.workers.is_active(room.serial) {
                info!(room_id = %room.room_id, "what another process has left in an inbox is worked on");
            }
            self.wake_worker(room);
        }
        Ok(now)
    }
}
