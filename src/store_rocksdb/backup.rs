//! Online backups, in a directory that holds several of them incrementally, and restoring them.

use std::path::Path;

use rocksdb::{
    Env,
    backup::{BackupEngine, BackupEngineOptions, RestoreOptions},
};
use store::Error;

use crate::{backend::RocksBackend, settings::Settings};

/// A backup in a backup directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupInfo {
    /// Its number; later ones are higher.
    pub id: u32,
    /// When it was made, in seconds since 1970.
    pub made_at_s: i64,
    /// Its size in bytes, with what it shares with others.
    pub size_bytes: u64,
}

impl RocksBackend {
    /// Adds a backup to a directory while the store is in use, checks it, and says what it is.
    ///
    /// It holds everything acknowledged before the call. Files that an earlier backup in the same
    /// directory has are not copied again; all copies are on stable storage when this returns.
    /// Blocks: call it off the async threads.
    ///
    /// # Errors
    /// When the store is closed or the directory cannot be written.
    pub fn backup(&self, to: &Path) -> Result<BackupInfo, Error> {
        let db = self.db()?;
        std::fs::create_dir_all(to).map_err(|error| Error::backend("make the backup directory", error))?;
        let mut engine = engine(to)?;
        engine.create_new_backup_flush(&*db, true).map_err(|error| Error::backend("back up", error))?;
        let made = backups(&engine).pop().ok_or_else(|| Error::Refused("no backup was made".to_owned()))?;
        engine.verify_backup(made.id).map_err(|error| Error::backend("check the backup", error))?;
        Ok(made)
    }
}

/// So many positions are passed over by what was restored: more than are given in years. Those after the backup were
/// given to clients, and mean other things there than what would get them now.
const LEAP: u64 = 1 << 34;

/// Restores the newest backup of a directory into an empty or new one, and passes over the positions that were given
/// after it was made. So a client that goes on from one of them is told everything that happens from now on.
///
/// # Errors
/// When there is no backup, the target holds something, or the files cannot be read or written.
pub fn restore(from: &Path, to: &Path) -> Result<BackupInfo, Error> {
    if !from.join("meta").is_dir() {
        return Err(Error::Refused(format!("there is no backup in {}", from.display())));
    }
    std::fs::create_dir_all(to).map_err(|error| Error::backend("make the directory", error))?;
    let mut there = std::fs::read_dir(to).map_err(|error| Error::backend("read the directory", error))?;
    if there.next().is_some() {
        return Err(Error::Refused(format!("{} is not empty", to.display())));
    }
    let mut engine = engine(from)?;
    let newest = backups(&engine).pop();
    let newest = newest.ok_or_else(|| Error::Refused(format!("there is no backup in {}", from.display())))?;
    engine.verify_backup(newest.id).map_err(|error| Error::backend("check the backup", error))?;
    engine
        .restore_from_backup(to, to, &RestoreOptions::default(), newest.id)
        .map_err(|error| Error::backend("restore", error))?;
    RocksBackend::open(&Settings::at(to))?.pass_over(LEAP)?;
    Ok(newest)
}

fn engine(directory: &Path) -> Result<BackupEngine, Error> {
    let opened =
        BackupEngineOptions::new(directory).and_then(|options| BackupEngine::open(&options, &Env::new()?));
    opened.map_err(|error| Error::backend("open the backup directory", error))
}

/// The backups of a directory, oldest first.
fn backups(engine: &BackupEngine) -> Vec<BackupInfo> {
    let mut infos: Vec<_> = engine
        .get_backup_info()
        .into_iter()
        .map(|info| BackupInfo { id: info.backup_id, made_at_s: info.timestamp, size_bytes: info.size })
        .collect();
    infos.sort_by_key(|info| info.id);
    infos
}
