//! Making up for a part of the log that is gone.
//!
//! The log does not wait for ever for a sender that stands still, in a server that lives on. When it works again,
//! nobody knows any more what it had to tell to whom; but what happened is in the rooms. So each peer is owed the rooms
//! in which ours said something meanwhile, as if it had been away itself, and gets what it lacks from the timelines. So does
//! who is there no more: of a room that he is not in, what was done to his own users.

use std::collections::BTreeSet;

use base::Caches;
use room::{
    RoomSerial,
    read::{event::StoredEvent, timeline::RecentQuery},
};
use ruma::{OwnedRoomId, OwnedServerName, UserId};
use store::{Batch, CommitError, Missed};
use tracing::warn;

use super::{Inner, presence::Rosters};
use crate::tables::OWED;

/// Rooms that are looked at together.
const ROOMS: usize = 20;

/// Debts that are written together.
const DEBTS: usize = 1_000;

/// A debt: authority of ours, peer, room.
type Debt = (String, String, String);

impl Inner {
    /// Owes everybody what happened in a part of the log that is gone. Begins anew if it is interrupted, and
    /// what was owed before stays owed.
    pub(super) async fn make_up(&self, missed: Missed) -> Result<(), store::Error> {
        warn!(position = %missed.after, "events were not sent when they were made; peers get them from the rooms");
        let mut rosters = Rosters::new(self.rooms.clone(), &Caches::new(), self.config.memory);
        let mut after = None;
        loop {
            let rooms = self.rooms.rooms_by_serial(after, ROOMS).await.map_err(into_store)?;
            let Some((last, _)) = rooms.last() else { break };
            after = Some(*last);
            for debts in self.debts(&mut rosters, &rooms, missed).await.map_err(into_store)?.chunks(DEBTS) {
                self.owe(debts, missed).await.map_err(CommitError::into_error)?;
            }
        }
        let mut batch = Batch::new();
        self.term.made_up(&mut batch);
        self.term.commit(batch).await.map(drop).map_err(CommitError::into_error)
    }

    /// Who was in those of the rooms in which something was said by ours, before it or after.
    async fn debts(
        &self,
        rosters: &mut Rosters,
        rooms: &[(RoomSerial, OwnedRoomId)],
        missed: Missed,
    ) -> Result<Vec<Debt>, room::Error> {
        let authorities = self.client.authorities();
        // Of more a peer is told the newest only.
        let (after, through, limit) = (missed.after, missed.through, self.config.catch_up_events);
        let queries: Vec<RecentQuery<'_>> = rooms
            .iter()
            .map(|(room, room_id)| RecentQuery { room: *room, room_id, after, through, limit })
            .collect();
        let mut debts = Vec::new();
        for ((room, room_id), recent) in rooms.iter().zip(self.rooms.recent(&queries).await?) {
            let Some(last) = recent.entries.last().map(|row| row.current) else { continue };
            let before = recent.before.or(recent.entries.first().cloned()).map_or(last, |row| row.current);
            let rows: Vec<_> = recent.entries.into_iter().map(|row| (*room, row)).collect();
            // Room by room: one that is purged meanwhile costs itself alone.
            let events = match self.rooms.events_of(&rows).await {
                Ok(events) => events,
                Err(room::Error::Inconsistent(cause)) => {
                    warn!(%room_id, cause, "what peers lack of a room cannot be told");
                    continue;
                }
                Err(error) => return Err(error),
            };
            let senders = events.iter().map(|event| event.sender().server_name().to_owned());
            let ours: BTreeSet<OwnedServerName> = senders.filter(|name| authorities.is_ours(name)).collect();
            if ours.is_empty() {
                continue;
            }
            let servers = rosters.between(*room, Some((before, last))).await?;
            let mut peers: BTreeSet<OwnedServerName> = servers.iter().cloned().collect();
            // Who came and was put out in between is in neither.
            peers.extend(events.iter().filter_map(|event| target(event)));
            peers.retain(|to| !authorities.is_ours(to) && self.client.may_contact(to));
            for to in &peers {
                let debt = |from: &OwnedServerName| (from.to_string(), to.to_string(), room_id.to_string());
                debts.extend(ours.iter().map(debt));
            }
        }
        Ok(debts)
    }

    async fn owe(&self, debts: &[Debt], missed: Missed) -> Result<(), CommitError> {
        let known = self.store.get_many(&OWED, debts).await?;
        let mut batch = Batch::new();
        for (debt, known) in debts.iter().zip(known) {
            let after = known.map_or(missed.after, |known| known.min(missed.after));
            batch.put(&OWED, debt, &after);
        }
        self.term.commit(batch).await.map(drop)
    }
}

/// The server of the user whose membership an event changes.
fn target(event: &StoredEvent) -> Option<OwnedServerName> {
    let user = event.membership().and(event.state_key())?;
    Some(<&UserId>::try_from(user).ok()?.server_name().to_owned())
}

fn into_store(error: room::Error) -> store::Error {
    match error {
        room::Error::Store(error) => error,
        error => store::Error::backend("read rooms", error),
    }
}
