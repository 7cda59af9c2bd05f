//! The organisation of an authority: who is where on which day, and the change sets by which that changes.
//!
//! A [`Statement`] says something of a body, unit, post, person or appointment, with the days on which it holds. An
//! [`Organisation`] is all that is said of one authority, a value that answers questions with a day in them
//! (`as_of`): who heads this unit on 1 April, where was she on 31 March. What a personnel file changes is found by [`compare`],
//! what somebody does by hand by a [`Reorganisation`]; either gives items, which make a change set.
//!
//! A [`ChangeSet`] is stored ([`Organisations::propose`]), looked at, approved by two people in two roles, applied at its minute
//! ([`Organisations::apply_due`]), and undone as a whole or by item. Nothing that was ever said is overwritten: a later
//! statement of the same record stands in its place.
//!
//! Three rules:
//!
//! - A day is a day of Japan's calendar, without hour or zone; spans are half open.
//! - Somebody is never done by half, and what does not fit is wrong with a reason, in Japanese and English.
//! - Everything is bounded ([`limits`]), and no input makes it panic.

mod applying;
mod as_of;
pub mod calendar;
mod calling;
mod charging;
mod closing;
mod compare;
mod directory;
mod edit;
mod error;
mod ids;
mod item;
mod laws;
pub mod limits;
mod named;
mod organisation;
mod organisations;
mod proposing;
mod reorganise;
mod scope;
mod set;
mod span;
mod statement;
mod tables;
#[cfg(test)]
mod tests;
mod titles;
mod words;

pub use as_of::Holder;
pub use calling::{UNIT_NUMBER, UnitNames};
pub use closing::Closing;
pub use compare::{Draft, Guard, GuardKind, NewUnits, Source, Terms, Which, compare};
pub use directory::{Directory, Found, Listed, ListedPost, Seen};
pub use error::Error;
pub use ids::{BodyId, Ids, PersonId, PostId, RecordId, SetId, UnitId};
pub use item::{Change, Item, Kind, Told};
pub use laws::Breach;
pub use named::user_named;
pub use organisation::Organisation;
pub use organisations::{Known, Organisations};
pub use proposing::Proposal;
pub use reorganise::{NewUnit, Refused, Reorganisation};
pub use scope::Scope;
pub use set::{Approval, ChangeSet, Refusal, Role, State};
pub use span::Span;
pub use statement::{
    Absence, Address, Appointment, Away, Body, Charge, Charged, Person, Post, Statement, Succession, Tenure,
    Unit, What,
};
pub use tables::{Entry, ItemRow, ItemState, checks};
