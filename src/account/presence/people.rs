//! Our own people with their devices, as this process sees them: plain values and decisions.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use base::Instant;
use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};
use store::Position;

use super::{AWAY_AFTER, IDLE_AFTER, PING, REFRESH, ROOMS_FRESH, State, flips::Flips};

/// Devices of one user that are told apart; above it the one that was there least recently is forgotten.
const MOST_DEVICES: usize = 32;

/// People of whom this process knows devices; above it nobody new is.
const MOST_PEOPLE: usize = 200_000;

/// What one device says.
#[derive(Debug)]
struct Device {
    /// What its user said through it, until it asks for news the next time.
    said: Option<State>,
    /// What it asked for with `/sync`.
    asked: State,
    seen: Instant,
    /// How many of its requests wait for news just now.
    waiting: u32,
}

/// A user of ours, as far as this process has to do with his devices.
#[derive(Debug)]
pub(super) struct Person {
    devices: BTreeMap<OwnedDeviceId, Device>,
    /// When he did something.
    active: Instant,
    status: Option<String>,
    /// Whether it was said here: what he said before this process knew of him, or to another one, it does not know.
    has_said_status: bool,
    /// What all were told last, and when.
    told: State,
    told_at: Instant,
    /// When other servers were told last.
    pinged_at: Instant,
    /// The rooms in which he is shown, and as of when.
    rooms: Vec<u64>,
    placed: Option<(Position, Instant)>,
    /// The latest change among his rooms, as his requests tell.
    newest: Position,
    /// How often he has changed of late.
    flips: Flips,
}

impl Person {
    fn new(now: Instant) -> Self {
        Self {
            devices: BTreeMap::new(),
            active: now,
            status: None,
            has_said_status: false,
            told: State::Offline,
            told_at: now,
            pinged_at: now,
            rooms: Vec::new(),
            placed: None,
            newest: Position::START,
            flips: Flips::default(),
        }
    }

    fn device(&mut self, device: &DeviceId, now: Instant) -> &mut Device {
        if self.devices.len() >= MOST_DEVICES && !self.devices.contains_key(device) {
            let idle = self.devices.iter().filter(|(_, device)| device.waiting == 0);
            if let Some(oldest) = idle.min_by_key(|(_, device)| device.seen).map(|(id, _)| id.clone()) {
                self.devices.remove(&oldest);
            }
        }
        self.devices.entry(device.to_owned()).or_insert_with(|| Device {
            said: None,
            asked: State::Offline,
            seen: now,
            waiting: 0,
        })
    }

    /// What he is: what the device says that says most, unless he has long done nothing.
    fn state(&self, now: Instant) -> State {
        let is_there = |device: &&Device| device.waiting > 0 || now.since(device.seen) < AWAY_AFTER;
        let states = self.devices.values().filter(is_there).map(|device| device.said.unwrap_or(device.asked));
        match states.max().unwrap_or_default() {
            State::Online if now.since(self.active) >= IDLE_AFTER => State::Unavailable,
            state => state,
        }
    }
}

/// What is to be told of somebody.
#[derive(Debug)]
pub(super) struct News {
    pub(super) user: OwnedUserId,
    pub(super) state: State,
    pub(super) status: Option<String>,
    /// Whether he has just said that.
    pub(super) is_new_status: bool,
    pub(super) active_ago: Duration,
    pub(super) rooms: Vec<u64>,
    /// Whether it changes what he is shown as.
    pub(super) is_news: bool,
    /// Whether other servers hear of it.
    pub(super) is_outgoing: bool,
}

/// Our people.
#[derive(Debug, Default)]
pub(super) struct People {
    all: HashMap<OwnedUserId, Person>,
    /// Those of whom there may be something to tell.
    changed: HashSet<OwnedUserId>,
    /// Of those, whose status changed although he may be what he was.
    status_changed: HashSet<OwnedUserId>,
    /// Of those, whom nobody could be told of.
    untold: HashSet<OwnedUserId>,
}

impl People {
    fn person(&mut self, user: &UserId, now: Instant) -> Option<&mut Person> {
        if self.all.len() >= MOST_PEOPLE && !self.all.contains_key(user) {
            return None;
        }
        Some(self.all.entry(user.to_owned()).or_insert_with(|| Person::new(now)))
    }

    /// A device asks for news. True: there may be something to tell.
    pub(super) fn begin(
        &mut self,
        user: &UserId,
        device: &DeviceId,
        asked: Option<State>,
        newest: Position,
        now: Instant,
    ) -> bool {
        let Some(person) = self.person(user, now) else { return false };
        person.newest = newest;
        let was = person.state(now);
        let known = person.device(device, now);
        // What its user said through it counts like what it asked for: else each request of who said that he is there
        // would be a deed of his.
        let was_away = known.said.unwrap_or(known.asked) == State::Offline;
        let is_new = was_away || known.waiting == 0 && now.since(known.seen) >= AWAY_AFTER;
        known.seen = now;
        known.waiting += 1;
        // Who does not say what to show him as is there.
        known.said = None;
        known.asked = asked.unwrap_or(State::Online);
        if is_new && known.said.unwrap_or(known.asked) == State::Online {
            person.active = now;
        }
        // Also who is not shown: what he sees of others has to be known.
        let has_moved = person.state(now) != was || person.placed.is_none();
        if has_moved {
            self.changed.insert(user.to_owned());
        }
        has_moved
    }

    /// It has its answer.
    pub(super) fn end(&mut self, user: &UserId, device: &DeviceId, now: Instant) {
        if let Some(device) = self.all.get_mut(user).and_then(|person| person.devices.get_mut(device)) {
            device.waiting = device.waiting.saturating_sub(1);
            device.seen = now;
        }
    }

    /// A user says what he is through a device. `shown` is the status that everybody is shown of him just now.
    pub(super) fn set(
        &mut self,
        user: &UserId,
        device: &DeviceId,
        state: State,
        status: Option<String>,
        shown: Option<&str>,
        now: Instant,
    ) {
        let Some(person) = self.person(user, now) else { return };
        let known = person.device(device, now);
        known.said = Some(state);
        known.seen = now;
        if state == State::Online {
            person.active = now;
        }
        let is_same = person.status == status && shown == status.as_deref();
        if !is_same || !std::mem::replace(&mut person.has_said_status, true) {
            person.status = status;
            person.has_said_status = true;
            self.status_changed.insert(user.to_owned());
        }
        self.changed.insert(user.to_owned());
    }

    /// What this process knows of a user just now: what he is, what he does, and how long ago he did something. What he
    /// does is unknown where nothing was said of it here, and nothing where all have still to be told that it is.
    pub(super) fn find(
        &self,
        user: &UserId,
        now: Instant,
    ) -> Option<(State, Option<Option<String>>, Duration)> {
        let person = self.all.get(user)?;
        let is_known = person.status.is_some() || self.status_changed.contains(user);
        Some((person.state(now), is_known.then(|| person.status.clone()), now.since(person.active)))
    }

    /// A user did something. True: there may be something to tell.
    pub(super) fn act(&mut self, user: &UserId, now: Instant) -> bool {
        let Some(person) = self.all.get_mut(user) else { return false };
        let was = person.state(now);
        person.active = now;
        let has_moved = person.state(now) != was;
        if has_moved {
            self.changed.insert(user.to_owned());
        }
        has_moved
    }

    /// Nothing is known of a user any more.
    pub(super) fn forget(&mut self, user: &UserId) {
        self.changed.remove(user);
        self.status_changed.remove(user);
        self.untold.remove(user);
        self.all.remove(user);
    }

    pub(super) fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Looks through all for those who went away, fell idle or have to be told of again, and lets go of who has long
    /// been told to be away.
    pub(super) fn sweep(&mut self, is_shared: bool, now: Instant) {
        for (user, person) in &mut self.all {
            person.devices.retain(|_, device| device.waiting > 0 || now.since(device.seen) < AWAY_AFTER);
            let state = person.state(now);
            let is_due = |since: Instant, after| state != State::Offline && now.since(since) >= after;
            if state != person.told
                || (is_shared && is_due(person.told_at, REFRESH))
                || is_due(person.pinged_at, PING)
            {
                self.changed.insert(user.clone());
            }
        }
        let changed = &self.changed;
        self.all.retain(|user, person| {
            !person.devices.is_empty() || person.told != State::Offline || changed.contains(user)
        });
    }

    /// At most so many of those of whom there may be something to tell, and of them those whose rooms have to be
    /// looked up first. Who changes all the time is told of a while later, as what he is then.
    pub(super) fn take_changed(&mut self, most: usize, now: Instant) -> (Vec<OwnedUserId>, Vec<OwnedUserId>) {
        let may = |user: &&OwnedUserId| self.all.get(*user).is_none_or(|person| person.flips.may(now));
        let taken: Vec<OwnedUserId> = self.changed.iter().filter(may).take(most).cloned().collect();
        let is_stale = |user: &&OwnedUserId| {
            self.all.get(*user).is_some_and(|person| {
                person.placed.is_none_or(|(as_of, at)| as_of < person.newest || now.since(at) >= ROOMS_FRESH)
            })
        };
        let stale = taken.iter().filter(is_stale).cloned().collect();
        for user in &taken {
            self.changed.remove(user);
        }
        (taken, stale)
    }

    /// The rooms in which somebody is shown.
    pub(super) fn place(&mut self, user: &UserId, rooms: Vec<u64>, as_of: Position, now: Instant) {
        if let Some(person) = self.all.get_mut(user) {
            person.rooms = rooms;
            person.placed = Some((as_of, now));
        }
    }

    /// What is to be told of these; counts as told from now on.
    pub(super) fn news(&mut self, users: &[OwnedUserId], now: Instant) -> Vec<News> {
        let mut news = Vec::new();
        for user in users {
            let has_status = self.status_changed.remove(user);
            let Some(person) = self.all.get_mut(user) else { continue };
            let state = person.state(now);
            let is_news = self.untold.remove(user) || has_status || state != person.told;
            if is_news {
                person.flips.note(now);
            }
            let is_outgoing = is_news || now.since(person.pinged_at) >= PING;
            (person.told, person.told_at) = (state, now);
            if is_outgoing {
                person.pinged_at = now;
            }
            news.push(News {
                user: user.clone(),
                state,
                status: person.status.clone(),
                is_new_status: has_status,
                active_ago: now.since(person.active),
                rooms: person.rooms.clone(),
                is_news,
                is_outgoing,
            });
        }
        news
    }

    /// That could not be told.
    pub(super) fn not_told(&mut self, users: Vec<OwnedUserId>, with_status: Vec<OwnedUserId>) {
        self.status_changed.extend(with_status);
        for user in users {
            if self.all.contains_key(&user) {
                self.untold.insert(user.clone());
                self.changed.insert(user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use base::Clock;
    use ruma::{device_id, user_id};

    use super::*;

    const START: Position = Position::START;

    fn told(people: &mut People, now: Instant) -> Vec<(State, bool)> {
        people.sweep(false, now);
        let (users, stale) = people.take_changed(10, now);
        stale.iter().for_each(|user| people.place(user, Vec::new(), START, now));
        people.news(&users, now).into_iter().map(|news| (news.state, news.is_news)).collect()
    }

    #[test]
    fn of_several_devices_the_one_that_says_most_counts() {
        let now = Clock::manual(0).0.instant();
        let (mut people, user) = (People::default(), user_id!("@hanako:a.test"));
        let (phone, desk) = (device_id!("PHONE"), device_id!("DESK"));
        assert!(people.begin(user, phone, Some(State::Unavailable), START, now));
        assert_eq!(told(&mut people, now), [(State::Unavailable, true)]);
        assert!(people.begin(user, desk, None, START, now));
        assert_eq!(told(&mut people, now), [(State::Online, true)]);
        assert!(!people.begin(user, phone, Some(State::Offline), START, now));
        people.end(user, desk, now);
        people.end(user, phone, now);
        people.end(user, phone, now);
        assert_eq!(told(&mut people, now + AWAY_AFTER / 2), []);
        assert_eq!(told(&mut people, now + AWAY_AFTER), [(State::Offline, true)]);
        people.sweep(false, now + AWAY_AFTER);
        assert!(people.all.is_empty());
    }

    #[test]
    fn who_waits_is_there_and_who_does_nothing_is_not_at_his_desk() {
        let now = Clock::manual(0).0.instant();
        let (mut people, user) = (People::default(), user_id!("@hanako:a.test"));
        people.begin(user, device_id!("DESK"), None, START, now);
        assert_eq!(told(&mut people, now), [(State::Online, true)]);
        assert_eq!(told(&mut people, now + IDLE_AFTER), [(State::Unavailable, true)]);
        assert!(people.act(user, now + IDLE_AFTER));
        assert_eq!(told(&mut people, now + IDLE_AFTER), [(State::Online, true)]);
        // The same goes for who has said himself that he is there.
        let (now, taro, desk) = (now + IDLE_AFTER, user_id!("@taro:a.test"), device_id!("DESK"));
        people.set(taro, desk, State::Online, None, None, now);
        let mut later = now;
        while later < now + IDLE_AFTER {
            people.begin(taro, desk, None, START, later);
            people.end(taro, desk, later);
            later = later + AWAY_AFTER / 2;
        }
        assert_eq!(people.find(taro, later).unwrap().0, State::Unavailable);
    }

    #[test]
    fn what_he_said_stays_until_his_client_asks_for_news() {
        let now = Clock::manual(0).0.instant();
        let (mut people, user, desk) = (People::default(), user_id!("@hanako:a.test"), device_id!("DESK"));
        people.set(user, desk, State::Unavailable, Some("会議".to_owned()), None, now);
        assert_eq!(told(&mut people, now), [(State::Unavailable, true)]);
        assert!(!people.begin(user, desk, Some(State::Unavailable), START, now));
        assert!(
            people.begin(user, desk, None, START, now),
            "a request that says nothing says that he is there"
        );
        assert_eq!(told(&mut people, now), [(State::Online, true)]);
        people.set(user, desk, State::Unavailable, Some("会議".to_owned()), None, now);
        assert_eq!(told(&mut people, now), [(State::Unavailable, true)]);
        assert!(people.begin(user, desk, Some(State::Online), START, now));
        assert_eq!(told(&mut people, now), [(State::Online, true)]);
        people.set(user, desk, State::Online, None, Some("会議"), now);
        assert_eq!(told(&mut people, now), [(State::Online, true)], "another status is news as well");
        people.set(user, desk, State::Online, None, None, now);
        assert_eq!(told(&mut people, now), [(State::Online, false)], "the same is none");
    }

    // C54
    #[test]
    fn a_status_is_taken_away_also_where_it_is_not_known() {
        let now = Clock::manual(0).0.instant();
        let (mut people, user, desk) = (People::default(), user_id!("@hanako:a.test"), device_id!("DESK"));
        people.set(user, desk, State::Online, None, None, now);
        assert_eq!(told(&mut people, now), [(State::Online, true)]);
        assert!(people.find(user, now).unwrap().1.is_none());
        // Another process has told everybody of one since.
        people.set(user, desk, State::Online, None, Some("会議"), now);
        assert_eq!(people.find(user, now).unwrap().1, Some(None), "what is still to be told counts");
        assert_eq!(told(&mut people, now), [(State::Online, true)]);
        people.set(user, desk, State::Offline, None, None, now);
        told(&mut people, now);
        people.sweep(false, now + AWAY_AFTER);
        assert!(people.all.is_empty());
        // Nor does who begins anew, or elsewhere, know of what all were told.
        people.begin(user, desk, None, START, now + AWAY_AFTER);
        told(&mut people, now + AWAY_AFTER);
        people.set(user, desk, State::Online, None, None, now + AWAY_AFTER);
        assert_eq!(told(&mut people, now + AWAY_AFTER), [(State::Online, true)]);
        people.set(user, desk, State::Online, None, None, now + AWAY_AFTER);
        assert_eq!(told(&mut people, now + AWAY_AFTER), [(State::Online, false)]);
    }

    // C55
    #[test]
    fn two_devices_that_say_different_things_in_turn_change_nothing() {
        let mut now = Clock::manual(0).0.instant();
        let (mut people, user) = (People::default(), user_id!("@hanako:a.test"));
        let (phone, desk) = (device_id!("PHONE"), device_id!("DESK"));
        let mut news = 0;
        for _ in 0..100 {
            people.begin(user, phone, Some(State::Unavailable), START, now);
            people.begin(user, desk, Some(State::Online), START, now);
            news += told(&mut people, now).into_iter().filter(|(_, is_news)| *is_news).count();
            now = now + Duration::from_secs(15);
            people.end(user, phone, now);
            news += told(&mut people, now).into_iter().filter(|(_, is_news)| *is_news).count();
            people.act(user, now);
            people.end(user, desk, now);
            assert_eq!(people.find(user, now).unwrap().0, State::Online);
        }
        assert_eq!(news, 1, "when he came");
    }

    #[test]
    fn who_changes_all_the_time_is_told_of_a_while_later_and_holds_up_nobody() {
        let now = Clock::manual(0).0.instant();
        let (mut people, user, desk) = (People::default(), user_id!("@hanako:a.test"), device_id!("DESK"));
        let tell = |people: &mut People, now| {
            let (users, _) = people.take_changed(1, now);
            let news = people.news(&users, now);
            news.into_iter()
                .filter(|news| news.is_news)
                .map(|news| (news.user, news.state))
                .collect::<Vec<_>>()
        };
        let mut told = 0;
        for number in 0..100 {
            let state = if number % 2 == 0 { State::Online } else { State::Unavailable };
            people.set(user, desk, state, None, None, now);
            told += tell(&mut people, now).len();
        }
        assert!(told < 10, "{told}");
        let taro = user_id!("@taro:a.test");
        people.set(taro, desk, State::Online, None, None, now);
        assert_eq!(tell(&mut people, now), [(taro.to_owned(), State::Online)]);
        people.set(user, desk, State::Offline, None, None, now);
        assert_eq!(tell(&mut people, now), []);
        assert_eq!(tell(&mut people, now + Duration::from_secs(10)), [(user.to_owned(), State::Offline)]);
    }
}
