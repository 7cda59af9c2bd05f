//! Opening the storage that the configuration names, and checking it.

use std::{
    path::{Component, Path, PathBuf},
    sync::{Arc, Weak},
    time::Duration,
};

use anyhow::anyhow;
use audit::{Action, Actor, Deed};
use base::{Clock, Metrics, Tasks, cache::Holder};
use media::Files;
use ruma::ServerName;
use serde::{Deserialize, Serialize};
use store::{Backend, Batch, CommitError, MemoryBackend, Migration, Store};
use store_postgres::PostgresBackend;
use store_rocksdb::RocksBackend;
use tracing::error;

use crate::{
    causes,
    config::{self, Config, Durability, StoreTls},
    names,
    texts::tr,
};

pub use crate::data::Data;

/// The file of RocksDB that is there as soon as there are data.
const CURRENT: &str = "CURRENT";

/// Makes a backup in a directory and says what was made; blocks.
pub type BackUp = Arc<dyn Fn(PathBuf) -> anyhow::Result<BackedUp> + Send + Sync>;

/// A backup that was made.
#[derive(Debug, Serialize, Deserialize)]
pub struct BackedUp {
    /// Its number; later ones are higher.
    pub id: u32,
    /// The directory of the backups.
    pub to: PathBuf,
    /// Its size, with what it shares with others.
    pub size_bytes: u64,
}

/// An opened storage, and how it is backed up while in use, if it can be.
pub(crate) struct Storage {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) back_up: Option<BackUp>,
    /// What it has in memory here, if anything.
    pub(crate) memory: Option<Weak<dyn Holder>>,
}

/// Opens the storage that the configuration names; `tasks` must end after it.
///
/// # Errors
/// When it cannot be opened, for instance because another process has it, or because there is none and
/// there must be.
pub(crate) async fn open(config: &Config, tasks: &Tasks, data: Data) -> anyhow::Result<Storage> {
    // A database is waited for by whoever opens it, who looks for its tables then.
    if data == Data::MustExist && config.store.backend != config::Backend::Postgres {
        must_exist(config).await?;
    }
    match config.store.backend {
        config::Backend::Memory => {
            Ok(Storage { backend: Arc::new(MemoryBackend::new()), back_up: None, memory: None })
        }
        config::Backend::Rocksdb => {
            let backend = Arc::new(open_rocksdb(config)?);
            let memory = Some(backend.memory());
            let (backed_up, data) = (backend.clone(), config.path(&config.store.path));
            let back_up: BackUp = Arc::new(move |to| {
                apart(&data, &to)?;
                let made = backed_up.backup(&to)?;
                Ok(BackedUp { id: made.id, to, size_bytes: made.size_bytes })
            });
            Ok(Storage { backend, back_up: Some(back_up), memory })
        }
        config::Backend::Postgres => {
            let begin = data == Data::MayBegin;
            let settings = store_postgres::Settings { begin, ..postgres_settings(config)? };
            let backend = PostgresBackend::open(settings, tasks).await.map_err(|error| match error {
                // Tables that are to be there and are not; it refuses nothing else.
                store::Error::Refused(_) if !begin => names::no_data(),
                error => no_database(&error),
            })?;
            Ok(Storage { backend: Arc::new(backend), back_up: None, memory: None })
        }
    }
}

fn no_database(error: &store::Error) -> anyhow::Error {
    anyhow!(tr!(
        "データベースを開けません: {cause}",
        "the database cannot be opened: {cause}",
        cause = causes::of_store(error)
    ))
}

/// Refuses to go on where no server has kept data yet, before anything is made there. Whose they are only what
/// is in them can tell; see [`names::compare`].
pub(crate) async fn must_exist(config: &Config) -> anyhow::Result<()> {
    match config.store.backend {
        config::Backend::Rocksdb => {
            let path = config.path(&config.store.path);
            if !path.join(CURRENT).is_file() {
                anyhow::bail!(tr!(
                    "{path} にデータがありません。何も作りませんでした。[store] の path は正しいですか。ボリュームは\
                     マウントされていますか。ここに新しいデータを作るときは、一度だけ `yakuba serve --begin` で\
                     始めてください",
                    "there are no data in {path}; nothing was made there. Is the path of [store] right, is the \
                     volume mounted? If new data are to begin here, start once with `yakuba serve --begin`",
                    path = path.display()
                ));
            }
            Ok(())
        }
        config::Backend::Memory => {
            anyhow::bail!(tr!(
                "データは動いているサーバーのメモリーにありますが、動いていません",
                "the data are in the memory of the running server, and none runs"
            ))
        }
        config::Backend::Postgres => {
            let begun = PostgresBackend::is_begun(&postgres_settings(config)?).await;
            if begun.map_err(|error| no_database(&error))? { Ok(()) } else { Err(names::no_data()) }
        }
    }
}

/// Refuses to keep a backup within the data or around them: what removes, moves or restores the one would
/// take the other along, and the files of both would stand between each other.
pub(crate) fn apart(data: &Path, to: &Path) -> anyhow::Result<()> {
    let (data, to) = (resolved(data)?, resolved(to)?);
    if data.starts_with(&to) || to.starts_with(&data) {
        anyhow::bail!(tr!(
            "控えはデータ ({data}) とは別のディレクトリに取ります。{to} には取れません。何も書きませんでした",
            "a backup is kept apart from the data in {data}, not in {to}; nothing was written",
            data = data.display(),
            to = to.display()
        ));
    }
    Ok(())
}

/// A path without links, of which the end need not be there yet.
fn resolved(path: &Path) -> std::io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let there = path.ancestors().find_map(|part| Some((part, part.canonicalize().ok()?)));
    let Some((part, mut whole)) = there else { return Ok(path) };
    for component in path.strip_prefix(part).unwrap_or(Path::new("")).components() {
        match component {
            Component::ParentDir => {
                whole.pop();
            }
            component => whole.push(component),
        }
    }
    Ok(whole)
}

fn open_rocksdb(config: &Config) -> anyhow::Result<RocksBackend> {
    let settings = rocksdb_settings(config);
    RocksBackend::open(&settings).map_err(|error| {
        anyhow!(tr!(
            "{path} のデータを開けません: {cause}",
            "the data in {path} cannot be opened: {cause}",
            path = settings.path.display(),
            cause = causes::of_store(&error)
        ))
    })
}

fn postgres_settings(config: &Config) -> anyhow::Result<store_postgres::Settings> {
    let url = match (&config.store.url, &config.store.url_file) {
        (Some(url), _) => url.0.clone(),
        (None, Some(file)) => config.secret(file)?,
        (None, None) => anyhow::bail!(tr!(
            "PostgreSQL には `url` か `url_file` が必要です",
            "PostgreSQL needs `url` or `url_file`"
        )),
    };
    let durability = match config.store.durability {
        Durability::Fsync => store_postgres::Durability::Fsync,
        Durability::Os => store_postgres::Durability::Os,
    };
    let tls = config.store.tls.map(|tls| match tls {
        StoreTls::Disable => store_postgres::Tls::Disable,
        StoreTls::Require => store_postgres::Tls::Require,
        StoreTls::VerifyFull => store_postgres::Tls::VerifyFull,
    });
    let ca_file = config.store.ca_file.as_ref().map(|file| config.path(file));
    Ok(store_postgres::Settings { durability, tls, ca_file, ..store_postgres::Settings::at(url) })
}

fn rocksdb_settings(config: &Config) -> store_rocksdb::Settings {
    store_rocksdb::Settings {
        path: config.path(&config.store.path),
        durability: match config.store.durability {
            Durability::Fsync => store_rocksdb::Durability::Fsync,
            Durability::Os => store_rocksdb::Durability::Os,
        },
        memory: config.store_memory(),
        reserve: config.store.reserve,
    }
}

/// Begins the data of a configuration, or finds them there.
///
/// # Errors
/// When they cannot be opened, or are those of other server names.
pub(crate) async fn begin(config: &Config) -> anyhow::Result<()> {
    let metrics = Metrics::new();
    let tasks = Tasks::new(&metrics);
    let opened = open(config, &tasks, Data::MayBegin).await?;
    let store = open_store(opened.backend, &tasks, &metrics).await?;
    let held = names::hold(&store, config, Data::MayBegin, &Clock::system()).await;
    let closed = store.close().await;
    tasks.stop(Duration::from_secs(5)).await;
    held?;
    closed.map_err(|error| anyhow!(causes::of_store(&error)))
}

/// The steps from the first schema of the data to today's.
pub(crate) const MIGRATIONS: &[Migration] = &[
    |store| Box::pin(account::list_data_by_position(store)),
    |store| Box::pin(engine::list_local_members(store)),
    // Entries of the log have a schema byte from here on. An older program would pass them over and send nothing.
    |_| Box::pin(async { Ok(()) }),
    |store| Box::pin(engine::index_auth(store)),
    |store| {
        Box::pin(async {
            room::note_recency(store).await?;
            account::list_names(store).await?;
            engine::list_people(store).await
        })
    },
    // From here on what is left over of states is condemned, and a room may lack members. An older program would take the
    // former for damage, and name states that it was told without looking whether they are there still.
    |_| Box::pin(async { Ok(()) }),
    |store| Box::pin(room::index_times(store)),
    |store| Box::pin(to_device::count_shares(store)),
    // From here on sessions may be granted by OAuth 2.0, whose rows an older program cannot read.
    |_| Box::pin(async { Ok(()) }),
    // Names are folded in another way: more variants of kanji are one.
    |store| {
        Box::pin(async {
            engine::unlist_people(store).await?;
            account::list_names(store).await?;
            engine::list_people(store).await
        })
    },
    // What is kept of a traded refresh token is more, which an older program cannot read.
    |store| {
        Box::pin(async {
            account::list_grants(store).await?;
            oauth::count_by_authority(store).await
        })
    },
    // The names that events give files were noted here. They are by the last step, in another way.
    |_| Box::pin(async { Ok(()) }),
    // From here on there are organisations. An older program would let the hour of what is approved pass.
    |_| Box::pin(async { Ok(()) }),
    // As above: the names of files are noted by the last step.
    |_| Box::pin(async { Ok(()) }),
    // From here on it is noted which service made a device, in a row that an older program cannot read.
    |_| Box::pin(async { Ok(()) }),
    // More names are those of what is run.
    |store| Box::pin(media::note_names(store)),
];

/// Opens the store over its storage, which is closed when that fails.
///
/// # Errors
/// When it cannot be read.
pub(crate) async fn open_store(
    backend: Arc<dyn Backend>,
    tasks: &Tasks,
    metrics: &Metrics,
) -> anyhow::Result<Store> {
    open_with(backend, true, tasks, metrics).await
}

/// As [`open_store`], but refuses older data instead of bringing them up to date.
///
/// # Errors
/// When it cannot be read, or the program before this one could no longer read it afterwards.
pub async fn open_store_as_it_is(
    backend: Arc<dyn Backend>,
    tasks: &Tasks,
    metrics: &Metrics,
) -> anyhow::Result<Store> {
    open_with(backend, false, tasks, metrics).await
}

async fn open_with(
    backend: Arc<dyn Backend>,
    may_migrate: bool,
    tasks: &Tasks,
    metrics: &Metrics,
) -> anyhow::Result<Store> {
    let options = store::Options { migrations: MIGRATIONS, may_migrate, ..store::Options::default() };
    let opened = Store::open(backend.clone(), options, tasks, metrics).await;
    if opened.is_err()
        && let Err(error) = backend.close().await
    {
        error!(%error, "the storage did not close well");
    }
    opened.map_err(|error| anyhow!(causes::of_store(&error)))
}

/// Writes into each authority's audit log that all data were backed up.
///
/// # Errors
/// When that cannot be written. The backup is there even so: a full disk is when one is needed.
pub(crate) async fn note_backup<'a>(
    store: &Store,
    authorities: impl Iterator<Item = &'a ServerName>,
    clock: &Clock,
    by: &Actor,
    made: &BackedUp,
) -> Result<(), CommitError> {
    let to = made.to.display().to_string();
    let deed = Deed::new(Action::BackUp, by, &to, clock.now());
    note(store, authorities, &about(deed, made.id, made.size_bytes)).await
}

/// Adds to a deed which backup it is about.
pub(crate) fn about(deed: Deed, backup: u32, size_bytes: u64) -> Deed {
    deed.after("backup", backup.to_string()).after("size_bytes", size_bytes.to_string())
}

/// Writes what concerns all data into each authority's audit log.
///
/// # Errors
/// When nothing was written.
pub(crate) async fn note<'a>(
    store: &Store,
    authorities: impl Iterator<Item = &'a ServerName>,
    deed: &Deed,
) -> Result<(), CommitError> {
    let mut batch = Batch::new();
    for authority in authorities {
        deed.write(&mut batch, authority);
    }
    store.commit(batch).await.map(drop)
}

/// What a check of all stored data found.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Findings {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
    pub(crate) unchecked: u64,
    pub(crate) problem_count: u64,
    pub(crate) problems: Vec<String>,
}

/// Reads all stored data: every row must be readable, no entry of the log may be missing, and each file of media must be
/// there with its size, where those are at hand.
pub(crate) async fn verify(store: &Store, files: Option<&Files>) -> Result<Findings, media::Error> {
    let checks = [
        audit::checks(),
        syslog::checks(),
        mail::checks(),
        organisation::checks(),
        personnel::checks(),
        duties::checks(),
        cases::checks(),
        factor::checks(),
        scim::checks(),
        ldap::checks(),
        rules::checks(),
        posts::checks(),
        classes::checks(),
        domains::checks(),
        room::checks(),
        engine::checks(),
        admin_api::checks(),
        account::checks(),
        to_device::checks(),
        media::checks(),
        push::checks(),
        appservice::checks(),
        search::checks(),
        encryption::checks(),
        oauth::checks(),
        federation::tables::checks(),
        names::checks(),
    ]
    .concat();
    let report = store.verify(&checks).await?;
    let mut findings = Findings {
        rows: report.rows,
        bytes: report.bytes,
        entries: report.entries,
        unchecked: report.unchecked,
        problem_count: report.problem_count,
        problems: report.problems,
    };
    if let Some(files) = files {
        let missing = media::missing_files(store, files).await?;
        findings.problem_count += missing.count;
        findings
            .problems
            .extend(missing.places.iter().map(|place| format!("media: the file {place} is missing")));
    }
    Ok(findings)
}
