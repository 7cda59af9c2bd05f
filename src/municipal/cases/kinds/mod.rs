//! The kinds whose deeds are done by crates below this one.

mod adoption;
mod changes;
mod duty;
mod rule_days;

pub use adoption::{AdoptRoom, Moderators};
pub use changes::ApplyChanges;
pub use duty::GiveDuty;
pub use rule_days::RuleDays;
