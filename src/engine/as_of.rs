//! [`AsOf`]: what a state that no row names yet stands on.

use room::{Error, ids::RoomSerial};
use store::{Batch, Store};

use crate::tables::{SWEEPS, SweepRow};

/// How far the reclaiming of a room was when a state was made that only memory knows.
///
/// A batch that is the first to name such a state demands that this has not moved ([`AsOf::demand`]); for what nobody
/// names is taken away, though not before that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AsOf(Option<SweepRow>);

impl AsOf {
    /// Now. To be asked before the state is made.
    pub(crate) async fn now(store: &Store, room: RoomSerial) -> Result<Self, Error> {
        Ok(Self(store.get(&SWEEPS, &room).await?))
    }

    /// Whether states made since are there still. Asked before they are read, for what is gone looks like damage.
    ///
    /// # Errors
    /// [`Error::Contended`] when they may be gone: they have to be made again.
    pub(crate) async fn check(&self, store: &Store, room: RoomSerial) -> Result<(), Error> {
        if Self::now(store, room).await? == *self { Ok(()) } else { Err(Error::Contended) }
    }

    /// Demands in a batch that states made since are there.
    pub(crate) fn demand(&self, batch: &mut Batch, room: RoomSerial) {
        batch.require(&SWEEPS, &room, self.0.as_ref());
    }
}
