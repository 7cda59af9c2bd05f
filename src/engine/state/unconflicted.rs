//! Which events of a supposed auth difference are in the auth chain of the agreed state after all.
//!
//! Such an event is in the chain of every state, so it is in no difference. To know it, the auth
//! graph is walked from everything that the states agree on. That is the one part of resolution that
//! grows with the room, so no event is looked at for it.

use std::collections::HashSet;

use room::{
    Error,
    ids::{EventSerial, Root, StateKeySerial},
};
use ruma::events::StateEventType;

use super::{Conflict, named};
use crate::{graph::AuthGraph, view::View};

/// Takes from `difference` what is in the auth chain of what the states agree on.
pub(super) async fn remove(
    view: &View<'_>,
    graph: &mut AuthGraph,
    base: Root,
    conflicts: &[Conflict],
    difference: &mut HashSet<EventSerial>,
) -> Result<(), Error> {
    if difference.is_empty() {
        return Ok(());
    }
    let conflicting: HashSet<StateKeySerial> = conflicts.iter().map(|conflict| conflict.key).collect();
    let mut walk = view.auth_walk(graph);
    // First the events that most chains hold: often that is the end of it.
    let first = control_keys(view).await?;
    let first: Vec<_> = first.into_iter().filter(|key| !conflicting.contains(key)).collect();
    let first = view.engine.snapshots().get(view.room.serial, base, &first).await?;
    walk.go(&first.into_iter().flatten().collect::<Vec<_>>()).await?;
    difference.retain(|event| !walk.has(*event));

    let mut entries = view.engine.snapshots().walk(view.room.serial, base);
    while !difference.is_empty()
        && let Some(some) = entries.next().await?
    {
        let agreed = some.into_iter().filter(|(key, _)| !conflicting.contains(key));
        walk.go(&agreed.map(|(_, event)| event).collect::<Vec<_>>()).await?;
        difference.retain(|event| !walk.has(*event));
    }
    Ok(())
}

async fn control_keys(view: &View<'_>) -> Result<Vec<StateKeySerial>, Error> {
    let kinds = [StateEventType::RoomPowerLevels, StateEventType::RoomJoinRules, StateEventType::RoomCreate];
    let names = kinds.map(|kind| named((kind, String::new())));
    Ok(view.find_keys(&names).await?.into_iter().flatten().collect())
}
