//! Rooms by rule: spaces and rooms that follow from the organisation of an authority.
//!
//! A [`Rule`] says: for every unit of a kind these rooms, whose members are who has a post there and whose moderators are who
//! has one of these posts. Rules are data with days ([`Book`]); what they give for the organisation of a day is a pure
//! function ([`wanted`]), and the way from the rooms that there are to those is another one ([`Step`]). So whoever transfers
//! people, undoes that, or begins again after a crash does one and the same thing: he looks at what is wanted and at what
//! is, and takes the steps between.
//!
//! [`Rules::carry_out`] does what somebody at the desk wants; [`Rules::start`] looks each minute, and when a change set was
//! applied, and takes the steps by the verbs of a port ([`Rooms`]), each with its row in the audit log in the same commit.
//!
//! Three rules:
//!
//! - Rooms belong to posts: whoever makes them is no person, keeps all power, and gives it to who has the post.
//! - Rules take out whom they brought in, and nobody else: an outsider whom somebody invited stays.
//! - Everything is bounded ([`limits`]), and no input makes it panic.
//!
//! Reading order: [`Rule`], [`Book`], [`wanted`], `places`, `plan`, `running`.

mod actual;
mod adopting;
mod answer;
mod book;
mod days;
mod deciding;
mod error;
mod levels;
pub mod limits;
mod meters;
mod order;
mod pattern;
mod places;
mod plan;
mod reading;
mod roster;
mod rule;
mod rules;
mod running;
mod saying;
mod tables;
#[cfg(test)]
mod tests;
mod together;
mod verbs;
mod wanted;
mod words;

pub use actual::{Actual, Piece, Presence};
pub use adopting::Addition;
pub use answer::{Answer, Done, Previewed, Shown, ShownRoom, ShownRule, Told};
pub use book::{Book, Entry, RuleId};
pub use days::Days;
pub use error::Error;
pub use order::Order;
pub use plan::{LABEL, Step};
pub use roster::{Account, Accounts};
pub use rule::{History, Levels, Members, Moderators, Rule, Template, Units, Wish};
pub use rules::{Parts, Rules};
pub use tables::{PlaceRow, checks};
pub use verbs::{Beside, Change, NewRoom, Outcome, Rooms, VerbError};
pub use wanted::{People, Place, Standing, Wanted, WantedRoom, wanted};
