//! The whole way of a file, from bytes to rows.

mod corpus;
mod proposals;
mod random;
mod saved;
