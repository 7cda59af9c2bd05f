//! Servers that come into rooms, until they are told who of ours is there: they hear of changes from then on, and would else
//! take everybody to be away until he changes or it is all said again.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use base::Instant;
use room::RoomSerial;
use ruma::{OwnedServerName, ServerName};

/// They are told so long after somebody of theirs has joined: before, a server that is still taking in the room would not know
/// what business of its users it is.
const SETTLES_IN: Duration = Duration::from_secs(15);

/// Arrivals that wait; of more, those servers wait until it is all said again.
const MOST: usize = 10_000;

/// Those who came and are not told yet.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    order: VecDeque<(Instant, RoomSerial, OwnedServerName)>,
    waiting: HashSet<(RoomSerial, OwnedServerName)>,
}

impl Arrivals {
    /// Somebody of a server joined a room.
    pub(super) fn note(&mut self, room: RoomSerial, server: &ServerName, now: Instant) {
        if self.order.len() < MOST && self.waiting.insert((room, server.to_owned())) {
            self.order.push_back((now + SETTLES_IN, room, server.to_owned()));
        }
    }

    /// Those whose time has come.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<(RoomSerial, OwnedServerName)> {
        let count = self.order.partition_point(|(due, ..)| *due <= now);
        let due: Vec<_> = self.order.drain(..count).map(|(_, room, server)| (room, server)).collect();
        for arrival in &due {
            self.waiting.remove(arrival);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use base::Clock;
    use ruma::server_name;

    use super::*;

    #[test]
    fn who_comes_is_told_once_after_a_while() {
        let now = Clock::manual(0).0.instant();
        let (wajima, suzu) = (server_name!("wajima.test"), server_name!("suzu.test"));
        let mut arrivals = Arrivals::default();
        arrivals.note(RoomSerial(1), wajima, now);
        arrivals.note(RoomSerial(1), wajima, now + Duration::from_secs(1));
        arrivals.note(RoomSerial(1), suzu, now + Duration::from_secs(2));
        assert_eq!(arrivals.take_due(now), []);
        assert_eq!(arrivals.take_due(now + SETTLES_IN), [(RoomSerial(1), wajima.to_owned())]);
        let later = now + SETTLES_IN + Duration::from_secs(2);
        assert_eq!(arrivals.take_due(later), [(RoomSerial(1), suzu.to_owned())]);
        for room in 0..2 * MOST as u64 {
            arrivals.note(RoomSerial(room), wajima, later);
        }
        assert_eq!((arrivals.order.len(), arrivals.waiting.len()), (MOST, MOST));
    }
}
