//! Duties: what an account does for its authority besides using it, and may therefore see and do on the console.
//!
//! 全体管理者 is no duty: who administers an authority is a fact of the account, which tools ask as well. The duties here
//! go beside that one: whoever sees to the people, whoever watches over the audit log, whoever only reads.
//!
//! Who has which duty decides who may approve what, and so a duty is given at the command line of the machine, or by a case
//! that two agree to who have one (`cases`): an administrator who could give one to an account that he makes up would be two
//! people.
//!
//! Who sees to a part of the organisation ([`Part`], 部局管理者) has no duty by that: he sees and puts forward what is of his part,
//! and decides nothing.
//!
//! For the same reason nobody but the operator gives another password, address or identity to who has a duty (`account`).
//!
//! Reading order: [`Duty`], [`Part`], [`Held`], [`Duties`].

mod duties;
mod duty;
mod error;
mod part;
mod role;
mod tables;
#[cfg(test)]
mod tests;

pub use duties::{Duties, MOST_HOLDERS, MOST_PARTS, has_any, has_none};
pub use duty::Duty;
pub use error::Error;
pub use part::Part;
pub use role::{Held, Role};
pub use tables::checks;
