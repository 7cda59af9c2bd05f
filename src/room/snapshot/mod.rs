//! State snapshots: the state of a room before each event, as persistent maps.
//!
//! A snapshot is the [`Root`](crate::Root) of a content-addressed search tree from state keys to
//! events. Its chunks are cut by a hash of the key alone, so equal states are equal trees with equal
//! roots, by whatever way they came about. A change rewrites one path of small chunks; everything
//! else is shared; two snapshots are compared in time that follows their difference. Snapshots are
//! values: nothing here changes one. Choosing between conflicting ones is [`crate::state`]'s work.
//!
//! Reading order: [`node`] (what a chunk is), [`tree`] (look-up, walk, difference), [`apply`], then
//! [`Snapshots`], which brings chunks from the store, and [`upkeep`] (reclaim, verify).

mod apply;
mod node;
mod tree;
#[cfg(test)]
mod tests;

pub use self::{
    apply::Change,
    node::{BadChunk, ChunkHash, Entry},
    tree::{Broken, Difference, Query},
};
