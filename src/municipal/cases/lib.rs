//! Cases (案件): what needs the consent of others, from the wish to what comes of it.
//!
//! A [`Kind`] says what can be asked for: fields, who decides in which steps, what is done then and whether that can be
//! undone. A [`Case`] is asked for, approved step by step (or returned, refused, withdrawn, left to expire), carried out, and
//! ends or is undone. An [`Order`] says what somebody wants, [`Cases::carry_out`] does it and gives an [`Answer`]; pages and
//! commands say both.
//!
//! Four rules:
//!
//! - One person decides once in a case, whatever accounts and posts he has, and neither who asks nor whom it is about decides.
//! - What the last approval brings about is in its batch, or is noted there and done after it, once.
//! - An approval counts only while who gave it may still decide: the batch that does what a case is about demands it.
//! - Nothing of a case's history is ever changed.
//!
//! What lies above is asked by ports: [`People`] for accounts and reminders, [`Moderators`] for rooms. Further kinds come from
//! crates above, by [`Parts::kinds`].
//!
//! Reading order: [`Kind`], `case`, `deciders`, [`Cases`], `asking`, `deciding`, `effects`, `due`, `telling`, `deputies`, `looking`.

mod answer;
mod asking;
mod case;
mod cases;
mod context;
mod deciders;
mod deciding;
mod deputies;
mod due;
mod effects;
mod error;
mod field;
mod ids;
mod kind;
mod kinds;
pub mod limits;
mod looking;
mod order;
mod people;
mod shelf;
mod tables;
mod telling;
#[cfg(test)]
mod tests;
mod voided;
mod words;

pub use answer::{Answer, KindTold, Line, Meant, Named, Shown, ShownField};
pub use case::{Approval, Case, Deed, Event, State, Step, Who};
pub use cases::{By, Cases, Parts};
pub use error::Error;
pub use field::{Field, FieldKind, Fields};
pub use ids::CaseId;
pub use kind::{Asked, Beside, Effect, It, Kind, KindError, Plan};
pub use kinds::{AdoptRoom, ApplyChanges, GiveDuty, Moderators, RuleDays, RuleSays, SpeaksOfUnits, said_of};
pub use order::Order;
pub use people::{Demand, Message, People, PortError, Standing};
pub use tables::{Deputy, checks};
pub use words::moment;
