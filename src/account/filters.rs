//! Filters that clients leave with us and name in later requests.

use bytes::Bytes;
use ruma::UserId;
use sha2::{Digest, Sha256};
use store::Batch;

use crate::{Accounts, Error, tables};

/// Largest filter that is kept, in bytes of JSON.
const MAX_FILTER_BYTES: usize = 32 * 1024;

impl Accounts {
    /// Keeps a filter and answers with its id. The id is a hash, so the same filter is kept once.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3useruseridfilter>
    pub async fn put_filter(&self, user: &UserId, filter: Bytes) -> Result<String, Error> {
        if filter.len() > MAX_FILTER_BYTES {
            return Err(Error::TooLarge("a filter has at most 32 KiB"));
        }
        let hash: [u8; 32] = Sha256::digest(&filter).into();
        let id: String = hash.iter().take(10).map(|byte| format!("{byte:02x}")).collect();
        let mut batch = Batch::new();
        batch.put(&tables::FILTERS, &(user.as_str(), id.as_str()), &filter);
        self.commit(batch).await?;
        Ok(id)
    }

    /// The JSON of a filter that this user left.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub async fn filter(&self, user: &UserId, id: &str) -> Result<Bytes, Error> {
        let filter = self.inner.store.get(&tables::FILTERS, &(user.as_str(), id)).await?;
        filter.ok_or(Error::NotFound("no such filter"))
    }
}
