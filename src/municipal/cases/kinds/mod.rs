//! The kinds whose deeds are done by crates below this one.

mod adoption;
mod changes;
mod duty;

pub use adoption::{AdoptRoom, Moderators};
pub use changes::ApplyChanges;
pub use duty::GiveDuty;
