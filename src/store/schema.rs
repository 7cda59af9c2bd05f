//! The schema version of the data: checked at open, migrated step by step, refused when newer.

use std::{future::Future, pin::Pin};

use crate::{
    batch::Batch,
    error::{CommitError, Error},
    store::Store,
    table::{Table, Tuning},
};

/// Facts about the data as a whole; key: the fact's name.
pub(crate) static META: Table<String, u64> = Table::new(4, "store.meta", Tuning::Small);

const SCHEMA: &str = "schema";

/// A step from one schema version to the next.
///
/// It runs before anybody else in this process has the store; over shared data another process may run it too, be
/// done first, and serve: what it reads it has to require. It must be resumable: after a crash it runs again
/// over what it has done.
pub type Migration = for<'a> fn(&'a Store) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

/// Brings the data to version `1 + migrations.len()`, or refuses others; new data are that version at once.
pub(crate) async fn bring_up(
    store: &Store,
    migrations: &[Migration],
    may_migrate: bool,
) -> Result<(), Error> {
    let known = migrations.len() as u64 + 1;
    let mut found = store.get(&META, SCHEMA).await?;
    if found.is_some_and(|found| found > known) {
        return Err(Error::NewerSchema { found: short(found.unwrap_or(0)), known: short(known) });
    }
    if !may_migrate && found != Some(known) {
        let found = found.unwrap_or(0);
        return Err(Error::Refused(format!("the data have schema version {found}, and not {known}")));
    }
    while found != Some(known) {
        let next = match found {
            None => known,
            Some(version) => {
                let step =
                    usize::try_from(version).ok().and_then(|version| migrations.get(version.checked_sub(1)?));
                let step =
                    step.ok_or_else(|| Error::Refused(format!("the data have schema version {version}")))?;
                tracing::info!(from = version, to = version + 1, "migrating the store");
                step(store).await?;
                version + 1
            }
        };
        let mut batch = Batch::new();
        match found {
            None => batch.insert(&META, SCHEMA, &next),
            Some(old) => batch.replace(&META, SCHEMA, &old, &next),
        };
        match store.commit(batch).await {
            // In a conflict another process was faster; look again.
            Ok(_) | Err(CommitError::Conflict { .. } | CommitError::Unknown) => {}
            Err(CommitError::Store(error)) => return Err(error),
            Err(error @ CommitError::Busy) => return Err(Error::Refused(error.to_string())),
        }
        found = store.get(&META, SCHEMA).await?;
    }
    Ok(())
}

fn short(version: u64) -> u32 {
    u32::try_from(version).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::sync::Arc;

    use base::{Metrics, Tasks};

    use super::*;
    use crate::{MemoryBackend, MemoryDisk, Options};

    static ROWS: Table<u64, u64> = Table::new(190, "test.rows", Tuning::Point);

    async fn open(disk: &MemoryDisk, migrations: &'static [Migration]) -> Result<Store, Error> {
        let metrics = Metrics::new();
        let options = Options { migrations, ..Options::default() };
        Store::open(Arc::new(MemoryBackend::open(disk)), options, &Tasks::new(&metrics), &metrics).await
    }

    fn double(store: &Store) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + '_>> {
        Box::pin(async {
            let old = store.get(&ROWS, &1).await?.unwrap_or(0);
            let mut batch = Batch::new();
            batch.put(&ROWS, &1, &(2 * old));
            store.commit(batch).await.map_err(|error| Error::Refused(error.to_string()))?;
            Ok(())
        })
    }

    #[tokio::test]
    async fn older_data_are_migrated_once_and_newer_ones_are_refused() {
        let disk = MemoryDisk::default();
        let first = open(&disk, &[]).await.unwrap();
        let mut batch = Batch::new();
        batch.put(&ROWS, &1, &3);
        first.commit(batch).await.unwrap();
        first.close().await.unwrap();

        let (metrics, backend) = (Metrics::new(), Arc::new(MemoryBackend::open(&disk)));
        let options = Options { migrations: &[double, double], may_migrate: false, ..Options::default() };
        let left = Store::open(backend, options, &Tasks::new(&metrics), &metrics).await.unwrap_err();
        assert!(matches!(left, Error::Refused(_)), "{left}");

        for _ in 0..2 {
            let newer = open(&disk, &[double, double]).await.unwrap();
            assert_eq!(newer.get(&ROWS, &1).await.unwrap(), Some(12));
            newer.close().await.unwrap();
        }
        let refused = open(&disk, &[double]).await.unwrap_err();
        assert!(matches!(refused, Error::NewerSchema { found: 3, known: 2 }), "{refused}");
    }
}
