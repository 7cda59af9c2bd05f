//! The audit log of each authority: who did what to what, from where and as what.
//!
//! A [`Deed`] is written as a row in the batch of the deed itself: both are on disk, or neither is. The rows
//! of an authority are never changed, and go only when they were kept for the years of their [`Class`]. Behind the writers, [`follow`] numbers them in the
//! order of their commits and chains them: each link is a hash over the row and the link before it. After each
//! day, of Japan's calendar, the authority's signing key seals the chain as it stands.
//!
//! What that proves: from its link on, a row that is changed, removed, added before it or moved does not
//! fit, and [`verify`](verify()) names the place. Whoever may write the storage could compute all links anew; from the
//! seal on he needs the signing key for that. And against somebody who has the key as well, or who removes the
//! newest rows with their links and seals, only what is kept elsewhere helps: a [`Noted`] value of the chain, or the
//! line that the server's own log has for each seal. He may even have the server do it: one that runs goes on only from
//! the end of the chain that it has seen, but one that starts where a chain, its links and its seals are all gone makes them, and only when
//! it made them is in the seals. What has no link yet, the rows of the last second or so, is protected by the storage
//! alone; and a row that is added behind the chain's end, with whatever in it, is linked like any other.
//!
//! Why not in the batch of the deed: a link needs the one before it, so everybody who signs in would wait
//! for everybody before him, and two processes would send each other back again and again. The order of
//! commits is the same for all, and whoever reads it up to the head misses nothing. Two followers over one
//! storage cannot fork a chain: each step replaces the chain's head as it was read.
//!
//! A record that has gone leaves its link, and of itself what the link is over: what was done, and a hash. So the chain goes on
//! through the gap, and shows for each record there that it was old enough and of which kind ([`retire`](retire())).
//!
//! Reading order: [`Deed`], `chain` (what a link is), `follow`, `seal`, [`verify`](verify()), [`list`](list()); [`Class`],
//! [`retire`](retire()), `claims`.

mod chain;
mod chained;
mod checks;
mod claims;
mod class;
mod day;
mod deed;
mod error;
mod follow;
mod going;
mod gone;
mod kept;
mod list;
mod noted;
mod retire;
mod seal;
mod tables;
#[cfg(test)]
mod tests;
mod verify;
mod words;

pub use chained::{Chained, chained, chained_count, chained_topic};
pub use checks::checks;
pub use class::{Class, Years};
pub use day::{Day, written};
pub use deed::{Action, Actor, Deed, Record, Role};
pub use error::Error;
pub use follow::{Follower, follow};
pub use kept::{Demands, Hold, KeptClass, LONGEST_REASON, Retention, hold, release, retention};
pub use list::{Filter, Listed, Page, list, list_newest};
pub use noted::{NotANote, Noted};
pub use retire::{Elsewhere, Retirer, RetirerParts, retire};
pub use seal::LastSeal;
pub use verify::{Fault, Findings, LateSeal, SetBack, Wrong, verify};
pub use words::in_json;
