//! How much one address does.

use std::time::Duration;

/// How often is looked who invites addresses: in memory, unless something has moved.
pub(crate) const LOOK: Duration = Duration::from_secs(2);

/// Looks after which all rooms are gone through, for what people changed by hand.
pub(crate) const LOOKS_BETWEEN_ALL: u32 = 300;

/// Rooms in which one address is at most; further invites are refused, and whoever sends them is told so by that.
pub(crate) const MOST_ROOMS: usize = 500;

/// Of those, rooms into which users of one server elsewhere have invited it.
pub(crate) const MOST_OF_SERVER: usize = 50;

/// Tries after which an invite is refused that could not be taken.
pub(crate) const MOST_TRIES: u32 = 12;

/// People whom one address reaches at most: a unit of more has sections with addresses of their own.
pub(crate) const MOST_REACHED: usize = 100;

/// Rooms that the addresses of one authority join in a look, and people whom they invite or put out: what is left waits for
/// the next one, so nobody who invites an address into many rooms has all staff invited at once.
pub(crate) const MOST_JOINS: usize = 5;
pub(crate) const MOST_CHANGES: usize = 50;

/// So long an answer to an invite is waited for: other servers have a part in it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// After so long what failed is tried again; each time twice as long, up to some hours.
pub(crate) const AGAIN: Duration = Duration::from_secs(60);
