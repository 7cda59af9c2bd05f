//! Addresses of posts (`@bousai:…`): users of the server's own by whom others reach whoever has a post, or is in a unit.
//!
//! Whoever invites an address into a room finds there, a moment later, an invite for each person whom it reaches today. The
//! address itself joins, so that the room keeps its way to the office; when people are transferred it invites who comes and puts
//! out whom it had brought and who has left, as far as the room lets it. Where nobody whom it reaches is or waits it goes. What is said there it never reads and never says
//! anything itself.
//!
//! Which addresses there are, and whom they reach, is `organisation`'s; accounts and rooms are asked by a port ([`Rooms`]).
//! Nothing is kept of what is left to do: it follows from who is reached, who is there, and whom an address has brought
//! (`BROUGHT`), so whoever goes on after a crash finds it, and of several processes each may.
//!
//! Reading order: [`Posts`], `wanted`, `following`, `inviting`, `settling`, [`Rooms`].

mod error;
mod following;
mod inviting;
mod limits;
mod posts;
mod rooms;
mod settling;
mod tables;
mod wanted;

pub use error::{Error, PortError};
pub use posts::{Parts, Posts};
pub use rooms::{IsIn, Outcome, Place, Rooms};
pub use tables::checks;
