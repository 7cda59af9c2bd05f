//! Reading rows of several tables in one round trip.
//!
//! ```ignore
//! let mut reads = Reads::new();
//! let head = reads.get(&HEADS, &room);
//! let metas = reads.get_many(&EVENT_META, &events);
//! let mut found = store.read(reads).await?;
//! let (head, metas) = (found.take(head)?, found.take_many(metas)?);
//! ```

use std::{marker::PhantomData, ops::Range};

use bytes::Bytes;

use crate::{
    backend::RowKey,
    error::Error,
    key::{AsKey, Key, encode_key},
    table::Table,
    value::Value,
};

/// The rows to read.
#[derive(Clone, Debug, Default)]
pub struct Reads {
    pub(crate) keys: Vec<RowKey>,
}

/// The claim to one row of a [`Found`].
#[derive(Debug)]
#[must_use]
pub struct Ticket<V>(ManyTickets<V>);

/// The claim to several rows of a [`Found`].
#[derive(Debug)]
#[must_use]
pub struct ManyTickets<V> {
    rows: Range<usize>,
    table: &'static str,
    value: PhantomData<fn() -> V>,
}

impl Reads {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for a row.
    pub fn get<K: Key, V: Value, Q: AsKey<K> + ?Sized>(&mut self, table: &Table<K, V>, key: &Q) -> Ticket<V> {
        let start = self.keys.len();
        self.keys.push(RowKey { table: table.raw(), key: encode_key(key) });
        Ticket(ManyTickets { rows: start..start + 1, table: table.name(), value: PhantomData })
    }

    /// Asks for rows of one table.
    pub fn get_many<K: Key, V: Value, Q: AsKey<K>>(
        &mut self,
        table: &Table<K, V>,
        keys: &[Q],
    ) -> ManyTickets<V> {
        let start = self.keys.len();
        self.keys.extend(keys.iter().map(|key| RowKey { table: table.raw(), key: encode_key(key) }));
        ManyTickets { rows: start..self.keys.len(), table: table.name(), value: PhantomData }
    }
}

/// The rows that were read; each can be taken once.
#[derive(Debug, Default)]
pub struct Found {
    pub(crate) rows: Vec<Option<Bytes>>,
}

impl Found {
    /// The row asked for, if it is there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn take<V: Value>(&mut self, ticket: Ticket<V>) -> Result<Option<V>, Error> {
        Ok(self.take_many(ticket.0)?.pop().flatten())
    }

    /// The rows asked for, in the order of the keys.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn take_many<V: Value>(&mut self, tickets: ManyTickets<V>) -> Result<Vec<Option<V>>, Error> {
        let rows = self.rows.get_mut(tickets.rows).unwrap_or_default();
        rows.iter_mut()
            .map(|row| {
                let row = row.take().map(|bytes| V::decode(&bytes)).transpose();
                row.map_err(|cause| Error::Corrupt { table: tickets.table, cause })
            })
            .collect()
    }
}
