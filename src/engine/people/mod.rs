//! People by name, as the batches of rooms write of them; what is kept, and how somebody is found, is told in [`room::people`].
//!
//! Reading order: `note`, then [`follow`].

mod follow;
mod note;

pub(crate) use follow::Gone;
pub use follow::{list_people, unlist_people};
pub(crate) use note::{note_emptied, note_member, note_room, wake};
