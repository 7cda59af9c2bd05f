//! Invites of addresses are taken, or refused.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use ruma::{OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, UserId};
use store::{Batch, Order, Range};
use tracing::{info, warn};

use crate::{
    error::Error,
    following::Places,
    limits::{MOST_JOINS, MOST_OF_SERVER, MOST_ROOMS, MOST_TRIES, PATIENCE},
    posts::{Posts, Seen, put_off},
    rooms::{IsIn, Outcome},
    tables::{BROUGHT, ROOMS, RoomRow},
};

/// An invite that is answered.
struct Invite {
    user: OwnedUserId,
    room: OwnedRoomId,
    by: OwnedUserId,
    takes: bool,
}

impl Posts {
    /// Takes the invites of addresses that are of use, and refuses all others: some at once, of each address one of each server
    /// that invites first, so that nobody who invites it into many rooms, or has it wait for his server, holds up the others.
    pub(crate) async fn take_invites(&self, seen: &mut Seen, places: &[Places]) -> Result<(), Error> {
        let (now, mut waiting) = (self.inner.clock.now(), Vec::new());
        for Places { wanted, user, rooms } in places {
            let is_due = |room: &OwnedRoomId| {
                seen.later.get(&(user.clone(), room.clone())).is_none_or(|(at, _)| *at <= now)
            };
            let invites = rooms.iter().filter(|place| place.is == IsIn::Waits && is_due(&place.room));
            let invites: Vec<_> = invites.collect();
            if invites.is_empty() {
                continue;
            }
            let reaches = seen.wanted.get(*wanted).is_some_and(|one| one.reaches.is_some());
            let joined = rooms.iter().filter(|place| place.is == IsIn::Joined).count();
            let mut of_servers = self.of_servers(user).await?;
            for place in invites {
                let server = place.by.server_name();
                let (count, nth) = of_servers.entry(server.to_owned()).or_default();
                *nth += 1;
                let is_ours = self.inner.authorities.iter().any(|ours| ours == server);
                let tries =
                    seen.later.get(&(user.clone(), place.room.clone())).map_or(0, |(_, tries)| *tries);
                let has_room = joined + *nth <= MOST_ROOMS && (is_ours || *count + *nth <= MOST_OF_SERVER);
                let takes = reaches && has_room && tries < MOST_TRIES;
                let (user, room, by) = (user.clone(), place.room.clone(), place.by.clone());
                waiting.push((*nth, Invite { user, room, by, takes }));
            }
        }
        waiting.sort_by_key(|(nth, _)| *nth);
        waiting.truncate(MOST_JOINS);
        let tries = waiting.into_iter().map(async |(_, invite)| {
            let done = self.inner.clock.timeout(PATIENCE, self.answer(&invite)).await;
            (invite, done)
        });
        for (Invite { user, room, takes, .. }, done) in join_all(tries).await {
            match done {
                Ok(Ok(())) => {
                    info!(%user, %room, takes, "an address has answered an invite");
                    seen.later.remove(&(user, room));
                }
                Ok(Err(error)) => {
                    warn!(%user, %room, %error, "an invite of an address is answered later");
                    put_off(&mut seen.later, (user, room), now);
                }
                // What has begun goes on; whether it was done is seen by then.
                Err(_) => put_off(&mut seen.later, (user, room), now),
            }
        }
        Ok(())
    }

    /// Into how many rooms users of each server have invited an address, and none of the invites that wait.
    async fn of_servers(&self, user: &UserId) -> Result<BTreeMap<OwnedServerName, (usize, usize)>, Error> {
        let range = Range::prefix(user.as_str());
        let rows = self.inner.store.scan(&ROOMS, range, Order::Ascending, 2 * MOST_ROOMS).await?;
        let mut counts: BTreeMap<OwnedServerName, (usize, usize)> = BTreeMap::new();
        for (_, row) in rows {
            counts.entry(row.by.server_name().to_owned()).or_default().0 += 1;
        }
        Ok(counts)
    }

    async fn answer(&self, invite: &Invite) -> Result<(), Error> {
        let (rooms, store) = (&self.inner.rooms, &self.inner.store);
        let Invite { user, room, by, takes } = invite;
        if *takes {
            // It comes anew: whom it had brought before may be brought again.
            let mut batch = forgotten(user, room);
            batch.put(&ROOMS, &(user.as_str(), room.as_str()), &RoomRow { by: by.clone() });
            store.commit(batch).await?;
            if rooms.join(user, room).await? == Outcome::Done {
                return Ok(());
            }
        }
        // An invite that is none any more waits no longer.
        rooms.leave(user, room).await?;
        store.commit(forgotten(user, room)).await?;
        Ok(())
    }
}

/// A batch by which nothing is known of an address in a room.
pub(crate) fn forgotten(user: &UserId, room: &RoomId) -> Batch {
    let mut batch = Batch::new();
    batch.delete_prefix(&BROUGHT, &(user.as_str(), room.as_str()));
    batch.delete(&ROOMS, &(user.as_str(), room.as_str()));
    batch
}
