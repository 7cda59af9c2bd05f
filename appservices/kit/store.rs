//! [`Store`]: a small durable store in one file.
//!
//! Rows are JSON under text keys, in tables with names. A [`Batch`] is on the disk when [`Store::commit`] returns, all of it or
//! nothing. One process opens a file at a time.

use std::{marker::PhantomData, path::Path, sync::Arc, time::Duration};

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Serialize, de::DeserializeOwned};

/// All rows: table, a separator that no name has, key.
const ROWS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("rows");

/// Between the name of a table and a key.
const SEPARATOR: char = '\u{0}';

/// Memory for pages of the file.
const CACHE: usize = 16 << 20;

/// A process that was killed has given up its file after this at most.
const PATIENCE: Duration = Duration::from_secs(10);

/// Rows of one [`Store::scan`] at most.
const MOST: usize = 10_000;

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read or written; it may be possible later.
    #[error("the store could not be read or written: {0}")]
    File(String),
    /// A row is not what its table holds.
    #[error("a row of {table} cannot be read: {cause}")]
    Row {
        /// The table.
        table: String,
        /// Why.
        cause: serde_json::Error,
    },
}

impl From<redb::Error> for Error {
    fn from(error: redb::Error) -> Self {
        Self::File(error.to_string())
    }
}

fn failed(error: impl Into<redb::Error>) -> Error {
    Error::from(error.into())
}

/// A table: its name, and what its rows are. `/// Who …; key: …, value: ….`
pub struct Table<V> {
    name: &'static str,
    rows: PhantomData<fn() -> V>,
}

impl<V> Table<V> {
    /// A table of this name, which has no NUL in it.
    pub const fn new(name: &'static str) -> Self {
        Self { name, rows: PhantomData }
    }

    fn key(&self, key: &str) -> String {
        format!("{}{SEPARATOR}{key}", self.name)
    }
}

/// What is to be written together.
#[derive(Clone, Debug, Default)]
pub struct Batch(Vec<(String, Option<Vec<u8>>)>);

impl Batch {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a row in place of what is there.
    ///
    /// # Panics
    /// When the value has no JSON: maps whose keys are no texts.
    pub fn put<V: Serialize>(&mut self, table: &Table<V>, key: &str, value: &V) -> &mut Self {
        let value = serde_json::to_vec(value).expect("rows have a form in JSON");
        self.0.push((table.key(key), Some(value)));
        self
    }

    /// Takes a row away, if it is there.
    pub fn delete<V>(&mut self, table: &Table<V>, key: &str) -> &mut Self {
        self.0.push((table.key(key), None));
        self
    }

    /// Does what another does as well, after this.
    pub fn append(&mut self, other: Self) -> &mut Self {
        self.0.extend(other.0);
        self
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A store. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Database>);

impl Store {
    /// Opens a file, or makes it with its directory.
    ///
    /// # Errors
    /// When it cannot be, or another process has it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(|error| Error::File(error.to_string()))?;
        }
        let began = std::time::Instant::now();
        let database = loop {
            match Database::builder().set_cache_size(CACHE).create(path) {
                Ok(database) => break database,
                // Of a process that was killed a moment ago.
                Err(redb::DatabaseError::DatabaseAlreadyOpen) if began.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(error) => return Err(failed(error)),
            }
        };
        restrict(path)?;
        let store = Self(Arc::new(database));
        // The table is there from now on, so that no reader meets none.
        store.write(Batch::new())?;
        Ok(store)
    }

    /// A row.
    ///
    /// # Errors
    /// [`Error`]
    pub async fn get<V: DeserializeOwned>(&self, table: &Table<V>, key: &str) -> Result<Option<V>, Error> {
        let (key, name) = (table.key(key), table.name);
        let found = self.blocking(move |store| {
            let transaction = store.0.begin_read().map_err(failed)?;
            let rows = transaction.open_table(ROWS).map_err(failed)?;
            let found = rows.get(&*key).map_err(failed)?;
            Ok(found.map(|row| row.value().to_vec()))
        });
        found.await?.map(|row| read(name, &row)).transpose()
    }

    /// The rows whose keys begin so, in the order of their keys, behind `after` if there is one; `limit` of them and never more than 10,000.
    ///
    /// # Errors
    /// [`Error`]
    pub async fn scan<V: DeserializeOwned>(
        &self,
        table: &Table<V>,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, V)>, Error> {
        let (prefix, name) = (table.key(prefix), table.name);
        // The key right behind the last one.
        let begin = after.map(|after| format!("{}{SEPARATOR}", table.key(after)));
        let begin = begin.filter(|begin| *begin > prefix).unwrap_or_else(|| prefix.clone());
        let limit = limit.min(MOST);
        let found = self.blocking(move |store| {
            let transaction = store.0.begin_read().map_err(failed)?;
            let rows = transaction.open_table(ROWS).map_err(failed)?;
            let mut found = Vec::new();
            for row in rows.range(&*begin..).map_err(failed)?.take(limit) {
                let (key, value) = row.map_err(failed)?;
                if !key.value().starts_with(&prefix) {
                    break;
                }
                found.push((key.value().to_owned(), value.value().to_vec()));
            }
            Ok(found)
        });
        let skipped = name.len() + SEPARATOR.len_utf8();
        let read = |(key, row): (String, Vec<u8>)| {
            let key = key.get(skipped..).unwrap_or_default().to_owned();
            Ok((key, read(name, &row)?))
        };
        found.await?.into_iter().map(read).collect()
    }

    /// How many rows have keys that begin so.
    ///
    /// # Errors
    /// [`Error`]
    pub async fn count<V>(&self, table: &Table<V>, prefix: &str) -> Result<usize, Error> {
        let prefix = table.key(prefix);
        let end = format!("{prefix}{}", char::MAX);
        self.blocking(move |store| {
            let transaction = store.0.begin_read().map_err(failed)?;
            let rows = transaction.open_table(ROWS).map_err(failed)?;
            Ok(rows.range(&*prefix..&*end).map_err(failed)?.count())
        })
        .await
    }

    /// Writes a batch; it is on the disk when this returns.
    ///
    /// # Errors
    /// [`Error`]; then nothing of it is written.
    pub async fn commit(&self, batch: Batch) -> Result<(), Error> {
        self.blocking(move |store| store.write(batch)).await
    }

    /// Writes the batch that is made from what is there, with nobody writing in between. It is on the disk when this
    /// returns.
    ///
    /// # Errors
    /// [`Error`], or what `make` says; then nothing is written.
    pub async fn change<T, E>(
        &self,
        make: impl FnOnce(&Rows<'_>) -> Result<(Batch, T), E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let outcome = self.blocking(move |store| {
            let mut transaction = store.0.begin_write().map_err(failed)?;
            transaction.set_durability(Durability::Immediate).map_err(failed)?;
            let table = transaction.open_table(ROWS).map_err(failed)?;
            let made = make(&Rows(&table));
            let (batch, value) = match made {
                Ok(made) => made,
                Err(error) => {
                    drop(table);
                    transaction.abort().map_err(failed)?;
                    return Ok(Err(error));
                }
            };
            apply(table, batch)?;
            transaction.commit().map_err(failed)?;
            Ok(Ok(value))
        });
        outcome.await?
    }

    fn write(&self, batch: Batch) -> Result<(), Error> {
        let mut transaction = self.0.begin_write().map_err(failed)?;
        transaction.set_durability(Durability::Immediate).map_err(failed)?;
        apply(transaction.open_table(ROWS).map_err(failed)?, batch)?;
        transaction.commit().map_err(failed)
    }

    /// The disk is waited for outside of the async threads.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let store = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        done.unwrap_or_else(|error| Err(Error::File(error.to_string())))
    }
}

/// What a change sees of the store.
pub struct Rows<'a>(&'a redb::Table<'a, &'static str, &'static [u8]>);

impl Rows<'_> {
    /// A row.
    ///
    /// # Errors
    /// [`Error`]
    pub fn get<V: DeserializeOwned>(&self, table: &Table<V>, key: &str) -> Result<Option<V>, Error> {
        let found = self.0.get(&*table.key(key)).map_err(failed)?;
        found.map(|row| read(table.name, row.value())).transpose()
    }

    /// The last key that begins so.
    ///
    /// # Errors
    /// [`Error`]
    pub fn last_key<V>(&self, table: &Table<V>, prefix: &str) -> Result<Option<String>, Error> {
        let prefix = table.key(prefix);
        let end = format!("{prefix}{}", char::MAX);
        let mut range = self.0.range(&*prefix..&*end).map_err(failed)?;
        let Some(last) = range.next_back() else { return Ok(None) };
        let (key, _) = last.map_err(failed)?;
        Ok(key.value().get(table.key("").len()..).map(str::to_owned))
    }

    /// How many keys begin so, counted up to `most`.
    ///
    /// # Errors
    /// [`Error`]
    pub fn count<V>(&self, table: &Table<V>, prefix: &str, most: usize) -> Result<usize, Error> {
        let prefix = table.key(prefix);
        let end = format!("{prefix}{}", char::MAX);
        Ok(self.0.range(&*prefix..&*end).map_err(failed)?.take(most).count())
    }
}

fn apply(mut table: redb::Table<'_, &str, &[u8]>, batch: Batch) -> Result<(), Error> {
    for (key, value) in batch.0 {
        match value {
            Some(value) => table.insert(&*key, &*value).map_err(failed)?,
            None => table.remove(&*key).map_err(failed)?,
        };
    }
    Ok(())
}

fn read<V: DeserializeOwned>(table: &str, row: &[u8]) -> Result<V, Error> {
    serde_json::from_slice(row).map_err(|cause| Error::Row { table: table.to_owned(), cause })
}

/// What people wrote is read by nobody else on the machine.
fn restrict(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    let owner_only = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, owner_only).map_err(|error| Error::File(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: Table<u32> = Table::new("places");
    const PEOPLE: Table<String> = Table::new("people");

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(&directory.path().join("below/store")).expect("a store");
        (directory, store)
    }

    #[tokio::test]
    async fn rows_lie_in_the_order_of_their_keys_and_apart_from_other_tables() {
        let (_directory, store) = store();
        let mut batch = Batch::new();
        for (key, value) in [("金沢/2", 2), ("金沢/1", 1), ("輪島/1", 3)] {
            batch.put(&PLACES, key, &value);
        }
        batch.put(&PEOPLE, "金沢/1", &"花子".to_owned());
        store.commit(batch).await.expect("written");

        let all = store.scan(&PLACES, "金沢/", None, 10).await.expect("read");
        assert_eq!(all, [("金沢/1".to_owned(), 1), ("金沢/2".to_owned(), 2)]);
        let rest = store.scan(&PLACES, "金沢/", Some("金沢/1"), 10).await.expect("read");
        assert_eq!(rest, [("金沢/2".to_owned(), 2)]);
        assert_eq!(store.get(&PEOPLE, "金沢/1").await.expect("read").as_deref(), Some("花子"));
        assert_eq!(store.get(&PEOPLE, "輪島/1").await.expect("read"), None);
    }

    #[tokio::test]
    async fn a_change_that_fails_writes_nothing_and_one_that_succeeds_is_there_after_opening_again() {
        let (directory, store) = store();
        let add = |fails: bool| {
            move |rows: &Rows<'_>| {
                let now = rows.get(&PLACES, "a")?.unwrap_or(0) + 1;
                let mut batch = Batch::new();
                batch.put(&PLACES, "a", &now);
                if fails { Err(Error::File("no".to_owned())) } else { Ok((batch, now)) }
            }
        };
        assert_eq!(store.change(add(false)).await.expect("written"), 1);
        store.change(add(true)).await.expect_err("refused");
        drop(store);
        let store = Store::open(&directory.path().join("below/store")).expect("a store");
        assert_eq!(store.get(&PLACES, "a").await.expect("read"), Some(1));
        let last = store.change(|rows| Ok::<_, Error>((Batch::new(), rows.last_key(&PLACES, "")?)));
        assert_eq!(last.await.expect("read").as_deref(), Some("a"));
    }
}
