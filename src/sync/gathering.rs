//! What gathers for a crowd.
//!
//! In a room with many readers each receipt would wake all others, and be told to each of them. So receipts and typing
//! wait a while for more of their kind. A message does not wait for them, and leaves the receipts behind: told with it,
//! they would make it late for those who are answered last. The token says up to where they were told, and when it is
//! their turn: so they come in time however many messages come before. Only how far he has read himself a user is told at
//! once: a message that he has read on one device is not to stand there as unread on another.

use std::time::Duration;

use base::Timestamp;
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
