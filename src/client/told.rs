//! What others told of rooms that we are not in, a moment ago.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use base::Instant;
use parking_lot::Mutex;
use room::read::space::RoomSummary;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};

/// What is kept of others' answers: for how long, and how many.
const MAX_KEPT_FOR: Duration = Duration::from_mins(1);
const MAX_KEPT: usize = 1_000;
/// The same in bytes.
const MAX_KEPT_BYTES: usize = 4 << 20;

/// What others told of rooms a moment ago, for each user by himself: whom one user named may have lied. The oldest go
/// where there are too many.
#[derive(Default)]
pub(crate) struct Summaries(Mutex<Kept>);

type Key = (OwnedUserId, OwnedRoomId);

#[derive(Default)]
struct Kept {
    rooms: HashMap<Key, (RoomSummary, Instant)>,
    /// Each key of `rooms` once, the oldest first.
    order: VecDeque<Key>,
    bytes: usize,
}

impl Kept {
    fn drop_oldest(&mut self) {
        if let Some((room, _)) = self.order.pop_front().and_then(|key| self.rooms.remove(&key)) {
            self.bytes -= room.bytes();
        }
    }

    fn drop_old(&mut self, now: Instant) {
        while let Some((_, since)) = self.order.front().and_then(|key| self.rooms.get(key))
            && now.since(*since) > MAX_KEPT_FOR
        {
            self.drop_oldest();
        }
    }
}

impl Summaries {
    /// What a user was told of a room.
    pub(crate) fn find(&self, user: &UserId, room_id: &RoomId, now: Instant) -> Option<RoomSummary> {
        let mut kept = self.0.lock();
        kept.drop_old(now);
        kept.rooms.get(&(user.to_owned(), room_id.to_owned())).map(|(room, _)| room.clone())
    }

    /// Keeps what a user was told of a room.
    pub(crate) fn keep(&self, user: &UserId, room: RoomSummary, now: Instant) {
        let mut kept = self.0.lock();
        kept.drop_old(now);
        let (key, bytes) = ((user.to_owned(), room.room_id.clone()), room.bytes());
        if kept.rooms.contains_key(&key) {
            // Asked for twice at once.
            return;
        }
        kept.bytes += bytes;
        kept.order.push_back(key.clone());
        kept.rooms.insert(key, (room, now));
        while kept.rooms.len() > MAX_KEPT || kept.bytes > MAX_KEPT_BYTES {
            kept.drop_oldest();
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use base::Clock;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_told_is_kept_within_bounds_for_a_minute_and_for_its_user() {
        let summaries = Summaries::default();
        let (clock, hand) = Clock::manual(1_700_000_000_000);
        let (hanako, taro) = (ruma::user_id!("@hanako:hs1"), ruma::user_id!("@taro:hs1"));
        let told = |number: usize| -> RoomSummary {
            let topic = "t".repeat(4_000);
            serde_json::from_value(json!({ "room_id": format!("!{number}:b.test"), "topic": topic })).unwrap()
        };
        for number in 0..3_000 {
            summaries.keep(hanako, told(number), clock.instant());
        }
        let kept =
            |user, number: usize| summaries.find(user, &told(number).room_id, clock.instant()).is_some();
        assert_eq!((kept(hanako, 0), kept(hanako, 2_999), kept(taro, 2_999)), (false, true, false));
        {
            let all = summaries.0.lock();
            assert!(all.bytes <= MAX_KEPT_BYTES && all.rooms.len() <= MAX_KEPT);
            assert_eq!(all.order.len(), all.rooms.len());
            assert_eq!(all.bytes, all.rooms.values().map(|(room, _)| room.bytes()).sum::<usize>());
        }
        hand.advance(MAX_KEPT_FOR + Duration::from_secs(1));
        assert!(!kept(hanako, 2_999));
        assert_eq!(summaries.0.lock().bytes, 0);
    }
}
