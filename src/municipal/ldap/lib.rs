//! LDAP: an authority's directory says who is there, and accounts follow.
//!
//! A *source* is a directory (Active Directory, OpenLDAP) that the configuration names. It is read as a whole, each half
//! minute, to its end; what it says is compared with what it said last; and what is different follows: people get accounts,
//! are called otherwise, are locked with all sessions ended, come back. People are known by an id that nothing changes, never
//! by a name. Administrators, and whom the configuration excepts, a source never ends.
//!
//! Its groups, with the groups in them, may say who is a person and who administers the authority (`groups`, `membership`,
//! `administering`).
//!
//! A directory ends people by not telling of them, so a reading is believed as a whole or not at all. One that fails, or is
//! cut short, or finds nobody, or somebody who cannot be known, or would end too many, changes nothing; it is written down
//! with its reason. That the directory is away ends nobody.
//!
//! What comes over the wire is gone through before the library that speaks LDAP sees it (`ber`, `wire`): bounded in size,
//! number, depth and time. `guid`, `dn`, `standing`, `person` and `compare` are pure. `following` acts: a batch for each
//! person, with the account and the audit log in it.
//!
//! Reading order: [`Settings`], `session`, `groups`, `reading`, `person`, `standing`, `membership`, `compare`, `following`,
//! `administering`, `running`.

mod administering;
mod ber;
mod check;
mod compare;
mod dn;
mod error;
mod fault;
mod following;
mod groups;
mod guid;
mod ldap;
mod membership;
mod order;
mod person;
mod reading;
mod report;
mod running;
mod session;
mod settings;
mod standing;
mod tables;
#[cfg(test)]
mod tests;
mod wire;
mod words;

pub use self::{
    check::{Looked, look},
    error::Error,
    ldap::{Ldap, Parts},
    order::{Answer, Order, Status},
    report::{Counts, Note, Outcome, Report},
    settings::{Bind, Bounds, Kind, NoPlace, Place, Security, Settings, is_attribute, is_filter},
    standing::Why,
    tables::checks,
    words::Words,
};

/// Whether a name is one of RFC 4514 that names something.
#[must_use]
pub fn is_dn(text: &str) -> bool {
    dn::Dn::parse(text).is_some_and(|dn| !dn.is_empty())
}
