//! When it is known who is not there any more of those who were before a process began.
//!
//! What was known is gone with the process that knew it, and whoever was told by that that somebody is there would never
//! be told otherwise if he does not come back. So a while after the beginning, when all who are there have said so, a
//! position is taken: to a client whose token is from before, all are away of whom nothing has been heard.

use std::time::Duration;

use base::Instant;
use parking_lot::Mutex;
use ruma::UserId;
use store::{Batch, Position, Value};

use super::{AWAY_AFTER, EAR, Inner, OTHER_SERVERS_LAST, Presence, REFRESH, Seen, State, Telling};

/// So long after the beginning all of our users who are there have said so to this process.
const SOON: Duration = AWAY_AFTER.saturating_add(Duration::from_secs(15));

/// The same where other processes may have their devices.
const AMONG_SEVERAL: Duration = REFRESH.saturating_add(Duration::from_secs(30));

/// The positions from which on silence means that somebody is away.
#[derive(Debug)]
pub(super) struct Settled {
    began: Instant,
    at: Mutex<At>,
}

#[derive(Clone, Copy, Debug, Default)]
struct At {
    ours: Option<Position>,
    others: Option<Position>,
}

/// Of whom silence has come to mean that they are away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silent {
    ours: bool,
    others: bool,
}

impl Settled {
    pub(super) fn since(began: Instant) -> Self {
        Self { began, at: Mutex::default() }
    }
}

impl Inner {
    /// Takes the positions whose time has come.
    pub(super) async fn settle(&self, now: Instant) -> Result<(), room::Error> {
        let known = *self.settled.at.lock();
        let age = now.since(self.settled.began);
        let soon = if self.store.is_shared() { AMONG_SEVERAL } else { SOON };
        let ours = known.ours.is_none() && age >= soon;
        let others = known.others.is_none() && age >= OTHER_SERVERS_LAST;
        if !ours && !others {
            return Ok(());
        }
        // Nothing is said by it; tokens from before are smaller.
        let mut batch = Batch::new();
        let slot = batch.tell(EAR, &Telling::default().encode(), []);
        let position = self.store.commit(batch).await.map_err(room::Error::Commit)?.position(slot);
        let mut at = self.settled.at.lock();
        at.ours = at.ours.or(ours.then_some(position));
        at.others = at.others.or(others.then_some(position));
        Ok(())
    }
}

impl Presence {
    /// Of whom, between two positions, silence has come to mean that they are away; mostly of nobody.
    pub fn silent_between(&self, since: Position, head: Position) -> Option<Silent> {
        let at = *self.0.as_ref()?.settled.at.lock();
        let is_between = |at: Option<Position>| at.is_some_and(|at| since < at && at <= head);
        let silent = Silent { ours: is_between(at.ours), others: is_between(at.others) };
        (silent.ours || silent.others).then_some(silent)
    }

    /// Somebody as he is shown to who may have been told that he is there before this process began; nothing, where more
    /// is known of him or may come.
    pub fn find_silent(&self, user: &UserId, silent: Silent) -> Option<Seen> {
        let inner = self.0.as_ref()?;
        let is_silent = if inner.rooms.is_local(user) { silent.ours } else { silent.others };
        if !is_silent || self.find(user).is_some() {
            return None;
        }
        let active_ago = inner.clock.instant().since(inner.settled.began);
        Some(Seen {
            user: user.to_owned(),
            state: State::Offline,
            status: None,
            active_ago,
            is_active: false,
        })
    }
}
