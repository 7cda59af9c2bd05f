//! Tests of the write side: whole servers over memory stores.
#![expect(clippy::unwrap_used, reason = "tests")]

mod chains;
mod convergence;
mod counting;
mod delayed;
mod entering;
mod entering_liars;
mod entering_together;
mod ephemeral;
mod erasure;
mod extremities;
mod federation;
mod gaps;
mod half_way;
mod inbound;
mod lacking;
mod lacking_together;
mod liars;
mod local;
mod local_members;
mod model;
mod net;
mod others;
mod outside;
mod passing;
mod people;
mod people_among_many;
mod policy;
mod projections;
mod purge;
mod reading;
mod receipts;
mod recency;
mod redactions;
mod restricted;
mod rows;
pub(crate) mod stored;
mod tails;
mod third_party;
mod times;
mod troubles;
mod upgrades;
mod upkeep;

#[global_allocator]
static COUNTING: meter::Counting = meter::Counting;
