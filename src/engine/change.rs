//! What changes of a room's current state.

use std::sync::Arc;

use room::{read::event::StoredEvent, tables::StateKeyName};

/// A change of a room's current state.
pub struct StateChange {
    /// Of which piece.
    pub name: StateKeyName,
    /// The event that it was; none where there was nothing.
    pub old: Option<Arc<StoredEvent>>,
    /// The event that it is; none where there is nothing any more.
    pub new: Option<Arc<StoredEvent>>,
}
