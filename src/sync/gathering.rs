//! What gathers for a crowd.
//!
//! In a room with many readers each receipt would wake all others, and be told to each of them. So receipts and typing
//! wait a while for more of their kind. A message does not wait for them, and leaves the receipts behind: told with it,
//! they would make it late for those who are answered last. The token says up to where they were told, and when it is
//! their turn: so they come in time however many messages come before. Only how far he has read himself a user is told at
//! once: a message that he has read on one device is not to stand there as unread on another.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use base::{Clock, Instant, Timestamp};
use room::read::token::Gathering;
use ruma::{RoomId, UserId};
use store::{Position, Store, Topic};

/// The shortest that anything gathers; some gather twice as long, so that not all readers come back at once.
const SHORTEST_MS: u64 = 1_000;

/// In a crowd of so many readers more than once as long, ...
const READERS: usize = 500;

/// ... but at most so many times: one who watches would wonder at more.
const MOST_TIMES: u32 = 4;

/// Nothing gathers for longer.
const LONGEST: Duration = Duration::from_millis(2 * SHORTEST_MS * MOST_TIMES as u64);

/// A message is through when none of a crowd has been told of one for so long.
const CALM: Duration = Duration::from_millis(25);

/// Some wait so many times as long, so that not all come back at once.
const SPREAD: u64 = 4;

/// However many messages there are, what has gathered waits for them no longer.
const LONGEST_FOR_OTHERS: Duration = Duration::from_secs(1);

/// What an answer may leave to a later one, if receipts and typing are told of these rooms: where all of them have so many
/// readers that to tell each of it to all of them at once would cost more than anything else.
pub(crate) fn begun<'a>(
    store: &Store,
    user: &UserId,
    rooms: impl IntoIterator<Item = &'a RoomId>,
    since: Position,
    now: Timestamp,
) -> Option<Gathering> {
    let crowd = |room: &RoomId| Some(store.crowd(Topic::ephemeral(room.as_str()))).filter(|crowd| *crowd > 0);
    let crowds: Option<Vec<usize>> = rooms.into_iter().map(crowd).collect();
    let smallest = crowds?.into_iter().min()?;
    Some(Gathering { after: since, until: now + time(user, smallest) })
}

/// For how long a reader in a crowd of so many lets receipts and typing gather. Of a larger crowd for longer, so that
/// some hundred come back in a second whatever its size.
fn time(user: &UserId, crowd: usize) -> Duration {
    let times = u32::try_from(crowd / READERS).unwrap_or(u32::MAX).clamp(1, MOST_TIMES);
    let more = Topic::memberships(user.as_str()).id % SHORTEST_MS;
    Duration::from_millis(SHORTEST_MS + more) * times
}

/// How long it still gathers. One that would take longer than any does was made by another calendar, and is due.
pub(crate) fn left(gathering: &Gathering, now: Timestamp) -> Duration {
    let left = gathering.until.since(now);
    if left > LONGEST { Duration::ZERO } else { left }
}

/// A message on its way to each of a crowd. What has gathered for others of it waits until the message is through:
/// else those who come back for it would take the processor from those who were not told of the message yet.
#[derive(Debug)]
pub(crate) struct Wave {
    /// The stopwatch's time from which on it is counted.
    begin: Instant,
    /// When one of a crowd was last told a message that left behind what gathers, after `begin`; zero is never.
    last_ms: AtomicU64,
}

impl Wave {
    /// None, from now on.
    pub(crate) fn none(clock: &Clock) -> Self {
        Self { begin: clock.instant(), last_ms: AtomicU64::new(0) }
    }

    /// One of a crowd is told a message.
    pub(crate) fn goes_on(&self, clock: &Clock) {
        let now_ms = self.millis(clock);
        // Thousands say so within a moment: most only read.
        if self.last_ms.load(Ordering::Relaxed) < now_ms {
            self.last_ms.store(now_ms, Ordering::Relaxed);
        }
    }

    fn millis(&self, clock: &Clock) -> u64 {
        u64::try_from(clock.instant().since(self.begin).as_millis()).unwrap_or(u64::MAX)
    }

    /// How long something still gathers for a user.
    pub(crate) fn left(&self, gathering: &Gathering, user: &UserId, clock: &Clock) -> Duration {
        let now = clock.now();
        let own = left(gathering, now);
        let last_ms = self.last_ms.load(Ordering::Relaxed);
        let calm = Duration::from_millis(self.millis(clock).saturating_sub(last_ms));
        // What another calendar made says of no time how long it has waited already.
        let is_known = gathering.until.since(now) <= LONGEST;
        if last_ms == 0 || calm >= CALM || !is_known {
            return own;
        }
        let times = 1 + u32::try_from(Topic::memberships(user.as_str()).id % SPREAD).unwrap_or(0);
        let overdue = now.since(gathering.until);
        own.max((CALM * times - calm).min(LONGEST_FOR_OTHERS.saturating_sub(overdue)))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use ruma::user_id;

    use super::*;

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn what_is_due_waits_for_a_message_on_its_way_and_for_many_of_them_a_second() {
        let (clock, manual) = Clock::manual(1_000_000);
        let wave = Wave::none(&clock);
        let user = user_id!("@hanako:a.test");
        manual.advance(millis(10));
        let due = Gathering { after: Position::START, until: clock.now() };
        assert_eq!(wave.left(&due, user, &clock), Duration::ZERO, "no message");

        wave.goes_on(&clock);
        let more = wave.left(&due, user, &clock);
        assert!(more >= CALM && more <= CALM * u32::try_from(SPREAD).unwrap(), "{more:?}");
        manual.advance(CALM);
        assert_eq!(wave.left(&due, user, &clock), Duration::ZERO, "the message is through");

        manual.advance(LONGEST_FOR_OTHERS - CALM - millis(1));
        wave.goes_on(&clock);
        assert_eq!(wave.left(&due, user, &clock), millis(1));
        manual.advance(millis(1));
        wave.goes_on(&clock);
        assert_eq!(wave.left(&due, user, &clock), Duration::ZERO, "it has waited long enough");
    }

    #[test]
    fn what_gathers_still_is_not_told_before_its_time_since_there_are_messages() {
        let (clock, manual) = Clock::manual(1_000_000);
        let wave = Wave::none(&clock);
        manual.advance(millis(10));
        wave.goes_on(&clock);
        let user = user_id!("@hanako:a.test");
        let gathering = Gathering { after: Position::START, until: clock.now() + millis(3_000) };
        assert_eq!(wave.left(&gathering, user, &clock), millis(3_000));
        let foreign = Gathering { until: clock.now() + LONGEST + millis(1), ..gathering };
        assert_eq!(wave.left(&foreign, user, &clock), Duration::ZERO, "by another calendar");
    }
}
