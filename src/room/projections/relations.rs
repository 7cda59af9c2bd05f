//! Which events relate to which: edits, reactions, threads, references.

use ruma::OwnedEventId;
use serde::Deserialize;

use super::Projection;
use crate::tables::{RELATIONS, RelationRow};

#[derive(Deserialize)]
struct Content {
    #[serde(rename = "m.relates_to")]
    relates_to: Relation,
}

#[derive(Deserialize)]
struct Relation {
    rel_type: String,
    event_id: OwnedEventId,
}

/// Adds the event to the relations of its parent. Replies without a `rel_type` are no relations.
pub(super) fn project(projection: &mut Projection<'_>) {
    let Some(slot) = projection.slot else { return };
    let event = projection.event;
    let content = event.pdu().content_str();
    // Most events have none: looking for the name is cheaper than parsing.
    if !content.contains("m.relates_to") {
        return;
    }
    let Ok(Content { relates_to }) = serde_json::from_str::<Content>(content) else { return };
    let row = RelationRow {
        child: event.serial(),
        rel_type: relates_to.rel_type,
        kind: event.kind().to_owned(),
        sender: event.sender().to_owned(),
    };
    let parent = (projection.room.serial, relates_to.event_id.as_str());
    projection.batch.append(&RELATIONS, &parent, slot, &row);
}
