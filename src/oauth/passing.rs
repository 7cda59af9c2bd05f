//! What is there for minutes: codes, requests of devices, letterboxes.
//!
//! Each has a row that says when it was made. Whoever makes another one takes away the oldest that are over,
//! so there are never many of those; and of each kind there are only so many.

use std::time::Duration;

use store::{Batch, Order, Range};

use crate::{
    Error, OAuth,
    tables::{CODES, COUNTS, DEVICE_CODES, Hash, PASSING, RENDEZVOUS, USER_CODES},
};

/// So many that are over go with each new one.
const AT_ONCE: usize = 8;

/// What is there for minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Passing {
    /// A code that a client trades for tokens.
    Code,
    /// A request of a device.
    DeviceCode,
    /// A letterbox.
    Rendezvous,
}

impl Passing {
    /// How long it is worth something.
    pub(crate) const fn lifetime(self) -> Duration {
        match self {
            // Clients fetch at once.
            Passing::Code => Duration::from_secs(2 * 60),
            // Somebody has to walk to another device and sign in there.
            Passing::DeviceCode => Duration::from_secs(15 * 60),
            Passing::Rendezvous => Duration::from_secs(10 * 60),
        }
    }

    /// How many there may be in the whole store.
    const fn most(self) -> i64 {
        match self {
            Passing::Code => 10_000,
            Passing::DeviceCode => 2_000,
            Passing::Rendezvous => 1_000,
        }
    }

    /// How long its row is kept. A code that was spent is known a while longer, so that a thief who comes late ends
    /// what was got with it.
    const fn kept(self) -> Duration {
        match self {
            Passing::Code => Duration::from_secs(60 * 60),
            Passing::DeviceCode | Passing::Rendezvous => self.lifetime(),
        }
    }

    const fn number(self) -> u8 {
        match self {
            Passing::Code => 1,
            Passing::DeviceCode => 2,
            Passing::Rendezvous => 3,
        }
    }
}

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
