//! The whole way of a file, from bytes to rows.

mod corpus;
mod random;
mod saved;
