//! What who administers an authority sees and does that is no single crate's: reading what was said in rooms that he is not in,
//! events that users have reported, and how his authority gets along with other servers.
//!
//! The admin API and the console ask the same of it, so a deed is done in one way, whoever wants it, and its row in the audit
//! log of the authority is on disk before anything is shown or done. Whoever calls has made sure that somebody administers the
//! authority; what is another's is here as what is nowhere.
//!
//! Some questions look at all rooms of the process ([`Oversight::servers`], [`Oversight::server`], [`Oversight::retry`]):
//! whoever lets others ask them lets few do so at once.
//!
//! Reading order: [`Oversight`], `reports`, `servers`, [`Peers`].

mod error;
mod oversight;
mod peers;
mod reports;
mod servers;

pub use error::Error;
pub use oversight::{Oversight, Parts};
pub use peers::{Peers, Standing};
pub use reports::Reported;
pub use servers::Beside;
