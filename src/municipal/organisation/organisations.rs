//! Organisations as they are stored: the history of each, read as what stands.

use std::collections::BTreeMap;

use base::Timestamp;
use ruma::{OwnedServerName, ServerName};
use store::{Batch, Order, Range, Store};

use crate::{
    error::Error,
    ids::{Ids, RecordId},
    organisation::Organisation,
    tables::{Entry, HEADS, HISTORY, Head},
};

/// How many rows are read at a time.
const PAGE: usize = 10_000;

/// The organisations of all authorities. Cloning gives another handle.
#[derive(Clone, Debug)]
pub struct Organisations {
    pub(crate) store: Store,
}

/// An organisation as it was read.
#[derive(Clone, Debug)]
pub struct Known {
    /// What stands.
    pub organisation: Organisation,
    pub(crate) head: Head,
    /// Whether the authority has a row of its own already.
    pub(crate) is_stored: bool,
}

impl Known {
    /// Numbers for what is new, for one proposal.
    #[must_use]
    pub fn ids(&self) -> Ids {
        Ids::from(self.head.next_id)
    }
}

impl Organisations {
    /// Over a store.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        Self { store: store.clone() }
    }

    /// Of these authorities, those that have a set which is under way, is being written, or waits for somebody or for its hour.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn busy(&self, authorities: &[OwnedServerName]) -> Result<Vec<OwnedServerName>, Error> {
        let keys: Vec<_> = authorities.iter().map(|authority| authority.as_str()).collect();
        let heads = self.store.get_many(&HEADS, &keys).await?;
        let is_busy = |head: &Head| head.under_way.is_some() || !head.waiting.is_empty();
        let both = authorities.iter().zip(heads);
        Ok(both
            .filter(|(_, head)| head.as_ref().is_some_and(is_busy))
            .map(|(name, _)| name.clone())
            .collect())
    }

    /// How often an organisation was added to: the same number as before tells that nothing has moved.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn progress(&self, authority: &ServerName) -> Result<u64, Error> {
        Ok(self.head(authority).await?.map_or(0, |head| head.entries))
    }

    /// What a batch demands that is to be written only while nothing of the organisation has changed since.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn demand(
        &self,
        authority: &ServerName,
    ) -> Result<impl Fn(&mut Batch) + Send + Sync + use<>, Error> {
        let (authority, head) = (authority.to_owned(), self.head(authority).await?);
        Ok(move |batch: &mut Batch| {
            batch.require(&HEADS, authority.as_str(), head.as_ref());
        })
    }

    /// Reads the organisation of an authority: as it was at one moment, though others write meanwhile.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load(&self, authority: &ServerName) -> Result<Known, Error> {
        let head = self.head(authority).await?;
        let is_stored = head.is_some();
        let head = head.unwrap_or_default();
        let organisation = self.read(authority, |number, _| number < head.entries).await?;
        Ok(Known { organisation, head, is_stored })
    }

    /// Reads what was known at a moment: what was written since does not count, be it a correction of days before.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load_as_known(&self, authority: &ServerName, at: Timestamp) -> Result<Organisation, Error> {
        let entries = self.head(authority).await?.unwrap_or_default().entries;
        self.read(authority, |number, entry| number < entries && entry.at <= at).await
    }

    async fn read(
        &self,
        authority: &ServerName,
        counts: impl Fn(u64, &Entry) -> bool,
    ) -> Result<Organisation, Error> {
        let mut organisation = Organisation::default();
        let mut range = Range::prefix(authority.as_str());
        loop {
            let rows = self.store.scan(&HISTORY, range, Order::Ascending, PAGE).await?;
            let is_last = rows.len() < PAGE;
            let last = rows.last().map(|(key, _)| key.clone());
            // Of a page only the last that counts of each record: most records are said once.
            let mut said = BTreeMap::new();
            for ((_, record, number), entry) in rows {
                if counts(number, &entry) {
                    said.insert(record, entry.says);
                }
            }
            for (record, says) in said {
                organisation.say(record, says);
            }
            match last.filter(|_| !is_last) {
                Some(last) => range = Range::prefix(authority.as_str()).after(&last),
                None => return Ok(organisation),
            }
        }
    }

    /// What a record ever said, the oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn history(&self, authority: &ServerName, record: RecordId) -> Result<Vec<Entry>, Error> {
        let range = Range::prefix(&(authority.as_str(), record));
        let rows = self.store.scan(&HISTORY, range, Order::Ascending, PAGE).await?;
        Ok(rows.into_iter().map(|(_, entry)| entry).collect())
    }

    pub(crate) async fn head(&self, authority: &ServerName) -> Result<Option<Head>, Error> {
        Ok(self.store.get(&HEADS, authority.as_str()).await?)
    }
}

/// Demands that nobody has changed the organisation, and notes how far it has come.
pub(crate) fn advance(batch: &mut Batch, authority: &ServerName, old: Option<&Head>, new: &Head) {
    match old {
        Some(old) => batch.replace(&HEADS, authority.as_str(), old, new),
        None => batch.insert(&HEADS, authority.as_str(), new),
    };
}
