//! [`Store`]: a small durable store in one file.
//!
//! Rows are JSON under text keys, in tables with names. A [`Batch`] is on the disk when [`Store::commit`] returns, all of it or
//! nothing. One process opens a file at a time.
//!
//! A disk that is full for a moment stops nothing for good: what could not be written is refused, and the file is opened anew. A row that
//! cannot be read costs itself only: whoever walks over a table passes it by, it stays, and the log says so once.

use std::{
    collections::HashSet,
    marker::PhantomData,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use redb::{Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Serialize, de::DeserializeOwned};
use tracing::{error, info, warn};

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

/// What is written to see whether there is room again.
const PROBE: Table<String> = Table::new("probe");
const PROBED: usize = 256 << 10;

/// Rows that the log names because they cannot be read, between two starts.
const MOST_NAMED: usize = 1_000;

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
pub struct Store(Arc<Inner>);

struct Inner {
    open: Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>,
    /// None while it could not be opened again.
    file: RwLock<File>,
    /// Whether the last write failed.
    is_failing: AtomicBool,
    /// Rows that could not be read, of which the log has spoken.
    unread: Mutex<HashSet<String>>,
}

/// The file, and how often it was opened.
struct File {
    database: Option<Database>,
    opened: u64,
}

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
        let own = path.to_owned();
        let open = move || Database::builder().set_cache_size(CACHE).create(&own);
        let store = loop {
            match Self::of(open.clone()) {
                Ok(store) => break store,
                // Of a process that was killed a moment ago.
                Err(DatabaseError::DatabaseAlreadyOpen) if began.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(error) => return Err(failed(error)),
            }
        };
        restrict(path)?;
        // The table is there from now on, so that no reader meets none.
        store.with(|database| write(database, Batch::new()))?;
        Ok(store)
    }

    fn of(
        open: impl Fn() -> Result<Database, DatabaseError> + Send + Sync + 'static,
    ) -> Result<Self, DatabaseError> {
        let file = RwLock::new(File { database: Some(open()?), opened: 1 });
        Ok(Self(Arc::new(Inner {
            open: Box::new(open),
            file,
            is_failing: false.into(),
            unread: Mutex::default(),
        })))
    }

    /// Does something with the open file. One that broke is opened anew, for whoever comes next: after the first failure of a disk it would
    /// refuse for ever.
    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, Error>) -> Result<T, Error> {
        if self.0.file.read().database.is_none() {
            self.open_again(None)?;
        }
        let (outcome, opened) = {
            let file = self.0.file.read();
            let Some(database) = &file.database else {
                return Err(Error::File("the file is not open".to_owned()));
            };
            (work(database), file.opened)
        };
        if let Err(Error::File(cause)) = &outcome {
            warn!(error = cause, "the store's file is opened anew");
            // That it fails too is told to the next one; this one has its answer.
            self.open_again(Some(opened)).ok();
        }
        outcome
    }

    /// Closes the file, if it is still the one that broke, and opens it.
    fn open_again(&self, broken: Option<u64>) -> Result<(), Error> {
        let mut file = self.0.file.write();
        let is_open = file.database.is_some();
        if is_open && broken != Some(file.opened) {
            return Ok(());
        }
        // Before it is opened: it belongs to one at a time, this process as well.
        file.database = None;
        file.database = Some((self.0.open)().map_err(failed)?);
        file.opened += 1;
        if !is_open {
            info!("the store's file is open again");
        }
        Ok(())
    }

    /// What the rows say. One that cannot be read is left out.
    fn read_all<V: DeserializeOwned>(&self, table: &str, rows: Vec<(String, Vec<u8>)>) -> Vec<(String, V)> {
        let skipped = table.len() + SEPARATOR.len_utf8();
        let mut all = Vec::with_capacity(rows.len());
        for (whole, row) in rows {
            let key = whole.get(skipped..).unwrap_or_default();
            match read(table, &row) {
                Ok(value) => all.push((key.to_owned(), value)),
                Err(error) => {
                    let mut unread = self.0.unread.lock();
                    if unread.len() < MOST_NAMED && !unread.contains(&whole) {
                        error!(%error, key, "a row is passed by");
                        unread.insert(whole);
                    }
                }
            }
        }
        all
    }

    /// A row.
    ///
    /// # Errors
    /// [`Error`]
    pub async fn get<V: DeserializeOwned>(&self, table: &Table<V>, key: &str) -> Result<Option<V>, Error> {
        let (key, name) = (table.key(key), table.name);
        let found = self.blocking(move |database| {
            let transaction = database.begin_read().map_err(failed)?;
            let rows = transaction.open_table(ROWS).map_err(failed)?;
            let found = rows.get(&*key).map_err(failed)?;
            Ok(found.map(|row| row.value().to_vec()))
        });
        found.await?.map(|row| read(name, &row)).transpose()
    }

    /// The rows whose keys begin so, in the order of their keys, behind `after` if there is one; `limit` of them and never more than 10,000.
    /// Rows that cannot be read are not among them.
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
        let (mut all, mut begin) = (Vec::new(), begin);
        loop {
            let wanted = limit - all.len();
            let found = self.blocking({
                let prefix = prefix.clone();
                move |database| some(database, &prefix, &begin, wanted)
            });
            let found = found.await?;
            let is_end = found.len() < wanted;
            // The key right behind the last one.
            let next = found.last().map(|(last, _)| format!("{last}{SEPARATOR}"));
            all.extend(self.read_all(name, found));
            match next {
                Some(next) if !is_end && all.len() < limit => begin = next,
                _ => return Ok(all),
            }
        }
    }

    /// How many rows have keys that begin so.
    ///
    /// # Errors
    /// [`Error`]
    pub async fn count<V>(&self, table: &Table<V>, prefix: &str) -> Result<usize, Error> {
        let prefix = table.key(prefix);
        let end = format!("{prefix}{}", char::MAX);
        self.blocking(move |database| {
            let transaction = database.begin_read().map_err(failed)?;
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
        self.note(self.blocking(move |database| write(database, batch)).await)
    }

    fn note<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        self.0.is_failing.store(outcome.is_err(), Ordering::Relaxed);
        outcome
    }

    /// Whether something can be written. After a failure it is tried with as much as a small disk is short of.
    ///
    /// # Errors
    /// [`Error`]
    pub(crate) async fn check(&self) -> Result<(), Error> {
        if !self.0.is_failing.load(Ordering::Relaxed) {
            return self.commit(Batch::new()).await;
        }
        let (mut put, mut take_away) = (Batch::new(), Batch::new());
        put.put(&PROBE, "", &"x".repeat(PROBED));
        take_away.delete(&PROBE, "");
        self.commit(put).await?;
        self.commit(take_away).await
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
        let outcome = self.blocking(move |database| {
            let mut transaction = database.begin_write().map_err(failed)?;
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
        self.note(outcome.await)?
    }

    /// The disk is waited for outside of the async threads.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let store = self.clone();
        let done = tokio::task::spawn_blocking(move || store.with(work)).await;
        done.unwrap_or_else(|error| Err(Error::File(error.to_string())))
    }
}

fn write(database: &Database, batch: Batch) -> Result<(), Error> {
    let mut transaction = database.begin_write().map_err(failed)?;
    transaction.set_durability(Durability::Immediate).map_err(failed)?;
    apply(transaction.open_table(ROWS).map_err(failed)?, batch)?;
    transaction.commit().map_err(failed)
}

/// So many rows from a key on.
fn some(
    database: &Database,
    prefix: &str,
    begin: &str,
    limit: usize,
) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let transaction = database.begin_read().map_err(failed)?;
    let rows = transaction.open_table(ROWS).map_err(failed)?;
    let mut found = Vec::new();
    for row in rows.range(begin..).map_err(failed)?.take(limit) {
        let (key, value) = row.map_err(failed)?;
        if !key.value().starts_with(prefix) {
            break;
        }
        found.push((key.value().to_owned(), value.value().to_vec()));
    }
    Ok(found)
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
    use std::io;

    use super::*;

    const PLACES: Table<u32> = Table::new("places");
    const PEOPLE: Table<String> = Table::new("people");

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(&directory.path().join("below/store")).expect("a store");
        (directory, store)
    }

    /// A file on a disk that can be full.
    #[derive(Debug)]
    struct Disk(redb::backends::FileBackend, Arc<AtomicBool>);

    impl Disk {
        fn check(&self) -> Result<(), io::Error> {
            if self.1.load(Ordering::Relaxed) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }
    }

    impl redb::StorageBackend for Disk {
        fn len(&self) -> Result<u64, io::Error> {
            self.0.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
            self.0.read(offset, out)
        }

        fn set_len(&self, len: u64) -> Result<(), io::Error> {
            self.check()?;
            self.0.set_len(len)
        }

        fn sync_data(&self) -> Result<(), io::Error> {
            self.0.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
            self.check()?;
            self.0.write(offset, data)
        }

        fn close(&self) -> Result<(), io::Error> {
            self.0.close()
        }
    }

    #[tokio::test]
    async fn a_disk_that_was_full_for_a_moment_is_written_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store");
        let is_full = Arc::new(AtomicBool::new(false));
        let flag = is_full.clone();
        let open = move || {
            let file =
                std::fs::File::options().read(true).write(true).create(true).truncate(false).open(&path);
            let backend = redb::backends::FileBackend::new(file.map_err(redb::StorageError::from)?)?;
            Database::builder().create_with_backend(Disk(backend, flag.clone()))
        };
        let store = Store::of(open).expect("a store");
        let put = |value: u32| {
            let mut batch = Batch::new();
            batch.put(&PLACES, "a", &value);
            store.commit(batch)
        };
        put(1).await.expect("written");
        for round in 2..5 {
            is_full.store(true, Ordering::Relaxed);
            put(round).await.expect_err("full");
            put(round).await.expect_err("still full");
            store.check().await.expect_err("still full");
            is_full.store(false, Ordering::Relaxed);
            store.check().await.expect("room again");
            put(round).await.expect("room again");
            assert_eq!(store.get(&PLACES, "a").await.expect("read"), Some(round));
        }
    }

    #[tokio::test]
    async fn a_row_that_cannot_be_read_costs_itself_only() {
        let (_directory, store) = store();
        let mut batch = Batch::new();
        for (key, value) in [("1", "no number"), ("3", "neither"), ("4", "nor this")] {
            batch.put(&Table::<String>::new("places"), key, &value.to_owned());
        }
        batch.put(&PLACES, "2", &2).put(&PLACES, "5", &5);
        store.commit(batch).await.expect("written");
        for (limit, wanted) in [(1, &[2][..]), (2, &[2, 5]), (3, &[2, 5])] {
            let found = store.scan(&PLACES, "", None, limit).await.expect("read");
            assert_eq!(found.into_iter().map(|(_, value)| value).collect::<Vec<_>>(), wanted);
        }
        assert_eq!(store.scan(&PLACES, "", Some("2"), 1).await.expect("read"), [("5".to_owned(), 5)]);
        store.get(&PLACES, "1").await.expect_err("no number");
        assert_eq!(store.get(&PLACES, "2").await.expect("read"), Some(2));
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
