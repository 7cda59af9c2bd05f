//! Which events relate to which: edits, reactions, threads, references.

use room::{
    ids::Order,
    read::event::StoredEvent,
    tables::{Place, RELATIONS, RelationRow, THREAD_SENDERS, THREADS, ThreadRow},
};

use super::Step;

/// Adds the event to the relations of its parent, and to its thread.
pub(super) fn project(step: &mut Step<'_>, event: &StoredEvent) {
    let place = event.meta().place;
    if place == Place::None {
        return;
    }
    let Some(relation) = event.relation() else { return };
    let (room, parent) = (step.room.serial, relation.event_id.as_str());
    let is_thread = relation.is_thread();
    let row = RelationRow {
        child: event.serial(),
        rel_type: relation.rel_type.clone(),
        kind: event.kind().to_owned(),
        sender: event.sender().to_owned(),
    };
    let thread = ThreadRow { root: relation.event_id.clone() };
    let batch = &mut *step.batch;
    match (place, step.slot) {
        (Place::History(place), _) => {
            let order = Order::history(place);
            batch.put(&RELATIONS, &(room, parent.to_owned(), order), &row);
            if is_thread {
                batch.put(&THREADS, &(room, order), &thread);
            }
        }
        (_, Some(slot)) => {
            batch.append(&RELATIONS, &(room, parent), slot, &row);
            if is_thread {
                batch.append(&THREADS, &room, slot, &thread);
            }
        }
        (_, None) => return,
    }
    if is_thread {
        batch.add(&THREAD_SENDERS, &(room, parent, event.sender().as_str()), 1);
    }
}
