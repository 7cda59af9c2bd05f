//! Who is in the room: its members, how many of each server, and the rooms of our users.

use pdu::Authorities;
use room::{
    purge::tables::PURGES,
    read::event::StoredEvent,
    tables::{
        DEPARTURES, DepartureRow, INVITES, LOCAL_MEMBERS, MEMBER_COUNTS, MEMBERS, MEMBERSHIPS, MemberRow,
        Membership, MembershipRow, SERVERS, StateKeyName,
    },
};
use ruma::UserId;
use store::{Batch, CommitError, Position, Range, Stamped, Store, Topic};

use super::Step;
use crate::{change::StateChange, people};

/// Follows all changes of member events in the current state.
pub(super) fn project(step: &mut Step<'_>) {
    let mut is_due = false;
    for change in step.changes {
        if change.name.kind != "m.room.member" {
            continue;
        }
        // A state key that is no user id names nobody.
        if let Ok(user) = <&UserId>::try_from(change.name.key.as_str()) {
            follow(step, user, change);
            is_due |= people::note_member(step, user, change);
        }
    }
    // With the event by which we come in, and not before: until then nobody here may look at the room's people.
    if step.came_in && step.slot.is_some() {
        people::note_room(step);
        is_due = true;
    }
    if is_due {
        people::wake(step.batch, step.slot);
    }
}

/// Whether this is what a user of ours is in the room.
pub(crate) fn is_ours(authorities: &Authorities, name: &StateKeyName) -> bool {
    let user = <&UserId>::try_from(name.key.as_str());
    name.kind == "m.room.member" && user.is_ok_and(|user| authorities.is_ours(user.server_name()))
}

fn follow(step: &mut Step<'_>, user: &UserId, change: &StateChange) {
    let room = step.room.serial;
    let membership_of = |event: &Option<std::sync::Arc<StoredEvent>>| -> Option<Membership> {
        event.as_ref().and_then(|event| event.membership())
    };
    let (old, new) = (membership_of(&change.old), membership_of(&change.new));

    match (&change.new, new) {
        (Some(event), Some(membership)) => {
            let row = MemberRow { membership, event: event.serial() };
            step.batch.put(&MEMBERS, &(room, user.as_str()), &row);
        }
        _ => step.batch.delete(&MEMBERS, &(room, user.as_str())),
    }
    if old != new {
        for (membership, delta) in [(old, -1), (new, 1)] {
            if let Some(membership) = membership {
                step.batch.add(&MEMBER_COUNTS, &(room, membership as u8), delta);
            }
        }
        let joined = i64::from(new == Some(Membership::Join)) - i64::from(old == Some(Membership::Join));
        if joined != 0 {
            step.batch.add(&SERVERS, &(room, user.server_name().as_str()), joined);
        }
    }
    if step.authorities.is_ours(user.server_name()) {
        our_user(step, user, change, old, new);
    }
}

/// The row by which a user of ours finds the room.
fn our_user(
    step: &mut Step<'_>,
    user: &UserId,
    change: &StateChange,
    old: Option<Membership>,
    new: Option<Membership>,
) {
    if old == Some(Membership::Join) && new == old && !step.came_in {
        // Another name or picture. He gets one in each of his rooms, and each time all his rooms would be read again.
        return;
    }
    let room = step.room.serial;
    if new == Some(Membership::Join) {
        // By whatever way: nobody of ours comes into a room that is being purged.
        step.batch.require(&PURGES, step.room.room_id.as_str(), None);
    }
    match new {
        Some(Membership::Join) => step.batch.put(&LOCAL_MEMBERS, &(room, user.as_str()), &()),
        _ => step.batch.delete(&LOCAL_MEMBERS, &(room, user.as_str())),
    }
    let topic = Topic::memberships(user.as_str());
    match step.slot {
        Some(slot) => step.batch.touch_with(slot, topic),
        None => step.batch.touch([topic]),
    }
    step.batch.delete(&INVITES, &(room, user.as_str()));
    let row = MembershipRow {
        room_id: step.room.room_id.clone(),
        // A member event that state resolution took away leaves the user outside.
        membership: new.unwrap_or(Membership::Leave),
        previous: old,
        event: change.new.as_ref().map(|event| event.serial()),
        sender: change.new.as_ref().map_or_else(|| user.to_owned(), |event| event.sender().to_owned()),
        forgotten: false,
        current: step.current,
    };
    let key = (user.as_str(), room);
    if old == Some(Membership::Join) && new != Some(Membership::Join) {
        let row = DepartureRow { current: step.current };
        match step.slot {
            Some(slot) => step.batch.put_stamped(&DEPARTURES, &key, slot, &row),
            None => step.batch.put(&DEPARTURES, &key, &Stamped { position: Position::START, value: row }),
        }
    }
    match step.slot {
        Some(slot) => step.batch.put_stamped(&MEMBERSHIPS, &key, slot, &row),
        None => step.batch.put(&MEMBERSHIPS, &key, &Stamped { position: Position::START, value: row }),
    }
}

/// Lists our members of all rooms by room, in data that were written before that was done.
///
/// # Errors
/// When the store cannot be read or written.
pub async fn list_local_members(store: &Store) -> Result<(), store::Error> {
    const ROWS: usize = 1_000;
    let mut range = Range::all();
    loop {
        let rows = store.scan(&MEMBERSHIPS, range.clone(), store::Order::Ascending, ROWS).await?;
        let Some((last, _)) = rows.last().cloned() else { return Ok(()) };
        let mut batch = Batch::new();
        for (key, row) in rows {
            if row.value.membership == Membership::Join {
                // Another process may be done with this already, and serve: what it has changed since stands.
                batch.require(&MEMBERSHIPS, &key, Some(&row));
                batch.put(&LOCAL_MEMBERS, &(key.1, key.0), &());
            }
        }
        match store.commit(batch).await {
            Ok(_) => {}
            Err(CommitError::Conflict { .. }) => continue,
            Err(error) => return Err(error.into_error()),
        }
        range = Range::all().after(&last);
    }
}
