//! Coming into a room that is not here: its state gets into the store in slices.
//!
//! What the server that lets us in tells of a large room is tens of thousands of events, and no batch holds them all.
//! Nobody sees a room without a head. So while it has none, all that the room is made of is written beforehand under
//! its serial, a bounded number of rows and bytes at a time: first the events, as [outliers](crate::inbound::outliers)
//! ([`answer`]); then, once the state is found to allow the join, the serials of its keys, its snapshot, and what the
//! projections make of it ([`state`]). The last batch is the join's own: it stands on that snapshot, brings the head,
//! and what is left of the projections: what lists of rooms show, and members of ours, who learn of the room by it.
//!
//! A row ([`tables::ENTERINGS`]) says that a room is being entered, and every slice demands it ([`permit`]): so what a
//! crash leaves behind is known. Who joins next goes on with it, whatever state he is told; if nobody does, it goes
//! ([`void`]). How far the projections have come is a state like any other ([`tables::BROUGHT`]): they describe
//! exactly that one, and a slice takes them, and it, some entries on towards the one that is told. Two processes that
//! bring in states of one room at the same time take turns, slice by slice; whoever places his join first is in, and
//! the other one's is one more event of the room.
//!
//! A room with a head that nobody of ours is in any more is entered in the same way: there, it is the current state in
//! the head that the slices take on, in tree order, and what of it is not brought yet is as it was when we left. Nobody
//! is in the room to see it, and whoever was reads the state as of when he left.
//!
//! A server may leave the members out of what it tells. Then we are in at once, in a room that lacks them ([`lacking`]);
//! they come afterwards, in slices as well, each of which demands the row that says how far that is ([`fill`]), and what
//! has happened in the meantime is looked at again ([`settle`]).
//!
//! Reading order: [`tables`], [`permit`], [`answer`], [`state`], [`void`]; [`lacking`], [`fill`], [`settle`]. Who calls it
//! is [`crate::join`].

pub(crate) mod answer;
mod fill;
mod lacking;
pub(crate) mod permit;
mod settle;
pub(crate) mod state;
pub(crate) mod tables;
mod void;

/// Entries of a state that are dealt with in one batch, each of which makes some five rows. Fewer in this crate's own
/// tests, where rooms are small.
pub(crate) const SLICE: usize = if cfg!(test) { 24 } else { 500 };
