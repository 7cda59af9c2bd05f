//! State snapshots: the state of a room before each event, as persistent maps.
//!
//! A snapshot is the [`Root`] of a content-addressed search tree from state keys to events. Its
//! chunks are cut by a hash of the key alone, so equal states are equal trees with equal roots, by
//! whatever way they came about. A change rewrites one path of small chunks; everything else is
//! shared; two snapshots are compared in time that follows their difference. Snapshots are values:
//! nothing here changes one. Choosing between conflicting ones is [`crate::state`]'s work.
//!
//! Reading order: `node` (what a chunk is), `tree` (look-up, walk, difference), `apply`, then
//! [`Snapshots`], which brings chunks from the store (`shelf`), and `upkeep` (reclaim, verify) with [`Reached`].

mod apply;
mod node;
mod reached;
mod shelf;
#[cfg(test)]
mod stored_tests;
#[cfg(test)]
mod tests;
mod tree;
mod upkeep;

use std::sync::Arc;

use base::{Caches, Tasks};
use store::{Batch, Store};
use tracing::error;

pub use self::{
    apply::{Change, in_tree_order},
    node::{BadChunk, ChunkHash, Entry},
    reached::Reached,
    shelf::{CHUNKS, Hold},
    tree::{Broken, Difference, Query},
    upkeep::{Page, Reclaimed, Report},
};
use self::{shelf::Shelf, tree::Walk};
use crate::ids::{EventSerial, RoomSerial, Root, StateKeySerial};

/// Why a snapshot could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error("the store could not be read: {0}")]
    Store(#[from] store::Error),
    /// A chunk is missing or damaged; somebody has to look.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// The process is shutting down, or the work was lost.
    #[error("interrupted")]
    Interrupted,
}

impl From<Error> for crate::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(error) => Self::Store(error),
            Error::Broken(broken) => {
                error!(error = %broken, "a state snapshot is damaged");
                Self::Inconsistent("a state snapshot is damaged")
            }
            Error::Interrupted => Self::Interrupted,
        }
    }
}

/// The state snapshots of all rooms. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Snapshots(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shelf: Shelf,
    tasks: Tasks,
}

/// More changes than this are worked on away from the async threads: about half a millisecond.
const MANY_CHANGES: usize = 1_000;

impl Snapshots {
    /// Snapshots kept in a store, with about so much memory for chunks.
    pub fn new(store: Store, caches: &Caches, cache_bytes: u64, tasks: &Tasks) -> Self {
        Self(Arc::new(Inner { shelf: Shelf::new(store, caches, cache_bytes), tasks: tasks.clone() }))
    }

    fn shelf(&self) -> &Shelf {
        &self.0.shelf
    }

    /// To be held while a batch is in the making that [`Snapshots::apply`] adds to more than once.
    pub fn hold(&self) -> Hold {
        self.shelf().hold()
    }

    /// The events of some keys; an element per key, in order.
    ///
    /// # Errors
    /// [`Error::Store`] and [`Error::Broken`]; so for all reads.
    pub async fn get(
        &self,
        room: RoomSerial,
        root: Root,
        keys: &[StateKeySerial],
    ) -> Result<Vec<Option<EventSerial>>, Error> {
        Ok(self.get_many(&[Query { room, root, keys }]).await?.pop().unwrap_or_default())
    }

    /// The events of some keys in several snapshots, of any rooms, in one round per level.
    ///
    /// # Errors
    /// As [`Snapshots::get`].
    pub async fn get_many(&self, queries: &[Query<'_>]) -> Result<Vec<Vec<Option<EventSerial>>>, Error> {
        tree::look_up(self.shelf(), queries).await
    }

    /// All entries, batch by batch and in no particular order, for snapshots of any size.
    pub fn walk(&self, room: RoomSerial, root: Root) -> Entries {
        Entries { snapshots: self.clone(), walk: Walk::new([(room, root)]) }
    }

    /// All entries, sorted by key.
    ///
    /// # Errors
    /// As [`Snapshots::get`].
    pub async fn all(&self, room: RoomSerial, root: Root) -> Result<Vec<Entry>, Error> {
        Ok(self.all_of(&[(room, root)]).await?.pop().unwrap_or_default())
    }

    /// All entries of several snapshots, of any rooms, read together; an element per snapshot, in order.
    ///
    /// # Errors
    /// As [`Snapshots::get`].
    pub async fn all_of(&self, snapshots: &[(RoomSerial, Root)]) -> Result<Vec<Vec<Entry>>, Error> {
        tree::all(self.shelf(), snapshots).await
    }

    /// How many entries a snapshot has; reads one chunk.
    ///
    /// # Errors
    /// As [`Snapshots::get`].
    pub async fn len(&self, room: RoomSerial, root: Root) -> Result<u64, Error> {
        tree::len(self.shelf(), room, root).await
    }

    /// A snapshot with changes. Chunks that the old one lacks are put into `batch`.
    ///
    /// Of several changes of a key the last one counts; removing an absent key does nothing. The new
    /// root may be used at once, before the batch is written, by others that are written after it.
    /// If the batch is given up, so must be the root.
    ///
    /// # Errors
    /// As [`Snapshots::get`].
    #[crate::boxed]
    pub async fn apply(
        &self,
        room: RoomSerial,
        root: Root,
        changes: &[Change],
        batch: &mut Batch,
    ) -> Result<Root, Error> {
        let changes = apply::settled(changes);
        if changes.is_empty() {
            return Ok(root);
        }
        let loaded = apply::load(self.shelf(), room, root, &changes).await?;
        let (root, made) = if changes.len() < MANY_CHANGES {
            apply::build(&loaded, &changes)?
        } else {
            let work = move || apply::build(&loaded, &changes);
            self.0.tasks.spawn_blocking("large snapshot", work).await.map_err(|_| Error::Interrupted)??
        };
        self.shelf().add(room, made, batch);
        Ok(root)
    }

    /// In which keys two snapshots of a room differ, sorted by key.
    ///
    /// The cost follows the difference, not the size of the snapshots.
    ///
    /// # Errors
    /// As [`Snapshots::get`].
    pub async fn difference(
        &self,
        room: RoomSerial,
        before: Root,
        after: Root,
    ) -> Result<Vec<Difference>, Error> {
        Ok(self.differences(&[(room, before, after)]).await?.pop().unwrap_or_default())
    }

    /// The same for several pairs of snapshots, of any rooms, read together; an element per pair, in order.
    ///
    /// # Errors
    /// As [`Snapshots::get`].
    pub async fn differences(
        &self,
        pairs: &[(RoomSerial, Root, Root)],
    ) -> Result<Vec<Vec<Difference>>, Error> {
        tree::differences(self.shelf(), pairs).await
    }
}

/// The entries of a snapshot, read as they are wanted; see [`Snapshots::walk`].
#[derive(Clone, Debug)]
pub struct Entries {
    snapshots: Snapshots,
    walk: Walk,
}

impl Entries {
    /// The next few thousand entries; none at the end.
    ///
    /// # Errors
    /// As [`Snapshots::get`].
    pub async fn next(&mut self) -> Result<Option<Vec<Entry>>, Error> {
        let found = self.walk.next(self.snapshots.shelf()).await?;
        Ok(found.map(|found| found.into_iter().flat_map(|(_, entries)| entries).collect()))
    }
}
