//! The kinds whose deeds are done by crates below this one.

mod adoption;
mod duty;

pub use adoption::{AdoptRoom, Moderators};
pub use duty::GiveDuty;
