//! How many events of other servers wait here, counted in memory.
//!
//! The counts hold what is in `INBOX` and what in `WAITING` still has tries left; parked events have a
//! bound of their own ([`super::waiting`]). They are made anew from the tables at start; where another process may
//! have dealt with what was counted here, also when a room's inbox is found empty.

use std::collections::HashMap;

use parking_lot::Mutex;
use room::ids::RoomSerial;
use ruma::{OwnedServerName, ServerName};

/// How many may wait.
#[derive(Clone, Copy, Debug)]
pub struct InboxLimits {
    /// In one room. A server with fewer than `fair_share` there is let in above it.
    pub room: usize,
    /// In one room, of one server.
    pub peer_in_room: usize,
    /// In all rooms, of one server.
    pub peer: usize,
    /// In one room, of one server, whatever others have filled.
    pub fair_share: usize,
    /// In one room, of all servers that are not in it as far as we know.
    pub strangers_in_room: usize,
    /// In all rooms, of one server that is not in them.
    pub stranger: usize,
    /// Ends of invites and knocks that are to be confirmed, in all.
    pub withdrawals: usize,
}

impl Default for InboxLimits {
    fn default() -> Self {
        Self {
            room: 10_000,
            peer_in_room: 2_500,
            peer: 20_000,
            fair_share: 50,
            strangers_in_room: 100,
            stranger: 50,
            withdrawals: 4_096,
        }
    }
}

/// Whether there is room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    Taken,
    Full,
}

/// The counts.
pub(crate) struct Counts {
    limits: InboxLimits,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    rooms: HashMap<RoomSerial, OfRoom>,
    peers: HashMap<OwnedServerName, OfPeer>,
}

#[derive(Default)]
struct OfRoom {
    all: usize,
    strangers: usize,
    by_origin: HashMap<OwnedServerName, OfPeer>,
}

#[derive(Clone, Copy, Default)]
struct OfPeer {
    as_member: usize,
    as_stranger: usize,
}

impl OfPeer {
    const fn is_empty(self) -> bool {
        self.as_member == 0 && self.as_stranger == 0
    }
}

impl Counts {
    pub(crate) fn new(limits: InboxLimits) -> Self {
        Self { limits, held: Mutex::default() }
    }

    /// Counts one more, if it may be.
    pub(crate) fn take(&self, room: RoomSerial, origin: &ServerName, is_member: bool) -> Space {
        let mut held = self.held.lock();
        let of_room = held.rooms.get(&room);
        let here = of_room.and_then(|of| of.by_origin.get(origin)).copied().unwrap_or_default();
        let everywhere = held.peers.get(origin).copied().unwrap_or_default();
        let (all, strangers) = of_room.map_or((0, 0), |of| (of.all, of.strangers));
        let limits = &self.limits;
        let is_full = if is_member {
            here.as_member >= limits.peer_in_room
                || everywhere.as_member >= limits.peer
                || (all - strangers.min(all) >= limits.room && here.as_member >= limits.fair_share)
        } else {
            strangers >= limits.strangers_in_room || everywhere.as_stranger >= limits.stranger
        };
        if is_full {
            return Space::Full;
        }
        held.add(room, origin, is_member);
        Space::Taken
    }

    /// Counts a row that was found at start.
    pub(crate) fn found(&self, room: RoomSerial, origin: &ServerName) {
        self.held.lock().add(room, origin, true);
    }

    /// One is gone.
    pub(crate) fn release(&self, room: RoomSerial, origin: &ServerName) {
        self.held.lock().remove(room, origin);
    }

    /// Of a room nothing waits but what waits outside of its inbox: of whom, and whether it is in the room. What is at
    /// the door in this moment goes uncounted then, which is a few at most.
    pub(crate) fn holds_only(&self, room: RoomSerial, waiting: &[(OwnedServerName, bool)]) {
        let mut held = self.held.lock();
        if held.rooms.get(&room).map_or(0, |of| of.all) == waiting.len() {
            return;
        }
        while let Some(origin) = held.first_origin(room) {
            held.remove(room, &origin);
        }
        for (origin, is_member) in waiting {
            held.add(room, origin, *is_member);
        }
    }

    /// How many there are in all.
    pub(crate) fn total(&self) -> usize {
        self.held.lock().rooms.values().map(|of| of.all).sum()
    }
}

impl Held {
    fn add(&mut self, room: RoomSerial, origin: &ServerName, is_member: bool) {
        let of_room = self.rooms.entry(room).or_default();
        of_room.all += 1;
        let here = of_room.by_origin.entry(origin.to_owned()).or_default();
        let everywhere = self.peers.entry(origin.to_owned()).or_default();
        if is_member {
            here.as_member += 1;
            everywhere.as_member += 1;
        } else {
            of_room.strangers += 1;
            here.as_stranger += 1;
            everywhere.as_stranger += 1;
        }
    }

    fn first_origin(&self, room: RoomSerial) -> Option<OwnedServerName> {
        self.rooms.get(&room)?.by_origin.keys().next().cloned()
    }

    fn remove(&mut self, room: RoomSerial, origin: &ServerName) {
        let Some(of_room) = self.rooms.get_mut(&room) else { return };
        let Some(here) = of_room.by_origin.get_mut(origin) else { return };
        // A server that came in meanwhile has rows of both kinds; which one this was does not matter.
        let was_stranger = here.as_stranger > 0;
        if was_stranger {
            here.as_stranger -= 1;
            of_room.strangers = of_room.strangers.saturating_sub(1);
        } else {
            here.as_member = here.as_member.saturating_sub(1);
        }
        if here.is_empty() {
            of_room.by_origin.remove(origin);
        }
        of_room.all = of_room.all.saturating_sub(1);
        if of_room.all == 0 {
            self.rooms.remove(&room);
        }
        let Some(everywhere) = self.peers.get_mut(origin) else { return };
        if was_stranger {
            everywhere.as_stranger = everywhere.as_stranger.saturating_sub(1);
        } else {
            everywhere.as_member = everywhere.as_member.saturating_sub(1);
        }
        if everywhere.is_empty() {
            self.peers.remove(origin);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use ruma::OwnedServerName;

    use super::{Counts, InboxLimits, Space};
    use room::ids::RoomSerial;

    fn server(name: &str) -> OwnedServerName {
        OwnedServerName::try_from(name).unwrap()
    }

    fn limits() -> InboxLimits {
        InboxLimits {
            room: 4,
            peer_in_room: 3,
            peer: 5,
            fair_share: 1,
            strangers_in_room: 2,
            stranger: 1,
            ..InboxLimits::default()
        }
    }

    fn fill(counts: &Counts, room: u64, origin: &str, is_member: bool) -> usize {
        let take = || counts.take(RoomSerial(room), &server(origin), is_member);
        std::iter::from_fn(|| (take() == Space::Taken).then_some(())).count()
    }

    #[test]
    fn a_peer_that_fills_a_room_does_not_keep_others_out() {
        let counts = Counts::new(limits());
        assert_eq!(fill(&counts, 1, "a.test", true), 3);
        assert_eq!(fill(&counts, 1, "b.test", true), 1);
        // The room is full, yet each server has its share.
        assert_eq!(fill(&counts, 1, "c.test", true), 1);
        assert_eq!(fill(&counts, 2, "a.test", true), 2, "five in all rooms");
    }

    #[test]
    fn strangers_have_few_places_of_their_own() {
        let counts = Counts::new(limits());
        assert_eq!(fill(&counts, 1, "x.test", false), 1);
        assert_eq!(fill(&counts, 1, "y.test", false), 1);
        assert_eq!(fill(&counts, 1, "z.test", false), 0);
        assert_eq!(fill(&counts, 1, "a.test", true), 3);
    }

    #[test]
    fn what_is_released_can_be_taken_again() {
        let counts = Counts::new(limits());
        fill(&counts, 1, "a.test", true);
        fill(&counts, 1, "x.test", false);
        counts.release(RoomSerial(1), &server("a.test"));
        assert_eq!(fill(&counts, 1, "a.test", true), 1);
        counts.release(RoomSerial(1), &server("x.test"));
        assert_eq!(fill(&counts, 1, "x.test", false), 1);
        for origin in ["a.test", "a.test", "a.test", "x.test"] {
            counts.release(RoomSerial(1), &server(origin));
        }
        assert_eq!(counts.total(), 0);
    }

    #[test]
    fn what_others_have_come_to_the_end_of_is_not_counted_any_more() {
        let counts = Counts::new(limits());
        fill(&counts, 1, "a.test", true);
        fill(&counts, 1, "x.test", false);
        fill(&counts, 2, "b.test", true);
        counts.holds_only(RoomSerial(1), &[(server("a.test"), true)]);
        assert_eq!(counts.total(), 1 + 3);
        assert_eq!(fill(&counts, 1, "a.test", true), 2);
        assert_eq!(fill(&counts, 1, "x.test", false), 1);
        counts.holds_only(RoomSerial(2), &[]);
        assert_eq!(fill(&counts, 2, "b.test", true), 3);
    }
}
