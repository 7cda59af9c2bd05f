//! When users are mailed what they have not read, and what they were mailed.
//!
//! A room is told of once nothing was said in it for a while ([`MailPace::quiet`]), or three such whiles after the first that is
//! unread, however much is said. From then on that room gives no reason for another mail for a time, which grows with each
//! mail until the user reads what he was told of.

use std::time::Duration;

use room::{EventSerial, RoomSerial};
use serde::{Deserialize, Serialize};
use store::{Table, TableCheck, Tuning};

use crate::waiting::{Item, Key, MOST_WAITING};

/// What users were mailed last of rooms; key: as in `waiting::WAITING`.
pub(crate) static MAILED: Table<Key, MailedRow> = Table::new(178, "push.mailed", Tuning::Small);

/// A room is told of after so many times the quiet that is waited for, however much is said in it.
const MOST_PUT_OFF: u64 = 3;

/// So much longer a room gives no reason for another mail each time.
const GROWTH: u32 = 6;

/// How often mails come.
#[derive(Clone, Copy, Debug)]
pub struct MailPace {
    /// So long nothing is said in a room before it is told of.
    pub quiet: Duration,
    /// So long a room gives no reason for a second mail; then longer and longer.
    pub first_pause: Duration,
    /// The longest that becomes.
    pub longest_pause: Duration,
}

impl Default for MailPace {
    /// What people know of other servers: after ten minutes, and of one room once a day in the end.
    fn default() -> Self {
        Self {
            quiet: Duration::from_secs(10 * 60),
            first_pause: Duration::from_secs(10 * 60),
            longest_pause: Duration::from_secs(24 * 60 * 60),
        }
    }
}

pub(crate) fn checks() -> [TableCheck; 1] {
    [MAILED.check()]
}

/// What a user was mailed of rooms, the latest last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MailedRow {
    rooms: Vec<MailedRoom>,
    /// Rooms of which he is to be told, the latest last.
    waits: Vec<Wait>,
}
store::row!(MailedRow, schema = 1);

/// What a user was mailed of a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MailedRoom {
    room: RoomSerial,
    /// The newest event that he was told of.
    event: EventSerial,
    /// When, in milliseconds.
    at: u64,
    /// How long the room gives no reason for another one, in milliseconds.
    pause: u64,
}

/// Since when a room waits to be told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Wait {
    room: RoomSerial,
    /// The first event that he has not read.
    event: EventSerial,
    /// When it came, in milliseconds.
    since: u64,
}

impl MailedRow {
    /// What still holds of a room: nothing once what was told is read.
    pub(crate) fn find(
        &self,
        room: RoomSerial,
        is_unread: impl Fn(EventSerial) -> bool,
    ) -> Option<&MailedRoom> {
        self.rooms.iter().find(|known| known.room == room && is_unread(known.event))
    }

    /// Since when a room waits, as what came first is still unread; since this item, if it is that. Tells whether that is news.
    pub(crate) fn wait(&mut self, item: &Item, is_unread: impl Fn(EventSerial) -> bool) -> (u64, bool) {
        let known = self.waits.iter().find(|known| known.room == item.room && is_unread(known.event));
        if let Some(known) = known {
            return (known.since, false);
        }
        self.waits.retain(|known| known.room != item.room);
        self.waits.push(Wait { room: item.room, event: item.event, since: item.since });
        if self.waits.len() > MOST_WAITING {
            self.waits.remove(0);
        }
        (item.since, true)
    }

    /// Notes that a room was told of.
    pub(crate) fn note(&mut self, item: &Item, pause: Duration, now: u64) {
        self.rooms.retain(|known| known.room != item.room);
        self.rooms.push(MailedRoom { room: item.room, event: item.event, at: now, pause: millis(pause) });
        if self.rooms.len() > MOST_WAITING {
            self.rooms.remove(0);
        }
    }

    /// All that waited was told of.
    pub(crate) fn end_waits(&mut self) {
        self.waits.clear();
    }
}

/// When a room is told of in which the newest came at `since`, and the first that is to be told of at `first`.
pub(crate) fn due_at(since: u64, first: u64, told: Option<&MailedRoom>, pace: &MailPace, now: u64) -> u64 {
    let quiet = millis(pace.quiet);
    // A calendar that was set back holds nothing up.
    let quiet_at = since.min(now).saturating_add(quiet);
    let put_off = first.min(now).saturating_add(quiet.saturating_mul(MOST_PUT_OFF));
    let paused = told.map_or(0, |told| told.at.min(now).saturating_add(told.pause));
    quiet_at.min(put_off).max(paused)
}

/// How long a room gives no reason for another mail.
pub(crate) fn next_pause(told: Option<&MailedRoom>, pace: &MailPace) -> Duration {
    let pause = told.map(|told| Duration::from_millis(told.pause).saturating_mul(GROWTH));
    pause.unwrap_or(pace.first_pause).min(pace.longest_pause)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use store::Value as _;

    use super::*;

    const MINUTE: u64 = 60_000;

    fn told(at: u64, pause: u64) -> MailedRoom {
        MailedRoom { room: RoomSerial(1), event: EventSerial(300), at, pause }
    }

    #[test]
    fn a_mail_waits_for_quiet_but_not_for_ever_and_for_the_pause_of_the_room() {
        let (pace, now) = (MailPace::default(), 1_000 * MINUTE);
        let due = |since, first, told: Option<&MailedRoom>| due_at(since, first, told, &pace, now);
        assert_eq!(due(995 * MINUTE, 990 * MINUTE, None), 1_005 * MINUTE);
        assert_eq!(due(1_000 * MINUTE, 975 * MINUTE, None), 1_005 * MINUTE, "talk without an end");
        let told = told(990 * MINUTE, 60 * MINUTE);
        assert_eq!(due(995 * MINUTE, 995 * MINUTE, Some(&told)), 1_050 * MINUTE);
        // The calendar was set back by years.
        let later = MailedRoom { at: now * 9, pause: MINUTE, ..told };
        assert_eq!(due(now * 9, now * 9, Some(&later)), 1_010 * MINUTE);
    }

    /// EM1: however many come after it.
    #[test]
    fn a_room_waits_since_the_first_that_is_unread() {
        let item = |event, since| {
            let event = EventSerial(event);
            Item { room: RoomSerial(1), event, highlights: false, since, first: event }
        };
        let mut row = MailedRow::default();
        assert_eq!(row.wait(&item(1, 10), |_| true), (10, true));
        assert_eq!(row.wait(&item(900, 20), |_| true), (10, false));
        // It was read; what came then is another beginning.
        let is_unread = |event: EventSerial| event.0 > 900;
        assert_eq!(row.wait(&item(901, 30), is_unread), (30, true));
        assert_eq!(row.wait(&item(902, 40), is_unread), (30, false));
        for room in 2..300 {
            row.wait(&Item { room: RoomSerial(room), ..item(1, 1) }, |_| true);
        }
        assert_eq!(row.waits.len(), MOST_WAITING);
    }

    #[test]
    fn pauses_grow_to_a_day() {
        let pace = MailPace::default();
        let mut last = None;
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let pause = next_pause(last.as_ref(), &pace);
            pauses.push(pause.as_secs() / 60);
            last = Some(told(0, millis(pause)));
        }
        assert_eq!(pauses, [10, 60, 360, 1_440, 1_440, 1_440]);
    }

    #[test]
    fn a_row_is_read_as_it_was_written() {
        let wait = Wait { room: RoomSerial(3), event: EventSerial(4), since: 5 };
        let row = MailedRow { rooms: vec![told(1, 2)], waits: vec![wait] };
        assert_eq!(&row.encode()[..], [1, 1, 1, 172, 2, 1, 2, 1, 3, 4, 5]);
        assert_eq!(MailedRow::decode(&row.encode()).ok(), Some(row));
    }
}
