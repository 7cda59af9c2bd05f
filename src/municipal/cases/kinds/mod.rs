//! The kinds whose deeds are done by crates below this one.

mod adoption;
mod changes;
mod duty;
mod rule_days;
mod rule_says;

pub use adoption::{AdoptRoom, Moderators};
pub use changes::{ApplyChanges, SpeaksOfUnits};
pub use duty::GiveDuty;
pub use rule_days::{RuleDays, said_of};
pub use rule_says::RuleSays;
