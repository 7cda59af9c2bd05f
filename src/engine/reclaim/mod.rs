//! Reclaiming: chunks of state that nothing names any more go, beside everything else.
//!
//! What is left over is the states between the slices by which a large room was come into, those that another server told
//! of an event that was refused, what a fork was resolved to for a moment. Of each room some; of a lively one, in years, much.
//!
//! Each room is looked through now and then, twice ([`room::snapshot`] says why that suffices): first, what no row of
//! the room leads to is condemned; an hour or more later it is looked again, and what is condemned still and not found goes.
//! Nobody waits meanwhile, neither writers in this process nor in others: no lock is held, and no row that they write is demanded.
//!
//! - Who *writes* stands on a state that a row names when he submits, or on one that he has made himself; but for a state that
//!   another server tells: that is in the store before any row names it. So the row of the room's sweep ([`SWEEPS`])
//!   is written anew before the second look, and who names such a state demands the row as it was before it was made ([`AsOf`]).
//! - Who *reads* may hold a state that no row names any more since; the hour is for him.
//! - A purge takes the chunks and the row with the room; every batch demands that it is still the same room.
//!
//! One process does it, a room at a time; after each step it rests for longer than that took. What it has done is in
//! the rows of the sweeps and before the chunks, so whoever comes next goes on with the room at which it was stopped. Its memory does
//! not grow with the room ([`room::snapshot::Reached`]).
//!
//! Reading order: [`room`](self::room), `task`; [`crate::as_of`] for who makes states.
//!
//! [`SWEEPS`]: crate::tables::SWEEPS
//! [`AsOf`]: crate::as_of::AsOf

mod room;
mod task;
