//! What the batches of rooms write of people: that somebody is due. It reads nothing.

use room::{
    ids::RoomSerial,
    people::{DUE, WALKS, WalkRow, people_due},
    read::{event::StoredEvent, open::appearance},
    tables::Membership,
};
use ruma::UserId;
use store::{Batch, Slot};

use crate::{change::StateChange, projections::Step};

/// Follows the change of a member event in the current state. True: somebody is due.
///
/// Nothing of those of other servers whom we find where we come into a room: [`note_room`] says so of all of them.
pub(crate) fn note_member(step: &mut Step<'_>, user: &UserId, change: &StateChange) -> bool {
    let is_in = |event: &Option<std::sync::Arc<StoredEvent>>| {
        event.as_ref().and_then(|event| event.membership()) == Some(Membership::Join)
    };
    let (was_in, is_in) = (is_in(&change.old), is_in(&change.new));
    let is_ours = step.authorities.is_ours(user.server_name());
    let is_due = match step.came_in {
        true => is_ours || change.new.is_none(),
        // Our users are called as their profiles say.
        false => was_in != is_in || (is_in && !is_ours && name_of(&change.old) != name_of(&change.new)),
    };
    if is_due {
        step.batch.put(&DUE, &(user.as_str(), step.room.serial), &());
    }
    is_due
}

fn name_of(event: &Option<std::sync::Arc<StoredEvent>>) -> Option<String> {
    event.as_ref().and_then(|event| appearance(event.pdu().content_str()).displayname)
}

/// Notes that all members of a room are due: we came into it.
pub(crate) fn note_room(step: &mut Step<'_>) {
    let row = WalkRow { after: String::new(), since: step.current };
    step.batch.put(&WALKS, &step.room.serial, &row);
}

/// Wakes who looks after those that are due.
pub(crate) fn wake(batch: &mut Batch, slot: Option<Slot>) {
    match slot {
        Some(slot) => batch.touch_with(slot, people_due()),
        None => batch.touch([people_due()]),
    }
}

/// A redaction has emptied an event: if it was by that that somebody was called something, he is not any more.
pub(crate) fn note_emptied(batch: &mut Batch, room: RoomSerial, before: &StoredEvent) {
    let user = before.state_key().and_then(|key| <&UserId>::try_from(key).ok());
    if let Some(user) = user.filter(|_| before.membership() == Some(Membership::Join)) {
        batch.put(&DUE, &(user.as_str(), room), &());
        batch.touch([people_due()]);
    }
}
