//! Going on with what another process over the same data has taken and does not work on any more.
//!
//! Each process works on what it took itself, and at its start on all that is there. One that dies while others run
//! leaves rows in the inbox of which none of those has heard. So each looks from time to time whether a room's first
//! row is still the one that it was the last time, and works on that room then. Should the other one be there after
//! all, only slow, both come to the same: each event has its place once.
//!
//! What waits for a room that has no head yet is not touched: another process may be joining it, which nobody else
//! knows, and needs it then. Only after longer than any join takes is it what a crash has left of one.
//!
//! What has left the inbox and waits for its ancestors is not looked at: after a death it waits until some process starts.

use std::{collections::BTreeMap, time::Duration};

use base::Instant;
use room::{
    Error,
    ids::{InboxSerial, RoomSerial},
    tables::HEADS,
};
use store::{Order, Range};
use tracing::{info, warn};

use crate::{Engine, tables::INBOX};

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(10);

/// Engine that are looked at in one go; the next look goes on behind them.
const MOST_ROOMS: usize = 200;

/// No join takes so long.
pub(crate) const LONGEST_JOIN: Duration = Duration::from_secs(60 * 60);

/// The first row of the inbox of each room that has one, and when it was seen first.
type Seen = BTreeMap<RoomSerial, (InboxSerial, Instant)>;

impl Engine {
    /// Looks for what is left by others, if there may be others.
    pub(crate) fn start_adopting(&self) {
        if !self.store().is_shared() {
            return;
        }
        let engine = self.clone();
        self.0.tasks.spawn_restarting("room inboxes of others", move || engine.clone().adopt());
    }

    async fn adopt(self) {
        let stop = self.0.tasks.shutdown_token();
        let (mut seen, mut from) = (Seen::new(), None);
        while stop.run_until_cancelled(self.0.clock.sleep(LOOK)).await.is_some() {
            match self.adopt_what_rests(&mut seen, from).await {
                Ok(next) => from = next,
                Err(error) => warn!(%error, "it could not be looked for what other processes have left"),
            }
        }
    }

    /// Works on those of the rooms after `from` of which nothing has gone since the last look; gives the room after
    /// which the next look goes on.
    async fn adopt_what_rests(
        &self,
        seen: &mut Seen,
        from: Option<RoomSerial>,
    ) -> Result<Option<RoomSerial>, Error> {
        let behind = |room: RoomSerial| Range::all().after(&(room, InboxSerial(u64::MAX)));
        let mut found: Vec<(RoomSerial, InboxSerial)> = Vec::new();
        let mut range = from.map_or_else(Range::all, behind);
        while found.len() < MOST_ROOMS {
            let rows = self.store().scan(&INBOX, range, Order::Ascending, 1).await?;
            let Some(((room, first), _)) = rows.into_iter().next() else { break };
            range = behind(room);
            found.push((room, first));
        }
        let last = found.last().filter(|_| found.len() == MOST_ROOMS).map(|(room, _)| *room);
        let now = self.0.clock.instant();
        let is_elsewhere = |room: &RoomSerial| {
            from.is_some_and(|from| *room <= from) || last.is_some_and(|last| *room > last)
        };
        let mut before = std::mem::take(seen);
        *seen = before.extract_if(.., |room, _| is_elsewhere(room)).collect();
        let mut rest: Vec<(RoomSerial, Instant)> = Vec::new();
        for (room, first) in found {
            let since = before.get(&room).filter(|(known, _)| *known == first).map(|(_, since)| *since);
            rest.extend(since.map(|since| (room, since)));
            seen.insert(room, (first, since.unwrap_or(now)));
        }
        let rooms: Vec<RoomSerial> = rest.iter().map(|(room, _)| *room).collect();
        let heads = self.store().get_many(&HEADS, &rooms).await?;
        let may_be_joined = |since: Instant| now.since(since) < LONGEST_JOIN;
        let left =
            rest.iter().zip(heads).filter(|((_, since), head)| head.is_some() || !may_be_joined(*since));
        let left: Vec<RoomSerial> = left.map(|((room, _), _)| *room).collect();
        for room in self.rooms().room_infos(&left).await?.into_iter().flatten() {
            if !self.0.workers.is_active(room.serial) {
                info!(room_id = %room.room_id, "what another process has left in an inbox is worked on");
            }
            self.wake_worker(room);
        }
        Ok(last)
    }
}
