//! Making up for a part of the log that is gone.
//!
//! The log does not wait for ever for a sender that stands still, in a server that lives on. When it works again,
//! nobody knows any more what it had to tell to whom; but what happened is in the rooms. So each peer is owed the rooms
//! in which ours said something meanwhile, as if it had been away itself, and gets what it lacks from the timelines. So does
//! who is there no more: of a room that he is not in, what was done to his own users.
//!
//! That takes as long as much was said meanwhile, and nobody waits for it: what is said from now on is sent as ever, and
//! whoever is found to lack something is owed it from then on. It is interrupted and begun anew as often as must be; that it is
//! done is written when all that is owed is.
//!
//! What is bounded:
//! - Of a room each peer is sent the newest events of ours (`SenderConfig::catch_up_events`), as one that was away: what they
//!   stand on it asks for.
//! - Who joined, left or knocked *through* us meanwhile is not told to third servers: that it was through us was in the
//!   log alone, and if everybody who was away sent all members of others, each would come once from each server. The others learn it
//!   from whatever is said after it, in whose ancestors it is; who joined can say nothing without naming his join.
//! - Receipts are of the moment: the next ones tell more.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use base::Caches;
use room::{
    Order, RoomSerial, Root,
    read::{
        event::StoredEvent,
        timeline::{Direction, Entry, RecentQuery, Stretch},
        token::Token,
    },
};
use ruma::{OwnedRoomId, OwnedServerName, UserId};
use store::{Batch, CommitError, Missed, Position};
use tracing::{info, warn};

use super::{Inner, lane::Owed, presence::Rosters};
use crate::tables::OWED;

/// Rooms of which it is looked together whether anything was said.
const ROOMS: usize = 20;

/// Events of a room that are looked at together.
const EVENTS: usize = 500;

/// Debts that are written together.
const DEBTS: usize = 1_000;

/// After a step it rests for so many times as long as that took: what is said now is sent meanwhile.
const REST: u32 = 2;

/// The pause after a failure.
const PAUSE: Duration = Duration::from_secs(5);

/// A debt: authority of ours, peer.
type Debt = (OwnedServerName, OwnedServerName);

/// What is known of a room in a part of the log that is gone.
#[derive(Default)]
struct Found {
    /// Those of ours who said something.
    ours: BTreeSet<OwnedServerName>,
    /// The servers of those whose membership was changed.
    targets: BTreeSet<OwnedServerName>,
    /// The state after it.
    last: Option<Root>,
    /// The state after the first event of it.
    first: Option<Root>,
}

impl Inner {
    /// Owes everybody what happened in a part of the log that is gone, until that is done or the term ends.
    pub(super) async fn make_up(self: Arc<Self>, missed: Missed) {
        warn!(position = %missed.after, "events were not sent when they were made; peers get them from the rooms");
        let stop = self.term.ended();
        while !stop.is_cancelled() {
            match stop.run_until_cancelled(self.make_up_once(missed)).await {
                Some(Ok(())) => {
                    info!(position = %missed.through, "what was not sent is owed to the peers");
                    self.makes_up.store(false, Ordering::Release);
                    return;
                }
                Some(Err(error)) => {
                    warn!(%error, "it cannot be found what was not sent, trying again");
                    stop.run_until_cancelled(self.clock.sleep(PAUSE)).await;
                }
                None => {}
            }
        }
    }

    async fn make_up_once(self: &Arc<Self>, missed: Missed) -> Result<(), room::Error> {
        let mut rosters = Rosters::new(self.rooms.clone(), &Caches::new(), self.config.memory);
        let mut after = None;
        loop {
            let began = self.clock.instant();
            let rooms = self.rooms.rooms_by_serial(after, ROOMS).await?;
            let Some((last, _)) = rooms.last() else { break };
            after = Some(*last);
            let Missed { after: since, through } = missed;
            let queries: Vec<RecentQuery<'_>> = rooms
                .iter()
                .map(|(room, room_id)| RecentQuery { room: *room, room_id, after: since, through, limit: 1 })
                .collect();
            let recent = self.rooms.recent(&queries).await?;
            self.clock.rest_since(began, REST).await;
            for ((room, room_id), recent) in rooms.iter().zip(recent) {
                if recent.entries.is_empty() {
                    continue;
                }
                // Room by room: one that is purged meanwhile costs itself alone.
                match self.make_up_room(&mut rosters, *room, room_id, missed).await {
                    Err(room::Error::Inconsistent(cause)) => {
                        warn!(%room_id, cause, "what peers lack of a room cannot be told");
                    }
                    outcome => outcome?,
                }
            }
        }
        let mut batch = Batch::new();
        self.term.made_up(&mut batch);
        self.term.commit(batch).await.map_err(room::Error::Commit)?;
        Ok(())
    }

    /// Owes what was said by ours in a room to those who were in it before or after.
    async fn make_up_room(
        self: &Arc<Self>,
        rosters: &mut Rosters,
        room: RoomSerial,
        room_id: &OwnedRoomId,
        missed: Missed,
    ) -> Result<(), room::Error> {
        let found = self.look_through(room, missed).await?;
        let Some(last) = found.last.filter(|_| !found.ours.is_empty()) else { return Ok(()) };
        let began = self.clock.instant();
        let start = Stretch {
            room,
            after: Token(Order::live(Position::START)),
            through: Token(Order::live(missed.after)),
        };
        let before = self.rooms.timeline(start, Direction::Backward, 1).await?.pop().map(|row| row.current);
        let before = before.or(found.first).unwrap_or(last);
        let servers = rosters.between(room, Some((before, last))).await?;
        let mut peers: BTreeSet<OwnedServerName> = servers.iter().cloned().collect();
        // Who came and was put out in between is in neither.
        peers.extend(found.targets);
        let authorities = self.client.authorities();
        peers.retain(|to| !authorities.is_ours(to) && self.client.may_contact(to));
        let debts: Vec<Debt> =
            peers.iter().flat_map(|to| found.ours.iter().map(|from| (from.clone(), to.clone()))).collect();
        for some in debts.chunks(DEBTS) {
            self.owe(some, room_id, missed).await.map_err(room::Error::Commit)?;
        }
        self.clock.rest_since(began, REST).await;
        Ok(())
    }

    /// Looks at all that happened in a room, part by part.
    async fn look_through(&self, room: RoomSerial, missed: Missed) -> Result<Found, room::Error> {
        let authorities = self.client.authorities();
        let mut found = Found::default();
        let after = Token(Order::live(missed.after));
        let mut through = Token(Order::live(missed.through));
        loop {
            let began = self.clock.instant();
            let stretch = Stretch { room, after, through };
            let rows = self.rooms.timeline(stretch, Direction::Backward, EVENTS).await?;
            let Some(oldest) = rows.last() else { return Ok(found) };
            through = Token(Order(oldest.order.0.saturating_sub(1)));
            found.first = Some(oldest.current);
            found.last = found.last.or(rows.first().map(|row| row.current));
            let is_last = rows.len() < EVENTS;
            let rows: Vec<(RoomSerial, Entry)> = rows.into_iter().map(|row| (room, row)).collect();
            for event in self.rooms.events_of(&rows).await? {
                let sender = event.sender().server_name();
                if authorities.is_ours(sender) && !found.ours.contains(sender) {
                    found.ours.insert(sender.to_owned());
                }
                found.targets.extend(target(&event));
            }
            self.clock.rest_since(began, REST).await;
            if is_last {
                return Ok(found);
            }
        }
    }

    /// Owes peers a room: in memory first, so that a row that is written here is never one that nobody takes away again,
    /// or misses; at worst one is left that says too much, and is found at the next start.
    async fn owe(
        self: &Arc<Self>,
        debts: &[Debt],
        room_id: &OwnedRoomId,
        missed: Missed,
    ) -> Result<(), CommitError> {
        let owed = Owed { after: missed.after, through: missed.through };
        let mut destinations = Vec::with_capacity(debts.len());
        for (from, to) in debts {
            destinations.push(self.with_destination(to, |state| {
                state.lanes.entry(from.clone()).or_default().owe_missed(room_id.clone(), owed);
            }));
        }
        let keys: Vec<(String, String, String)> =
            debts.iter().map(|(from, to)| (from.to_string(), to.to_string(), room_id.to_string())).collect();
        let known = self.store.get_many(&OWED, &keys).await?;
        let mut batch = Batch::new();
        for (key, known) in keys.iter().zip(known) {
            let after = known.map_or(missed.after, |known| known.min(missed.after));
            batch.put(&OWED, key, &after);
        }
        self.term.commit(batch).await?;
        // After that is written: before, it could be sent and struck out first.
        for destination in destinations {
            self.serve(&destination);
        }
        Ok(())
    }
}

/// The server of the user whose membership an event changes.
fn target(event: &StoredEvent) -> Option<OwnedServerName> {
    let user = event.membership().and(event.state_key())?;
    Some(<&UserId>::try_from(user).ok()?.server_name().to_owned())
}
