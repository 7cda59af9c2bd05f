//! What an identity provider says of people at their sign-ins: kept as the last word about each account, until somebody has a
//! change set made of it.
//!
//! A sign-in changes no organisation: twelve thousand on one morning would be as many sets, and a claim is no 発令. An officer
//! makes one set of what was told, which is looked at, approved and applied as that of a file; who did not sign in is not spoken
//! of, so nobody ends by it.

use std::fmt::Write as _;

use base::Timestamp;
use intake::{Encoding, How, Separator};
use ruma::{ServerName, UserId};
use store::{Batch, CommitError, Order as Direction, Range};

use crate::{
    answer::Answer,
    by::By,
    error::Error,
    order::{FileBytes, Import},
    personnel::Personnel,
    tables::{TOLD, ToldRow},
    words::words,
};

/// So long what was told of somebody counts: longer than anybody is away.
const COUNTS_FOR_MS: u64 = 400 * 86_400_000;

/// So often it is noted that the same was told again.
const NOTED_EVERY_MS: u64 = 86_400_000;

/// Most accounts of which something is told: as many rows as a file has.
const MOST_TOLD: usize = 100_000;

/// What an identity provider says of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told<'a> {
    /// 職員番号
    pub number: &'a str,
    /// His name.
    pub name: &'a str,
    /// Its reading, or nothing.
    pub reading: &'a str,
    /// The unit, with those above it before it.
    pub unit: &'a str,
    /// 職名, or nothing.
    pub title: &'a str,
}

impl Personnel {
    /// Keeps what was told of a user of ours.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Commit`].
    pub async fn note_told(&self, user: &UserId, told: &Told<'_>) -> Result<(), Error> {
        let key = (user.server_name().as_str(), user.localpart());
        let old = self.inner.store.get(&TOLD, &key).await?;
        let Timestamp(now) = self.inner.clock.now();
        let row = ToldRow {
            number: told.number.to_owned(),
            name: told.name.to_owned(),
            reading: told.reading.to_owned(),
            unit: told.unit.to_owned(),
            title: told.title.to_owned(),
            at_ms: now,
        };
        let is_known = old.as_ref().is_some_and(|old| {
            // In either direction: a calendar that was set back must not keep notes away.
            ToldRow { at_ms: now, ..old.clone() } == row && now.abs_diff(old.at_ms) < NOTED_EVERY_MS
        });
        if is_known {
            return Ok(());
        }
        let mut batch = Batch::new();
        batch.put(&TOLD, &key, &row);
        match self.inner.store.commit(batch).await {
            // Another sign-in at the same moment has said it.
            Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Of how many accounts something was told that counts.
    pub(crate) async fn count_told(&self, authority: &ServerName) -> Result<usize, Error> {
        Ok(self.told(authority).await?.len())
    }

    async fn told(&self, authority: &ServerName) -> Result<Vec<(String, ToldRow)>, Error> {
        let range = Range::prefix(authority.as_str());
        let rows = self.inner.store.scan(&TOLD, range, Direction::Ascending, MOST_TOLD).await?;
        let Timestamp(now) = self.inner.clock.now();
        let counts = rows.into_iter().filter(|(_, row)| now.saturating_sub(row.at_ms) < COUNTS_FOR_MS);
        Ok(counts.map(|((_, account), row)| (account, row)).collect())
    }

    /// Makes a change set of what was told.
    pub(crate) async fn import_told(
        &self,
        authority: &ServerName,
        import: Import,
        by: &By,
    ) -> Result<Answer, Error> {
        let told = self.told(authority).await?;
        if told.is_empty() {
            return Err(Error::Refused(words!(
                "認証基盤から伝えられた職員の情報は、まだありません。",
                "No identity provider has told of anybody yet."
            )));
        }
        let mut file = "職員番号,氏名,フリガナ,所属,職名,アカウント\n".to_owned();
        for (account, row) in &told {
            let cells = [&row.number, &row.name, &row.reading, &row.unit, &row.title, account];
            for (place, cell) in cells.into_iter().enumerate() {
                let cell: String = cell.chars().filter(|letter| !letter.is_control()).collect();
                let cell = cell.replace('"', "\"\"");
                write!(file, "{}\"{cell}\"", if place == 0 { "" } else { "," }).unwrap_or_default();
            }
            file.push('\n');
        }
        // Nothing is guessed of it: what somebody is called must not be what the file is.
        let how = How { encoding: Some(Encoding::Utf8), separator: Some(Separator::Comma) };
        let file = FileBytes::new(file.into_bytes());
        let import = Import { file, how, is_part: true, mapping: None, ..import };
        self.import(authority, &import, by).await
    }
}
