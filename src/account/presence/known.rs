//! What is known of everybody's presence, as all processes over the same data hear it: plain values and decisions.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use base::Instant;
use ruma::{OwnedUserId, UserId};
use serde::{Deserialize, Serialize};
use store::Position;

use super::{ACTIVE_WITHIN, OTHER_SERVERS_LAST, OTHERS_LAST, Seen, State, flips::Flips};

/// Who is away is forgotten above this number.
const MOST_KNOWN: usize = 100_000;

/// Users in rooms for which it is kept when they changed; above it that is forgotten, and what was not told yet is missed.
const MOST_PLACES: usize = 1_000_000;

/// Rooms that somebody came to be shown in, until they are taken; of more, those in them are told of when their servers say
/// it again.
const MOST_NEW: usize = 10_000;

/// Changes that are kept for other servers.
const MOST_CHANGES: usize = 4_096;

/// Says of users of other servers what those said.
pub(super) const OTHER_SERVERS: u64 = 0;

/// What is said of somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Said {
    pub(super) user: String,
    /// Which process speaks of his devices with it.
    pub(super) teller: u64,
    pub(super) state: State,
    pub(super) status: Option<String>,
    /// Whether he has just said that; else it counts where nothing is known of it.
    pub(super) is_new_status: bool,
    /// How long ago he did something, in milliseconds.
    pub(super) active_ago: u64,
    /// The rooms in which he is shown.
    pub(super) rooms: Vec<u64>,
    pub(super) is_news: bool,
    pub(super) is_outgoing: bool,
    /// He is no user any more.
    pub(super) is_gone: bool,
}

/// What one process, or another server, says of somebody.
#[derive(Clone, Debug)]
struct Voice {
    teller: u64,
    state: State,
    active_ago: Duration,
    heard: Instant,
}

/// What is known of somebody.
#[derive(Debug)]
struct Known {
    voices: Vec<Voice>,
    status: Option<String>,
    rooms: Vec<u64>,
    position: Position,
    /// How often he has changed of late.
    flips: Flips,
}

impl Known {
    fn state(&self) -> State {
        self.voices.iter().map(|voice| voice.state).max().unwrap_or_default()
    }

    fn heard(&self) -> Option<Instant> {
        self.voices.iter().map(|voice| voice.heard).max()
    }
}

/// Who changed in a room, and when.
#[derive(Debug, Default)]
struct RoomKnown {
    last: Position,
    users: HashMap<OwnedUserId, Position>,
}

/// Everybody.
#[derive(Debug, Default)]
pub(super) struct Everybody {
    users: HashMap<OwnedUserId, Known>,
    rooms: HashMap<u64, RoomKnown>,
    /// How many users are in those, each counted in each.
    places: usize,
    /// Those of them that were added since this was last asked.
    new_rooms: Vec<u64>,
    newest: Position,
    /// The last position at which something changed here that was none to who told it, so that no topic tells of it.
    untold: Position,
    /// Of users of ours, for other servers; newest last.
    changes: VecDeque<(Position, OwnedUserId)>,
}

impl Everybody {
    /// Takes in what is said at a position.
    pub(super) fn hear(&mut self, said: Said, position: Position, now: Instant) {
        let Ok(user) = UserId::parse(&said.user) else { return };
        if said.is_gone {
            self.forget(&user);
            return;
        }
        if self.users.len() >= MOST_KNOWN && !self.users.contains_key(&user) {
            self.make_room(now);
        }
        let known = self.users.entry(user.clone()).or_insert_with(|| Known {
            voices: Vec::new(),
            status: None,
            rooms: Vec::new(),
            position: Position::START,
            flips: Flips::default(),
        });
        let (before, old_status) = (known.state(), known.status.clone());
        known.voices.retain(|voice| voice.teller != said.teller);
        let active_ago = Duration::from_millis(said.active_ago);
        known.voices.push(Voice { teller: said.teller, state: said.state, active_ago, heard: now });
        // Of several that say he is away the last one is enough.
        let is_away = known.state() == State::Offline;
        known.voices.retain(|voice| !is_away || voice.teller == said.teller);
        // A process that has never heard of a status takes none away by saying where he is.
        if said.is_new_status || known.status.is_none() {
            known.status = said.status;
        }
        let is_other = known.state() != before || known.status != old_status;
        let has_changed = is_other || position_is_new(known);
        if is_other && said.teller == OTHER_SERVERS {
            known.flips.note(now);
        }
        let left: Vec<u64> = known.rooms.iter().filter(|room| !said.rooms.contains(room)).copied().collect();
        known.rooms.clone_from(&said.rooms);
        self.take_out(&user, &left);
        if said.is_news && has_changed {
            self.note(&user, position);
        } else if is_other {
            // What is said again for those who have missed it: this process has.
            self.note(&user, position);
            self.untold = self.untold.max(position);
        } else if said.teller != OTHER_SERVERS {
            // Of others there, who comes and goes matters to him.
            for room in said.rooms {
                known_room(&mut self.rooms, &mut self.new_rooms, room);
            }
        }
        if said.is_outgoing {
            self.changes.push_back((position, user));
            while self.changes.len() > MOST_CHANGES {
                self.changes.pop_front();
            }
        }
    }

    /// Notes that those in his rooms have to hear of him.
    fn note(&mut self, user: &UserId, position: Position) {
        let Some(known) = self.users.get_mut(user) else { return };
        known.position = position;
        self.newest = self.newest.max(position);
        if self.places > MOST_PLACES || self.rooms.len() > MOST_PLACES / 4 {
            self.rooms.clear();
            self.places = 0;
        }
        for room in &known.rooms {
            let known = known_room(&mut self.rooms, &mut self.new_rooms, *room);
            known.last = known.last.max(position);
            let is_new = known.users.insert(user.to_owned(), position).is_none();
            self.places += usize::from(is_new);
        }
    }

    fn take_out(&mut self, user: &UserId, rooms: &[u64]) {
        for room in rooms {
            let Some(known) = self.rooms.get_mut(room) else { continue };
            self.places = self.places.saturating_sub(usize::from(known.users.remove(user).is_some()));
        }
    }

    pub(super) fn forget(&mut self, user: &UserId) {
        if let Some(known) = self.users.remove(user) {
            self.take_out(user, &known.rooms);
        }
    }

    /// Forgets those who have been away for longest: all of an hour, else all. Always some more than one has to go, since
    /// all are looked through for it.
    fn make_room(&mut self, now: Instant) {
        let most = MOST_KNOWN - MOST_KNOWN / 16;
        for longer in [Duration::from_secs(3_600), Duration::ZERO] {
            let is_over = |known: &Known| {
                known.state() == State::Offline && known.heard().is_none_or(|at| now.since(at) >= longer)
            };
            let away: Vec<OwnedUserId> =
                self.users.iter().filter(|(_, known)| is_over(known)).map(|(user, _)| user.clone()).collect();
            away.iter().for_each(|user| self.forget(user));
            if self.users.len() <= most {
                return;
            }
        }
        // Everybody is there: those go of whom it is longest ago that something was heard, and first of other servers'.
        let is_ours = |known: &Known| known.voices.iter().any(|voice| voice.teller != OTHER_SERVERS);
        let age = |(user, known): (&OwnedUserId, &Known)| ((is_ours(known), known.heard()), user.clone());
        let mut all: Vec<_> = self.users.iter().map(age).collect();
        all.sort_unstable();
        let more = self.users.len().saturating_sub(most);
        all.iter().take(more).for_each(|(_, user)| self.forget(user));
    }

    /// What somebody is shown as.
    pub(super) fn find(&self, user: &UserId, now: Instant) -> Option<Seen> {
        self.find_but_for(user, None, now)
    }

    /// The position of somebody's last change.
    pub(super) fn changed_at(&self, user: &UserId) -> Option<Position> {
        self.users.get(user).map(|known| known.position)
    }

    /// What he is shown as but for what one process says.
    pub(super) fn find_but_for(&self, user: &UserId, teller: Option<u64>, now: Instant) -> Option<Seen> {
        let (user, known) = self.users.get_key_value(user)?;
        let voices = || known.voices.iter().filter(|voice| Some(voice.teller) != teller);
        let state = voices().map(|voice| voice.state).max().unwrap_or_default();
        let ago = voices().map(|voice| voice.active_ago.saturating_add(now.since(voice.heard)));
        let active_ago = ago.min().unwrap_or(Duration::MAX);
        Some(Seen {
            user: user.clone(),
            state,
            status: known.status.clone(),
            active_ago,
            is_active: state == State::Online && active_ago < ACTIVE_WITHIN,
        })
    }

    /// Who of a room changed after `since` and up to `head`.
    pub(super) fn changed_in(&self, room: u64, since: Position, head: Position) -> Vec<OwnedUserId> {
        let Some(known) = self.rooms.get(&room).filter(|known| known.last > since) else { return Vec::new() };
        let is_new = |at: &Position| *at > since && *at <= head;
        known.users.iter().filter(|(_, at)| is_new(at)).map(|(user, _)| user.clone()).collect()
    }

    /// Those who are there and are shown in a room, each with the position of his last change.
    pub(super) fn present_in(&self, room: u64) -> Vec<(OwnedUserId, Position)> {
        let Some(room) = self.rooms.get(&room) else { return Vec::new() };
        let is_there =
            |user: &OwnedUserId| self.users.get(user).is_some_and(|known| known.state() != State::Offline);
        room.users.iter().filter(|(user, _)| is_there(user)).map(|(user, at)| (user.clone(), *at)).collect()
    }

    /// The position of the last change of anybody.
    pub(super) fn newest(&self) -> Position {
        self.newest
    }

    /// The last position at which somebody changed for this process alone.
    pub(super) fn untold(&self) -> Position {
        self.untold
    }

    /// Whether somebody was shown in a room.
    pub(super) fn is_shown_in(&self, room: u64) -> bool {
        self.rooms.contains_key(&room)
    }

    /// The rooms in which somebody came to be shown who was not since this was last asked.
    pub(super) fn take_new_rooms(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.new_rooms)
    }

    /// Whether there are such rooms.
    pub(super) fn has_new_rooms(&self) -> bool {
        !self.new_rooms.is_empty()
    }

    /// Whether a user of another server has not changed too often of late to be told of anew.
    pub(super) fn may_change(&self, user: &UserId, now: Instant) -> bool {
        self.users.get(user).is_none_or(|known| known.flips.may(now))
    }

    /// The rooms in which somebody is shown.
    pub(super) fn rooms_of(&self, user: &UserId) -> Vec<u64> {
        self.users.get(user).map(|known| known.rooms.clone()).unwrap_or_default()
    }

    /// Changes of users of ours after a position.
    pub(super) fn changes_since(&self, since: Position) -> Vec<(Position, OwnedUserId)> {
        let first = self.changes.partition_point(|(position, _)| *position <= since);
        self.changes.range(first..).cloned().collect()
    }

    /// Those of whom somebody who has fallen silent said that they are there, for him to be told that they are not.
    pub(super) fn expire(&self, is_local: impl Fn(&UserId) -> bool, own: u64, now: Instant) -> Vec<Said> {
        let is_over = |voice: &&Voice| {
            let lasts = if voice.teller == OTHER_SERVERS { OTHER_SERVERS_LAST } else { OTHERS_LAST };
            voice.teller != own && voice.state != State::Offline && now.since(voice.heard) >= lasts
        };
        let all = self.users.iter().flat_map(|(user, known)| {
            known.voices.iter().filter(is_over).map(move |voice| (user, known, voice))
        });
        all.take(1_000)
            .map(|(user, known, voice)| Said {
                user: user.to_string(),
                teller: voice.teller,
                state: State::Offline,
                status: known.status.clone(),
                is_new_status: false,
                active_ago: millis(voice.active_ago.saturating_add(now.since(voice.heard))),
                rooms: known.rooms.clone(),
                is_news: true,
                is_outgoing: is_local(user),
                is_gone: false,
            })
            .collect()
    }

    /// Whether it is news what another server says of somebody.
    pub(super) fn is_news(&self, user: &UserId, state: State, status: &Option<String>, now: Instant) -> bool {
        let Some(known) = self.users.get(user) else { return state != State::Offline };
        let is_recent = known.heard().is_some_and(|at| now.since(at) < OTHER_SERVERS_LAST / 4);
        known.state() != state || known.status != *status || (state != State::Offline && !is_recent)
    }
}

/// What is known in a room; it is noted that somebody came to be shown in it.
fn known_room<'a>(
    rooms: &'a mut HashMap<u64, RoomKnown>,
    new_rooms: &mut Vec<u64>,
    room: u64,
) -> &'a mut RoomKnown {
    rooms.entry(room).or_insert_with(|| {
        if new_rooms.len() < MOST_NEW {
            new_rooms.push(room);
        }
        RoomKnown::default()
    })
}

/// Whether nobody has been told of him yet.
fn position_is_new(known: &Known) -> bool {
    known.position == Position::START
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use base::Clock;
    use ruma::user_id;

    use super::*;

    fn said(user: &str, teller: u64, state: State) -> Said {
        Said {
            user: user.to_owned(),
            teller,
            state,
            status: None,
            is_new_status: true,
            active_ago: 0,
            rooms: vec![7],
            is_news: true,
            is_outgoing: false,
            is_gone: false,
        }
    }

    #[test]
    fn what_is_said_again_is_news_to_a_process_that_has_missed_it_and_to_no_other() {
        let now = Clock::manual(0).0.instant();
        let hanako = user_id!("@hanako:a.test");
        let again = Said { is_news: false, ..said(hanako.as_str(), 5, State::Online) };
        let (mut here, mut late) = (Everybody::default(), Everybody::default());
        here.hear(said(hanako.as_str(), 5, State::Online), Position(3), now);
        for everybody in [&mut here, &mut late] {
            everybody.hear(again.clone(), Position(9), now);
            everybody.hear(again.clone(), Position(12), now);
        }
        assert_eq!(here.changed_in(7, Position(3), Position(20)), Vec::<OwnedUserId>::new());
        assert_eq!(here.untold(), Position::START);
        assert_eq!(late.changed_in(7, Position(3), Position(20)), [hanako]);
        assert_eq!((late.untold(), late.newest()), (Position(9), Position(9)));
        // That somebody is away who was never there is news to nobody.
        late.hear(Said { is_news: false, ..said("@taro:a.test", 5, State::Offline) }, Position(15), now);
        assert_eq!(late.untold(), Position(9));
    }

    #[test]
    fn room_is_made_for_many_at_once_and_ours_stay() {
        let now = Clock::manual(0).0.instant();
        let mut everybody = Everybody::default();
        let hanako = user_id!("@hanako:a.test");
        everybody.hear(said(hanako.as_str(), 5, State::Online), Position(1), now);
        for number in 0..MOST_KNOWN {
            let at = now + Duration::from_millis(number as u64);
            everybody.hear(
                said(&format!("@u{number}:b.test"), OTHER_SERVERS, State::Online),
                Position(2),
                at,
            );
        }
        let known = everybody.users.len();
        assert!(
            known <= MOST_KNOWN - MOST_KNOWN / 16 + 1,
            "{known}: each who comes would have all looked through"
        );
        assert!(everybody.find(hanako, now).is_some());
        assert!(
            everybody.users.contains_key(&*UserId::parse(format!("@u{}:b.test", MOST_KNOWN - 1)).unwrap())
        );
    }

    #[test]
    fn who_changes_all_the_time_is_told_of_a_while_later() {
        let now = Clock::manual(0).0.instant();
        let mut everybody = Everybody::default();
        let eve = user_id!("@eve:b.test");
        let mut told = 0;
        for number in 0..100_u64 {
            if everybody.may_change(eve, now) {
                let state = if number % 2 == 0 { State::Online } else { State::Unavailable };
                everybody.hear(said(eve.as_str(), OTHER_SERVERS, state), Position(number), now);
                told += 1;
            }
        }
        assert!(told < 10, "{told}");
        assert!(everybody.may_change(eve, now + Duration::from_secs(10)));
    }
}
