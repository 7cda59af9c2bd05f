//! Files as who administers an authority sees them: those of its users, and what its users are not shown.
//!
//! What files hold is kept once for all authorities of a process ([`BlobRow::withheld`](crate::tables) is the operator's, and
//! counts for all of them). What one authority withholds is withheld of its own files from everybody, by what they hold, under
//! whatever id; and of other servers' files, another authority's among them, from its own users, by their address, whether or
//! not there is such a file: so neither changes what the users of another authority see, nor does an answer tell what they looked at.

use std::collections::BTreeMap;

use audit::{Action, Actor, Deed};
use base::{Attempts, Timestamp};
use ruma::{ServerName, UserId};
use store::{Batch, CommitError, Order, Range, Reads, Table};

use crate::{
    Error, Media, Sha256,
    download::is_id,
    media::day,
    tables::{self, MarkRow, MediaRow, PROTECTED, WITHHELD, hex},
};

/// Files that are looked at at a time.
const PAGE: usize = 1_000;

/// What one authority withholds, where more is not taken of other servers: those are names that anybody can make up.
const MOST_WITHHELD: usize = 10_000;

/// Copies that are let go for one request.
const MOST_COPIES: usize = 1_000;

/// A file of a user of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// Its media id.
    pub id: String,
    /// Who uploaded it.
    pub by: Option<String>,
    /// Its size in bytes.
    pub size: u64,
    /// Its media type.
    pub kind: String,
    /// Its name.
    pub name: Option<String>,
    /// Since when it is here.
    pub created: Timestamp,
    /// Who of its authority withholds what it holds, if somebody does.
    pub withheld_by: Option<String>,
    /// Whether it is not to be withheld together with others.
    pub protected: bool,
    /// What it holds.
    pub sha256: Sha256,
}

/// How much a user has uploaded that is still there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uploaded {
    /// How many files.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl FileInfo {
    /// What it holds, as hexadecimal.
    pub fn hash(&self) -> String {
        hex(&self.sha256)
    }
}

/// How a deed names a file.
fn address(server: &ServerName, id: &str) -> String {
    format!("mxc://{server}/{id}")
}

impl Media {
    /// Files of an authority by their ids, behind one, at most a thousand; and the id after which to go on.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn files_of_authority(
        &self,
        authority: &ServerName,
        after: Option<&str>,
    ) -> Result<(Vec<FileInfo>, Option<String>), Error> {
        let range = Range::prefix(authority.as_str());
        let range = match after {
            Some(after) => range.after(&(authority.as_str(), after)),
            None => range,
        };
        let rows = self.inner.store.scan(&tables::MEDIA, range, Order::Ascending, PAGE).await?;
        let next = (rows.len() == PAGE).then(|| rows.last().map(|((_, id), _)| id.clone())).flatten();
        let rows = rows.into_iter().map(|((_, id), row)| (id, row)).collect();
        Ok((self.infos(authority, rows).await?, next))
    }

    /// All files that a user has uploaded.
    ///
    /// There is no index by user: all files of his authority are looked at, a thousand at a time.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn files_of_user(&self, user: &UserId) -> Result<Vec<FileInfo>, Error> {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let (files, next) = self.files_of_authority(user.server_name(), after.as_deref()).await?;
            found.extend(files.into_iter().filter(|file| file.by.as_deref() == Some(user.as_str())));
            match next {
                Some(next) => after = Some(next),
                None => return Ok(found),
            }
        }
    }

    /// How much each user of an authority has uploaded that is still there, from a moment until another. Looks at all files, as
    /// [`Media::files_of_user`].
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn uploaded(
        &self,
        authority: &ServerName,
        (from, until): (u64, u64),
    ) -> Result<BTreeMap<String, Uploaded>, Error> {
        let mut found: BTreeMap<String, Uploaded> = BTreeMap::new();
        let mut after: Option<String> = None;
        loop {
            let (files, next) = self.files_of_authority(authority, after.as_deref()).await?;
            for file in files {
                let Some(by) = file.by.filter(|_| (from..=until).contains(&file.created.millis())) else {
                    continue;
                };
                let uploaded = found.entry(by).or_default();
                uploaded.count += 1;
                uploaded.bytes = uploaded.bytes.saturating_add(file.size);
            }
            match next {
                Some(next) => after = Some(next),
                None => return Ok(found),
            }
        }
    }

    /// How much an authority's users have uploaded that is still there, in bytes; each id counts by itself.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn used(&self, authority: &ServerName) -> Result<u64, Error> {
        let used = self.inner.store.get(&tables::USED, &(authority.as_str(), "")).await?;
        Ok(used.map_or(0, |used| u64::try_from(used.0).unwrap_or_default()))
    }

    /// Who withholds another server's file from the users of an authority, if somebody of it does.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn find_withheld(
        &self,
        authority: &ServerName,
        (server, id): (&ServerName, &str),
    ) -> Result<Option<String>, Error> {
        if !is_id(id) {
            return Ok(None);
        }
        let place = address(server, id);
        let mark = self.inner.store.get(&WITHHELD, &(authority.as_str(), place.as_str())).await?;
        Ok(mark.map(|mark| mark.by))
    }

    /// One file of an authority.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn find_file(&self, authority: &ServerName, id: &str) -> Result<Option<FileInfo>, Error> {
        if !is_id(id) {
            return Ok(None);
        }
        let row = self.inner.store.get(&tables::MEDIA, &(authority.as_str(), id)).await?;
        let Some(row) = row else { return Ok(None) };
        Ok(self.infos(authority, vec![(id.to_owned(), row)]).await?.pop())
    }

    async fn infos(
        &self,
        authority: &ServerName,
        rows: Vec<(String, MediaRow)>,
    ) -> Result<Vec<FileInfo>, Error> {
        let hashes: Vec<String> = rows.iter().map(|(_, row)| hex(&row.sha256)).collect();
        let hashes: Vec<(&str, &str)> =
            hashes.iter().map(|hash| (authority.as_str(), hash.as_str())).collect();
        let mut reads = Reads::new();
        let (withheld, marked) = (reads.get_many(&WITHHELD, &hashes), reads.get_many(&PROTECTED, &hashes));
        let mut read = self.inner.store.read(reads).await?;
        let (withheld, marked) = (read.take_many(withheld)?, read.take_many(marked)?);
        let infos = rows.into_iter().zip(withheld).zip(marked);
        Ok(infos
            .map(|(((id, row), withheld), protected)| FileInfo {
                id,
                by: row.by,
                size: row.size,
                kind: row.kind,
                name: row.name,
                created: Timestamp(row.created_ms),
                withheld_by: withheld.map(|mark| mark.by),
                protected: protected.is_some(),
                sha256: row.sha256,
            })
            .collect())
    }

    /// Withholds a file as one authority does, or shows it again: whether that withholds it, and nothing where there is no such
    /// file, nor could be one of another server. One that is protected is not withheld. As it is already, nothing changes.
    ///
    /// # Errors
    /// [`Error::Contended`], [`Error::Store`], [`Error::Commit`].
    pub async fn withhold_for(
        &self,
        authority: &ServerName,
        (server, id): (&ServerName, &str),
        withheld: bool,
        by: &Actor,
    ) -> Result<Option<bool>, Error> {
        if !is_id(id) {
            return Ok(None);
        }
        let what = if server == authority {
            let Some(file) = self.find_file(authority, id).await? else { return Ok(None) };
            if withheld && file.protected {
                return Ok(Some(false));
            }
            file.hash()
        } else {
            // Whether the other server is one of ours, too, is not this one's to know.
            address(server, id)
        };
        let action = if withheld { Action::WithholdMedia } else { Action::ReleaseMedia };
        let deed = Deed::new(action, by, &address(server, id), self.inner.clock.now());
        if withheld && server != authority {
            let kept = Range::prefix(authority.as_str());
            let kept = self.inner.store.scan(&WITHHELD, kept, Order::Ascending, MOST_WITHHELD).await?;
            if kept.len() >= MOST_WITHHELD {
                return Err(Error::TooManyWithheld);
            }
        }
        let changes = self.mark(&WITHHELD, (authority, &what), withheld, &deed, by).await?;
        Ok(Some(changes && withheld))
    }

    /// Withholds all files of a user, but those that are protected; how many were not withheld before. There is no index by
    /// user, as of [`Media::files_of_user`].
    ///
    /// # Errors
    /// As [`Media::withhold_for`]; those before the one that failed are withheld.
    pub async fn withhold_all_of(&self, user: &UserId, by: &Actor) -> Result<usize, Error> {
        let authority = user.server_name();
        let mut count = 0;
        for file in self.files_of_user(user).await?.iter().filter(|file| !file.protected) {
            let withheld = self.withhold_for(authority, (authority, &file.id), true, by).await?;
            count += usize::from(withheld == Some(true));
        }
        Ok(count)
    }

    /// Protects a file of an authority from being withheld, or does so no more; whether there is such a file. What it holds is
    /// protected, under whatever id: else who uploads a copy, which is withheld, has the file itself withheld.
    ///
    /// # Errors
    /// As [`Media::withhold_for`].
    pub async fn protect(
        &self,
        authority: &ServerName,
        id: &str,
        protected: bool,
        by: &Actor,
    ) -> Result<bool, Error> {
        let Some(file) = self.find_file(authority, id).await? else { return Ok(false) };
        let action = if protected { Action::ProtectMedia } else { Action::UnprotectMedia };
        let deed = Deed::new(action, by, &address(authority, id), self.inner.clock.now());
        self.mark(&PROTECTED, (authority, &file.hash()), protected, &deed, by).await?;
        Ok(true)
    }

    async fn mark(
        &self,
        table: &Table<(String, String), MarkRow>,
        (authority, what): (&ServerName, &str),
        marked: bool,
        deed: &Deed,
        by: &Actor,
    ) -> Result<bool, Error> {
        let inner = &self.inner;
        let key = (authority.as_str(), what);
        let mut attempts = Attempts::default();
        loop {
            let row = inner.store.get(table, &key).await?;
            if row.is_some() == marked {
                return Ok(false);
            }
            let mut batch = Batch::new();
            batch.require(table, &key, row.as_ref());
            match marked {
                true => {
                    let row = MarkRow { by: by.name().to_owned(), since_ms: inner.clock.now().millis() };
                    batch.put(table, &key, &row);
                }
                false => batch.delete(table, &key),
            }
            deed.write(&mut batch, authority);
            match inner.store.commit(batch).await {
                Ok(_) => return Ok(true),
                Err(CommitError::Conflict { .. }) if attempts.again(&inner.random).await => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether an authority withholds a file from who reads it: its own from everybody, any from its users.
    pub(crate) async fn is_withheld_from(
        &self,
        reader: room::FileReader<'_>,
        (server, id): (&ServerName, &str),
        sha256: &Sha256,
    ) -> Result<bool, Error> {
        let hash = hex(sha256);
        let mut keys = Vec::new();
        let place = address(server, id);
        if self.is_ours(server) {
            keys.push((server.as_str(), hash.as_str()));
        }
        if let room::FileReader::User(user) = reader
            && user.server_name() != server
        {
            keys.push((user.server_name().as_str(), place.as_str()));
            keys.push((user.server_name().as_str(), hash.as_str()));
        }
        let marks = self.inner.store.get_many(&WITHHELD, &keys).await?;
        Ok(marks.iter().any(Option::is_some))
    }

    /// Lets copies of other servers' files go that were asked for last before the day of this moment, a thousand at most;
    /// how many went. Copies are shared by all authorities of a process: `None` where there are several.
    ///
    /// # Errors
    /// As [`Media::remove`].
    pub async fn let_copies_go(&self, before: Timestamp, by: &Actor) -> Result<Option<usize>, Error> {
        if self.inner.authorities.len() != 1 {
            return Ok(None);
        }
        let range = Range::all().before(&(day(before), "", ""));
        let rows = self.inner.store.scan(&tables::COPIES, range, Order::Ascending, MOST_COPIES).await?;
        let mut gone = 0;
        for ((_, server, id), ()) in rows {
            let Ok(server) = <&ServerName>::try_from(server.as_str()) else { continue };
            gone += usize::from(self.take_away(server, &id, by).await?);
        }
        Ok(Some(gone))
    }
}
