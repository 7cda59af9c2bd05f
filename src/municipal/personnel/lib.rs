//! The personnel desk: what people do to the organisation of an authority, each deed with its row in the audit log.
//!
//! An [`Order`] says what somebody wants: that a personnel file, or what he does by hand, becomes a change set, that a set is shown,
//! applied, undone or taken back, who is where on a day. [`Personnel::carry_out`] does it and gives an
//! [`Answer`]; both are what the command line and the server say to each other, so that it is the same whether a server
//! runs or not. What is approved is applied at its minute by the server ([`Personnel::start`]), which also goes on with
//! what a crash has cut.
//!
//! What a file means is `intake`'s, what it changes and what becomes of change sets is `organisation`'s: here both meet,
//! with the clock, the audit log and the mappings of columns that are kept for each authority.
//!
//! Reading order: [`Order`], [`Answer`], [`Personnel`], `importing`, [`Act`], `editing`, `deciding`, `due`, `showing`.

mod act;
mod answer;
mod by;
mod deciding;
mod due;
mod editing;
mod error;
mod importing;
mod mappings;
mod names;
mod order;
mod personnel;
mod problems;
mod showing;
mod tables;
#[cfg(test)]
mod tests;
mod told;
mod words;

pub use act::{Act, MOST_ACTS, Why};
pub use answer::{
    Answer, Columns, FoundPerson, Imported, Known, Line, Member, Shown, ShownBody, ShownUnit, Tried,
    TriedLine,
};
pub use by::{By, Demands};
pub use error::Error;
pub use names::{Names, PortError};
pub use order::{Edit, FileBytes, Import, Order};
pub use personnel::{Parts, Personnel};
pub use tables::checks;
pub use told::Told;
pub use words::moment;
