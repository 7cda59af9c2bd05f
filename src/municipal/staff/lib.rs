//! Staff: the people of an organisation as users of this server.
//!
//! Two things follow from where somebody stands in the organisation of his authority. Whoever is of a body finds the others who
//! are of it, though he shares no room with them ([`Staff::find`]). And, where the authority wishes so, the names and some
//! fields of their profiles say what they are there ([`Staff::start`]): a template gives the name, and people do not change
//! what the organisation decides.
//!
//! The organisation itself is `organisation`'s; accounts, profiles and rooms are `account`'s to change.
//!
//! Reading order: [`Staff`], `directory`, [`Template`], `following`.

mod consent;
mod directory;
mod error;
mod following;
mod name;
mod shelf;
mod staff;

pub use consent::{Consent, NoConsent};
pub use error::Error;
pub use following::Followed;
pub use name::{BadTemplate, Template};
pub use staff::{Colleague, Found, Parts, Staff};
