//! Filters that clients leave with us and name in later requests.

use bytes::Bytes;
use ruma::UserId;
use sha2::{Digest, Sha256};
use store::{Batch, Range, Reads};

use crate::{Accounts, Error, tables, users::refuse_closed};

/// Largest filter that is kept, in bytes of JSON, and most filters of a user.
const MAX_FILTER_BYTES: usize = 32 * 1024;
const MAX_FILTERS: usize = 500;

impl Accounts {
    /// Keeps a filter and answers with its id. The id is a hash of what the filter says, so equal filters are
    /// kept once, however they are written.
    ///
    /// # Errors
    /// [`Error::InvalidParam`] when it is no JSON, [`Error::TooLarge`] for a large one or one too many,
    /// [`Error::Deactivated`], [`Error::Contended`] when the account changed meanwhile, [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3useruseridfilter>
    pub async fn put_filter(&self, user: &UserId, filter: Bytes) -> Result<String, Error> {
        if filter.len() > MAX_FILTER_BYTES {
            return Err(Error::TooLarge("a filter has at most 32 KiB"));
        }
        // Parsed, the keys of objects are sorted.
        let parsed: serde_json::Value =
            serde_json::from_slice(&filter).map_err(|cause| Error::InvalidParam(cause.to_string()))?;
        let hash: [u8; 32] = Sha256::digest(parsed.to_string().as_bytes()).into();
        let id: String = hash.iter().take(10).map(|byte| format!("{byte:02x}")).collect();
        let (store, key) = (&self.inner.store, (user.as_str(), id.as_str()));
        let mut reads = Reads::new();
        let (row, known) = (reads.get(&tables::USERS, user.as_str()), reads.get(&tables::FILTERS, &key));
        let mut found = store.read(reads).await?;
        let (row, known) = (found.take(row)?, found.take(known)?);
        refuse_closed(user, row.as_ref())?;
        if known.is_some() {
            return Ok(id);
        }
        let range = Range::prefix(user.as_str());
        let kept = store.scan(&tables::FILTERS, range, store::Order::Ascending, MAX_FILTERS).await?;
        if kept.len() >= MAX_FILTERS {
            return Err(Error::TooLarge(
                "a user keeps at most 500 filters; one may also stand in the request",
            ));
        }
        let mut batch = Batch::new();
        batch.require(&tables::USERS, user.as_str(), row.as_ref());
        batch.put(&tables::FILTERS, &key, &filter);
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
