//! What other servers said of users whom nobody of ours could see at the time: kept until somebody who shares a room with
//! one comes, who would else see him away until his server says it again.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use base::Instant;
use ruma::{OwnedServerName, OwnedUserId, UserId};

use super::{MOST_ROOMS, OTHER_SERVERS_LAST, PresenceUpdate, State};

/// Users of one server, and of all, of whom it is kept. Who comes when it is full is not kept, so that no server drives out
/// what another said.
const MOST_OF_ONE: usize = 2_000;
const MOST: usize = 20_000;

/// Of a user it is kept for so many of the rooms that he shares with ours, the newest.
const MOST_ROOMS_OF_ONE: usize = 2 * MOST_ROOMS;

#[derive(Debug)]
struct Waiting {
    update: PresenceUpdate,
    heard: Instant,
    rooms: Vec<u64>,
}

/// Those who wait to be seen.
#[derive(Debug, Default)]
pub(super) struct Unshown {
    users: HashMap<OwnedUserId, Waiting>,
    of_room: BTreeMap<u64, HashSet<OwnedUserId>>,
    of_server: HashMap<OwnedServerName, usize>,
}

impl Unshown {
    /// Keeps what was said of somebody; `rooms` are those that he shares with ours, oldest first.
    pub(super) fn keep(&mut self, update: PresenceUpdate, mut rooms: Vec<u64>, now: Instant) {
        self.forget(&update.user);
        let server = update.user.server_name();
        let is_full =
            self.users.len() >= MOST || self.of_server.get(server).is_some_and(|count| *count >= MOST_OF_ONE);
        if is_silence(&update) || rooms.is_empty() || is_full {
            return;
        }
        *self.of_server.entry(server.to_owned()).or_default() += 1;
        let rooms = rooms.split_off(rooms.len().saturating_sub(MOST_ROOMS_OF_ONE));
        for room in &rooms {
            self.of_room.entry(*room).or_default().insert(update.user.clone());
        }
        self.users.insert(update.user.clone(), Waiting { update, heard: now, rooms });
    }

    /// Whether this was said of somebody who waits: then it is what will be told of him.
    pub(super) fn renew(&mut self, update: &PresenceUpdate, now: Instant) -> bool {
        let Some(waiting) = self.users.get_mut(&update.user) else { return false };
        waiting.update = update.clone();
        waiting.heard = now;
        if is_silence(update) {
            self.forget(&update.user);
        }
        true
    }

    /// What was said of those who are in these rooms, as it is now.
    pub(super) fn recall(&mut self, rooms: &[u64], now: Instant) -> Vec<PresenceUpdate> {
        let users: HashSet<OwnedUserId> =
            rooms.iter().filter_map(|room| self.of_room.get(room)).flatten().cloned().collect();
        let recalled = users.iter().filter_map(|user| self.forget(user));
        recalled
            .filter(|waiting| !waiting.is_over(now))
            .map(|mut waiting| {
                let passed = now.since(waiting.heard);
                waiting.update.active_ago = waiting.update.active_ago.saturating_add(passed);
                waiting.update
            })
            .collect()
    }

    /// Leaves out those of whom nothing was heard for so long that they are taken to be away.
    pub(super) fn sweep(&mut self, now: Instant) {
        let over: Vec<OwnedUserId> = self
            .users
            .iter()
            .filter(|(_, waiting)| waiting.is_over(now))
            .map(|(user, _)| user.clone())
            .collect();
        for user in over {
            self.forget(&user);
        }
    }

    fn forget(&mut self, user: &UserId) -> Option<Waiting> {
        let waiting = self.users.remove(user)?;
        for room in &waiting.rooms {
            if let Some(users) = self.of_room.get_mut(room) {
                users.remove(user);
                if users.is_empty() {
                    self.of_room.remove(room);
                }
            }
        }
        if let Some(count) = self.of_server.get_mut(user.server_name()) {
            *count -= 1;
            if *count == 0 {
                self.of_server.remove(user.server_name());
            }
        }
        Some(waiting)
    }
}

impl Waiting {
    fn is_over(&self, now: Instant) -> bool {
        let heard_ago: Duration = now.since(self.heard);
        heard_ago >= OTHER_SERVERS_LAST
    }
}

/// Whether it says no more than what is thought of somebody who was never heard of.
fn is_silence(update: &PresenceUpdate) -> bool {
    update.state == State::Offline && update.status.is_none()
}

#[cfg(test)]
mod tests {
    use base::Clock;
    use ruma::user_id;

    use super::*;

    fn update(user: &UserId, state: State) -> PresenceUpdate {
        PresenceUpdate { user: user.to_owned(), state, status: None, active_ago: Duration::from_secs(5) }
    }

    #[test]
    fn who_waits_is_told_once_as_he_was_last_said_to_be() {
        let now = Clock::manual(0).0.instant();
        let (eve, mallory) = (user_id!("@eve:b.test"), user_id!("@mallory:b.test"));
        let mut unshown = Unshown::default();
        unshown.keep(update(eve, State::Online), vec![3, 7], now);
        unshown.keep(update(mallory, State::Online), vec![7], now);
        assert!(unshown.renew(&update(eve, State::Unavailable), now));
        assert!(unshown.renew(&update(mallory, State::Offline), now), "who went again is not kept");
        assert!(!unshown.renew(&update(mallory, State::Online), now));
        let later = now + Duration::from_secs(60);
        let told = unshown.recall(&[9, 7], later);
        let aged = PresenceUpdate { active_ago: Duration::from_secs(65), ..update(eve, State::Unavailable) };
        assert_eq!(told, [aged]);
        assert_eq!(unshown.recall(&[3, 7], later), []);
        assert!(unshown.of_room.is_empty() && unshown.of_server.is_empty());
    }

    #[test]
    fn what_was_said_long_ago_is_told_to_nobody() {
        let now = Clock::manual(0).0.instant();
        let mut unshown = Unshown::default();
        unshown.keep(update(user_id!("@eve:b.test"), State::Online), vec![7], now);
        unshown.keep(
            update(user_id!("@mallory:b.test"), State::Online),
            vec![7],
            now + Duration::from_secs(60),
        );
        let later = now + OTHER_SERVERS_LAST;
        unshown.sweep(later);
        assert_eq!(unshown.users.len(), 1);
        assert_eq!(unshown.recall(&[7], later + Duration::from_secs(60)), []);
    }

    #[test]
    fn no_server_fills_it_for_the_others_and_a_user_has_a_bounded_number_of_rooms() {
        let now = Clock::manual(0).0.instant();
        let mut unshown = Unshown::default();
        for number in 0..MOST_OF_ONE + 10 {
            let user = UserId::parse(format!("@u{number}:evil.test")).expect("a user id");
            unshown.keep(update(&user, State::Online), vec![7], now);
        }
        assert_eq!(unshown.users.len(), MOST_OF_ONE);
        let eve = user_id!("@eve:b.test");
        unshown.keep(update(eve, State::Online), (0..1_000).collect(), now);
        assert_eq!(unshown.users[eve].rooms.len(), MOST_ROOMS_OF_ONE);
        assert_eq!(unshown.recall(&[999], now), [update(eve, State::Online)]);
    }
}
