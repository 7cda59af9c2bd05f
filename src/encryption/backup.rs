//! Backups of keys: versions, and the keys in them, which only the user's clients can read.
//!
//! A version's row has the number of its keys and the tag that changes with them; every batch that writes keys replaces it,
//! so both are right whoever writes at the same time.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#server-side-key-backups>

use std::collections::BTreeMap;

use base::Attempts;
use ruma::UserId;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use store::{Batch, Order, Range};

use crate::{
    Encryption, Error,
    tables::{BACKUP_KEYS, BACKUPS, BackupKeyRow, BackupRow},
};

/// Versions of one user that exist at a time.
const MOST_VERSIONS: usize = 50;

/// Keys in a version.
const MOST_KEYS: u64 = 500_000;

/// Largest `auth_data`, `session_data`, in bytes; longest name of an algorithm and of a session.
const LARGEST_AUTH: usize = 16 << 10;
const LARGEST_SESSION: usize = 16 << 10;
const LONGEST_NAME: usize = 255;

/// Keys that are read or removed at a time.
const PAGE: usize = 500;

/// A version of a backup.
#[derive(Debug)]
pub struct BackupVersion {
    /// Its number.
    pub version: u64,
    /// How its keys are encrypted.
    pub algorithm: String,
    /// What the algorithm needs.
    pub auth_data: Box<RawValue>,
    /// What is in it.
    pub state: BackupState,
}

/// What is in a version of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupState {
    /// Changes with the keys.
    pub etag: u64,
    /// How many keys there are.
    pub count: u64,
}

/// The key of a session in a backup.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct BackupKey {
    /// The index of the first message that it opens.
    pub first_message_index: u64,
    /// How often it was forwarded.
    pub forwarded_count: u64,
    /// Whether it came from a verified device.
    pub is_verified: bool,
    /// The encrypted key.
    pub session_data: Box<RawValue>,
}

/// Keys by room and session.
pub type BackupKeys = BTreeMap<String, BTreeMap<String, BackupKey>>;

/// Some keys of a backup, in their order: room, session, key.
pub type BackupPage = Vec<(String, String, BackupKey)>;

/// Which keys are to be removed.
#[derive(Clone, Copy, Debug)]
pub enum Removed<'a> {
    /// All.
    All,
    /// Those of a room.
    Room(&'a str),
    /// That of a session in a room.
    Session(&'a str, &'a str),
}

impl BackupRow {
    fn state(&self) -> BackupState {
        BackupState { etag: self.etag, count: self.count }
    }
}

impl Encryption {
    /// Begins a version; keys are stored in it from now on and in no other. Says its number.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Contended`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3room_keysversion>
    pub async fn create_backup(
        &self,
        user: &UserId,
        algorithm: &str,
        auth_data: &RawValue,
    ) -> Result<u64, Error> {
        let row = BackupRow {
            algorithm: algorithm.to_owned(),
            auth_data: checked_auth(algorithm, auth_data)?,
            count: 0,
            etag: 0,
            deleted: false,
        };
        let mut attempts = Attempts::default();
        loop {
            let rows = self.backup_rows(user).await?;
            if rows.iter().filter(|(_, row)| !row.deleted).count() >= MOST_VERSIONS {
                return Err(Error::TooLarge("there are too many versions of this backup; delete some"));
            }
            let last = rows.last().map_or(0, |(version, _)| *version);
            let mut batch = Batch::new();
            batch.insert(&BACKUPS, &(user.as_str(), last + 1), &row);
            // The number is kept by the newer one from now on.
            for (version, _) in rows.iter().filter(|(_, row)| row.deleted) {
                batch.delete(&BACKUPS, &(user.as_str(), *version));
            }
            match self.inner.store.commit(batch).await.map_err(Error::from) {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done.map(|_| last + 1),
            }
        }
    }

    async fn backup_rows(&self, user: &UserId) -> Result<Vec<(u64, BackupRow)>, Error> {
        let range = Range::prefix(user.as_str());
        let rows = self.inner.store.scan(&BACKUPS, range, Order::Ascending, 2 * MOST_VERSIONS).await?;
        Ok(rows.into_iter().map(|((_, version), row)| (version, row)).collect())
    }

    /// A version; without a number that which takes keys.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3room_keysversion>
    pub async fn backup(&self, user: &UserId, version: Option<u64>) -> Result<BackupVersion, Error> {
        let rows = self.backup_rows(user).await?;
        let mut rows = rows.into_iter().rev().filter(|(_, row)| !row.deleted);
        let found = rows.find(|(number, _)| version.is_none_or(|version| version == *number));
        let (version, row) = found.ok_or(NO_BACKUP)?;
        let state = row.state();
        let auth_data = RawValue::from_string(row.auth_data).map_err(|_| NO_BACKUP)?;
        Ok(BackupVersion { version, algorithm: row.algorithm, auth_data, state })
    }

    /// Changes what a version's algorithm needs.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Invalid`] for another algorithm, [`Error::TooLarge`], [`Error::Contended`],
    /// [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3room_keysversionversion>
    pub async fn update_backup(
        &self,
        user: &UserId,
        version: u64,
        algorithm: &str,
        auth_data: &RawValue,
    ) -> Result<(), Error> {
        let auth_data = checked_auth(algorithm, auth_data)?;
        let mut attempts = Attempts::default();
        loop {
            let row = self.live_backup(user, version).await?;
            if row.algorithm != algorithm {
                return Err(Error::Invalid("the algorithm of a backup does not change".to_owned()));
            }
            let mut batch = Batch::new();
            let updated = BackupRow { auth_data: auth_data.clone(), ..row.clone() };
            batch.replace(&BACKUPS, &(user.as_str(), version), &row, &updated);
            match self.inner.store.commit(batch).await.map_err(Error::from) {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done.map(drop),
            }
        }
    }

    /// Deletes a version with its keys.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Contended`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3room_keysversionversion>
    pub async fn delete_backup(&self, user: &UserId, version: u64) -> Result<(), Error> {
        let mut attempts = Attempts::default();
        loop {
            let row = self.live_backup(user, version).await?;
            let last = self.backup_rows(user).await?.last().map(|(version, _)| *version);
            let key = (user.as_str(), version);
            let mut batch = Batch::new();
            if last == Some(version) {
                let empty = BackupRow { deleted: true, auth_data: String::new(), ..row.clone() };
                batch.replace(&BACKUPS, &key, &row, &empty);
            } else {
                batch.require(&BACKUPS, &key, Some(&row));
                batch.delete(&BACKUPS, &key);
            }
            batch.delete_prefix(&BACKUP_KEYS, &key);
            match self.inner.store.commit(batch).await.map_err(Error::from) {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done.map(drop),
            }
        }
    }

    async fn live_backup(&self, user: &UserId, version: u64) -> Result<BackupRow, Error> {
        let row = self.inner.store.get(&BACKUPS, &(user.as_str(), version)).await?;
        row.filter(|row| !row.deleted).ok_or(NO_BACKUP)
    }

    /// Stores keys in a version, which must be the one that takes keys. Of two keys of a session the better one stays.
    ///
    /// # Errors
    /// [`Error::WrongVersion`], [`Error::NotFound`], [`Error::TooLarge`], [`Error::Contended`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3room_keyskeys>
    pub async fn put_backup_keys(
        &self,
        user: &UserId,
        version: u64,
        keys: &BackupKeys,
    ) -> Result<BackupState, Error> {
        let mut rows = Vec::new();
        for (room, sessions) in keys {
            for (session, key) in sessions {
                if room.len() > LONGEST_NAME || session.len() > LONGEST_NAME {
                    return Err(Error::TooLarge("ids of rooms and sessions have at most 255 bytes"));
                }
                if key.session_data.get().len() > LARGEST_SESSION {
                    return Err(Error::TooLarge("a key in a backup has at most 16 KiB"));
                }
                rows.push(((user.to_string(), version, room.clone(), session.clone()), row_of(key)));
            }
        }
        let mut attempts = Attempts::default();
        loop {
            let current = self.backup(user, None).await?.version;
            if current != version {
                self.live_backup(user, version).await?;
                return Err(Error::WrongVersion { current: current.to_string() });
            }
            let old = self.live_backup(user, version).await?;
            let names: Vec<_> = rows.iter().map(|(name, _)| name.clone()).collect();
            let known = self.inner.store.get_many(&BACKUP_KEYS, &names).await?;
            let mut batch = Batch::new();
            let mut new = old.clone();
            let mut is_changed = false;
            for ((name, row), known) in rows.iter().zip(known) {
                if known.as_ref().is_some_and(|known| !is_better(row, known)) {
                    continue;
                }
                new.count += u64::from(known.is_none());
                is_changed = true;
                batch.put(&BACKUP_KEYS, name, row);
            }
            if new.count > MOST_KEYS {
                return Err(Error::TooLarge("there are too many keys in this backup"));
            }
            if !is_changed {
                return Ok(old.state());
            }
            new.etag += 1;
            batch.replace(&BACKUPS, &(user.as_str(), version), &old, &new);
            match self.inner.store.commit(batch).await.map_err(Error::from) {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done.map(|_| new.state()),
            }
        }
    }

    /// Some keys of a version after one, in their order, in a room or in all; fewer than there may be only at the end, where
    /// the page is empty.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn backup_page(
        &self,
        user: &UserId,
        version: u64,
        room: Option<&str>,
        after: Option<(&str, &str)>,
    ) -> Result<BackupPage, Error> {
        let mut range = match room {
            Some(room) => Range::prefix(&(user.to_string(), version, room.to_owned())),
            None => Range::prefix(&(user.as_str(), version)),
        };
        if let Some((room, session)) = after {
            range = range.after(&(user.to_string(), version, room.to_owned(), session.to_owned()));
        }
        let rows = self.inner.store.scan(&BACKUP_KEYS, range, Order::Ascending, PAGE).await?;
        let key = |((_, _, room, session), row)| Some((room, session, key_of(row)?));
        Ok(rows.into_iter().filter_map(key).collect())
    }

    /// One key of a version.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub async fn backup_key(
        &self,
        user: &UserId,
        version: u64,
        room: &str,
        session: &str,
    ) -> Result<BackupKey, Error> {
        self.live_backup(user, version).await?;
        let name = (user.to_string(), version, room.to_owned(), session.to_owned());
        let row = self.inner.store.get(&BACKUP_KEYS, &name).await?;
        row.and_then(key_of).ok_or(Error::NotFound("there is no such key in the backup"))
    }

    /// Removes keys of a version, in slices.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Contended`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3room_keyskeys>
    pub async fn remove_backup_keys(
        &self,
        user: &UserId,
        version: u64,
        removed: Removed<'_>,
    ) -> Result<BackupState, Error> {
        let mut attempts = Attempts::default();
        loop {
            let old = self.live_backup(user, version).await?;
            let names = match removed {
                Removed::All => self.backup_page(user, version, None, None).await?,
                Removed::Room(room) => self.backup_page(user, version, Some(room), None).await?,
                Removed::Session(room, session) => {
                    match self.backup_key(user, version, room, session).await {
                        Ok(key) => vec![(room.to_owned(), session.to_owned(), key)],
                        Err(Error::NotFound(_)) => Vec::new(),
                        Err(error) => return Err(error),
                    }
                }
            };
            if names.is_empty() {
                return Ok(old.state());
            }
            let count = old.count.saturating_sub(u64::try_from(names.len()).unwrap_or(0));
            let new = BackupRow { count, etag: old.etag + 1, ..old.clone() };
            let mut batch = Batch::new();
            batch.replace(&BACKUPS, &(user.as_str(), version), &old, &new);
            for (room, session, _) in names {
                batch.delete(&BACKUP_KEYS, &(user.to_string(), version, room, session));
            }
            match self.inner.store.commit(batch).await.map_err(Error::from) {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => drop(done?),
            }
        }
    }
}

const NO_BACKUP: Error = Error::NotFound("there is no such version of a backup");

fn checked_auth(algorithm: &str, auth_data: &RawValue) -> Result<String, Error> {
    let auth_data = auth_data.get();
    if algorithm.len() > LONGEST_NAME || auth_data.len() > LARGEST_AUTH {
        return Err(Error::TooLarge("what describes a backup has at most 16 KiB"));
    }
    if !auth_data.starts_with('{') {
        return Err(Error::BadJson("`auth_data` is to be an object".to_owned()));
    }
    Ok(auth_data.to_owned())
}

fn row_of(key: &BackupKey) -> BackupKeyRow {
    BackupKeyRow {
        first_message_index: key.first_message_index,
        forwarded_count: key.forwarded_count,
        is_verified: key.is_verified,
        session_data: key.session_data.get().to_owned(),
    }
}

fn key_of(row: BackupKeyRow) -> Option<BackupKey> {
    Some(BackupKey {
        first_message_index: row.first_message_index,
        forwarded_count: row.forwarded_count,
        is_verified: row.is_verified,
        session_data: RawValue::from_string(row.session_data).ok()?,
    })
}

/// Whether a key takes the place of another: a verified one of an unverified one; else one that opens earlier messages; else
/// one that was forwarded less often.
fn is_better(new: &BackupKeyRow, old: &BackupKeyRow) -> bool {
    if new.is_verified != old.is_verified {
        return new.is_verified;
    }
    (new.first_message_index, new.forwarded_count) < (old.first_message_index, old.forwarded_count)
}
