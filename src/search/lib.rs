//! Search in what was said: an index of messages, names and topics of rooms, in Japanese first.
//!
//! The index lies in the store, room by room, and is written behind the log by one process ([`Search::start_indexing`]).
//! It only says where to look: whoever searches is shown what the events say now, as far as he may see it
//! (`truth`), and what was said since the index was written is read from the log. So nothing is found that is not there,
//! and nothing that was acknowledged is missing.
//!
//! Reading order: `grams` (what a text is looked up by), `query` (what somebody looks for), [`Search::find`]; then `segment`
//! and `page` for the form of the index, `index` and `follow` for how it is kept up.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#server-side-search>

mod asked;
mod candidates;
mod emptied;
mod error;
mod find;
mod follow;
mod grams;
mod index;
mod page;
mod query;
mod search;
mod segment;
mod sought;
mod tables;
mod text;
mod token;
mod truth;

pub use self::{
    asked::{Asked, Order},
    emptied::Emptying,
    error::Error,
    find::{Found, Hit},
    grams::MOST_LETTERS,
    query::Query,
    search::{Progress, Search, Size},
    tables::checks,
    text::Field,
    token::{Group, Place},
};

#[cfg(test)]
mod tests;
