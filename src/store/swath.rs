//! Swaths of tables by their bytes: for who takes rows away, whatever they hold.
//!
//! Everything else goes through typed tables. Here a damaged row has to go like any other, and many tables are
//! dealt with alike.

use bytes::Bytes;

use crate::{
    backend::{RawOp, RawRange, RawRow},
    batch::Batch,
    error::Error,
    key::{Key, PrefixOf},
    store::Store,
    table::{Order, Range, RawTable, Table},
};

/// The rows of one table whose keys begin alike.
#[derive(Clone, Debug)]
pub struct Swath {
    table: RawTable,
    name: &'static str,
    start: Bytes,
    end: Option<Bytes>,
}

impl Swath {
    /// The name of its table, for people.
    #[must_use]
    pub const fn table(&self) -> &'static str {
        self.name
    }

    fn range(&self, after: Option<&[u8]>) -> RawRange {
        let start = match after {
            // The smallest key behind it.
            Some(after) => {
                let mut bound = after.to_vec();
                bound.push(0);
                Bytes::from(bound).max(self.start.clone())
            }
            None => self.start.clone(),
        };
        RawRange { table: self.table, start, end: self.end.clone() }
    }
}

impl<K: Key, V> Table<K, V> {
    /// All rows.
    #[must_use]
    pub fn whole(&self) -> Swath {
        Swath { table: self.raw(), name: self.name(), start: Bytes::new(), end: None }
    }

    /// The rows whose keys begin with these elements.
    #[must_use]
    pub fn swath<P: PrefixOf<K> + ?Sized>(&self, prefix: &P) -> Swath {
        let Range { start, end, .. } = Range::<K>::prefix(prefix);
        Swath { table: self.raw(), name: self.name(), start, end }
    }
}

impl Store {
    /// Reads at most `limit` rows of a swath, those behind a key, smallest key first, as they are stored.
    ///
    /// # Errors
    /// When the back end fails.
    pub async fn rows_of(
        &self,
        swath: &Swath,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<RawRow>, Error> {
        let found = self.backend().scan(&[swath.range(after)], Order::Ascending, limit).await?;
        Ok(found.into_iter().next().unwrap_or_default())
    }

    /// Gives the space back that rows of a swath took which are deleted. What is not deleted stays; readers and
    /// writers go on. Costs as much as rewriting what lies around it.
    ///
    /// # Errors
    /// When the back end fails; then nothing but the space is missing.
    pub async fn give_back(&self, swath: &Swath) -> Result<(), Error> {
        self.backend().give_back(&swath.range(None)).await
    }
}

impl Batch {
    /// Removes a row of a swath by its key as it is stored.
    pub fn delete_row(&mut self, swath: &Swath, key: Bytes) {
        self.push_op(RawOp::Delete { table: swath.table, key });
    }
}
