//! What a user has not read: counts of rooms, and of threads for those who ask for them.
//!
//! They are told with whatever may have changed them in a room: events, and receipts of the user's own. When he changes
//! his rules or whom he ignores, that may be any of his rooms; then they are told of [`MOST_RECOUNTED`] of these, so that an
//! answer costs the same in any number of rooms, and of the others with what happens next there.

use std::{cmp::Reverse, collections::BTreeSet};

use push::{Asked, Count, Counts};
use room::{
    read::membership::{UserRoom, UserRooms},
    tables::Membership,
};
use ruma::UserId;
use store::Position;

use crate::{
    Error, Syncs,
    data::NewData,
    joined::RoomPart,
    rooms::{Extent, RoomPlan, Scene},
    write::Out,
};

/// So many rooms are counted anew when the user's rules are others, or he ignores others: all of them where he has no more.
pub(crate) const MOST_RECOUNTED: usize = 100;

impl Syncs {
    /// The places of rooms of which the counts are told because of account data that is new to the client. Of many those
    /// come first of which it is known that something is unread in them, then those that a rule is about, then those that
    /// were counted last. Reads nothing.
    pub(crate) fn recounted(&self, user: &UserId, rooms: &UserRooms, data: &NewData) -> BTreeSet<u32> {
        if !data.moves_counts() {
            return BTreeSet::new();
        }
        let joined = (0..).zip(&rooms.rooms).filter(|(_, row)| row.membership == Membership::Join);
        let mut joined: Vec<(u32, &UserRoom)> = joined.collect();
        if joined.len() > MOST_RECOUNTED {
            let named = data.rooms_of_rules();
            joined.sort_by_cached_key(|(_, row)| {
                let known = self.push().counted_before(user, row.room);
                let (through, unread) = known.unwrap_or((Position::START, 0));
                Reverse((unread > 0, named.contains(row.room_id.as_str()), through))
            });
            joined.truncate(MOST_RECOUNTED);
        }
        joined.into_iter().map(|(place, _)| place).collect()
    }

    /// The counts of those rooms of which they may have changed, with their places in `plans`.
    pub(crate) async fn unread(
        &self,
        scene: &Scene<'_>,
        plans: &[RoomPlan],
    ) -> Result<Vec<(usize, Counts)>, Error> {
        let may_differ = |plan: &RoomPlan| {
            plan.until.is_none()
                && plan.extent != Extent::DataOnly
                && (plan.events
                    || plan.has_own_receipts()
                    || plan.is_recounted
                    || plan.extent != Extent::News)
        };
        let chosen: Vec<usize> = (0..plans.len()).filter(|index| may_differ(&plans[*index])).collect();
        let asked: Vec<Asked<'_>> =
            chosen.iter().map(|index| Asked { row: &plans[*index].row, through: scene.head }).collect();
        let counts = self.push().unread(scene.user(), &scene.ignored, &asked).await?;
        Ok(chosen.into_iter().zip(counts).collect())
    }
}

impl RoomPart {
    /// Whether the user has read on since the client last asked, on whatever device.
    pub(crate) fn has_been_read(&self, scene: &Scene<'_>) -> bool {
        let since = scene.since.filter(|_| self.extent == Extent::News);
        self.unread.as_ref().zip(since).is_some_and(|(unread, since)| unread.read_at > since)
    }
}

impl Out {
    /// The counts of a room; its object must be open.
    pub(crate) fn unread(&mut self, counts: &Counts, by_thread: bool) {
        let of_room = if by_thread { counts.main } else { counts.all() };
        self.open("unread_notifications");
        self.count(of_room);
        if by_thread && !counts.threads.is_empty() {
            self.open("unread_thread_notifications");
            for (thread, count) in &counts.threads {
                self.open(thread);
                self.count(*count);
            }
            self.raw("}");
        }
    }

    /// Writes a count and closes its object.
    fn count(&mut self, count: Count) {
        self.number("highlight_count", count.highlights);
        self.number("notification_count", count.notifications);
        self.raw("}");
    }
}
