//! Purging rooms: everything that is stored of a room goes, in slices, while all others are served.
//!
//! A room is purged for the whole store, that is, for all authorities that share it: when none of their users is in it
//! any more, or, if that is demanded, after those who are have left it by events as any others. Then one commit closes
//! it: its head goes, so that no batch that was in the making for it can be written; its id gets another serial, under
//! which nothing is stored; and nobody, client or server, finds the room by its id, in a list or in a directory. So a
//! half-purged room is never shown, and what is in memory of it under its old serial is asked for by nobody. What was
//! stored under that serial goes afterwards, a bounded number of rows at a time: each [slice](slices) is one commit
//! that moves the cursor too ([`room::purge::tables::PURGES`]), so that a crash repeats nothing and leaves out nothing. Of several
//! processes over one database one does it, as for any [consumer](store::Consumer).
//!
//! What is kept: that a user left the room (else a client that was away would show it for ever), under the new serial;
//! the audit log; and what users keep of the room for themselves (account data and tags). Who joins while it goes on is
//! told to come back later, because ids of events still lead to what is going; after it the room is joined as one that
//! nobody here was ever in.
//!
//! Reading order: [`order`], [`work`], [`close`], [`slices`]; [`room::purge::known`] is what readers ask.

mod close;
mod debts;
mod order;
pub(crate) mod slices;
mod work;

pub use debts::{Debts, NoDebts};
pub use order::PurgeStatus;
