//! Mail domains of an authority (関連ドメイン), and the accounts that people there have made for themselves.
//!
//! An authority names the domains of its mail. Each does nothing until whoever runs the domain says so too: by a record in DNS, or
//! by a file on the domain's web server ([`MailDomain`]), which is looked at again and again ([`Domains::start`]). Somebody who
//! made himself an account with an address of such a domain, whose mails he has shown to read, may be one of the organisation's
//! people: the one who has that address there ([`Match`]). Nobody decides that by himself: whoever does personnel makes a change
//! set of it ([`Domains::claim`]), which two people agree to as to any other. Then the account is that person's, and its owner is told;
//! rooms, devices and messages stay as they are.
//!
//! What proves a domain is asked by a port ([`Witness`]).
//!
//! Reading order: [`MailDomain`], `proof`, [`Domains`], `proving`, `matching`, `claiming`.

mod claiming;
mod domain;
mod domains;
mod error;
mod matching;
mod proof;
mod proving;
mod tables;

pub use claiming::Candidate;
pub use domain::{BadDomain, MailDomain};
pub use domains::{Domains, Parts};
pub use error::Error;
pub use matching::{Match, Person};
pub use proof::{How, Problem, Unreached, Witness};
pub use proving::Standing;
pub use tables::checks;
