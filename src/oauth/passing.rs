//! What is there for minutes: codes, requests of devices, letterboxes.
//!
//! Each has a row that says when it was made. Whoever makes another one at an authority takes away the oldest of that
//! authority's which are over, so there are never many of those; and of each kind an authority has only so many.

use store::{Batch, Order, Range, Store};

use crate::{
    Error, OAuth,
    kinds::Passing,
    tables::{CODES, COUNTS, DEVICE_CODES, Hash, PASSING, PASSING_OF_ALL, RENDEZVOUS, USER_CODES},
};

/// So many that are over go with each new one.
const AT_ONCE: usize = 8;

/// Rows that a step of the schema changes at once.
const PAGE: usize = 500;

impl OAuth {
    /// Adds to a batch that an authority has one more, and that the oldest which are over are gone. Its own row is the caller's.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Store`].
    pub(crate) async fn put_passing(
        &self,
        batch: &mut Batch,
        authority: &str,
        kind: Passing,
        made_ms: u64,
        hash: Hash,
    ) -> Result<(), Error> {
        let store = &self.inner.store;
        let count = store.get(&COUNTS, &(authority, kind.number())).await?.map_or(0, |count| count.0);
        let range = Range::prefix(&(authority, kind.number()));
        let oldest = store.scan(&PASSING, range, Order::Ascending, AT_ONCE).await?;
        let mut gone = 0;
        for ((_, _, at, old), ()) in oldest {
            let gives_way = kind.gives_way() && count - gone >= kind.most();
            if !self.is_over(at, kind.lifetime()) && !gives_way {
                break;
            }
            self.put_end(batch, authority, kind, at, old).await?;
            gone += 1;
        }
        if count - gone >= kind.most() && !kind.gives_way() {
            return Err(Error::Full);
        }
        batch.put(&PASSING, &key(authority, kind, made_ms, hash), &());
        batch.add(&COUNTS, &(authority, kind.number()), 1 - gone);
        Ok(())
    }

    /// How much is there for minutes at an authority, of all kinds.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn waiting(&self, authority: &ruma::ServerName) -> Result<usize, Error> {
        let range = Range::prefix(authority.as_str());
        Ok(self.inner.store.scan(&PASSING, range, Order::Ascending, usize::MAX).await?.len())
    }

    /// Adds to a batch that one is gone before its time.
    pub(crate) async fn put_gone(
        &self,
        batch: &mut Batch,
        authority: &str,
        kind: Passing,
        made_ms: u64,
        hash: Hash,
    ) -> Result<(), Error> {
        self.put_end(batch, authority, kind, made_ms, hash).await?;
        batch.add(&COUNTS, &(authority, kind.number()), -1);
        Ok(())
    }

    /// Adds to a batch that a code was traded: its row stays, as one of those that were.
    pub(crate) async fn put_spent(
        &self,
        batch: &mut Batch,
        authority: &str,
        made_ms: u64,
        hash: Hash,
    ) -> Result<(), Error> {
        put_unlisted(batch, authority, Passing::Code, made_ms, hash);
        batch.add(&COUNTS, &(authority, Passing::Code.number()), -1);
        self.put_passing(batch, authority, Passing::SpentCode, made_ms, hash).await
    }

    async fn put_end(
        &self,
        batch: &mut Batch,
        authority: &str,
        kind: Passing,
        made_ms: u64,
        hash: Hash,
    ) -> Result<(), Error> {
        match kind {
            Passing::Code | Passing::SpentCode => batch.delete(&CODES, &hash),
            Passing::Rendezvous => batch.delete(&RENDEZVOUS, &hash),
            Passing::DeviceCode => {
                if let Some(row) = self.inner.store.get(&DEVICE_CODES, &hash).await? {
                    batch.delete(&USER_CODES, &(row.authority, row.user_code));
                }
                batch.delete(&DEVICE_CODES, &hash);
            }
        }
        put_unlisted(batch, authority, kind, made_ms, hash);
        Ok(())
    }
}

fn key(authority: &str, kind: Passing, made_ms: u64, hash: Hash) -> (String, u8, u64, Hash) {
    (authority.to_owned(), kind.number(), made_ms, hash)
}

/// Adds to a batch that one is in no list any more.
fn put_unlisted(batch: &mut Batch, authority: &str, kind: Passing, made_ms: u64, hash: Hash) {
    let key = key(authority, kind, made_ms, hash);
    // Demanded, so that two do not count the same one as gone.
    batch.require(&PASSING, &key, Some(&()));
    batch.delete(&PASSING, &key);
}

/// A step of the schema: what is there for minutes is counted for its authority, and no more for all together.
///
/// # Errors
/// When the store cannot be read or written.
pub async fn count_by_authority(store: &Store) -> Result<(), store::Error> {
    let mut rest = Range::all();
    loop {
        let page = store.scan(&PASSING_OF_ALL, rest, Order::Ascending, PAGE).await?;
        let next = page.get(PAGE - 1).map(|(last, ())| Range::all().after(last));
        let mut batch = Batch::new();
        for (old, ()) in page {
            let (number, made_ms, hash) = old;
            batch.delete(&PASSING_OF_ALL, &old);
            let (kind, authority) = match number {
                1 => match store.get(&CODES, &hash).await? {
                    Some(row) if row.spent.is_some() => (Passing::SpentCode, Some(row.authority)),
                    row => (Passing::Code, row.map(|row| row.authority)),
                },
                2 => (Passing::DeviceCode, store.get(&DEVICE_CODES, &hash).await?.map(|row| row.authority)),
                _ => (Passing::Rendezvous, store.get(&RENDEZVOUS, &hash).await?.map(|row| row.authority)),
            };
            let Some(authority) = authority else { continue };
            batch.put(&PASSING, &key(&authority, kind, made_ms, hash), &());
            batch.add(&COUNTS, &(authority.as_str(), kind.number()), 1);
        }
        if !batch.is_empty() {
            store.commit(batch).await.map_err(store::CommitError::into_error)?;
        }
        match next {
            Some(next) => rest = next,
            None => break,
        }
    }
    let mut batch = Batch::new();
    for number in 1..=3 {
        batch.delete(&COUNTS, &("", number));
    }
    store.commit(batch).await.map_err(store::CommitError::into_error)?;
    Ok(())
}
