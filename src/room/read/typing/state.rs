//! Who types, as far as this process has heard: plain values and decisions.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

use base::Instant;
use ruma::{OwnedRoomId, OwnedUserId, UserId};
use serde::{Deserialize, Serialize};
use store::{CommitError, Position, Topic};
use tokio::sync::oneshot;

use crate::{RoomSerial, read::room::RoomInfo};

/// Longest time for which a client may say that its user types.
pub(super) const LONGEST: Duration = Duration::from_secs(120);

/// How long a user of another server types when his server says nothing more.
pub(super) const REMOTE: Duration = Duration::from_secs(60);

/// How often other servers are told again of one who goes on typing.
const REPEAT: Duration = Duration::from_secs(40);

/// Rooms in which nobody types any more are forgotten above this number.
const ROOMS_KEPT: usize = 4_096;

/// So many are shown typing in one room; who comes later is not.
const USERS_KEPT: usize = 100;

/// Changes kept for other servers.
const CHANGES_KEPT: usize = 1_024;

/// Changes that wait to be told; above it they are lost.
pub(super) const WAITING: usize = 1_024;

/// So much later than the process that said it do others end it.
const GRACE: Duration = Duration::from_secs(10);

/// Those whose time runs out within this are told of together.
const MOMENT: Duration = Duration::from_millis(100);

/// An end that could not be told is tried again after this.
const AGAIN: Duration = Duration::from_secs(5);

/// A user of ours began or ceased to type: for other servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypingChange {
    /// In which room.
    pub room_id: OwnedRoomId,
    /// Who.
    pub user_id: OwnedUserId,
    /// Whether he types.
    pub typing: bool,
    /// When it happened.
    pub position: Position,
}

/// That somebody types for so long, or no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Said {
    pub(super) room: u64,
    pub(super) room_id: String,
    pub(super) user: String,
    /// For how long, in milliseconds; 0: no more.
    pub(super) millis: u64,
    /// Whether it changes who types: then the room's readers are told.
    pub(super) is_news: bool,
    /// Whether other servers have to hear of it.
    pub(super) is_outgoing: bool,
}

impl Said {
    pub(super) fn size_bytes(&self) -> usize {
        // Beside the names: their lengths, numbers, marks.
        self.room_id.len() + self.user.len() + 32
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = Topic> {
        let readers = self.is_news.then(|| Topic::ephemeral(&self.room_id));
        readers.into_iter().chain(self.is_outgoing.then(|| Topic::destination("*")))
    }
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) rooms: HashMap<RoomSerial, RoomTyping>,
    /// Newest last.
    pub(super) changes: VecDeque<TypingChange>,
    /// What is being told, and what waits for that.
    pub(super) telling: Vec<Said>,
    pub(super) waiting: Vec<Said>,
    /// Who wants to know when what waits has been told.
    pub(super) asking: Vec<oneshot::Sender<Result<(), CommitError>>>,
    /// Whether a task tells.
    pub(super) is_telling: bool,
    /// Whether a task waits for the next one to run out.
    pub(super) watched: bool,
}

#[derive(Debug)]
pub(super) struct RoomTyping {
    pub(super) room_id: OwnedRoomId,
    pub(super) users: BTreeMap<OwnedUserId, UserTyping>,
    /// Of the last change.
    pub(super) position: Position,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct UserTyping {
    pub(super) until: Instant,
    /// Which process said it, and when it or we said so last.
    pub(super) teller: u64,
    pub(super) said: Instant,
    /// For how long it was said then.
    pub(super) length: Duration,
    /// When other servers were told last.
    pub(super) sent: Instant,
}

impl Inner {
    /// What has to be told of a user who types until then or no more; nothing when all know it.
    pub(super) fn say(
        &mut self,
        room: &RoomInfo,
        user: &UserId,
        timeout: Option<Duration>,
        is_local: bool,
        among: Among,
        now: Instant,
    ) -> Option<Said> {
        let said = |is_news, is_outgoing| Said {
            room: room.serial.0,
            room_id: room.room_id.to_string(),
            user: user.to_string(),
            millis: timeout
                .map_or(0, |timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1)),
            is_news,
            is_outgoing: is_local && is_outgoing,
        };
        // What is on its way is as good as heard.
        let is_same = |said: &&Said| said.room == room.serial.0 && said.user == user.as_str();
        if let Some(last) = self.waiting.iter().rev().chain(self.telling.iter().rev()).find(is_same) {
            return ((last.millis > 0) != timeout.is_some()).then(|| said(true, true));
        }
        let typing = self.rooms.get_mut(&room.serial);
        let Some(known) = typing.and_then(|typing| typing.users.get_mut(user)) else {
            return timeout.map(|_| said(true, true));
        };
        let Some(timeout) = timeout else { return Some(said(true, true)) };
        known.until = now + timeout;
        let is_half_over = now.since(known.said) >= known.length / 2;
        let is_to_be_heard = among.is_shared && (known.teller != among.teller || is_half_over);
        let is_to_be_sent = is_local && now.since(known.sent) >= REPEAT;
        (is_to_be_heard || is_to_be_sent).then(|| {
            (known.teller, known.said, known.length) = (among.teller, now, timeout);
            if is_to_be_sent {
                known.sent = now;
            }
            said(false, is_to_be_sent)
        })
    }

    /// Has it told with what else waits; whether a task has to be started that does so.
    pub(super) fn wait_to_tell(&mut self, said: Said) -> bool {
        if self.waiting.len() < WAITING {
            self.waiting.push(said);
        }
        !std::mem::replace(&mut self.is_telling, true)
    }

    /// Takes in what some process says, ours too.
    pub(super) fn hear(&mut self, said: Said, position: Position, teller: u64, among: Among, now: Instant) {
        let (Ok(room_id), Ok(user)) = (OwnedRoomId::try_from(said.room_id), UserId::parse(said.user)) else {
            return;
        };
        let serial = RoomSerial(said.room);
        if self.rooms.len() >= ROOMS_KEPT && !self.rooms.contains_key(&serial) {
            self.rooms.retain(|_, typing| !typing.users.is_empty());
        }
        if self.rooms.len() >= 2 * ROOMS_KEPT && !self.rooms.contains_key(&serial) {
            return;
        }
        let typing = self.rooms.entry(serial).or_insert_with(|| RoomTyping {
            room_id: room_id.clone(),
            users: BTreeMap::new(),
            position: Position::START,
        });
        let length = Duration::from_millis(said.millis).min(LONGEST);
        let mut is_news = said.is_news;
        if length.is_zero() {
            typing.users.remove(&user);
        } else if typing.users.contains_key(&user) || typing.users.len() < USERS_KEPT {
            let grace = if teller == among.teller { Duration::ZERO } else { GRACE };
            let new = UserTyping { until: now + length + grace, teller, said: now, length, sent: now };
            let known = typing.users.insert(user.clone(), new);
            // Who began before this process was there is news to it.
            is_news |= known.is_none();
            if let Some(known) = known
                && let Some(new) = typing.users.get_mut(&user)
            {
                new.until = new.until.max(known.until);
                new.sent = if said.is_outgoing { now } else { known.sent };
            }
        }
        if is_news {
            typing.position = typing.position.max(position);
        }
        if said.is_outgoing {
            self.note(TypingChange { room_id, user_id: user, typing: !length.is_zero(), position });
        }
    }

    /// Keeps a change for other servers. Positions never go back in the list, so that whoever has seen one
    /// finds all later ones behind it.
    fn note(&mut self, mut change: TypingChange) {
        if let Some(last) = self.changes.back() {
            change.position = change.position.max(last.position);
        }
        self.changes.push_back(change);
        while self.changes.len() > CHANGES_KEPT {
            self.changes.pop_front();
        }
    }

    /// All whose time has come: that has to be told. Until it is heard they are still shown.
    pub(super) fn expire(&mut self, is_local: impl Fn(&UserId) -> bool, now: Instant) -> Vec<Said> {
        let mut expired = Vec::new();
        for (room, typing) in &mut self.rooms {
            for (user, known) in &mut typing.users {
                if known.until <= now {
                    known.until = now + AGAIN;
                    expired.push(Said {
                        room: room.0,
                        room_id: typing.room_id.to_string(),
                        user: user.to_string(),
                        millis: 0,
                        is_news: true,
                        is_outgoing: is_local(user),
                    });
                }
            }
        }
        expired
    }

    /// What has to be told with the batch that puts a user out of a room, if he types there, or is about to for all.
    pub(super) fn put_out(&mut self, room: &RoomInfo, user: &UserId) -> Option<Said> {
        let is_his = |said: &Said| said.room == room.serial.0 && said.user == user.as_str();
        // It would be heard after that batch.
        self.waiting.retain(|said| !is_his(said));
        let is_on_its_way = self.telling.iter().any(|said| is_his(said) && said.millis > 0);
        let is_known = self.rooms.get(&room.serial).is_some_and(|typing| typing.users.contains_key(user));
        (is_known || is_on_its_way).then(|| Said {
            room: room.serial.0,
            room_id: room.room_id.to_string(),
            user: user.to_string(),
            millis: 0,
            is_news: true,
            // Other servers hear of the event itself.
            is_outgoing: false,
        })
    }

    /// How long to wait before it is looked whose time has come; nothing when nobody types. Not shorter than a moment,
    /// since all are looked through each time, and other servers choose when their users begin; at most a second, so
    /// that one who ceased and began again is not missed for long.
    pub(super) fn until_expiry(&self, now: Instant) -> Option<Duration> {
        Some(self.next_expiry()?.since(now).clamp(MOMENT, Duration::from_secs(1)))
    }

    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.rooms.values().flat_map(|typing| typing.users.values()).map(|typing| typing.until).min()
    }
}

/// This process among those over the same data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Among {
    pub(super) teller: u64,
    pub(super) is_shared: bool,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use base::Clock;
    use ruma::user_id;

    use super::*;

    const ROOM: RoomSerial = RoomSerial(1);
    const LONG: Duration = Duration::from_secs(30);

    /// A process that hears what it and others say.
    struct Process {
        inner: Inner,
        among: Among,
        now: Instant,
    }

    impl Process {
        fn new(teller: u64) -> Self {
            let (clock, _) = Clock::manual(0);
            Self { inner: Inner::default(), among: Among { teller, is_shared: true }, now: clock.instant() }
        }

        fn say(&mut self, user: &UserId, timeout: Option<Duration>) -> Option<Said> {
            let room_id = OwnedRoomId::try_from("!room:a.test").unwrap();
            let room = RoomInfo { serial: ROOM, room_id, version: pdu::RoomVersion::DEFAULT };
            self.inner.say(&room, user, timeout, true, self.among, self.now)
        }

        fn hear(&mut self, said: Said, position: u64, teller: u64) {
            self.inner.hear(said, Position(position), teller, self.among, self.now);
        }

        fn who(&self) -> Vec<&str> {
            self.inner
                .rooms
                .get(&ROOM)
                .map_or(Vec::new(), |room| room.users.keys().map(|user| user.as_str()).collect())
        }

        fn position(&self) -> u64 {
            self.inner.rooms[&ROOM].position.0
        }
    }

    #[test]
    fn all_processes_know_the_same_at_the_same_position() {
        let (mut here, mut there) = (Process::new(1), Process::new(2));
        let hanako = user_id!("@hanako:a.test");
        for (timeout, position) in [(Some(LONG), 5), (None, 9)] {
            let said = here.say(hanako, timeout).unwrap();
            here.hear(said.clone(), position, 1);
            there.hear(said, position, 1);
            assert_eq!((here.who(), here.position()), (there.who(), there.position()));
            assert_eq!(here.position(), position);
            assert_eq!(here.who().len(), usize::from(timeout.is_some()));
        }
    }

    #[test]
    fn who_goes_on_is_told_of_again_in_time_and_wakes_nobody() {
        let (mut here, mut there) = (Process::new(1), Process::new(2));
        let hanako = user_id!("@hanako:a.test");
        let said = here.say(hanako, Some(LONG)).unwrap();
        here.hear(said.clone(), 5, 1);
        there.hear(said, 5, 1);
        here.now = here.now + LONG / 3;
        assert_eq!(here.say(hanako, Some(LONG)), None, "the others know it for a while");
        here.now = here.now + LONG / 3;
        let again = here.say(hanako, Some(LONG)).unwrap();
        assert_eq!(again.topics().count(), 0);
        there.now = here.now;
        there.hear(again, 9, 1);
        assert_eq!(there.position(), 5, "it is no news");
        there.now = there.now + LONG;
        assert!(there.inner.expire(|_| true, there.now).is_empty(), "it is for him who said it to end it");
        there.now = there.now + GRACE;
        assert_eq!(there.inner.expire(|_| true, there.now).len(), 1, "unless he is gone");
        assert!(there.inner.expire(|_| true, there.now).is_empty(), "once");
    }

    #[test]
    fn who_came_later_hears_of_one_who_goes_on() {
        let mut late = Process::new(2);
        let again =
            Said { is_news: false, ..Process::new(1).say(user_id!("@hanako:a.test"), Some(LONG)).unwrap() };
        late.hear(again, 9, 1);
        assert_eq!((late.who(), late.position()), (vec!["@hanako:a.test"], 9));
    }

    #[test]
    fn what_is_on_its_way_is_not_told_twice_and_is_taken_back_by_what_comes_after_it() {
        let mut here = Process::new(1);
        let hanako = user_id!("@hanako:a.test");
        let said = here.say(hanako, Some(LONG)).unwrap();
        here.inner.wait_to_tell(said);
        assert_eq!(here.say(hanako, Some(LONG)), None);
        here.inner.telling = std::mem::take(&mut here.inner.waiting);
        assert_eq!(here.say(hanako, None).unwrap().millis, 0);
    }

    #[test]
    fn who_is_put_out_is_not_shown_typing_by_what_was_on_its_way() {
        let mut here = Process::new(1);
        let (hanako, taro) = (user_id!("@hanako:a.test"), user_id!("@taro:a.test"));
        let room_id = OwnedRoomId::try_from("!room:a.test").unwrap();
        let room = RoomInfo { serial: ROOM, room_id, version: pdu::RoomVersion::DEFAULT };
        for user in [hanako, taro] {
            let said = here.say(user, Some(LONG)).unwrap();
            here.inner.wait_to_tell(said);
        }
        assert_eq!(here.inner.put_out(&room, hanako), None, "nobody has heard of it");
        here.inner.telling = std::mem::take(&mut here.inner.waiting);
        assert_eq!(here.inner.telling.iter().map(|said| said.user.as_str()).collect::<Vec<_>>(), [taro]);
        let end = here.inner.put_out(&room, taro).unwrap();
        for (said, position) in std::mem::take(&mut here.inner.telling).into_iter().chain([end]).zip(5..) {
            here.hear(said, position, 1);
        }
        assert_eq!(here.who(), Vec::<&str>::new());
    }

    #[test]
    fn those_whose_time_runs_out_one_after_another_are_looked_through_a_few_times() {
        let mut here = Process::new(1);
        let hanako = user_id!("@hanako:a.test");
        assert_eq!(here.inner.until_expiry(here.now), None);
        let said = here.say(hanako, Some(LONG)).unwrap();
        here.hear(said, 5, 1);
        assert_eq!(here.inner.until_expiry(here.now), Some(Duration::from_secs(1)));
        let end = here.now + LONG;
        assert_eq!(here.inner.until_expiry(end), Some(MOMENT));
        assert!(here.inner.expire(|_| true, end).len() == 1 && here.inner.until_expiry(end) >= Some(MOMENT));
    }

    #[test]
    fn nonsense_changes_nothing() {
        let mut here = Process::new(1);
        let said = here.say(user_id!("@hanako:a.test"), Some(LONG)).unwrap();
        here.hear(Said { user: "hanako".to_owned(), ..said.clone() }, 5, 2);
        here.hear(Said { room_id: "room".to_owned(), ..said.clone() }, 5, 2);
        assert!(here.inner.rooms.is_empty());
        here.hear(Said { millis: u64::MAX, ..said }, 5, 2);
        here.now = here.now + LONGEST + GRACE;
        assert_eq!(here.inner.expire(|_| true, here.now).len(), 1, "it ends");
    }
}
