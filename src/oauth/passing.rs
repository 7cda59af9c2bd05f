//! What is there for minutes: codes, requests of devices, letterboxes.
//!
//! Each has a row that says when it was made. Whoever makes another one takes away the oldest that are over,
//! so there are never many of those; and of each kind there are only so many.

use store::{Batch, Order, Range};

use crate::{
    Error, OAuth,
    kinds::Passing,
    tables::{CODES, COUNTS, DEVICE_CODES, Hash, PASSING, RENDEZVOUS, USER_CODES},
};

/// So many that are over go with each new one.
const AT_ONCE: usize = 8;

impl OAuth {
    /// Adds to a batch that there is one more, and that the oldest which are over are gone. Its own row is the caller's.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Store`].
    pub(crate) async fn put_passing(
        &self,
        batch: &mut Batch,
        kind: Passing,
        made_ms: u64,
        hash: Hash,
    ) -> Result<(), Error> {
        let store = &self.inner.store;
        let range = Range::prefix(&kind.number());
        let oldest = store.scan(&PASSING, range, Order::Ascending, AT_ONCE).await?;
        let mut gone = 0;
        for ((_, at, old), ()) in oldest {
            if !self.is_over(at, kind.kept()) {
                break;
            }
            self.put_end(batch, kind, at, old).await?;
            gone += 1;
        }
        let count = store.get(&COUNTS, &("", kind.number())).await?.map_or(0, |count| count.0);
        if count - gone >= kind.most() {
            return Err(Error::Full);
        }
        batch.put(&PASSING, &(kind.number(), made_ms, hash), &());
        batch.add(&COUNTS, &("", kind.number()), 1 - gone);
        Ok(())
    }

    /// Adds to a batch that one is gone before its time.
    pub(crate) async fn put_gone(
        &self,
        batch: &mut Batch,
        kind: Passing,
        made_ms: u64,
        hash: Hash,
    ) -> Result<(), Error> {
        self.put_end(batch, kind, made_ms, hash).await?;
        batch.add(&COUNTS, &("", kind.number()), -1);
        Ok(())
    }

    async fn put_end(&self, batch: &mut Batch, kind: Passing, made_ms: u64, hash: Hash) -> Result<(), Error> {
        match kind {
            Passing::Code => batch.delete(&CODES, &hash),
            Passing::Rendezvous => batch.delete(&RENDEZVOUS, &hash),
            Passing::DeviceCode => {
                if let Some(row) = self.inner.store.get(&DEVICE_CODES, &hash).await? {
                    batch.delete(&USER_CODES, &(row.authority, row.user_code));
                }
                batch.delete(&DEVICE_CODES, &hash);
            }
        }
        // Demanded, so that two do not count the same one as gone.
        batch.require(&PASSING, &(kind.number(), made_ms, hash), Some(&()));
        batch.delete(&PASSING, &(kind.number(), made_ms, hash));
        Ok(())
    }
}
