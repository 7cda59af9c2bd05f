//! `yakuba backup`, `restore` and `verify`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use audit::{Action, Actor, Deed, Follower};
use base::{Clock, Metrics, Random, Tasks};
use http::Method;
use ruma::ServerName;
use store::Store;
use tracing::warn;

use crate::{
    admin::BackUpOrder,
    ask::operator,
    causes,
    cli::{BackupArgs, ConfigArg, RestoreArgs},
    commands::{Running, complain, say},
    config::{Backend, Config},
    media, names,
    storage::{self, BackedUp, Data, Findings},
    texts::tr,
};

/// Adds a backup to a directory; the server may run meanwhile.
pub(crate) async fn backup(args: &BackupArgs) -> anyhow::Result<()> {
    let config = Config::read(&args.config.config)?;
    if config.store.backend == Backend::Postgres {
        bail!(tr!(
            "PostgreSQL のデータは PostgreSQL の道具で控えを取ります",
            "the data in PostgreSQL are backed up with PostgreSQL's own tools"
        ));
    }
    // The running server has another working directory.
    let to: PathBuf = std::path::absolute(&args.to)?;
    if config.store.backend == Backend::Rocksdb {
        // Before anything is opened; whoever makes the backup looks as well.
        storage::apart(&config.path(&config.store.path), &to)?;
    }
    match Running::find(&config).await {
        Some(running) => {
            let body = serde_json::to_value(BackUpOrder { to })?;
            let answer = running.must(Method::POST, "/_yakuba/v1/backup", Some(&body)).await?;
            let made = serde_json::from_value(answer)
                .with_context(|| tr!("サーバーの答えが読めません", "the server's answer cannot be read"))?;
            tell_backup(&made, &config, args)
        }
        None => {
            let tasks = Tasks::new(&Metrics::new());
            let done = back_up_here(to, &config, args, &tasks).await;
            tasks.stop(Duration::from_secs(5)).await;
            done
        }
    }
}

/// Backs data up of which no server runs. The backup is told before anything else: it is there whatever follows.
async fn back_up_here(to: PathBuf, config: &Config, args: &BackupArgs, tasks: &Tasks) -> anyhow::Result<()> {
    let opened = storage::open(config, tasks, Data::MustExist).await?;
    let back_up = opened
        .back_up
        .with_context(|| tr!("メモリーのデータの控えは取れません", "data in memory cannot be backed up"))?;
    let made = tokio::task::spawn_blocking(move || back_up(to)).await?;
    let made = made.with_context(|| tr!("控えを取れません", "no backup could be made"))?;
    let told = tell_backup(&made, config, args);
    if let Err(error) = note_here(opened.backend, config, tasks, &made).await {
        not_noted(&error);
    }
    told
}

/// Writes into the audit logs that the data were backed up, if they are those of this configuration and of this
/// program: a backup is often made so that the program before can go on with them.
async fn note_here(
    backend: Arc<dyn store::Backend>,
    config: &Config,
    tasks: &Tasks,
    made: &BackedUp,
) -> anyhow::Result<()> {
    let store = storage::open_store_as_it_is(backend, tasks, &Metrics::new()).await?;
    let noted = async {
        names::compare(&store, config, Data::MustExist).await?;
        let (clock, by) = (Clock::system(), Actor::operator(&operator()));
        storage::note_backup(&store, names_of(config), &clock, &by, made).await?;
        chain(&store, config, &clock).await;
        Ok(())
    };
    let noted = noted.await;
    let closed = store.close().await;
    noted.and(closed.map_err(|error| anyhow!(causes::of_store(&error))))
}

/// Something was done with all data that their audit logs do not tell of.
fn not_noted(error: &anyhow::Error) {
    complain(&tr!(
        "監査ログに書けませんでした: {error}",
        "the audit log could not be told of it: {error}",
        error = format!("{error:#}")
    ));
}

/// Says which backup was made, and what is not in it.
fn tell_backup(made: &BackedUp, config: &Config, args: &BackupArgs) -> anyhow::Result<()> {
    say(&tr!(
        "控え: {id} 番、{to}、{bytes} バイト",
        "backup: {id} in {to}, {bytes} bytes",
        id = made.id,
        to = made.to.display(),
        bytes = made.size_bytes
    ))?;
    // A backup holds the data only: keys beside the data would open both to whoever finds the one.
    say(&tr!("控えにないもの。別の場所に保管してください:", "not in it; keep these elsewhere:"))?;
    for file in keep_apart(config, &args.config.config) {
        say(&format!("  {}", file.display()))?;
    }
    Ok(())
}

/// Puts the newest backup of a directory into the place of the data, which must be empty.
pub(crate) async fn restore(args: &RestoreArgs) -> anyhow::Result<()> {
    let config = Config::read(&args.config.config)?;
    if config.store.backend != Backend::Rocksdb {
        bail!(tr!(
            "このコマンドで戻せるのは RocksDB だけです。PostgreSQL にはその道具があります",
            "only RocksDB is restored by this command; PostgreSQL has its own tools"
        ));
    }
    let to = config.path(&config.store.path);
    let (backup, data) = (args.from.clone(), to.clone());
    let made = tokio::task::spawn_blocking(move || put_back(&backup, &data)).await?.with_context(|| {
        tr!(
            "{from} の控えを {to} に戻せません",
            "the backup in {from} cannot be put back into {to}",
            from = args.from.display(),
            to = to.display()
        )
    })?;
    say(&tr!(
        "戻しました: {id} → {path}, {bytes} バイト",
        "restored: {id} into {path}, {bytes} bytes",
        id = made.id,
        path = to.display(),
        bytes = made.size_bytes
    ))?;
    if let Err(error) = note_restore(&config, args, &made).await {
        // They are there; whether they fit the configuration, their next start says as well.
        not_noted(&error);
    }
    say(&tr!(
        "署名鍵と設定は控えにありません。元のものを使ってください",
        "keys and configuration are in no backup: without the old signing keys others do not take this server \
         for the same"
    ))?;
    Ok(())
}

fn put_back(from: &Path, to: &Path) -> anyhow::Result<store_rocksdb::BackupInfo> {
    can_be_restored(from, to)?;
    store_rocksdb::restore(from, to).map_err(|error| anyhow!(causes::of_store(&error)))
}

/// Writes into each authority's audit log that the data are those of a backup: what was done after it is not in them.
async fn note_restore(
    config: &Config,
    args: &RestoreArgs,
    made: &store_rocksdb::BackupInfo,
) -> anyhow::Result<()> {
    let from = std::path::absolute(&args.from)?.display().to_string();
    over_store(config, async |store| {
        let (clock, by) = (Clock::system(), Actor::operator(&operator()));
        let deed = Deed::new(Action::Restore, &by, &from, clock.now());
        let deed = storage::about(deed, made.id, made.size_bytes);
        storage::note(store, names_of(config), &deed).await?;
        chain(store, config, &clock).await;
        Ok(())
    })
    .await
}

fn names_of(config: &Config) -> impl Iterator<Item = &ServerName> {
    config.authorities.iter().map(|authority| &*authority.name)
}

/// Gives what was written the links that the next start would give it, where the keys are at hand.
async fn chain(store: &Store, config: &Config, clock: &Clock) {
    let Ok(authorities) = config.load_authorities() else { return };
    if let Err(error) = Follower::new(store, &Arc::new(authorities), clock).catch_up().await {
        warn!(%error, "the audit log could not be chained");
    }
}

/// What commonly keeps a backup from being restored.
fn can_be_restored(from: &Path, to: &Path) -> anyhow::Result<()> {
    if !from.is_dir() {
        bail!(tr!(
            "{from} というディレクトリはありません",
            "there is no directory {from}",
            from = from.display()
        ));
    }
    if !from.join("meta").is_dir() {
        bail!(tr!("{from} に控えがありません", "there is no backup in {from}", from = from.display()));
    }
    // One that cannot be read is met again, with its cause, when it is to be written.
    // The files of media may lie there: they are kept, and put back, by themselves.
    let is_in_the_way = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.file_name() != media::WITHIN_DATA)
    };
    if std::fs::read_dir(to).is_ok_and(|mut there| there.any(is_in_the_way)) {
        bail!(tr!("{to} は空ではありません。空でなければ戻せません", "{to} is not empty", to = to.display()));
    }
    Ok(())
}

/// The files that a server needs besides its data.
fn keep_apart(config: &Config, config_file: &Path) -> Vec<PathBuf> {
    let mut files = vec![config_file.to_owned()];
    files.extend(config.secret_files());
    files.extend(config.federation.ca_files.iter().map(|file| config.path(file)));
    files.extend(config.media_directory());
    files
}

/// Reads all stored data and prints what is wrong; a failure when something is.
pub(crate) async fn verify(args: &ConfigArg) -> anyhow::Result<ExitCode> {
    let config = Config::read(&args.config)?;
    let findings = match Running::find(&config).await {
        Some(running) => {
            let answer = running.must(Method::POST, "/_yakuba/v1/verify", None).await?;
            serde_json::from_value(answer)?
        }
        None => verify_here(&config).await?,
    };
    say(&serde_json::to_string_pretty(&findings)?)?;
    Ok(if findings.problem_count == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(crate) async fn verify_here(config: &Config) -> anyhow::Result<Findings> {
    // Nothing is made where it is missing: then all its files are, too.
    let there =
        config.media.s3.is_some() || config.media_directory().is_some_and(|directory| directory.is_dir());
    over_store(config, async |store| {
        let opened = if there { Some(media::open(config, &Random::os())?) } else { None };
        let files = opened.as_ref().map(|opened| &opened.files);
        storage::verify(store, files).await.map_err(|error| anyhow!(causes::of_media(&error)))
    })
    .await
}

/// Does something with the data, of which no server runs.
pub(crate) async fn over_store<T>(
    config: &Config,
    work: impl AsyncFnOnce(&Store) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let metrics = Metrics::new();
    let tasks = Tasks::new(&metrics);
    let opened = storage::open(config, &tasks, Data::MustExist).await?;
    let store = storage::open_store(opened.backend, &tasks, &metrics).await?;
    let done = match names::compare(&store, config, Data::MustExist).await {
        Ok(_) => work(&store).await,
        Err(error) => Err(error),
    };
    let closed = store.close().await;
    tasks.stop(Duration::from_secs(5)).await;
    let done = done?;
    closed.map_err(|error| anyhow!(causes::of_store(&error)))?;
    Ok(done)
}
