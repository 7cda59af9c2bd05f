//! What a user has not read: counts of rooms, and of threads for those who ask for them.
//!
//! They are told with whatever may have changed them in a room: events, and receipts of the user's own. When he changes
//! his rules or whom he ignores, he is told with the next event.

use push::{Asked, Count, Counts};

use crate::{
    Error, Syncs,
    joined::RoomPart,
    rooms::{Extent, RoomPlan, Scene},
    write::Out,
};

impl Syncs {
    /// The counts of those rooms of which they may have changed, with their places in `plans`.
    pub(crate) async fn unread(
        &self,
        scene: &Scene<'_>,
        plans: &[RoomPlan],
    ) -> Result<Vec<(usize, Counts)>, Error> {
        let may_differ = |plan: &RoomPlan| {
            plan.until.is_none()
                && plan.extent != Extent::DataOnly
                && (plan.events || plan.has_own_receipts() || plan.extent != Extent::News)
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
